"""The replicas of a coordinator that share one database: which are alive, which of them leads, and messages between them."""
