"""The installed runners, of this project and of third parties, from the entry-point group `aitbc.runners`."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from runners.api import Runner

GROUP = "aitbc.runners"


class DuplicateRunner(Exception):
    """Two installed packages provide a runner for the same service."""


def find(service_id: str) -> type[Runner[Any]]:
    """Return the runner class of a service; import other runners only if no entry point has the service's id.

    Raises `LookupError` if no installed package provides the service.
    """
    # Importing all runners takes a second, and a child needs one.
    for point in entry_points(group=GROUP, name=service_id):
        runner: type[Runner[Any]] = point.load()
        if runner.definition.service_id == service_id:
            return runner
    if service_id not in installed():
        raise LookupError(f"No installed package provides a runner for the service {service_id!r}.")
    return installed()[service_id]


def load(name: str) -> type[Runner[Any]]:
    """Return the runner class of that name, "module:Class". Raises `ImportError` or `AttributeError`."""
    runner: type[Runner[Any]] = EntryPoint(name, name, GROUP).load()
    return runner


def installed() -> dict[str, type[Runner[Any]]]:
    """Return all runner classes by service id, sorted by id, without those that cannot be imported.

    Raises `DuplicateRunner`, which names both packages, if two provide the same service.
    """
    return dict(_discover()[0])


def broken() -> dict[str, str]:
    """Return why installed runners cannot be imported, by the name of their entry point."""
    return dict(_discover()[1])


@cache
def _discover() -> tuple[dict[str, type[Runner[Any]]], dict[str, str]]:
    runners: dict[str, tuple[EntryPoint, type[Runner[Any]]]] = {}
    reasons: dict[str, str] = {}
    # An editable installation beside a wheel lists the same entry point twice.
    for point in sorted(set(entry_points(group=GROUP)), key=lambda point: (point.name, point.value)):
        try:
            runner: type[Runner[Any]] = point.load()
        except Exception as error:  # noqa: BLE001 - a broken third-party package must not stop the others
            reasons[point.name] = (
                f"The runner {point.value} cannot be imported ({error}); reinstall or uninstall its package."
            )
            continue
        service_id = runner.definition.service_id
        if service_id in runners and runners[service_id][1] is not runner:
            raise DuplicateRunner(
                f"The service {service_id!r} is provided by both {runners[service_id][0].value} and {point.value}; "
                "uninstall one of them."
            )
        runners[service_id] = (point, runner)
    return {service_id: runner for service_id, (_, runner) in sorted(runners.items())}, reasons
