"""Properties of every route."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from fastapi.dependencies.models import Dependant

from agent.coordinator.http.plain import declarations
from agent.coordinator.installed import ROUTERS

ROUTES = list(declarations(ROUTERS))


def called(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    """Yield the route's function and all of its dependencies."""
    if dependant.call is not None:
        yield dependant.call
    for dependency in dependant.dependencies:
        yield from called(dependency)


def test_every_function_called_by_a_request_is_a_coroutine() -> None:
    """The framework would call a plain function in a thread at every request, which takes longer than most functions do."""
    for call in (call for route in ROUTES for call in called(route.dependant)):
        function = call if inspect.isroutine(call) else type(call).__call__
        assert inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function), call


def test_the_coordinator_has_routes() -> None:
    """Otherwise the test above would check nothing."""
    assert len(ROUTES) > 50
