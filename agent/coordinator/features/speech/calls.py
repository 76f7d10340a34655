"""A request for speech in the form of OpenAI's API, and the job that it becomes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from agent.coordinator.features.client_apis import services
from agent.coordinator.features.client_apis.naming import resolve
from agent.coordinator.features.client_apis.neutral import Only
from agent.coordinator.features.client_apis.serving import submit
from agent.coordinator.features.client_apis.submission import AnswerSubmission, ClientCall
from agent.coordinator.features.speech.voices import check_voice
from agent.coordinator.operations.jobs.requests import JobOptions
from aitbc.answers.fields import example
from runners.speech.request import MAX_CHARACTERS, SoundFormat


def _voice_name(value: Any) -> Any:
    """Return the name of a voice, which newer clients may send as an object."""
    return value["id"] if isinstance(value, dict) and set(value) == {"id"} else value


class SpokenText(JobOptions):
    """The text to speak. A parameter without effect accepts only its neutral value; `language` and job options are extensions."""

    model_config = example({"model": "kokoro-82m", "input": "The harbour is quiet tonight.", "voice": "nova"})

    model: Annotated[str, Field(max_length=200, examples=["kokoro-82m"])]
    input: Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]
    voice: Annotated[
        str | None,
        BeforeValidator(_voice_name, json_schema_input_type=str | dict[Literal["id"], str] | None),
        Field(max_length=100, examples=["nova"]),
    ] = None
    response_format: SoundFormat | None = None
    speed: Annotated[float, Field(ge=0.25, le=4, allow_inf_nan=False)] | None = None
    stream_format: Literal["audio", "sse"] | None = None
    language: Annotated[str, Field(max_length=12, examples=["en-gb"])] | None = None
    instructions: Annotated[Any, Only("")] = None

    @property
    def sound_format(self) -> SoundFormat:
        """The format of the answer."""
        return self.response_format or "mp3"


async def create(call: ClientCall, request: SpokenText, key: str | None) -> AnswerSubmission:
    """Submit the job of a request. See `serving.submit`. Raises `ValidationFailed` for a voice that the model is known not to have."""
    context = call.context
    definition = context.catalogue.services.get(services.VOICES)
    if definition is not None and request.voice is not None:
        check_voice(context, await resolve(context, definition, request.model), request.voice)
    parameters = {
        "model": request.model,
        "input": request.input,
        "voice": request.voice,
        "output_format": request.sound_format,
        "speed": 1 if request.speed is None else request.speed,
        "language": request.language,
        "stream": True,
    }
    names = {"output_format": "response_format"}
    return await submit(call, services.VOICES, parameters, request, key=key, names=names)
