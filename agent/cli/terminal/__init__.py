"""Terminal output of the running agent."""
