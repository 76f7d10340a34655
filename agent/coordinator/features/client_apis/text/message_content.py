"""The content of messages in the service's form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

References = Mapping[str, str]
"""The service's address of each image, by the client's."""


def content(parts: Iterable[str | tuple[str]], references_by_url: References) -> str | list[dict[str, Any]]:
    """Return a message's content in the service's form, from its texts and, each in a tuple, the addresses of its images."""
    part_list = list(parts)
    # Models that do not see expect plain text, and most messages have no image.
    if all(isinstance(part, str) for part in part_list):
        return "\n".join(str(part) for part in part_list)
    return [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image", "image_url": references_by_url[part[0]]}
        for part in part_list
    ]
