"""What this machine is: its processors, memory and GPUs, and what it can offer."""
