"""Commands and unavailable models, which were called orders and withheld models before."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rename the table of commands and the field in the stored capabilities of miners."""
    _commands()
    _capabilities()


def _commands() -> None:
    op.create_table(
        "miner_commands",
        sa.Column("command_id", sa.String(length=64), nullable=False),
        sa.Column("miner_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("gpu", sa.String(length=200), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("model", sa.String(length=200), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["miner_id"], ["miners.miner_id"], name=op.f("fk_miner_commands_miner_id")),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_miner_commands")),
    )
    op.create_index("ix_miner_commands_miner", "miner_commands", ["miner_id", "command_id"], unique=False)
    op.execute(
        "INSERT INTO miner_commands (command_id, miner_id, kind, gpu, seconds, model, created_at) "
        "SELECT order_id, miner_id, kind, gpu, seconds, model, created_at FROM miner_orders"
    )
    op.drop_table("miner_orders")


def _capabilities() -> None:
    connection = op.get_bind()
    rename = sa.text("UPDATE miners SET capabilities = :capabilities WHERE miner_id = :miner_id")
    for miner_id, stored in connection.execute(sa.text("SELECT miner_id, capabilities FROM miners")).all():
        capabilities = json.loads(stored)
        for offer in capabilities.get("services", {}).values():
            if "withheld" in offer:
                offer["unavailable_models"] = offer.pop("withheld")
        shown = json.dumps(capabilities, separators=(",", ":"))
        connection.execute(rename, {"capabilities": shown, "miner_id": miner_id})
