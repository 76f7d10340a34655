"""The commands of `aitbc`, one file each, or one for a group."""
