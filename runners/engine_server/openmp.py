"""How threads of engines wait for work: those of OpenMP would take the processor from other programs, and from each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WAITING: Final[Mapping[str, str]] = {"GOMP_SPINCOUNT": "2000"}
"""Environment variables, which are read when the library is loaded: how often a thread looks for work before it sleeps.

With the default, 300,000, an answer of llama.cpp takes minutes on a machine that has other work; without looking, one request gets a
quarter of the speed on an idle machine (28 instead of 100 tokens a second with two threads)."""
