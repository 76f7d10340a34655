"""The answers about files and batches, with OpenAI's fields. Times are seconds since the epoch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from agent.coordinator.features.batches.states import BatchStatus
from agent.coordinator.features.client_apis.item_pages import ObjectPage
from aitbc.answers.fields import example

_FILE = {
    "id": "file_1234567890", "object": "file", "bytes": 120000, "created_at": 1764600000,
    "filename": "requests.jsonl", "purpose": "batch", "status": "processed",
}  # fmt: skip


_ERROR = {"code": "invalid_json_line", "message": "The line is not a JSON object.", "param": None, "line": 7}
_COUNTS = {"total": 1000, "completed": 990, "failed": 10}
_BATCH = {
    "id": "batch_1234567890", "object": "batch", "endpoint": "/v1/chat/completions",
    "input_file_id": "file_1234567890", "completion_window": "24h", "status": "completed", "output_file_id": "file_1234567891",
    "error_file_id": "file_1234567892", "created_at": 1764600000, "in_progress_at": 1764600002, "expires_at": 1764686400,
    "finalizing_at": 1764601000, "completed_at": 1764601001,
    "request_counts": _COUNTS, "metadata": {"name": "night"},
}  # fmt: skip


def _page_of(element: dict[str, Any]) -> ConfigDict:
    ids = dict.fromkeys(("first_id", "last_id"), element["id"])
    return example({"object": "list", "data": [element], **ids, "has_more": False})


class FileObject(BaseModel, defer_build=True):
    """A file. `bytes` is its size."""

    model_config = example(_FILE)

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"


class FileObjects(ObjectPage):
    """A page of files."""

    model_config = _page_of(_FILE)

    data: list[FileObject]


class FileDeleted(BaseModel, defer_build=True):
    """A deleted file."""

    model_config = example({"id": "file_1234567890", "object": "file", "deleted": True})

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class BatchError(BaseModel, defer_build=True):
    """Why a batch failed: an error in a line of its file, or with `line` null in the whole of it."""

    model_config = example(_ERROR)

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class BatchErrors(BaseModel, defer_build=True):
    """The errors of a batch, the first ones if there are many."""

    model_config = example({"object": "list", "data": [_ERROR]})

    object: Literal["list"] = "list"
    data: list[BatchError]


class RequestCounts(BaseModel, defer_build=True):
    """Lines of a batch: all, those with an answer, those with an error."""

    model_config = example(_COUNTS)

    total: int
    completed: int
    failed: int


class BatchObject(BaseModel, defer_build=True):
    """A batch."""

    model_config = example(_BATCH)

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: BatchErrors | None = None
    input_file_id: str
    completion_window: Literal["24h"] = "24h"
    status: BatchStatus
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts
    metadata: dict[str, Any] | None = None


class BatchObjects(ObjectPage):
    """A page of batches."""

    model_config = _page_of(_BATCH)

    data: list[BatchObject]
