"""Self-tests of miners: operators can require a passed one of miners that join."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.selftests import requirement
from agent.coordinator.hooks import Hooks

FEATURE: Final = Feature(name="selftests", hooks=Hooks(miner_reported=requirement.miner_reported))
