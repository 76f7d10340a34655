"""The rounds in which audits advance: who is asked, what the opinions decide, and what follows."""
