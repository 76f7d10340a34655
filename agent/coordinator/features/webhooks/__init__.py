"""Messages about jobs to addresses that clients name."""
