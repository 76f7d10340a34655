"""How long data of jobs and events are stored."""
