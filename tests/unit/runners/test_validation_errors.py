"""Validation errors are sentences for people: what is wrong, and an example of what is right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from agent.coordinator.operations.jobs.requests import JobOptions, JobRequest
from runners.blender.request import RenderRequest
from runners.ffmpeg.request import TranscodeRequest
from runners.llm.request import InferenceRequest
from runners.python_model.request import InferenceRequest as PythonRequest
from runners.registry import installed
from runners.validation_errors import MAX_FIELDS, MAX_SUGGESTED, MORE, field_errors
from support.features import is_installed

CASES: list[tuple[type[BaseModel], dict[str, Any], dict[str, str]]] = [
    (TranscodeRequest, {"resolution": "fast"}, {"resolution": 'cannot be "fast"; write it like "1920x1080" or "720p"'}),
    (
        TranscodeRequest,
        {"codec": "h266"},
        {"codec": 'must be h264, hevc, av1, vp9 or copy, not "h266"; did you mean h264?'},
    ),
    (TranscodeRequest, {"qualty": 3}, {"qualty": "is unknown; did you mean quality?"}),
    (TranscodeRequest, {"volume": 3}, {"volume": "is unknown; remove it"}),
    (TranscodeRequest, {"quality": 99}, {"quality": "must be at most 63, not 99"}),
    (TranscodeRequest, {"start": "1"}, {"start": 'must be a number, not "1"'}),
    (TranscodeRequest, {"input_url": None}, {"input_url": 'must be text, such as "https://example.com/video.mp4", not null'}),
    (InferenceRequest, {"prompt": "x"}, {"model": 'is required, such as "smollm2-135m-instruct"'}),
    (InferenceRequest, {"model": "m", "prompt": "x", "stop": 3}, {"stop": "must be text or a list, not 3"}),
    (InferenceRequest, {"model": "m", "prompt": ""}, {"prompt": "must have at least 1 character"}),
    (
        InferenceRequest,
        {"model": "m", "messages": [{"role": "wizard", "content": "x"}]},
        {"messages.0.role": 'must be system, user, assistant or tool, not "wizard"'},
    ),
    (
        RenderRequest,
        {"blend_file_url": "x", "frames": "a"},
        {"frames": "'a' is neither a frame nor a range such as '1-48'"},
    ),
    (
        PythonRequest,
        {"model": {"entrypoint": "x.exe", "source": 3}},
        {"model.entrypoint": 'cannot be "x.exe"; write it like "model.py"', "model.source": "must be text or an object, not 3"},
    ),
    (JobOptions, {"resources": {"cpus": "2"}}, {"resources.cpus": "is unknown; did you mean cpu?"}),
    (JobOptions, {"labels": {"a b": "x"}}, {"labels.a b": 'cannot be "a b"; write it like "project"'}),
    (
        JobOptions,
        {"pricing": {"max_cost": "abc"}},
        {"pricing.max_cost": 'must be an amount of credits below 10000000000 with at most 8 decimals, such as "0.10", not "abc"'},
    ),
    (JobOptions, {"miner_id": "rig"}, {"miner_id": 'cannot be "rig"; write it like "miner_aebagbafaydqqcikbmga2dqp"'}),
]  # fmt: skip


@pytest.mark.parametrize(("model", "given", "expected"), CASES)
def test_each_field_has_one_sentence(
    model: type[BaseModel], given: dict[str, Any], expected: dict[str, str]
) -> None:
    """It names the field as the user does, and gives an example instead of a pattern."""
    whole = {"input_url": "https://a.b/c", **given} if model is TranscodeRequest else given
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps(whole), strict=True)
    assert field_errors(caught.value, model=model) == expected
    prefixed = field_errors(caught.value, "parameters.", model)
    assert prefixed == {f"parameters.{name}": sentence for name, sentence in expected.items()}


def test_many_errors_are_counted_instead_of_listed() -> None:
    """Otherwise a small request would get a large answer, and a search for similar names for each of its fields."""
    given = {"input_url": "https://a.b/c", **{f"qualit{number}": 1 for number in range(3000)}}
    with pytest.raises(ValidationError) as caught:
        TranscodeRequest.model_validate_json(json.dumps(given), strict=True)
    found = field_errors(caught.value, "parameters.", TranscodeRequest)
    assert len(found) == MAX_FIELDS + 1
    assert found.pop(MORE) == f"{3000 - MAX_FIELDS} more errors are not shown; correct these first"
    sentences = list(found.values())
    assert sentences[:MAX_SUGGESTED] == ["is unknown; did you mean quality?"] * MAX_SUGGESTED
    assert set(sentences[MAX_SUGGESTED:]) == {"is unknown; remove it"}


def test_as_many_errors_as_fit_are_listed_whole() -> None:
    given = {"input_url": "https://a.b/c", **{f"x{number}": 1 for number in range(MAX_FIELDS)}}
    with pytest.raises(ValidationError) as caught:
        TranscodeRequest.model_validate_json(json.dumps(given), strict=True)
    found = field_errors(caught.value, model=TranscodeRequest)
    assert (len(found), MORE in found) == (MAX_FIELDS, False)


def test_a_long_name_is_shortened() -> None:
    with pytest.raises(ValidationError) as caught:
        JobOptions.model_validate_json(json.dumps({"x" * 10_000: 1}), strict=True)
    assert list(field_errors(caught.value, model=JobOptions)) == ["x" * 100]


def _patterns(schema: Any, examples: bool = False, path: str = "") -> Iterator[str]:
    """Yield the paths in a JSON Schema with a pattern and without an example."""
    if isinstance(schema, dict):
        examples = examples or bool(schema.get("examples"))
        if "pattern" in schema and not examples:
            yield path
        for name, inner in schema.items():
            passed = (examples and name in {"anyOf", "allOf", "oneOf"}) or name.isdecimal()
            yield from _patterns(inner, bool(passed), f"{path}.{name}")
    elif isinstance(schema, list):
        for number, inner in enumerate(schema):
            yield from _patterns(inner, examples, f"{path}.{number}")


def test_every_pattern_has_an_example() -> None:
    """Otherwise its sentence could not say what is right. Money has its own sentence; the schema of keys has no examples."""
    models = [JobRequest, *(runner.definition.input_model for runner in installed().values())]
    if is_installed("openai"):
        from agent.coordinator.features.openai.text.chat import ChatRequest  # noqa: PLC0415 - the feature is optional

        models.append(ChatRequest)
    missing = [
        f"{model.__name__}{path}"
        for model in models
        for path in _patterns(model.model_json_schema())
        if "max_cost" not in path and "patternProperties" not in path
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("service_id", "values", "field", "words"),
    [
        ("image_generation", {"prompt": "a", "quality": 50}, "quality", "has no effect on png"),
        ("image_generation", {"prompt": "a", "mask_url": "https://a.example/m.png"}, "image_url", "requires"),
        ("blender_rendering", {"blend_file_url": "https://a.example/a.blend", "fps": 9}, "fps", "has no effect"),
        ("video_transcoding", {"input_url": "https://a.example/a.mp4", "start": 9, "end": 2}, "end", "must be after"),
        ("whisper_transcription", {"audio_url": "https://a.example/a", "language": "xx"}, "language", "not supported"),
        ("llm_inference", {"model": "a"}, "prompt", "give either prompt"),
    ],
)  # fmt: skip
def test_an_error_of_several_fields_is_at_the_one_to_change(
    service_id: str, values: dict[str, Any], field: str, words: str
) -> None:
    """A form can then show it there; the name of the field is not repeated."""
    model = installed()[service_id].definition.input_model
    with pytest.raises(ValidationError) as caught:
        model.model_validate(values)
    errors = field_errors(caught.value, "parameters.", model)
    assert list(errors) == [f"parameters.{field}"]
    assert words in errors[f"parameters.{field}"]
    assert not errors[f"parameters.{field}"].startswith(field)
