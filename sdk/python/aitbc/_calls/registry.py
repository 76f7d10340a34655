"""The flows of `client.registry`: the available services. They need no key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aitbc._http.flow import Flow, Session, fetch, post_json, query, segment
from aitbc.answers.record import Record
from aitbc.answers.registry import Service, ServiceList, ServiceRequirements, Validation

_SERVICES = "/v1/registry/services"


def services(
    session: Session, /, *, category: str | None = None, search: str | None = None
) -> Flow[ServiceList]:
    """Return the services, optionally only those of a `category`, or with `search` in their name, description or tags."""
    return query(session, _SERVICES, ServiceList, category=category, search=search)


def get(session: Session, /, service_id: str) -> Flow[Service]:
    """Return the complete definition of a service."""
    return query(session, _about(service_id), Service)


def schema(session: Session, /, service_id: str) -> Flow[dict[str, Any]]:
    """Return the JSON Schema of a service's input."""
    return (yield from query(session, _about(service_id, "/schema"), Record)).to_dict()


def requirements(session: Session, /, service_id: str) -> Flow[ServiceRequirements]:
    """Return the hardware that a service requires."""
    return query(session, _about(service_id, "/requirements"), ServiceRequirements)


def validate(session: Session, /, service_id: str, request_data: Mapping[str, Any]) -> Flow[Validation]:
    """Validate a request without creating a job. Returns all errors together, and warnings."""
    body = {"service_id": service_id, "request_data": dict(request_data)}
    request = post_json(f"{_SERVICES}/validate", body, repeatable=True)
    return fetch(session, request, Validation)


def _about(service_id: str, part: str = "") -> str:
    return f"{_SERVICES}/{segment(service_id)}{part}"
