"""What the verification of statements, receipts and logs shares."""
