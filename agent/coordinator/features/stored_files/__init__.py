"""Lists of the files that an account stores, and which of its jobs use them."""
