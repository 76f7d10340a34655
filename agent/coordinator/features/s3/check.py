"""Checks at the start and by `aitbc-agent doctor` that a bucket can be used, and explains what is wrong with it."""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Final

from agent.coordinator.features.s3.bucket import Bucket, StoreError
from agent.core.errors import ConfigurationError, ServiceUnavailable

_CONTENT: Final = b"aitbc-agent checks whether it can use this bucket"
_KEY_SETTING: Final = "see the setting `artifacts.credentials`"
_REASONS: Final = (
    (
        {"NoSuchBucket", "HTTP 404"},
        "does not exist. Create it, or correct `artifacts.url`, `artifacts.endpoint` and `artifacts.path_style`.",
    ),
    (
        {"AccessDenied", "AllAccessDisabled", "HTTP 403"},
        "does not allow this access key to list, read, write and delete objects ({message}). Correct its policy; see docs/how-to/store-files-in-s3.md.",
    ),
    (
        {"InvalidAccessKeyId", "InvalidAccessKey", "ExpiredToken", "InvalidToken"},
        f"does not accept the access key ({{code}}): it is unknown or has expired. Set a valid one; {_KEY_SETTING}.",
    ),
    (
        {"SignatureDoesNotMatch"},
        f"refuses the signature: the secret key does not belong to the access key. Correct it; {_KEY_SETTING}.",
    ),
    (
        {"RequestTimeTooSkewed", "RequestExpired", "ExpiredRequest"},
        "refuses requests because its clock and this machine's differ ({message}). Set this machine's clock, for example with NTP.",
    ),
    (
        {
            "AuthorizationHeaderMalformed",
            "AuthorizationQueryParametersError",
            "PermanentRedirect",
            "TemporaryRedirect",
        },
        "is not in the region {region} ({message}). Correct `artifacts.region` or `artifacts.endpoint`.",
    ),
)
_OTHER: Final = "cannot be used: {code}, {message} (HTTP status {status})."
_NOT_CHECKED: Final = frozenset({"NotImplemented", "InvalidRequest", "InvalidArgument"})


async def check_bucket(bucket: Bucket) -> bool:
    """Write, read, list and remove a small object. Return whether the service refuses content with another SHA-256 than announced.

    Raises `ConfigurationError` that says what to change.
    """
    name = f"checks/{secrets.token_hex(8)}"
    try:
        return await _check(bucket, name)
    finally:
        # The check runs in an event loop of its own, in which the connection must end too.
        await bucket.close()


async def _check(bucket: Bucket, name: str) -> bool:
    try:
        await bucket.call("GET", None, {"list-type": "2", "max-keys": "1", "prefix": bucket.key("checks/")})
        await bucket.call("PUT", name, body=_CONTENT)
        answer = await bucket.call("GET", name)
        verifies = await _verifies_sha256(bucket, name)
        await bucket.call("DELETE", name)
    except StoreError as error:
        raise ConfigurationError(_explain(bucket, error)) from None
    except ServiceUnavailable as error:
        raise ConfigurationError(
            f"The S3 service at {bucket.endpoint} does not answer. Check `artifacts.endpoint`, and that this machine reaches it. "
            f"({error.message})"
        ) from None
    if answer.content != _CONTENT:
        raise ConfigurationError(
            f"The server at {bucket.endpoint} does not return what was stored: it is not an S3 service."
        )
    return verifies


async def _verifies_sha256(bucket: Bucket, name: str) -> bool:
    wrong = base64.b64encode(hashlib.sha256(b"").digest()).decode()
    right = base64.b64encode(hashlib.sha256(_CONTENT).digest()).decode()
    try:
        await bucket.call("PUT", name, body=_CONTENT, headers={"x-amz-checksum-sha256": right})
    except StoreError as error:
        # Services that do not know the header refuse it; files are then checked by reading them.
        if error.code in _NOT_CHECKED:
            return False
        raise
    try:
        # Some services accept the header and ignore it, which only a wrong digest reveals.
        await bucket.call("PUT", name, body=_CONTENT, headers={"x-amz-checksum-sha256": wrong})
    except StoreError:
        return True
    return False


def _explain(bucket: Bucket, error: StoreError) -> str:
    bucket_name = f"The bucket {bucket.name} at {bucket.endpoint}"
    reason = next((text for codes, text in _REASONS if error.code in codes), _OTHER)
    return f"{bucket_name} {reason}".format(
        code=error.code, message=error.message, status=error.status, region=bucket.region
    )
