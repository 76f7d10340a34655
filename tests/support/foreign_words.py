"""Hooks for schemathesis: a check that no response contains another account's data, and the encoding of multipart uploads.

The environment variable `FOREIGN_WORDS` is a JSON list of the words.
"""

from __future__ import annotations

import json
import os

import schemathesis

WORDS: list[str] = json.loads(os.environ["FOREIGN_WORDS"])


schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


@schemathesis.check
def contains_no_foreign_data(
    context: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """Check body and headers."""
    seen = response.content.decode("utf-8", "replace") + json.dumps(dict(response.headers))
    for word in WORDS:
        assert word not in seen, f"the response contains {word!r}, which belongs to another account"
