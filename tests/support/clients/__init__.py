"""Scripted clients and miners, some of them misbehaving."""
