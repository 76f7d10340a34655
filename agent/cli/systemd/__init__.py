"""Communication with systemd."""
