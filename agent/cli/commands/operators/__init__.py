"""What the operator of a coordinator does: accounts, keys, miners, logins, backups, and checks of its log."""
