"""Settings of the APIs of other products."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.core.values.quantities import Bytes
from agent.sections import Section

ModelName = Annotated[str, Field(min_length=1, max_length=200)]


class ClientApiSettings(Section):
    """What the APIs of other products accept, and how long they wait. These settings are in the table `coordinator`."""

    max_chat_body: Bytes = Bytes("32Mi")
    """Maximum size of a conversation in the form of another API, which may contain images in base64."""
    answer_seconds: Annotated[float, Field(gt=0)] = 590
    """How long the APIs for the clients of other products wait for the end of a job, and a stream for its next chunk, before the job is
    cancelled. Just below the ten minutes after which these clients give up, so that they receive the reason."""
    answer_max_tokens: Annotated[int, Field(ge=1, le=32_768)] = 1024
    """Maximum number of tokens of a completion in `/v1/chat/completions` when the request sets no limit. Prompt and completion
    share the model's context, so a higher value leaves less space for conversations."""
    max_prompts: Annotated[int, Field(ge=1, le=1000)] = 32
    """Maximum number of prompts in a request of `/v1/completions`. Each of them is a job."""
    model_aliases: Annotated[dict[ModelName, ModelName], Field(max_length=1000)] = Field(
        default={}, examples=[{"gpt-4o-mini": "qwen3-8b"}]
    )
    """Own names for models in the APIs for the clients of other products; `claude-*` is for all names that begin so. They come before the built-in ones: names such as `whisper-1`
    and `gpt-4o-mini` stand for the largest model of their kind that can be used now."""


SETTINGS: Final = {"coordinator.*": ClientApiSettings}
