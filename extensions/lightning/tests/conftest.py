"""Clients of the coordinator that a test serves."""

from __future__ import annotations

from support.servers.coordinator import admin, client

__all__ = ["admin", "client"]
