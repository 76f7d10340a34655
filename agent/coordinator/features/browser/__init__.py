"""The dashboard, and the sessions of browsers."""
