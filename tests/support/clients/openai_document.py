"""Hooks for schemathesis: requests from OpenAI's own OpenAPI document that name models of ours, and a check of its form of errors.

`tests/vectors/openai_2026_08.json.xz` has the paths that we serve, of the document of August 2026 (`scripts/conversions/openai_document.py`).
"""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any, Final

import schemathesis
from jsonschema_rs import Draft202012Validator

from support.clients.openai_jobs import EMBEDDING, LLM, PICTURES, SPEECH

DOCUMENT: Final[dict[str, Any]] = json.loads(
    lzma.decompress((Path(__file__).parents[2] / "vectors" / "openai_2026_08.json.xz").read_bytes())
)


def _without_unmapped_discriminators(schemas: Any) -> None:
    """Remove those without a mapping: then the names of schemas would be the values, but OpenAI's values are others."""
    if isinstance(schemas, list):
        for schema in schemas:
            _without_unmapped_discriminators(schema)
    elif isinstance(schemas, dict):
        if isinstance(schemas.get("discriminator"), dict) and "mapping" not in schemas["discriminator"]:
            del schemas["discriminator"]
        for schema in schemas.values():
            _without_unmapped_discriminators(schema)


_without_unmapped_discriminators(DOCUMENT)

MODELS: Final = (
    ("/embeddings", EMBEDDING),
    ("/audio/speech", "tts-1"),
    ("/audio/", SPEECH),
    ("/images/", PICTURES),
    ("/", LLM),
)
"""Our model for the paths that begin so."""
REQUIRED: Final = {
    "model",
    "messages",
    "input",
    "prompt",
    "file",
    "image",
    "voice",
    "purpose",
    "endpoint",
    "input_file_id",
    "completion_window",
}
FIELDS: Final = 2
"""Further fields of a request."""

_errors: Final = Draft202012Validator(
    {"$ref": "#/components/schemas/ErrorResponse", "components": DOCUMENT["components"]}
)


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Name a model that can run, as otherwise nearly every request would end there, and sizes that are possible."""
    if not isinstance(body, dict) or context.operation is None:
        return body
    path = context.operation.path
    # With a value for each of thirty fields, nearly every request would have one that is refused.
    optional = sorted(body.keys() - REQUIRED)
    for name in optional[FIELDS:]:
        del body[name]
    if "model" in body:
        body["model"] = next(model for prefix, model in MODELS if path.startswith(prefix))
    if body.get("purpose") == "evals":  # which the document has in requests only
        body["purpose"] = "batch"
    if isinstance(body.get("size"), str):
        body["size"] = "512x512"
    return body


@schemathesis.check
def errors_have_openais_form(
    context: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """Check the body of an error against the document."""
    # A path with control characters is refused before anything knows whose API it would be.
    if response.status_code >= 400 and b"control characters" not in response.content:
        _errors.validate(json.loads(response.content))
