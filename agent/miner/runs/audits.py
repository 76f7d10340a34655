"""What a miner itself checks about an audit, for all services: that the work is the signed one, and the model the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent.miner.executor.contract import Execution
from aitbc.canonical import canonical_json, sha256_hex
from aitbc.errors import FormatError
from aitbc.statement import RESULT_NAME
from runners.audits import AUDIT_PREFIX


def unsigned_part(
    results: Mapping[str, Any], statement: Mapping[str, Any], digests: Mapping[str, str]
) -> str | None:
    """Return the name of the first output that is not the one in the statement's subject; None if all are.

    `digests` are those of the audit's input files (hex SHA-256), by name.
    """
    try:
        artifact_digests = {RESULT_NAME: sha256_hex(canonical_json(dict(results)))}
    except FormatError:
        return RESULT_NAME
    artifact_digests |= {
        name.removeprefix(AUDIT_PREFIX): digest
        for name, digest in digests.items()
        if name.startswith(AUDIT_PREFIX)
    }
    signed = {item["name"]: item["digest"]["sha256"] for item in statement["subject"]}
    return next(
        (
            name
            for name in sorted({*artifact_digests, *signed})
            if artifact_digests.get(name) != signed.get(name)
        ),
        None,
    )


def same_weights(execution: Execution, statement: Mapping[str, Any]) -> Execution:
    """Return an audit's execution, whose verdict is "unproven" if the auditor used other weights than the audited miner states."""
    stated = statement["predicate"].get("model")
    if execution.weights in (None, None if stated is None else stated["digest"]["sha256"]):
        return execution
    reason = "The auditor's model files differ from those that the miner states it used."
    results = execution.done.results | {
        "verdict": "unproven",
        "reason": reason,
        "limits": {},
        "cause": "miner",
    }
    return replace(execution, done=execution.done.model_copy(update={"results": results}))
