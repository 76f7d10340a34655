"""Signed requests with which clients and miners exchange bytes with the bucket themselves, and uploads in parts."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from xml.etree import ElementTree as ET

import structlog

from agent.coordinator.features.s3.bucket import Bucket, SignedRequest, StoreError, text_of, unavailable
from agent.core.errors import Conflict

DIRECT: Final = "blobs"
COMPLETE_SECONDS: Final = 600.0
"""How long a service may need to join the parts of a large file. S3 documents minutes."""
_NOT_FOUND: Final = 404
_INVALID: Final = frozenset(
    {"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "InvalidRequest", "MalformedXML"}
)
_SHOWN: Final = ("image/", "video/", "audio/", "text/plain", "application/json", "application/pdf")
_ACTIVE: Final = ("image/svg",)
_CACHED: Final = "private, max-age=31536000, immutable"

log = structlog.get_logger()


class S3Transfers:
    """Signed requests, valid for `url_seconds`. Calls raise `ServiceUnavailable` if the service does not answer.

    `verifies_sha256` is whether the service refuses a file whose SHA-256 differs from the signed one, `max_whole` the size of the largest
    file in one request.
    """

    def __init__(self, bucket: Bucket, max_whole: int) -> None:
        self._bucket = bucket
        self.max_whole = max_whole
        self.url_seconds = bucket.url_seconds
        self.verifies_sha256 = False
        self.origin = bucket.origin

    def new_name(self) -> str:
        """Return the name of a new blob."""
        return f"{DIRECT}/{secrets.token_hex(16)}"

    def download(self, name: str, media_type: str) -> str:
        """Return the URL that reads a blob, with this media type in its answer. Browsers save types that may contain scripts instead of showing them."""
        # A browser must not execute what a client has stored.
        is_safe_inline = media_type.startswith(_SHOWN) and not media_type.startswith(_ACTIVE)
        query = {
            "response-content-type": media_type,
            "response-content-disposition": "inline" if is_safe_inline else "attachment",
            "response-cache-control": _CACHED,
        }
        return self._bucket.signed("GET", name, query=query).url

    def upload_whole(self, name: str, sha256: str, size: int) -> SignedRequest:
        """Return the request that stores a blob with this SHA-256 (hex)."""
        # Signed along with the URL: the store accepts only this file.
        headers = {"x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(sha256)).decode()}
        return self._bucket.signed("PUT", name, headers=headers, unsent={"content-length": str(size)})

    def upload_part(self, name: str, multipart_id: str, number: int, size: int) -> SignedRequest:
        """Return the request that stores a part."""
        query = {"partNumber": str(number), "uploadId": multipart_id}
        return self._bucket.signed("PUT", name, query=query, unsent={"content-length": str(size)})

    async def begin(self, name: str) -> str:
        """Begin an upload in parts, and return its id."""
        try:
            answer = await self._bucket.call("POST", name, {"uploads": ""})
        except StoreError as error:
            raise _failed(error) from None
        return text_of(ET.fromstring(answer.content), "UploadId")  # noqa: S314 - the operator's own store

    async def complete(self, name: str, multipart_id: str, etags: Sequence[str]) -> None:
        """Join the parts. May be repeated. Raises `Conflict` if the service does not have them all."""
        root = ET.Element("CompleteMultipartUpload")
        for number, etag in enumerate(etags, 1):
            part = ET.SubElement(root, "Part")
            ET.SubElement(part, "PartNumber").text = str(number)
            ET.SubElement(part, "ETag").text = etag
        try:
            body = ET.tostring(root)
            answer = await self._bucket.call(
                "POST", name, {"uploadId": multipart_id}, body, limit=COMPLETE_SECONDS
            )
        except StoreError as error:
            if error.code == "NoSuchUpload":  # completed before, or aborted: then there is no object
                return
            if error.code in _INVALID:
                raise Conflict(
                    "The store does not have all parts of this upload as they were reported; begin it again."
                ) from None
            raise _failed(error) from None
        document = ET.fromstring(answer.content)  # noqa: S314 - as above
        if document.tag.rpartition("}")[2] == "Error":  # S3 answers 200 before it begins to join
            raise unavailable(text_of(document, "Code"))

    async def abort(self, name: str, multipart_id: str) -> None:
        """Remove the parts of an upload that will not be completed."""
        try:
            await self._bucket.call("DELETE", name, {"uploadId": multipart_id})
        except StoreError as error:
            if error.status != _NOT_FOUND:
                raise _failed(error) from None

    async def abort_older_than(self, moment: float) -> int:
        """Abort the uploads in parts that began before `moment`. Return their number."""
        prefix = f"{self._bucket.prefix}/" if self._bucket.prefix else ""
        try:
            answer = await self._bucket.call("GET", None, {"uploads": "", "prefix": prefix})
        except StoreError as error:
            raise _failed(error) from None
        count = 0
        root = ET.fromstring(answer.content)  # noqa: S314 - as above
        for upload in (element for element in root.iter() if element.tag.rpartition("}")[2] == "Upload"):
            began = datetime.fromisoformat(text_of(upload, "Initiated")).timestamp()
            # Younger ones may belong to uploads whose rows are just being written.
            if began < moment:
                await self.abort(text_of(upload, "Key")[len(prefix) :], text_of(upload, "UploadId"))
                count += 1
        return count


def _failed(error: StoreError) -> Exception:
    log.warning("store_refused", code=error.code, status=error.status, message=error.message)
    return unavailable(error.code)
