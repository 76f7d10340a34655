"""What people see: results, progress, conversations, explanations, errors and exit codes."""
