"""The flows of `client.registry`: the available services. They need no key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from aitbc._http.flow import Flow, Request, Session, fetch, post_json
from aitbc.answers.record import Record
from aitbc.answers.registry import Service, ServiceList, ServiceRequirements, Validation


def services(
    session: Session, /, *, category: str | None = None, search: str | None = None
) -> Flow[ServiceList]:
    """Return the services, optionally only those of a `category`, or with `search` in their name, description or tags."""
    filters = {"category": category, "search": search}
    params = {name: value for name, value in filters.items() if value is not None}
    return (yield from fetch(session, Request("GET", "/v1/registry/services", params=params), ServiceList))


def get(session: Session, /, service_id: str) -> Flow[Service]:
    """Return the complete definition of a service."""
    return (yield from fetch(session, _about(service_id), Service))


def schema(session: Session, /, service_id: str) -> Flow[dict[str, Any]]:
    """Return the JSON Schema of a service's input."""
    return (yield from fetch(session, _about(service_id, "/schema"), Record)).to_dict()


def requirements(session: Session, /, service_id: str) -> Flow[ServiceRequirements]:
    """Return the hardware that a service requires."""
    return (yield from fetch(session, _about(service_id, "/requirements"), ServiceRequirements))


def validate(session: Session, /, service_id: str, request_data: Mapping[str, Any]) -> Flow[Validation]:
    """Validate a request without creating a job. Returns all errors together, and warnings."""
    body = {"service_id": service_id, "request_data": dict(request_data)}
    request = post_json("/v1/registry/services/validate", body, repeatable=True)
    return (yield from fetch(session, request, Validation))


def _about(service_id: str, part: str = "") -> Request:
    return Request("GET", f"/v1/registry/services/{quote(service_id, safe='')}{part}")
