"""Files by OpenAI's client: names of the account's artifacts."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from openai import APIStatusError, NotFoundError, OpenAI

from agent.coordinator.features.batches import files
from support.clients.openai_jobs import openai_of
from support.server import Served, serve


def test_a_file_is_stored_listed_and_deleted(ai: OpenAI, client: httpx.Client) -> None:
    file = ai.files.create(file=("a.jsonl", b"content"), purpose="batch")
    assert (file.bytes, file.filename, file.purpose, file.status) == (7, "a.jsonl", "batch", "processed")
    assert ai.files.content(file.id).content == b"content"
    assert ai.files.retrieve(file.id) == file
    (artifact,) = client.get("/v1/artifacts").json()["artifacts"]
    assert (artifact["name"], artifact["size"]) == ("a.jsonl", 7)
    assert ai.files.delete(file.id).deleted
    with pytest.raises(NotFoundError, match="There is no file"):
        ai.files.retrieve(file.id)
    assert client.get("/v1/artifacts").json()["total"] == 0


def test_files_with_the_same_content_are_deleted_one_by_one(ai: OpenAI) -> None:
    first, second = (ai.files.create(file=(name, b"same"), purpose="user_data") for name in ("a", "b"))
    ai.files.delete(first.id)
    assert ai.files.content(second.id).content == b"same"


def test_pages_continue_where_the_last_one_ended(ai: OpenAI) -> None:
    created = [ai.files.create(file=(f"{n}", b"%d" % n), purpose="user_data").id for n in range(5)]
    ai.files.create(file=("x", b"x"), purpose="batch")
    listed = ai.files.list(limit=2, order="asc", purpose="user_data")
    assert [file.id for file in listed] == created
    assert [file.id for file in ai.files.list(purpose="user_data")] == created[::-1]


def test_expired_files_are_deleted(ai: OpenAI, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    expires = {"anchor": "created_at", "seconds": 3600}
    file = ai.files.create(file=("a", b"old"), purpose="user_data", expires_after=expires)
    other_file = ai.files.create(file=("b", b"new"), purpose="user_data")
    assert file.expires_at == file.created_at + 3600
    served.do(files.delete_expired)
    assert ai.files.content(file.id).content == b"old"
    later = served.context.clock() + 3700
    monkeypatch.setattr(type(served.context), "clock", property(lambda _: lambda: later), raising=False)
    served.do(files.delete_expired)
    monkeypatch.undo()
    assert [listed.id for listed in ai.files.list()] == [other_file.id]


@pytest.mark.parametrize(
    "fields", [{"purpose": "cooking"}, {}, {"purpose": "batch", "expires_after[seconds]": "1"}]
)
def test_wrong_fields_are_named(client: httpx.Client, fields: dict[str, str]) -> None:
    answer = client.post("/v1/files", data=fields, files={"file": ("a", b"a")})
    assert answer.status_code in (400, 422)
    assert "purpose" in answer.text or "expires_after" in answer.text


def test_an_account_has_a_limit_of_files(tmp_path: Path) -> None:
    with serve(tmp_path / "data", max_files=1) as served, openai_of(served) as ai:
        ai.files.create(file=("a", b"a"), purpose="user_data")
        with pytest.raises(APIStatusError, match="1 files, which is the limit") as refused:
            ai.files.create(file=("b", b"b"), purpose="user_data")
        assert refused.value.status_code == 413
