"""Uploads that clients and miners send to the store of blobs themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, and_, case, delete, func, insert, or_, select, update

from agent.coordinator.features.s3.tables import direct_uploads
from agent.coordinator.store import blobs

RECEIVING: Final = "receiving"
CHECKING: Final = "checking"
CHECKED: Final = "checked"
REFUSED: Final = "refused"
STORED: Final = "stored"
_ENDED: Final = and_(direct_uploads.c.state == REFUSED, direct_uploads.c.multipart_id.is_(None))
_RESERVING: Final = or_(direct_uploads.c.state.in_((RECEIVING, CHECKING, CHECKED)), _ENDED)


@dataclass(frozen=True, slots=True)
class DirectUploadRecord:
    """An upload. `owner` is an account, or the miner that holds the lease (`job_id`, `fence`).

    Without a `multipart_id`, the file is one request. `etags` names the stored parts by their numbers. `checked_until` is until when
    a replica checks the digest; times are seconds since the epoch, sizes bytes.
    """

    upload_id: str
    owner: str
    job_id: str | None
    fence: int | None
    size: int
    sha256: str | None
    media_type: str
    file_name: str | None
    blob: str
    multipart_id: str | None
    part_size: int
    etags: Mapping[int, str]
    state: str
    checked_until: float | None
    expires_at: float

    @property
    def is_ended(self) -> bool:
        """Whether it was ended while its signed request could still store bytes, for which it reserves the space until then."""
        return self.state == REFUSED and self.multipart_id is None

    @property
    def parts(self) -> int:
        """The number of parts."""
        return max(1, -(-self.size // self.part_size))

    def size_of(self, number: int) -> int:
        """Return the size of a part, counted from 1, in bytes."""
        return min(self.part_size, self.size - (number - 1) * self.part_size)


def add(connection: Connection, record: DirectUploadRecord) -> None:
    """Store a new upload."""
    values: dict[str, Any] = {column.name: getattr(record, column.name) for column in direct_uploads.columns}
    connection.execute(insert(direct_uploads), {**values, "etags": _dumped(record.etags)})


def find(connection: Connection, upload_id: str, *, lock: bool = False) -> DirectUploadRecord | None:
    """Return the upload with this id, or None. With `lock`, no other transaction changes it until this one ends."""
    query = select(direct_uploads).where(direct_uploads.c.upload_id == upload_id)
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        return None
    values = dict(row._mapping)  # noqa: SLF001 - the public name of SQLAlchemy's rows
    etags = {int(number): etag for number, etag in json.loads(values.pop("etags")).items()}
    return DirectUploadRecord(**values, etags=etags)


def same(connection: Connection, record: DirectUploadRecord) -> DirectUploadRecord | None:
    """Return an unfinished upload of the same file for the same owner and lease, in the same way; None if its digest is not known."""
    if record.sha256 is None:
        return None
    columns = direct_uploads.c
    query = select(columns.upload_id).where(
        columns.owner == record.owner, columns.state == RECEIVING, columns.sha256 == record.sha256,
        columns.size == record.size, columns.media_type == record.media_type, columns.job_id.is_not_distinct_from(record.job_id),
        columns.fence.is_not_distinct_from(record.fence), columns.multipart_id.is_(None) == (record.multipart_id is None),
    )  # fmt: skip
    upload_id = connection.execute(query.limit(1)).scalar_one_or_none()
    return None if upload_id is None else find(connection, upload_id)


def report(
    connection: Connection, upload_id: str, etags: Mapping[int, str], sha256: str | None, expires_at: float
) -> DirectUploadRecord | None:
    """Add stored parts, and the file's digest unless it is known. Return the upload, or None if it does not exist."""
    record = find(connection, upload_id, lock=True)
    if record is None:
        return None
    values: dict[str, Any] = {"expires_at": expires_at, "sha256": record.sha256 or sha256}
    # Parts that are reported later belong to a file that was joined already.
    if record.state == RECEIVING:
        values["etags"] = _dumped({**record.etags, **etags})
    _change(connection, upload_id, **values)
    return find(connection, upload_id)


def claim_check(connection: Connection, upload_id: str, now: float, until: float) -> bool:
    """Reserve the check of the digest for one replica until `until`. Return whether no other has it."""
    query = update(direct_uploads).where(
        direct_uploads.c.upload_id == upload_id,
        direct_uploads.c.state.in_((RECEIVING, CHECKING)),
        # A claim that has ended belongs to a replica that died.
        or_(direct_uploads.c.checked_until.is_(None), direct_uploads.c.checked_until < now),
    )
    return connection.execute(query.values(state=CHECKING, checked_until=until)).rowcount > 0


def extend_check(connection: Connection, upload_id: str, until: float) -> None:
    """Extend the reservation of the check."""
    _change(connection, upload_id, checked_until=until)


def set_state(connection: Connection, upload_id: str, state: str) -> None:
    """Set the state. The blob of a refused upload is marked for removal."""
    _change(connection, upload_id, state=state, checked_until=None)
    # Nobody refers to a refused file, so its blob can be removed.
    if state == REFUSED and (record := find(connection, upload_id)) is not None:
        blobs.mark_removed(connection, [record.blob])


def _change(connection: Connection, upload_id: str, **values: Any) -> None:
    connection.execute(update(direct_uploads).where(direct_uploads.c.upload_id == upload_id).values(values))


def end(connection: Connection, upload_id: str, until: float) -> None:
    """End an upload in one request, whose signed request is valid until then. What it has stored is marked for removal, now and then."""
    set_state(connection, upload_id, REFUSED)
    _change(connection, upload_id, expires_at=until)


def remove(connection: Connection, record: DirectUploadRecord) -> None:
    """Delete an upload. The blob of an unfinished one is marked for removal."""
    connection.execute(delete(direct_uploads).where(direct_uploads.c.upload_id == record.upload_id))
    if record.state != STORED:
        blobs.mark_removed(connection, [record.blob])


def unfinished(connection: Connection, owner: str) -> tuple[int, int]:
    """Return the number of an account's or miner's unfinished uploads, and the bytes that they and ended ones reserve, also for a job."""
    query = select(
        func.coalesce(func.sum(case((_ENDED, 0), else_=1)), 0),
        func.coalesce(func.sum(direct_uploads.c.size), 0),
    ).where(direct_uploads.c.owner == owner, _RESERVING)
    count, size = connection.execute(query).one()
    return int(count), int(size) + _bytes_for_job(connection, owner)


def _bytes_for_job(connection: Connection, job_id: str) -> int:
    query = select(func.coalesce(func.sum(direct_uploads.c.size), 0)).where(
        direct_uploads.c.job_id == job_id, _RESERVING
    )
    return int(connection.execute(query).scalar_one())


def expired(connection: Connection, now: float, limit: int) -> list[str]:
    """Return the ids of expired uploads, the longest expired first."""
    query = select(direct_uploads.c.upload_id).where(direct_uploads.c.expires_at <= now)
    return list(connection.execute(query.order_by(direct_uploads.c.expires_at).limit(limit)).scalars())


def _dumped(etags: Mapping[int, str]) -> str:
    return json.dumps({str(number): etag for number, etag in etags.items()}, separators=(",", ":"))
