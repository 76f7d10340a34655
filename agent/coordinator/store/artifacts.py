"""Who owns artifacts, who may read them, and which are still needed. `agent.coordinator.blobs` has their bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    Table,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    union,
    update,
)

from agent.coordinator.store import locks
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import (
    artifact_owners,
    artifacts,
    job_artifacts,
    job_checkpoints,
    jobs,
    removed_blobs,
    run_outputs,
    stored_bytes,
)

BATCH: Final = 500
"""Artifacts that one statement names."""
_UNFINISHED = ("submitted", "running")


def _query(*readable: ColumnElement[bool]) -> Prepared:
    """Return a query for size, media type and file name of the artifact `artifact_id`, if any of the conditions holds or none is given.

    The media type is the one that `owner` gave, or else the one that a miner gave; the file name is the one that `owner` gave.
    """
    referred_to = (
        select(artifact_owners.c.media_type).where(
            artifact_owners.c.artifact_id == _ARTIFACT, artifact_owners.c.owner == _OWNER
        ),
        select(job_artifacts.c.media_type).where(
            job_artifacts.c.artifact_id == _ARTIFACT, job_artifacts.c.direction == "output"
        ),
        select(job_checkpoints.c.media_type).where(job_checkpoints.c.artifact_id == _ARTIFACT),
    )
    media_type = func.coalesce(
        *(query.limit(1).scalar_subquery() for query in referred_to), _UNKNOWN_MEDIA_TYPE
    )
    file_name = (
        select(artifact_owners.c.file_name)
        .where(artifact_owners.c.artifact_id == _ARTIFACT, artifact_owners.c.owner == _OWNER)
        .limit(1)
        .scalar_subquery()
    )
    query = select(artifacts.c.size, media_type, file_name, _BLOB).where(artifacts.c.artifact_id == _ARTIFACT)
    return Prepared(query.where(or_(*readable)) if readable else query)


def _is_of_job(tables: Iterable[Table], *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that the artifact belongs to a job for which the conditions hold."""
    return or_(
        *(
            exists().where(table.c.artifact_id == _ARTIFACT, table.c.job_id == jobs.c.job_id, *conditions)
            for table in tables
        )
    )


_ARTIFACT: BindParameter[str] = bindparam("artifact_id")
_OWNER: BindParameter[str] = bindparam("owner")
_UNKNOWN_MEDIA_TYPE = "application/octet-stream"
_BLOB = func.coalesce(artifacts.c.blob, artifacts.c.artifact_id)
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
_inputs_of = Prepared(
    select(job_artifacts.c.name, artifacts.c.artifact_id, artifacts.c.size, job_artifacts.c.file_name)
    .join(artifacts, artifacts.c.artifact_id == job_artifacts.c.artifact_id)
    .where(job_artifacts.c.job_id == bindparam("job"), job_artifacts.c.direction == "input")
)


_add_bytes = Prepared(
    text(
        "INSERT INTO stored_bytes (owner, size) VALUES (:owner, :size) "
        "ON CONFLICT (owner) DO UPDATE SET size = stored_bytes.size + excluded.size"
    )
)


@dataclass(frozen=True, slots=True)
class ArtifactRecord:
    """A stored artifact. `size` is in bytes, `file_name` the name that its owner gave it, `blob` names its bytes in the store."""

    artifact_id: str
    size: int
    media_type: str
    file_name: str | None = None
    blob: str | None = None

    @property
    def name_in_store(self) -> str:
        """The name of the blob; that of an artifact of earlier versions is its id."""
        return self.blob or self.artifact_id


@dataclass(frozen=True, slots=True)
class JobArtifact:
    """An artifact that is an input of a job (`name` is the field) or an output (`name` is the file name).

    `file_name` is an input's.
    """

    artifact_id: str
    name: str
    media_type: str
    file_name: str | None = None


@dataclass(frozen=True, slots=True)
class StoredInput:
    """An input of a job: its field, artifact, size in bytes and file name."""

    field: str
    artifact_id: str
    size: int
    file_name: str | None


