"""The OpenAPI document is complete for every route, and matches the reference."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator, Registry

from agent.coordinator.features.reference.examples import NoExampleError, example_of
from agent.coordinator.features.reference.routes.document import document
from agent.coordinator.http.plain import declarations
from agent.coordinator.installed import ROUTERS
from agent.coordinator.routes._declare import AUDIENCE
from agent.core.errors import answerable
from runners import registry
from support.features import all_installed

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference" / "contract.md"
METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
BODILESS = ("204", "304", "307")

Operation = dict[str, Any]
DOCUMENT = document(ROUTERS)
SCHEMAS = Registry([("urn:openapi", DOCUMENT)])


def operations() -> Iterator[tuple[str, Operation]]:
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS:
            if method in item:
                yield f"{method.upper()} {path}", item[method]


def answers(operation: Operation) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each answer with its status; references are resolved."""
    shared = DOCUMENT["components"]["responses"]
    for status, answer in operation["responses"].items():
        yield status, shared[answer["$ref"].rpartition("/")[2]] if "$ref" in answer else answer


def json_contents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every JSON body of the document, with its position."""
    for call, operation in operations():
        bodies = [("request", operation.get("requestBody", {})), *answers(operation)]
        for part, body in bodies:
            if "application/json" in body.get("content", {}):
                yield f"{call} {part}", body["content"]["application/json"]


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    """A validator for a schema with references into the document."""
    absolute = json.loads(json.dumps(schema).replace('"#/components/', '"urn:openapi#/components/'))
    return Draft202012Validator(absolute, registry=SCHEMAS)


CALLS = sorted(
    f"{method} {route.path_format}" for route in declarations(ROUTERS) for method in route.methods or ()
)
"""From the routes: the document could omit one."""


def named(schema: dict[str, Any]) -> set[str]:
    """The models that a schema references."""
    options = schema.get("anyOf", [schema])
    return {one["$ref"].rpartition("/")[2] for one in options if "$ref" in one}


def test_every_call_is_described() -> None:
    """With a summary, a description, a described group, its audience, and the meaning of every answer and parameter."""
    described = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    for call, operation in operations():
        assert operation["summary"], call
        assert operation["description"], call
        assert [described[tag] for tag in operation["tags"]], call
        assert operation[AUDIENCE], call
        for parameter in operation.get("parameters", ()):
            said = parameter.get("description") or parameter["schema"].get("examples")
            assert said, f"{call}: {parameter['name']} has neither a description nor an example"
            assert "anyOf" not in parameter["schema"], call
        for status, answer in answers(operation):
            assert answer["description"], (call, status)
            assert "X-Request-ID" in answer["headers"], (call, status)


def test_every_body_has_a_model_and_an_example() -> None:
    for call, operation in operations():
        check_bodies(call, operation)


def check_bodies(call: str, operation: Operation) -> None:
    """The model has a name and is not an arbitrary object; an answer without a body has a matching status."""
    schemas = DOCUMENT["components"]["schemas"]
    bodies = [(f"{call} request", operation.get("requestBody"))]
    bodies += [(f"{call} {status}", answer) for status, answer in answers(operation)]
    for part, body in bodies:
        for media_type, content in ((body or {}).get("content") or {}).items():
            schema = content["schema"]
            if media_type != "application/json":
                assert named(schema) or schema["type"] == "string", part
                continue
            if re.search(r" (2\d\d|request)$", part):
                assert named(schema), part
                assert named(schema) <= schemas.keys(), part
                try:
                    example_of(schema, schemas)
                except NoExampleError as error:
                    pytest.fail(f"{part}: {error}")
            assert content.keys() & {"example", "examples"}, part
    for status, answer in answers(operation):
        assert answer.get("content") or status in BODILESS or call.startswith("HEAD "), call


STATUSES = {"Ollama-compatible": {422: 400}, "Anthropic-compatible": {422: 400, 503: 529}}
"""By tag: statuses of ours, and those that the API of another product has for them."""


def test_every_call_lists_its_errors() -> None:
    for call, operation in operations():
        check_errors(call, operation)


def check_errors(call: str, operation: Operation) -> None:
    """Including those that follow from its key, path and body; each has the API's form and known codes."""
    known = answerable()
    statuses = STATUSES.get(operation["tags"][0], {})
    found = set()
    for status, answer in answers(operation):
        if int(status) < 400:
            continue
        codes = answer["x-error-codes"]
        assert {statuses.get(known[code].status, known[code].status) for code in codes} == {int(status)}, call
        assert "Retry-After" in answer["headers"] or status not in ("429", "503"), call
        found |= set(codes)
    assert {"INTERNAL_ERROR", "SERVICE_UNAVAILABLE", "RATE_LIMIT_EXCEEDED"} <= found, call
    assert ("UNAUTHORIZED" in found) >= bool(operation["security"]), call
    assert ("PAYLOAD_TOO_LARGE" in found) == ("requestBody" in operation), call
    assert not operation.get("parameters") or "VALIDATION_ERROR" in found, call


def test_operation_ids_are_those_of_version_0_2_0() -> None:
    """They name the methods of generated clients. New calls may join the list."""
    names = {call: operation["operationId"] for call, operation in operations()}
    assert len(set(names.values())) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z_]+", name) for name in names.values())
    released = json.loads((ROOT / "tests" / "vectors" / "operation_ids.json").read_text(encoding="utf-8"))
    if not all_installed():
        released = {call: name for call, name in released.items() if call in names}
    assert released.items() <= names.items()


