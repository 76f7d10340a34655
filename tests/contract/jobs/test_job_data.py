"""Names, parameters and inputs of jobs, and jobs that run again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from agent.coordinator.store import job_lists
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import job, submit
from support.server import Served

CHAT = {"model": "smollm2-135m-instruct", "max_tokens": 8}
RESULTS = {"text": "hello", "units": 1, "processing_time": 0.5}


def store(client: httpx.Client, content: bytes, name: str | None = None) -> str:
    params = {} if name is None else {"name": name}
    answer = client.post("/v1/artifacts", content=content, params=params).raise_for_status()
    return f"artifact:{answer.json()['artifact_id']}"


def create(client: httpx.Client, **body: Any) -> str:
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["job_id"])


def fields(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    return dict(answer.json()["error"]["details"]["fields"])


def python_model(**changes: Any) -> dict[str, Any]:
    return {
        "type": "ai-inference",
        "model": {"type": "python", "entrypoint": "model.py", "source": {"inline": "x = 1"}},
        **changes,
    }


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("Explain quantum computing", "Explain quantum computing"),
        (
            "Summarise this\n\n conversation between two engineers, who talk about their dogs",
            "Summarise this conversation between two engineers, who talk…",
        ),
        ("x" * 200, "x" * 60 + "…"),
        ("bell \x07 and \x1b[31mcolour", "bell and [31mcolour"),
    ],
)
def test_a_job_without_a_name_is_named_after_its_prompt(client: httpx.Client, prompt: str, name: str) -> None:
    """By its first words on one line, at most about 60 characters."""
    answer = client.post("/v1/services/llm/inference", json={**CHAT, "prompt": prompt})
    assert job(client, answer.json()["job_id"])["name"] == name
    listed = client.get("/v1/jobs", params={"name": name}).json()
    assert [one["job_id"] for one in listed["jobs"]] == [answer.json()["job_id"]]
    assert listed["total"] == 1


def test_a_list_reads_no_specification(client: httpx.Client, served: Served) -> None:
    """500 of them may take two gigabytes."""
    create(client, **python_model())

    async def listed(context: Any) -> list[str]:
        records, _ = await context.database.read(job_lists.page, job_lists.JobFilter(), limit=5, offset=0)
        return [record.spec for record in records]

    assert served.do(listed) == [""]


def test_a_conversation_is_named_after_the_newest_message_of_a_person(client: httpx.Client) -> None:
    turns = [("user", "What is a ladle?"), ("assistant", "A spoon."), ("user", "And a whisk?")]
    messages = [{"role": role, "content": content} for role, content in turns]
    answer = client.post("/v1/services/llm/inference", json={**CHAT, "messages": messages})
    assert job(client, answer.json()["job_id"])["name"] == "And a whisk?"


def test_a_job_is_named_after_its_file(client: httpx.Client) -> None:
    """After the name in the address, or the name that the file was stored with."""
    assert job(client, submit(client))["name"] == "a.mp3"
    audio = store(client, b"sound", "/home/ada/interview 1.mp3")
    job_id = submit(client, audio_url=audio)
    found = job(client, job_id)
    assert found["name"] == "interview 1.mp3"
    assert found["inputs"] == [
        {
            "field": "audio_url",
            "name": "interview 1.mp3",
            "artifact_id": audio.removeprefix("artifact:"),
            "size": 5,
        }
    ]
    assert (
        job(client, submit(client, audio_url=store(client, b"nameless")))["name"] == "whisper-transcription"
    )
    assert job(client, submit(client, audio_url=audio, name="Ada's job"))["name"] == "Ada's job"


def test_a_python_model_gets_its_name_when_its_file_is_uploaded(client: httpx.Client) -> None:
    job_id = create(client, **python_model(input={"type": "image", "format": "jpeg"}))
    assert job(client, job_id)["name"] == "model.py"
    client.put(f"/v1/jobs/{job_id}/files/cat.jpeg", content=b"pixels").raise_for_status()
    found = job(client, job_id)
    assert found["name"] == "cat.jpeg (model.py)"
    assert {one["field"]: one["name"] for one in found["inputs"]}["input.source"] == "cat.jpeg"
    named = create(client, **python_model(input={"type": "image"}, name="mine"))
    client.put(f"/v1/jobs/{named}/files/cat.jpeg", content=b"pixels").raise_for_status()
    assert job(client, named)["name"] == "mine"


def test_the_jobs_of_a_miner_are_found(client: httpx.Client, miner: ScriptedMiner) -> None:
    job_id = submit(client)
    miner.poll()
    submit(client)
    page = client.get("/v1/jobs", params={"miner_id": miner.miner_id}).json()
    assert ([one["job_id"] for one in page["jobs"]], page["total"]) == ([job_id], 1)


def test_a_job_shows_the_parameters_that_differ_from_defaults(client: httpx.Client) -> None:
    """Also in nested objects, and without what may be a password to a file."""
    job_id = submit(
        client,
        audio_url="https://example.com/a%20b.mp3?token=secret",
        task="transcribe",
        word_timestamps=True,
    )
    found = job(client, job_id)
    assert found["parameters"] == {
        "audio_url": "https://example.com/a%20b.mp3?hidden",
        "word_timestamps": True,
    }
    assert found["inputs"] == [
        {"field": "audio_url", "name": "a b.mp3", "url": "https://example.com/a%20b.mp3?hidden"}
    ]
    assert found["name"] == "a b.mp3"
    program = job(client, create(client, **python_model(parameters={"threshold": 0.5})))
    assert program["parameters"] == {
        "model": {"entrypoint": "model.py", "source": {"inline": "x = 1"}},
        "parameters": {"threshold": 0.5},
    }
    assert program["inputs"] == [{"field": "model.source", "name": "model.source", "size": 5}]
    assert "parameters" not in client.get("/v1/jobs").json()["jobs"][0]
    messages = [{"role": "user", "content": "Hello"}]
    answer = client.post("/v1/services/llm/inference", json={**CHAT, "messages": messages})
    assert job(client, answer.json()["job_id"])["parameters"] == {**CHAT, "messages": messages}


def test_a_job_runs_again_with_the_same_input_and_options(client: httpx.Client, miner: ScriptedMiner) -> None:
    audio = store(client, b"sound", "interview.mp3")
    first = submit(
        client,
        audio_url=audio,
        language="en",
        labels={"project": "podcast"},
        priority=3,
        timeout_seconds=77,
        pricing={"max_cost": "0.5"},
        resources={"cpu": "1"},
    )
    (lease,) = miner.poll()
    assert miner.complete(lease, RESULTS).status_code == 200
    again = client.post(f"/v1/jobs/{first}/rerun")
    assert again.status_code == 201
    (lease_again,) = miner.poll()
    assert lease_again["job_id"] == again.json()["job_id"] != first
    same = {"job_id": lease_again["job_id"]}
    assert lease_again["spec"] == {**lease["spec"], **same}
    assert lease_again["max_cost"] == lease["max_cost"]
    details = job(client, lease_again["job_id"])
    assert (details["name"], details["labels"]) == ("interview.mp3", {"project": "podcast"})
    assert details["inputs"] == job(client, first)["inputs"]


def test_a_job_runs_again_with_changes(client: httpx.Client) -> None:
    first = submit(client, language="en", word_timestamps=True, labels={"a": "b"}, name="first")
    changes = {
        "set": {"language": "de", "word_timestamps": None},
        "name": "second",
        "labels": {},
        "pricing": {"max_cost": "0.25"},
    }
    again = job(client, client.post(f"/v1/jobs/{first}/rerun", json=changes).json()["job_id"])
    assert again["parameters"] == {
        "audio_url": "https://example.com/a.mp3",
        "language": "de",
    }
    assert again["name"] == "second"
    assert "labels" not in again
    program = create(client, **python_model(parameters={"threshold": 0.5, "shape": {"x": 1, "y": 2}}))
    body = {"set": {"parameters.threshold": 0.7, "parameters.shape.y": 3, "model.entrypoint": "main.py"}}
    changed = job(client, client.post(f"/v1/jobs/{program}/rerun", json=body).json()["job_id"])
    assert changed["parameters"]["parameters"] == {"threshold": 0.7, "shape": {"x": 1, "y": 3}}
    assert changed["name"] == "main.py"


def test_attack_a_rerun_changes_few_parameters_and_none_deep_inside(client: httpx.Client) -> None:
    """Each change copies the objects around it."""
    program = create(client, **python_model(parameters={"a": 1}))
    many = client.post(f"/v1/jobs/{program}/rerun", json={"set": {f"a{n}": 1 for n in range(101)}})
    assert (many.status_code, fields(many)) == (422, {"set": "must have at most 100 entries"})
    for path in (".".join("a" * 11), ".".join("a" * 5000)):
        deep = client.post(f"/v1/jobs/{program}/rerun", json={"set": {path: 1}})
        assert (deep.status_code, fields(deep)) == (422, {f"set.{path[:100]}": "a path has at most 10 names"})
    fits = {"set": {f"parameters.{'.'.join('b' * 9)}": 1}}
    assert client.post(f"/v1/jobs/{program}/rerun", json=fits).status_code == 201


def test_an_address_runs_again_with_its_query(client: httpx.Client, miner: ScriptedMiner) -> None:
    """Answers hide it, but the miner needs it."""
    first = submit(client, audio_url="https://example.com/a.mp3?token=secret")
    client.post(f"/v1/jobs/{first}/rerun", json={"set": {"language": "de"}}).raise_for_status()
    urls = {lease["spec"]["parameters"]["audio_url"] for lease in miner.poll(slots=2)}
    assert urls == {"https://example.com/a.mp3?token=secret"}


def test_changes_that_do_not_fit_are_refused_by_their_names(client: httpx.Client) -> None:
    first = submit(client)
    path = f"/v1/jobs/{first}/rerun"
    assert set(fields(client.post(path, json={"set": {"task": "sing", "colour": 1}}))) == {"task", "colour"}
    assert fields(client.post(path, json={"set": {"model.size": "x"}})) == {
        "set.model.size": "model is not an object, so it has no field size"
    }
    assert list(fields(client.post(path, json={"priority": 11}))) == ["priority"]
    assert client.post("/v1/jobs/job_unknown/rerun").status_code == 404


def test_running_again_needs_the_input_files(client: httpx.Client) -> None:
    """The error names the file that was deleted; with another file instead, the job runs."""
    audio = store(client, b"sound", "interview.mp3")
    first = submit(client, audio_url=audio)
    client.delete(f"/v1/jobs/{first}")
    client.delete(f"/v1/artifacts/{audio.removeprefix('artifact:')}").raise_for_status()
    assert job(client, first)["inputs"] == [
        {"field": "audio_url", "name": "audio_url", "artifact_id": audio.removeprefix("artifact:")}
    ]
    (problem,) = fields(client.post(f"/v1/jobs/{first}/rerun")).values()
    assert problem.startswith(f"interview.mp3 ({audio}) was deleted")
    other = store(client, b"other sound", "other.mp3")
    again = client.post(f"/v1/jobs/{first}/rerun", json={"set": {"audio_url": other}})
    assert job(client, again.json()["job_id"])["name"] == "other.mp3"


def test_a_repeated_rerun_creates_one_job(client: httpx.Client) -> None:
    first = submit(client)
    path, headers = f"/v1/jobs/{first}/rerun", {"Idempotency-Key": "again"}
    one, two = (client.post(path, json={"set": {"language": "de"}}, headers=headers) for _ in range(2))
    assert one.json() == two.json()
    assert client.post(path, json={"set": {"language": "fr"}}, headers=headers).status_code == 409


@pytest.mark.needs("openai")
def test_the_audio_of_a_form_names_its_job(client: httpx.Client, miner: ScriptedMiner) -> None:
    """As official clients of OpenAI send it."""
    form = {"files": {"file": ("meeting.wav", b"RIFF", "audio/wav")}, "data": {"model": "base"}}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, "/v1/audio/transcriptions", **form)
        (lease,) = miner.poll()
        miner.complete(
            lease, {**RESULTS, "language": "en", "duration": 1.0, "segments": [], "files": []}
        ).raise_for_status()
        assert answer.result().json()["text"] == "hello"
    assert job(client, lease["job_id"])["name"] == "meeting.wav"