def add(connection: Connection, record: ArtifactRecord, owner: str, now: float) -> None:
    """Record that the artifact belongs to the account `owner`. May be repeated."""
    ensure(connection, record.artifact_id, record.size, now, record.blob)
    mine = (artifact_owners.c.artifact_id == record.artifact_id, artifact_owners.c.owner == owner)
    stored_name = connection.execute(select(artifact_owners.c.file_name).where(*mine)).first()
    if stored_name is None:
        values = {
            "artifact_id": record.artifact_id,
            "owner": owner,
            "media_type": record.media_type,
            "file_name": record.file_name,
        }
        connection.execute(insert(artifact_owners), values)
        count_bytes(connection, owner, record.size)
    elif record.file_name is not None and stored_name.file_name != record.file_name:
        connection.execute(update(artifact_owners).where(*mine).values(file_name=record.file_name))


def ensure(connection: Connection, artifact_id: str, size: int, now: float, blob: str | None = None) -> None:
    """Record that the artifact exists, with its bytes in `blob` unless another blob has them. May be repeated."""
    # Another transaction may be removing the same artifact, because its last reference was deleted.
    locks.artifacts(connection, [artifact_id])
    if artifact_id not in known(connection, [artifact_id]):
        values = {"artifact_id": artifact_id, "size": size, "created_at": now, "blob": blob}
        connection.execute(insert(artifacts), values)


def needed_by(connection: Connection, artifact_id: str, account_id: str, limit: int) -> list[str]:
    """Return the account's unfinished jobs that need the artifact as an input or a checkpoint."""
    needs = or_(
        *(
            exists().where(table.c.artifact_id == artifact_id, table.c.job_id == jobs.c.job_id)
            for table in (job_artifacts, job_checkpoints)
        )
    )
    query = select(jobs.c.job_id).where(jobs.c.account_id == account_id, jobs.c.state.in_(_UNFINISHED), needs)
    return list(connection.execute(query.order_by(jobs.c.job_id).limit(limit)).scalars())


def disown(connection: Connection, artifact_id: str, account_id: str) -> None:
    """Remove the artifact from the account and its jobs. Delete it if no other account or job has it."""
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
        count_bytes(connection, account_id, -size.scalar_one())
    drop_unreferenced(connection, [artifact_id])


def drop_unreferenced(connection: Connection, artifact_ids: Sequence[str]) -> None:
    """Delete the artifacts among these that belong to no account and no job."""
    locks.artifacts(connection, artifact_ids)
    referenced = or_(
        *(
            exists().where(table.c.artifact_id == artifacts.c.artifact_id)
            for table in (artifact_owners, job_artifacts, job_checkpoints, run_outputs)
        )
    )
    unreferenced = (artifacts.c.artifact_id.in_(artifact_ids), ~referenced)
    blobs = select(func.coalesce(artifacts.c.blob, artifacts.c.artifact_id)).where(*unreferenced)
    # The bytes are removed after the commit. Until then the row says which they are, even after a crash.
    connection.execute(insert(removed_blobs).from_select(["blob"], blobs))
    connection.execute(delete(artifacts).where(*unreferenced))


def count_bytes(connection: Connection, owner: str, size: int) -> None:
    """Add bytes, also fewer than none, to those that count to the quota of `owner`."""
    _add_bytes.run(connection, {"owner": owner, "size": size})


def bytes_of(connection: Connection, owner: str) -> int:
    """Return the total bytes of the artifacts and large specifications that `owner` has stored."""
    query = select(stored_bytes.c.size).where(stored_bytes.c.owner == owner)
    # Specifications that an earlier version did not count are subtracted when their jobs are deleted.
    return max(0, connection.execute(query).scalar_one_or_none() or 0)


def any_artifact(connection: Connection) -> bool:
    """Return whether any artifact exists."""
    return connection.execute(select(artifacts.c.artifact_id).limit(1)).first() is not None


def stored(connection: Connection) -> Iterator[tuple[str, int, str]]:
    """Iterate over the ids of all artifacts, with their sizes in bytes and the names of their blobs."""
    query = select(artifacts.c.artifact_id, artifacts.c.size, _BLOB)
    yield from ((row[0], row[1], row[2]) for row in connection.execute(query))


def blob_of(connection: Connection, artifact_id: str) -> str | None:
    """Return the name of the artifact's blob; None if the artifact does not exist."""
    query = select(_BLOB).where(artifacts.c.artifact_id == artifact_id)
    name: str | None = connection.execute(query).scalar_one_or_none()
    return name


