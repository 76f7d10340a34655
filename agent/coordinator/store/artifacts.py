"""Whose artifacts are, who may read them, and which are still needed. The bytes themselves are in `agent.coordinator.blobs.store`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Table,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from agent.coordinator.store.schema.tables import (
    artifact_owners,
    artifacts,
    job_artifacts,
    job_checkpoints,
    jobs,
    run_outputs,
    stored_bytes,
)
from agent.coordinator.store.sqlite.prepared import Prepared

_UNFINISHED = ("submitted", "running")


def _query(*readable: ColumnElement[bool]) -> Prepared:
    """Size and media type of the artifact `artifact_id`, if one of the conditions holds or there is none.

    The media type is what `owner` said of it, else what a miner said who stored it.
    """
    said = (
        select(artifact_owners.c.media_type).where(
            artifact_owners.c.artifact_id == _ARTIFACT, artifact_owners.c.owner == _OWNER
        ),
        select(job_artifacts.c.media_type).where(
            job_artifacts.c.artifact_id == _ARTIFACT, job_artifacts.c.direction == "output"
        ),
        select(job_checkpoints.c.media_type).where(job_checkpoints.c.artifact_id == _ARTIFACT),
    )
    media_type = func.coalesce(*(query.limit(1).scalar_subquery() for query in said), _UNKNOWN_MEDIA_TYPE)
    query = select(artifacts.c.size, media_type).where(artifacts.c.artifact_id == _ARTIFACT)
    return Prepared(query.where(or_(*readable)) if readable else query)


def _is_of_job(tables: Iterable[Table], *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether the artifact belongs to a job for which the conditions hold."""
    return or_(
        *(
            exists().where(table.c.artifact_id == _ARTIFACT, table.c.job_id == jobs.c.job_id, *conditions)
            for table in tables
        )
    )


_ARTIFACT: BindParameter[str] = bindparam("artifact_id")
_OWNER: BindParameter[str] = bindparam("owner")
_UNKNOWN_MEDIA_TYPE = "application/octet-stream"
_owns = exists().where(artifact_owners.c.artifact_id == _ARTIFACT, artifact_owners.c.owner == _OWNER)
_of_account = _query(_owns, _is_of_job((job_artifacts, job_checkpoints), jobs.c.account_id == _OWNER))
_of_miner = _query(
    _owns,
    _is_of_job(
        (job_artifacts, job_checkpoints, run_outputs),
        jobs.c.state == "running",
        jobs.c.lease_miner_id == _OWNER,
        jobs.c.lease_session == bindparam("session"),
    ),
)
_of_anybody = _query()


@dataclass(frozen=True, slots=True)
class ArtifactRecord:
    """An artifact as somebody stored it. `size` is bytes."""

    artifact_id: str
    size: int
    media_type: str


@dataclass(frozen=True, slots=True)
class JobArtifact:
    """An artifact that a job uses ("input": `name` is the field) or made ("output": `name` is the file's)."""

    artifact_id: str
    name: str
    media_type: str


def add(connection: Connection, record: ArtifactRecord, owner: str, now: float) -> None:
    """Note that the artifact belongs to `owner`, an account. Again is fine."""
    ensure(connection, record.artifact_id, record.size, now)
    owned = select(artifact_owners.c.owner).where(
        artifact_owners.c.artifact_id == record.artifact_id, artifact_owners.c.owner == owner
    )
    if connection.execute(owned).first() is None:
        values = {"artifact_id": record.artifact_id, "owner": owner, "media_type": record.media_type}
        connection.execute(insert(artifact_owners), values)
        _count(connection, owner, record.size)


def ensure(connection: Connection, artifact_id: str, size: int, now: float) -> None:
    """Note that there is such an artifact. Again is fine."""
    if artifact_id not in known(connection, [artifact_id]):
        values = {"artifact_id": artifact_id, "size": size, "created_at": now}
        connection.execute(insert(artifacts), values)


