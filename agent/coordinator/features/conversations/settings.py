"""Settings of stored responses and conversations."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.core.values.quantities import Bytes
from agent.sections import Section


class ConversationSettings(Section):
    """What is stored of conversations, and for how long. These settings are in the table `coordinator`."""

    store_responses: bool = False
    """Whether responses are stored whose requests have no `store`. OpenAI's clients expect it, but most never read a stored response, and
    what is not stored cannot leak."""
    conversation_days: Annotated[float, Field(gt=0)] = 30
    """How long responses are stored, and conversations after their last change, as on OpenAI's servers."""
    conversation_bytes: Bytes = Bytes("256Mi")
    """Maximum size of all stored responses and conversations of an account."""


SETTINGS: Final = {"coordinator.*": ConversationSettings}
