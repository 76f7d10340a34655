"""The made-up version that follows this one: the working tree with another number, and a migration that adds to the database."""

from __future__ import annotations

from pathlib import Path

from agent import __version__
from agent.coordinator.store.schema import upgrade
from support.scripts import script

MAJOR, MINOR = (int(part) for part in __version__.split(".")[:2])
NUMBER = f"{MAJOR}.{MINOR + 1}.0"

_SCHEMA = "agent/coordinator/store/schema"
REVISION = f"{int(upgrade.HEAD) + 1:04}"
_MIGRATION = f'''"""A table, and a column of jobs."""

from agent.coordinator.store.schema.migrations.declaring import add, create, index

revision = "{REVISION}"
down_revision = "{upgrade.HEAD}"
branch_labels = None
depends_on = None
oldest = "{upgrade.HEAD}"


def upgrade() -> None:
    """Add them."""
    add("jobs", "made_up:text=''")
    create("made_up", "job_id:64 text:text", "job_id", job_id="jobs")
    index("jobs_made_up", "jobs", "made_up job_id")
'''
_TABLES = """
jobs.append_column(Column("made_up", Text, nullable=False, server_default=""))
Index("ix_jobs_made_up", jobs.c.made_up, jobs.c.job_id)
made_up = Table(
    "made_up",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id"), primary_key=True),
    Column("text", Text, nullable=False),
)
"""


def make(source: Path) -> None:
    """Change a copy of the working tree into the next version."""
    script("releasing/version_places").set_version(source, NUMBER)
    _extend_database(source / _SCHEMA)


def _extend_database(schema: Path) -> None:
    (schema / f"migrations/versions/rev_{REVISION}_made_up.py").write_text(_MIGRATION)
    with (schema / "tables/jobs_and_runs.py").open("a") as tables:
        tables.write(_TABLES)
    replace(schema / "upgrade.py", f'HEAD: Final = "{upgrade.HEAD}"', f'HEAD: Final = "{REVISION}"')
    replace(schema / "upgrade.py", f'OLDEST: Final = "{upgrade.OLDEST}"', f'OLDEST: Final = "{upgrade.HEAD}"')


def replace(file: Path, old: str, new: str) -> None:
    """Replace a text that occurs once in a file."""
    text = file.read_text()
    assert text.count(old) == 1, f"{file.name} has {old} {text.count(old)} times."
    file.write_text(text.replace(old, new))
