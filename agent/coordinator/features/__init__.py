"""What the coordinator can do beyond its kernel: a folder for each feature. `installed.py` beside this package is their list."""