def test_every_route_is_in_the_document() -> None:
    """Even if its router excludes it by mistake."""
    assert sorted(call for call, _ in operations()) == CALLS


def test_calls_without_a_key_are_those_of_the_reference() -> None:
    """All other calls need a key."""
    open_calls = {call for call, operation in operations() if operation["security"] == []}
    for call in open_calls - {
        "GET /v1/health",
        "POST /v1/receipts/verify",
        "POST /v1/login",
        *(f"{method} /v1/session" for method in ("POST", "GET", "DELETE")),
        # The miner's identity key signs the body of these.
        "POST /v1/logins/signed",
        "PUT /v1/miners/{miner_id}/payout-address",
        "POST /v1/payouts/{payout_id}/hand-in",
    }:
        path = call.partition(" ")[2]
        open_paths = (
            "/v1/registry/",
            "/v1/log/",
            "/v1/miners/challenge",
            "/v1/miners/admission",
            "/v1/miners/register",
        )
        assert path.startswith(open_paths), call


def test_every_schema_is_valid() -> None:
    """JSON Schema, draft 2020-12, without dangling references."""
    for name, schema in DOCUMENT["components"]["schemas"].items():
        validator(schema).is_valid({})
        for reference in re.findall(r'"\$ref": "(.*?)"', json.dumps(schema)):
            assert reference.rpartition("/")[2] in DOCUMENT["components"]["schemas"], name


def test_every_example_is_valid() -> None:
    for position, content in json_contents():
        examples = [content["example"]] if "example" in content else []
        examples += [one["value"] for one in content.get("examples", {}).values()]
        for example in examples:
            problems = [error.message for error in validator(content["schema"]).iter_errors(example)]
            assert problems == [], position


def test_the_document_has_the_references_examples() -> None:
    """The document's examples may have more fields than the reference's."""
    document_of = dict(operations())
    for call, values in reference_examples():
        if call not in document_of:
            continue
        operation = document_of[call]
        shown = []
        if "requestBody" in operation:
            shown.append(operation["requestBody"]["content"]["application/json"]["example"])
        success = next(answer for status, answer in answers(operation) if status.startswith("2"))
        shown.append(success["content"]["application/json"]["example"])
        assert len(shown) == len(values), call
        for ours, theirs in zip(shown, values, strict=True):
            assert contains(ours, theirs), f"{call}: {ours} does not say {theirs}"


def reference_examples() -> Iterator[tuple[str, list[Any]]]:
    text = REFERENCE.read_text(encoding="utf-8")
    for block in re.findall(r"```jsonc\n(.*?)```", text, flags=re.DOTALL):
        for part in re.split(r"^(?=// [A-Z]+ /)", block, flags=re.MULTILINE):
            if heading := re.match(r"// ([A-Z]+ /\S+)", part):
                lines = [line for line in part.splitlines() if not line.startswith("//")]
                yield heading[1], json_values("\n".join(lines))
    for route, body in re.findall(r"`POST (/v1/services/\S+)` \| `(.*?)` \|", text):
        yield f"POST {route}", [json.loads(body), {"status": "submitted"}]


def json_values(text: str) -> list[Any]:
    values = []
    while text := text.strip():
        value, end = json.JSONDecoder().raw_decode(text)
        values.append(value)
        text = text[end:]
    return values


def contains(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, dict):
        return isinstance(ours, dict) and all(
            name in ours and contains(ours[name], value) for name, value in theirs.items()
        )
    if isinstance(theirs, list):
        return all(any(contains(one, value) for one in ours) for value in theirs)
    return bool(ours == theirs)


def test_every_error_of_the_reference_can_be_answered() -> None:
    """With the same code and status."""
    text = REFERENCE.read_text(encoding="utf-8")
    known = {code: kind.status for code, kind in answerable().items()}
    rows = re.findall(r"^\| `([A-Z_]+)` \| .*? \| (\d{3}) \|$", text, flags=re.MULTILINE)
    assert rows
    codes = DOCUMENT["components"]["responses"]
    # A feature that has been removed takes its errors with it.
    removed = set() if all_installed() else {code for code, _ in rows if code not in known}
    for code, status in rows:
        if code not in removed:
            assert known.get(code) == int(status), code
            assert code in codes


def test_a_service_call_documents_its_input() -> None:
    """The runner's input and the job options."""
    schemas = DOCUMENT["components"]["schemas"]
    for runner in registry.installed().values():
        definition = runner.definition
        if definition.route is None:
            continue
        body = DOCUMENT["paths"][f"/v1/services/{definition.route}"]["post"]["requestBody"]
        name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        expected = {
            *definition.input_model.model_fields,
            "priority",
            "pricing",
            "timeout_seconds",
            "miner_id",
        }
        assert schemas[name]["properties"].keys() >= expected
        assert schemas[name]["additionalProperties"] is False


def test_the_generated_pages_links_are_valid() -> None:
    text = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert len(anchors) == len(headings)
    assert set(re.findall(r"\]\(#(.*?)\)", text)) <= anchors
    for call, _ in operations():
        assert f": `{call}`" in text