def needed_by(connection: Connection, artifact_id: str, account_id: str, limit: int) -> list[str]:
    """The account's unfinished jobs that need the artifact, as an input or as a checkpoint."""
    needs = or_(
        *(
            exists().where(table.c.artifact_id == artifact_id, table.c.job_id == jobs.c.job_id)
            for table in (job_artifacts, job_checkpoints)
        )
    )
    query = select(jobs.c.job_id).where(jobs.c.account_id == account_id, jobs.c.state.in_(_UNFINISHED), needs)
    return list(connection.execute(query.order_by(jobs.c.job_id).limit(limit)).scalars())


def disown(connection: Connection, artifact_id: str, account_id: str) -> None:
    """Forget that the artifact belongs to the account or to any of its jobs, and the artifact if nobody else has it."""
    own_jobs = select(jobs.c.job_id).where(jobs.c.account_id == account_id)
    for table in (job_artifacts, job_checkpoints):
        connection.execute(
            delete(table).where(table.c.artifact_id == artifact_id, table.c.job_id.in_(own_jobs))
        )
    owned = delete(artifact_owners).where(
        artifact_owners.c.artifact_id == artifact_id, artifact_owners.c.owner == account_id
    )
    if connection.execute(owned).rowcount:
        size = connection.execute(select(artifacts.c.size).where(artifacts.c.artifact_id == artifact_id))
        _count(connection, account_id, -size.scalar_one())
    drop_unreferenced(connection, [artifact_id])


def drop_unreferenced(connection: Connection, artifact_ids: Sequence[str]) -> None:
    """Forget those of these artifacts that belong to no account and no job."""
    referenced = or_(
        *(
            exists().where(table.c.artifact_id == artifacts.c.artifact_id)
            for table in (artifact_owners, job_artifacts, job_checkpoints, run_outputs)
        )
    )
    connection.execute(delete(artifacts).where(artifacts.c.artifact_id.in_(artifact_ids), ~referenced))


def _count(connection: Connection, owner: str, size: int) -> None:
    more = update(stored_bytes).where(stored_bytes.c.owner == owner)
    if connection.execute(more.values(size=stored_bytes.c.size + size)).rowcount == 0:
        connection.execute(insert(stored_bytes), {"owner": owner, "size": size})


def bytes_of(connection: Connection, owner: str) -> int:
    """The bytes of all artifacts that `owner` has stored."""
    query = select(stored_bytes.c.size).where(stored_bytes.c.owner == owner)
    return connection.execute(query).scalar_one_or_none() or 0


def any_artifact(connection: Connection) -> bool:
    """Whether there is any."""
    return connection.execute(select(artifacts.c.artifact_id).limit(1)).first() is not None


def known(connection: Connection, artifact_ids: Sequence[str]) -> set[str]:
    """Which of these artifacts anything is known of."""
    query = select(artifacts.c.artifact_id).where(artifacts.c.artifact_id.in_(artifact_ids))
    return set(connection.execute(query).scalars())


def link(connection: Connection, job_id: str, direction: str, files: Iterable[JobArtifact]) -> None:
    """Note which artifacts a job uses or made."""
    rows = {
        (file.artifact_id, file.name): {
            "job_id": job_id, "artifact_id": file.artifact_id, "direction": direction, "name": file.name,
            "media_type": file.media_type,
        }
        for file in files
    }  # fmt: skip
    if rows:
        connection.execute(insert(job_artifacts), list(rows.values()))


def readable_by_account(connection: Connection, artifact_id: str, account_id: str) -> ArtifactRecord | None:
    """The artifact if the account owns it or owns a job that used or made it."""
    return _record(_of_account, connection, artifact_id, owner=account_id)


def readable_by_miner(
    connection: Connection, artifact_id: str, miner_id: str, session: int
) -> ArtifactRecord | None:
    """The artifact if the miner holds the lease of a job that uses it or has it as a checkpoint, or stored it for such a job."""
    return _record(_of_miner, connection, artifact_id, owner=miner_id, session=session)


def find(connection: Connection, artifact_id: str) -> ArtifactRecord | None:
    """The artifact whoever owns it, for administrators."""
    return _record(_of_anybody, connection, artifact_id, owner="")


def _record(
    query: Prepared, connection: Connection, artifact_id: str, **values: Any
) -> ArtifactRecord | None:
    row = query.row(connection, {"artifact_id": artifact_id, **values})
    return None if row is None else ArtifactRecord(artifact_id, *row)