def known(connection: Connection, artifact_ids: Sequence[str]) -> set[str]:
    """Return those of these artifacts that exist."""
    query = select(artifacts.c.artifact_id).where(artifacts.c.artifact_id.in_(artifact_ids))
    return set(connection.execute(query).scalars())


def link(connection: Connection, job_id: str, direction: str, files: Iterable[JobArtifact]) -> None:
    """Record the inputs or outputs of a job."""
    rows = {
        (file.artifact_id, file.name): {
            "job_id": job_id, "artifact_id": file.artifact_id, "direction": direction, "name": file.name,
            "media_type": file.media_type, "file_name": file.file_name,
        }
        for file in files
    }  # fmt: skip
    if rows:
        connection.execute(insert(job_artifacts), list(rows.values()))


def jobs_with(artifact_id: str, account_id: str) -> Select[str]:
    """Return a query for the account's jobs that have the artifact as an input or an output."""
    return (
        select(jobs.c.job_id)
        .join(job_artifacts, job_artifacts.c.job_id == jobs.c.job_id)
        .where(job_artifacts.c.artifact_id == artifact_id, jobs.c.account_id == account_id)
    )


def inputs_of(connection: Connection, job_id: str) -> list[StoredInput]:
    """Return the artifacts that a job reads, without deleted ones."""
    return [StoredInput(*row) for row in _inputs_of.rows(connection, {"job": job_id})]


def release(connection: Connection, job_ids: Sequence[str], account_id: str) -> None:
    """Detach all artifacts from ended jobs, and remove those from their account that no other job of the account refers to."""
    tables = (job_artifacts, job_checkpoints, run_outputs)
    of_jobs = union(*(select(table.c.artifact_id).where(table.c.job_id.in_(job_ids)) for table in tables))
    # Before the rows that refer to them are deleted, and in the order in which artifacts are locked.
    ids = sorted(connection.execute(of_jobs).scalars())
    for table in tables:
        connection.execute(delete(table).where(table.c.job_id.in_(job_ids)))
    is_needed = or_(
        *(
            exists().where(
                table.c.artifact_id == artifact_owners.c.artifact_id,
                table.c.job_id == jobs.c.job_id,
                jobs.c.account_id == account_id,
            )
            for table in tables
        )
    )
    mine = select(artifact_owners.c.artifact_id, artifacts.c.size).join(
        artifacts, artifacts.c.artifact_id == artifact_owners.c.artifact_id
    )
    # In batches, since both databases limit the parameters of a statement.
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        condition = (artifact_owners.c.artifact_id.in_(batch), artifact_owners.c.owner == account_id)
        unused = connection.execute(mine.where(*condition, ~is_needed)).all()
        deleted = [row.artifact_id for row in unused]
        connection.execute(
            delete(artifact_owners).where(
                artifact_owners.c.artifact_id.in_(deleted), artifact_owners.c.owner == account_id
            )
        )
        count_bytes(connection, account_id, -sum(row.size for row in unused))
        drop_unreferenced(connection, batch)


def readable_by_account(connection: Connection, artifact_id: str, account_id: str) -> ArtifactRecord | None:
    """Return the artifact if the account owns it, or owns a job that used or made it."""
    return _record(_of_account, connection, artifact_id, owner=account_id)


def readable_by_miner(
    connection: Connection, artifact_id: str, miner_id: str, session: int
) -> ArtifactRecord | None:
    """Return the artifact if it is an input, output or checkpoint of a job whose lease the miner holds, or the miner stored it for one."""
    return _record(_of_miner, connection, artifact_id, owner=miner_id, session=session)


def find(connection: Connection, artifact_id: str) -> ArtifactRecord | None:
    """Return the artifact regardless of its owner, for administrators."""
    return _record(_of_anybody, connection, artifact_id, owner="")


def _record(
    query: Prepared, connection: Connection, artifact_id: str, **values: Any
) -> ArtifactRecord | None:
    row = query.row(connection, {"artifact_id": artifact_id, **values})
    return None if row is None else ArtifactRecord(artifact_id, *row)
