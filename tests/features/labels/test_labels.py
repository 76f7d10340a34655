"""Labels of jobs, and lists that are filtered by them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from support.jobs import job, submit
from support.server import Served


def fields(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    return dict(answer.json()["error"]["details"]["fields"])


def test_jobs_are_found_by_their_labels(client: httpx.Client, served: Served, admin: httpx.Client) -> None:
    podcast = submit(client, labels={"project": "podcast", "episode": "12"})
    other = submit(client, labels={"project": "podcast", "episode": "a:b"})
    submit(client, labels={"project": "film"})
    submit(client)
    assert job(client, podcast)["labels"] == {"project": "podcast", "episode": "12"}

    def found(http: httpx.Client, *labels: str, **filters: str) -> list[str]:
        page = http.get("/v1/jobs", params={"label": list(labels), **filters}).json()
        assert page["total"] == len(page["jobs"])
        return [one["job_id"] for one in page["jobs"]]

    assert found(client, "project:podcast") == found(admin, "project:podcast") == [other, podcast]
    assert found(client, "project:podcast", "episode:12") == [podcast]
    assert found(client, "episode:a:b") == [other]
    assert found(client, "project:podcast", status="completed") == []
    assert found(client, "project:podcast", status="submitted", type="whisper-transcription") == [
        other,
        podcast,
    ]
    stranger = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key})
    assert found(stranger, "project:podcast") == []
    assert stranger.get("/v1/jobs/labels").json() == {"labels": [], "more": False}
    labels = client.get("/v1/jobs/labels").json()["labels"]
    assert [(label["key"], label["value"], label["jobs"]) for label in labels] == [
        ("project", "podcast", 2),
        ("episode", "12", 1),
        ("episode", "a:b", 1),
        ("project", "film", 1),
    ]
    assert client.get("/v1/jobs/labels", params={"limit": 1}).json()["labels"] == labels[:1]
    assert fields(client.get("/v1/jobs", params={"label": "podcast"}))["label"].startswith(
        "write it as key:value"
    )


def test_labels_are_counted(client: httpx.Client, served: Served, admin: httpx.Client) -> None:
    """Those of most jobs first, for the account's own jobs."""
    for labels in ({"project": "podcast", "episode": "12"}, {"project": "podcast"}, {"project": "film"}, {}):
        submit(client, labels=labels)
    counts = [
        {"key": "project", "value": "podcast", "jobs": 2},
        {"key": "episode", "value": "12", "jobs": 1},
        {"key": "project", "value": "film", "jobs": 1},
    ]
    assert client.get("/v1/jobs/labels").json() == {"labels": counts, "more": False}
    assert admin.get("/v1/jobs/labels").json()["labels"] == counts
    assert client.get("/v1/jobs/labels", params={"key": "project"}).json()["labels"] == [counts[0], counts[2]]
    assert client.get("/v1/jobs/labels", params={"limit": 2}).json() == {"labels": counts[:2], "more": True}
    stranger = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key})
    assert stranger.get("/v1/jobs/labels").json() == {"labels": [], "more": False}


@pytest.mark.parametrize(
    "labels",
    [{"a b": "c"}, {"a:b": "c"}, {"": "c"}, {"a": "c\n"}, {"a": 1}, {"a": "x" * 300}, {"a" * 64: "b"}, ["a"]],
)
def test_labels_that_could_not_be_shown_or_found_are_refused(client: httpx.Client, labels: Any) -> None:
    body = {"audio_url": "https://example.com/a.mp3", "model": "base", "labels": labels}
    assert any(
        name.startswith("labels")
        for name in fields(client.post("/v1/services/whisper/transcribe", json=body))
    )


def test_a_job_has_at_most_as_many_labels_as_the_setting_allows(client: httpx.Client) -> None:
    body = {"audio_url": "https://example.com/a.mp3", "model": "base"}
    labels = {f"key{number}": "" for number in range(33)}
    answer = client.post("/v1/services/whisper/transcribe", json={**body, "labels": labels})
    assert fields(answer) == {"labels": "a job may have 32 labels, and this one has 33"}


def test_attack_a_list_is_filtered_by_at_most_as_many_labels_as_a_job_has(client: httpx.Client) -> None:
    """The database looks each of them up; with thousands, it refuses the query."""
    labels = {f"key{number}": "x" for number in range(32)}
    job_id = submit(client, labels=labels)
    given = [f"{key}:{value}" for key, value in labels.items()]
    (found,) = client.get("/v1/jobs", params={"label": given}).json()["jobs"]
    assert found["job_id"] == job_id
    for number in (33, 2000):
        answer = client.get("/v1/jobs", params={"label": ["a:b"] * number})
        assert answer.status_code == 422
        assert fields(answer) == {
            "label": f"a list is filtered by at most 32 labels, not {number}; remove some"
        }
