"""The errors that the tus protocol defines."""

from __future__ import annotations

from agent.core.errors import ApiError


class UnsupportedChecksum(ApiError):
    """An upload's checksum is malformed or uses an unsupported algorithm."""

    code = "UNSUPPORTED_CHECKSUM"
    status = 400
    remedy = "Send a base64 checksum of an algorithm listed in `Tus-Checksum-Algorithm` of `OPTIONS /v1/uploads`, or omit it."


class UnsupportedVersion(ApiError):
    """The request uses a version of the tus protocol that the server does not support."""

    code = "UNSUPPORTED_VERSION"
    status = 412
    remedy = "Send `Tus-Resumable` with the version in the header `Tus-Version`."


class UnsupportedMediaType(ApiError):
    """This call does not accept the media type of the body."""

    code = "UNSUPPORTED_MEDIA_TYPE"
    status = 415
    remedy = "Send a media type that the call's page in the API lists."
