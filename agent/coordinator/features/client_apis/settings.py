"""Settings of the APIs of other products."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.core.values.quantities import Bytes
from agent.sections import Section


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


SETTINGS: Final = {"coordinator.*": ClientApiSettings}
