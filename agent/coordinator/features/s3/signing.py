"""Presigned URLs: requests to S3 that hold their own authorization (AWS Signature Version 4, query parameters).

Everybody who has such a URL may make exactly this request until it expires. `obstore` signs paths only, but multipart uploads and the
media type of an answer need query parameters.
Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, urlsplit

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key of the store. `token` belongs to temporary ones."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


def presign(
    credentials: Credentials,
    method: str,
    url: str,
    *,
    region: str,
    now: float,
    seconds: int,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> str:
    """Return `url` with `query` and a signature that is valid for `seconds` from `now` (seconds since the epoch).

    The request must carry `headers` with these values. `url` is encoded, without a query.
    """
    parts = urlsplit(url)
    moment = datetime.fromtimestamp(now, UTC)
    stamp, day = f"{moment:%Y%m%dT%H%M%SZ}", f"{moment:%Y%m%d}"
    scope = f"{day}/{region}/s3/aws4_request"
    signed = {"host": parts.netloc, **{name.lower(): value for name, value in (headers or {}).items()}}
    names = ";".join(sorted(signed))
    parameters = {
        **(query or {}),
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": names,
    }
    if credentials.token is not None:
        parameters["X-Amz-Security-Token"] = credentials.token
    # The order is part of what is signed, so both sides must sort.
    encoded = "&".join(sorted(f"{_encode(name)}={_encode(value)}" for name, value in parameters.items()))
    canonical = "\n".join(
        (
            method,
            parts.path or "/",
            encoded,
            *(f"{name}:{' '.join(signed[name].split())}" for name in sorted(signed)),
            "",
            names,
            # The signer does not know the bytes that the holder of the URL will send.
            "UNSIGNED-PAYLOAD",
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{credentials.secret_key}".encode()
    for step in (day, region, "s3", "aws4_request"):
        # Each step narrows the key down: to a day, a region, a service.
        key = hmac.digest(key, step.encode(), "sha256")
    signature = hmac.digest(key, f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}".encode(), "sha256").hex()
    return f"{url}?{encoded}&X-Amz-Signature={signature}"


def _encode(text: str) -> str:
    return quote(text, safe="-_.~")
