"""The cards that the installed llama.cpp can use with Vulkan."""

from __future__ import annotations

import sys

from agent.miner.engines.catalogue import load_engines
from agent.miner.engines.environments import engines_directory
from agent.miner.engines.interpreters import installed_environments
from agent.miner.machine.vulkan_cards import VulkanCards
from agent.miner.settings import EnginesSettings
from agent.sections import section_of
from agent.settings import Settings
from runners.engine_server.llama import NAME, build


def vulkan_cards(settings: Settings) -> VulkanCards:
    """Return the cards that the installed llama.cpp lists, or that of the agent's own interpreter."""

    def pythons() -> list[str]:
        environments = installed_environments(engines_directory(settings), load_engines(settings.data_dir))
        installed = [str(environment.python) for engine, environment in environments if engine.name == NAME]
        return [*installed, *([sys.executable] if build() is not None else [])]

    return VulkanCards(pythons, software=section_of(settings, EnginesSettings).software_devices)
