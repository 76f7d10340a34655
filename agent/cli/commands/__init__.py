"""The commands of `aitbc-agent`, one file per command or group."""
