"""Where runners run: child processes of this machine."""
