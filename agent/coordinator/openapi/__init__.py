"""The API's OpenAPI document, made from the routes. `document` is all that others need."""

from agent.coordinator.openapi.document import document

__all__ = ["document"]
