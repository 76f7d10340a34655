"""Images that clients send in messages, as OpenAI's API has them: addresses, or data URLs, which become artifacts."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from typing import Final

from agent.coordinator.features.client_apis.submission import ClientCall
from agent.coordinator.features.client_apis.text.message_content import References
from agent.coordinator.operations.files import artifacts
from agent.core.errors import invalid_request
from runners.llm.request import MAX_IMAGES

DATA: Final = "data:"
MEDIA_TYPES: Final = ("image/png", "image/jpeg", "image/webp", "image/gif")


async def references(call: ClientCall, urls: Sequence[str], field: str) -> References:
    """Store the images in data URLs as artifacts of the caller, and return what the service names all images by.

    `field` is the client's name of the messages. Raises `ValidationFailed`, and what storing an artifact raises.
    """
    if len(urls) > MAX_IMAGES:
        raise invalid_request({field: f"has {len(urls)} images; at most {MAX_IMAGES} are possible"})
    # Everything is checked before anything is stored. An image that occurs twice is stored once.
    decoded = [(url, *_decoded(url, field)) for url in dict.fromkeys(urls) if url.startswith(DATA)]
    references_by_url = {url: url for url in urls}
    for url, media_type, data in decoded:
        stored = await artifacts.save(call.context, call.caller, media_type, _once(data), len(data))
        references_by_url[url] = stored.address
    return references_by_url


def _decoded(url: str, field: str) -> tuple[str, bytes]:
    head, comma, encoded = url.removeprefix(DATA).partition(",")
    media_type, _, form = head.partition(";")
    problem = None
    if media_type not in MEDIA_TYPES:
        problem = f"an image in a data URL is {', '.join(MEDIA_TYPES)}"
    elif not comma or form != "base64":
        problem = 'an image in a data URL begins with "data:image/png;base64,"'
    else:
        try:
            return media_type, base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            problem = f"the data URL of an image is not base64: {error}"
    raise invalid_request({field: problem})


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
