"""Stored responses and conversations of the Responses API."""

from __future__ import annotations

from agent.coordinator.store.schema.migrations.declaring import create, index

revision = "0040"
down_revision = "0039"
oldest = "0034"


def upgrade() -> None:
    """Create the tables. Older programs work on as before, and write nothing to them."""
    create(
        "stored_responses",
        "response_id:64 account_id:64 conversation_id:64? previous_id:64? created_at:float finished:bool input:text answer:text size:big",
        "response_id",
        account_id="accounts",
    )
    index("stored_responses_account", "stored_responses", "account_id size")
    index("stored_responses_conversation", "stored_responses", "conversation_id finished")
    index("stored_responses_created", "stored_responses", "created_at response_id")
    create(
        "conversations",
        "conversation_id:64 account_id:64 created_at:float changed_at:float metadata:text size:big",
        "conversation_id",
        account_id="accounts",
    )
    index("conversations_account", "conversations", "account_id size")
    index("conversations_changed", "conversations", "changed_at conversation_id")
    create(
        "conversation_items",
        "conversation_id:64 position:int item_id:200 body:text",
        "conversation_id position",
        conversation_id="conversations",
    )
