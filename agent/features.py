"""The features of the coordinator, in one list: apart from a feature's line here, nothing outside of its folder names it.

A feature is a folder below `agent/coordinator/features`. Of its modules, the program loads these by their names:

* `feature`: `FEATURE`, what the server must know of it (`agent.coordinator.feature`);
* `fields`: `FIELDS`, the fields that it adds to requests and answers, and `ERRORS`, those of its options (`agent.coordinator.job_fields`);
* `settings`: `SETTINGS`, the tables that it adds to the settings (`agent.sections`);
* `cli`: `COMMANDS`, the commands that it adds to `aitbc-agent` (`agent.cli.application`);
* `checks`: what it adds to `aitbc-agent doctor` (`agent.diagnostics`).

The settings are read without the server, and the kernel's models are composed before its routes, so each is loaded by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Final

FEATURES: Final = (
    "receipts",
    "services",
    "accounts",
    "retention",
    "rate_limits",
    "reference",
    "prometheus",
    "telemetry",
    "labels",
    "stored_files",
    "job_logs",
    "log",
    "reputation",
    "streams",
    "market",
    "enrolments",
    "selftests",
    "exclusion",
    "trail",
    "reruns",
    "offers",
    "sealing",
    "machines",
    "outlook",
    "throttling",
    "waits",
    "webhooks",
    "history",
    "payouts",
    "client_apis",
    "conversations",
    "anthropic",
    "openai",
    "image_edits",
    "ollama",
    "speech",
    "reranking",
    "tokens",
    "tus",
    "s3",
    "replicas",
    "browser",
    "audits",
    "batches",
)
"""The features, in the order in which their hooks run and their routes are tried. `Feature.after` states where the order matters."""


def modules(name: str) -> Iterator[ModuleType]:
    """Yield the modules of this name of the features that have one."""
    for feature in FEATURES:
        module = f"agent.coordinator.features.{feature}.{name}"
        if find_spec(module) is not None:
            yield import_module(module)
