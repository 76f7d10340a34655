"""Wallets, transactions and keys: what their owners see and change, and what administrators do."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.accounts.routes import admin, keys, wallet

FEATURE: Final = Feature(name="accounts", routers=(wallet.router, keys.router, admin.router))
