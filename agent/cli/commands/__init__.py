"""The commands of `aitbc-agent`, one file each, or one for a group."""
