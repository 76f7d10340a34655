"""The flows of `client.registry`: what can be asked for. No key is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from aitbc._http.flow import Flow, Request, Session, fetch, post_json
from aitbc.models import Record, ServiceList, Validation


def services(
    session: Session, /, *, category: str | None = None, search: str | None = None
) -> Flow[ServiceList]:
    """All services; only those of a `category`, or with `search` in name, description or tags, where given."""
    wanted = {"category": category, "search": search}
    params = {name: value for name, value in wanted.items() if value is not None}
    return (yield from fetch(session, Request("GET", "/v1/registry/services", params=params), ServiceList))


def get(session: Session, /, service_id: str) -> Flow[Record]:
    """The detailed definition of a service."""
    return (yield from _about(session, service_id))


def schema(session: Session, /, service_id: str) -> Flow[dict[str, Any]]:
    """The JSON Schema of a service's input."""
    return (yield from _about(session, service_id, "/schema")).to_dict()


def requirements(session: Session, /, service_id: str) -> Flow[Record]:
    """What a machine needs to perform a service."""
    return (yield from _about(session, service_id, "/requirements"))


def validate(session: Session, /, service_id: str, request_data: Mapping[str, Any]) -> Flow[Validation]:
    """Whether a request would be taken, without making a job: every fault at once, and warnings."""
    body = {"service_id": service_id, "request_data": dict(request_data)}
    request = post_json("/v1/registry/services/validate", body, repeatable=True)
    return (yield from fetch(session, request, Validation))


def _about(session: Session, service_id: str, what: str = "") -> Flow[Record]:
    path = f"/v1/registry/services/{quote(service_id, safe='')}{what}"
    return (yield from fetch(session, Request("GET", path), Record))
