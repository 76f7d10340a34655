"""Files and batches of OpenAI's API, and the share of its price that a job costs."""

from __future__ import annotations

from agent.coordinator.store.schema.migrations.declaring import add, create, index

revision = "0039"
down_revision = "0038"
oldest = "0034"


def upgrade() -> None:
    """Create the tables. Older programs work on as before: they run jobs of batches at their miners' whole prices."""
    add("jobs", "price_ppm:int?")
    create(
        "api_files",
        "file_id:64 account_id:64 artifact_id:80 name:text purpose:32 size:big created_at:float expires_at:float?",
        "file_id",
        account_id="accounts",
    )
    index("api_files_account", "api_files", "account_id file_id")
    index("api_files_expires_at", "api_files", "expires_at")
    create(
        "batches",
        "batch_id:64 account_id:64 key_id:64 status:16 endpoint:text input_file_id:64 input_artifact:80 metadata:text? output_seconds:float? "
        "turn:int total:int completed:int failed:int output_file_id:64? error_file_id:64? errors:text? created_at:float expires_at:float "
        "moments:text ended_at:float?",
        "batch_id",
        account_id="accounts",
    )
    index("batches_account", "batches", "account_id batch_id")
    index("batches_unfinished", "batches", "batch_id", "ended_at IS NULL")
    index("batches_ended", "batches", "ended_at")
    create(
        "batch_parts",
        "batch_id:64 number:int artifact_id:80 lines:text",
        "batch_id number",
        batch_id="batches",
    )
