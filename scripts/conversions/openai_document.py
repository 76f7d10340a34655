"""Reduces OpenAI's published OpenAPI document to what the tests read.

python scripts/conversions/openai_document.py openapi.json tests/vectors/openai_2026_08.json.xz

It leaves the paths that this project serves, and the schemas that they refer to, without texts and examples. Of the answers it leaves the
successful ones, since the document describes errors in two ways, and reads `oneOf` in them as `anyOf`: a detailed transcript is a
plain one as well. Images may have any size: the document lists only those of the newest models.
"""

from __future__ import annotations

import json
import lzma
import sys
from pathlib import Path
from typing import Any, Final

PATHS: Final = (
    "/audio/speech", "/audio/transcriptions", "/audio/translations", "/batches", "/batches/{batch_id}", "/batches/{batch_id}/cancel",
    "/chat/completions", "/completions", "/conversations", "/conversations/{conversation_id}", "/conversations/{conversation_id}/items",
    "/conversations/{conversation_id}/items/{item_id}", "/embeddings", "/files", "/files/{file_id}", "/images/edits",
    "/images/generations", "/images/variations", "/models", "/models/{model}", "/responses", "/responses/{response_id}",
    "/responses/{response_id}/cancel", "/responses/{response_id}/input_items",
)  # fmt: skip
NOT_SERVED: Final = {("/chat/completions", "get"), ("/models/{model}", "delete")}
WORDS: Final = {
    "description",
    "example",
    "examples",
    "title",
    "summary",
    "externalDocs",
    "tags",
    "deprecated",
    "security",
    "servers",
}
NAMED: Final = {"properties", "schemas", "paths", "$defs"}
"""Objects whose keys are names, and not words of the format."""
ERRORS: Final = {"$ref": "#/components/schemas/ErrorResponse"}


def main() -> None:
    """Read the document and write the reduced one."""
    source, target = map(Path, sys.argv[1:])
    document = json.loads(source.read_bytes())
    components: dict[str, dict[str, Any]] = {}
    paths: dict[str, dict[str, Any]] = {}
    for path in PATHS:
        for method, operation in document["paths"][path].items():
            if method in {"get", "post", "delete"} and (path, method) not in NOT_SERVED:
                served = bare(operation)
                answers = served["responses"].items()
                served["responses"] = {status: lenient(answer) for status, answer in answers if status < "4"}
                collect(served, document, components)
                paths.setdefault(path, {})[method] = served
    collect(ERRORS, document, components)
    del components["schemas"]["ImagesResponse"]["properties"]["size"]["enum"]
    info = {"title": "OpenAI", "version": document["info"]["version"]}
    reduced = {"openapi": document["openapi"], "info": info, "paths": paths, "components": components}
    target.write_bytes(
        lzma.compress(json.dumps(reduced, separators=(",", ":"), sort_keys=True).encode(), preset=9)
    )


def bare(value: Any, *, named: bool = False) -> Any:
    """Return a part of the document without texts and examples."""
    if isinstance(value, dict):
        return {
            key: bare(part, named=key in NAMED)
            for key, part in value.items()
            if named or not (key in WORDS or key.startswith("x-"))
        }
    return [bare(part) for part in value] if isinstance(value, list) else value


def lenient(value: Any) -> Any:
    """Return an answer's declaration in which a value may follow several of the alternatives."""
    if isinstance(value, dict):
        return {"anyOf" if key == "oneOf" else key: lenient(part) for key, part in value.items()}
    return [lenient(part) for part in value] if isinstance(value, list) else value


def collect(value: Any, document: dict[str, Any], components: dict[str, dict[str, Any]]) -> None:
    """Add the components that a part of the document refers to."""
    if isinstance(value, list):
        for part in value:
            collect(part, document, components)
    elif isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/components/"):
            _, _, kind, name = reference.split("/")
            if name not in components.setdefault(kind, {}):
                components[kind][name] = bare(document["components"][kind][name])
                collect(components[kind][name], document, components)
        for part in value.values():
            collect(part, document, components)


if __name__ == "__main__":
    main()
