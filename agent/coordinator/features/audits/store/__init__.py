"""The tables of audits and canaries: SQL."""
