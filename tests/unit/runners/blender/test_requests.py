"""Which requests `blender_rendering` refuses before Blender starts."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from runners.blender.request import RenderRequest
from support.inputs.blender_scenes import URL


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"frame": 1, "frames": "1-2"}, "not both"),
        ({"frames": "3-1"}, "backwards"),
        ({"frames": "1-1001"}, "more than 1000"),
        ({"frames": "1-600,700-1300"}, "at most 1000"),
        ({"frames": "a"}, "neither a frame nor a range"),
        ({"frames": []}, "at least 1"),
        ({"frames": [-1]}, "greater than or equal"),
        ({"video": True}, "several frames"),
        ({"frames": "1-2", "video": True, "output_format": "exr"}, "png or jpeg"),
        ({"fps": 24}, "without video"),
        ({"output_format": "jpeg", "color_depth": 16}, "use 8"),
        ({"output_format": "jpeg", "transparent": True}, "cannot be transparent"),
        ({"resolution_x": 16384, "resolution_y": 16384}, "pixels"),
        ({"samples": 0}, "greater than or equal"),
        ({"engine": "eevee", "device": "cpu"}, "only on a GPU"),
        ({"engine": "povray"}, "'cycles' or 'eevee'"),
        ({"python": "import os"}, "Extra"),
    ],
)  # fmt: skip
def test_an_invalid_request_is_refused_with_a_remedy(fields, words):
    with pytest.raises(ValidationError) as caught:
        RenderRequest.model_validate({"blend_file_url": URL, **fields})
    assert words in str(caught.value)


def test_frames_are_sorted_and_unique():
    request = RenderRequest.model_validate({"blend_file_url": URL, "frames": "12, 9-11,10,1"})
    assert request.frames == (1, 9, 10, 11, 12)
    assert RenderRequest.model_validate(request.model_dump(mode="json")) == request
    assert RenderRequest.model_json_schema()["properties"]["frames"]["anyOf"][0] == {"type": "string"}
