"""Pictures and videos of `blender_rendering`, with the real Blender in the real sandbox."""

from __future__ import annotations

import dataclasses
import gzip
import io
from decimal import Decimal

import pytest
from PIL import Image

from runners.api import Fail, Retry
from runners.blender import BlenderRunner
from runners.blender.engine import chosen
from runners.blender.process import abilities
from runners.blender.request import RenderRequest
from support.inputs.blender_scenes import SMALL, URL, describe, difference, render_plainly


@pytest.mark.ship
def test_a_picture_equals_one_that_blender_renders_by_itself(render, tools, scenes, tmp_path):
    """Pixel for pixel, with the parameters of the reference's example."""
    result, context = render(
        small={}, engine="cycles", resolution_x=192, resolution_y=108, samples=8, frame=4
    )
    (frame,) = result.results["frames"]
    assert (frame.name, frame.media_type, frame.extra) == ("frame_0004.png", "image/png", {"frame": 4})
    assert frame.path == context.output / "frame_0004.png"
    assert result.units == Decimal(192 * 108 * 8) / 1_000_000
    settings = {
        "render.engine": "CYCLES", "render.resolution_x": 192, "render.resolution_y": 108, "render.resolution_percentage": 100,
        "render.image_settings.color_mode": "RGB", "cycles.samples": 8,
    }  # fmt: skip
    same, other = render_plainly(chosen(tools), scenes / "scene.blend", tmp_path, settings, (4, 5))
    assert difference(frame.path, same) is None
    assert difference(frame.path, other) is not None, "the comparison detects another frame"


@pytest.mark.ship
def test_settings_that_are_not_requested_come_from_the_file(render):
    """Engine, size (half of 128x80), samples and the current frame."""
    result, _ = render("packed.blend", small={})
    (frame,) = result.results["frames"]
    assert frame.extra == {"frame": 2}
    assert describe(frame.path) == "png,64,40,rgb24"
    assert result.units == Decimal(64 * 40 * 4) / 1_000_000
    assert set(result.results) == {"frames"}


def test_frames_are_checkpoints_as_they_finish_and_become_a_video(render):
    result, context = render(frames="1-3,5", resolution_x=65, resolution_y=37, video=True, fps=8)
    numbers = [frame.extra["frame"] for frame in result.results["frames"]]
    assert numbers == [1, 2, 3, 5]
    assert context.handed_over == result.results["frames"]
    assert result.units == Decimal(65 * 37 * 2 * 4) / 1_000_000
    video = result.results["video"]
    assert (video.name, video.media_type) == ("video.mp4", "video/mp4")
    assert describe(video.path, "stream=codec_name,width,height,r_frame_rate,nb_frames") == "h264,64,36,8/1,4"
    pictures = [Image.open(frame.path).tobytes() for frame in result.results["frames"]]
    assert len(set(pictures)) == 4
    assert sorted(path.name for path in context.output.iterdir()) == [
        "frame_0001.png", "frame_0002.png", "frame_0003.png", "frame_0005.png", "video.mp4",
    ]  # fmt: skip


@pytest.mark.ship
def test_landlock_gives_the_same_frames_and_video(tools, device, make_context, scenes):
    """Programs see the machine's own paths there; the error about a damaged scene contains none of them."""
    landlock = dataclasses.replace(tools, sandbox="landlock")
    assert BlenderRunner.probe(landlock).available
    runner = BlenderRunner(landlock, device)
    context = make_context({"blend_file_url": scenes / "scene.blend"})
    request = RenderRequest(blend_file_url=URL, frames="1-2", video=True, fps=8, **SMALL)
    result = runner.run(request, context)
    assert [frame.name for frame in result.results["frames"]] == ["frame_0001.png", "frame_0002.png"]
    assert describe(result.results["video"].path, "stream=codec_name,nb_frames") == "h264,2"
    broken = context.work / "broken.blend"
    broken.write_bytes((scenes / "scene.blend").read_bytes()[:3000])
    with pytest.raises((Fail, Retry)) as caught:
        runner.run(request, make_context({"blend_file_url": broken}))
    assert str(context.work) not in str(caught.value)


@pytest.mark.ship
def test_progress_rises_with_the_samples_of_all_frames(render):
    result, context = render(frames=[1, 2], samples=48, resolution_x=240, resolution_y=135)
    percents = [percent for percent, _ in context.reported]
    assert percents == sorted(percents)
    assert len(set(percents)) >= 5, "progress is also reported within a frame"
    assert percents[-1] == 99
    units = [units for _, units in context.reported]
    assert units == sorted(units)
    assert units[-1] == result.units


@pytest.mark.ship
def test_progress_counts_each_layer_and_tile_and_the_scene_writes_no_files_of_its_own(render):
    """Blender repeats the last sample of a tile after the next tile has begun."""
    result, context = render(scene="Layered", frame=1, samples=8, resolution_x=128, resolution_y=64)
    percents = [percent for percent, _ in context.reported]
    assert percents == sorted(percents)
    steps = [percent for percent in dict.fromkeys(percents) if percent > 0]
    assert steps[-1] == 99
    assert 49.5 in percents, "one of two layers is half of the frame"
    assert {24.75, 74.25} <= set(steps), "two tiles in each of two layers"
    assert min(steps) < 10, "the first sample of the first tile does not count as the whole tile"
    assert len(result.results["frames"]) == 1
    assert context.handed_over == result.results["frames"]
    assert list((context.work / "frames").iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "name", "described"),
    [
        ({"output_format": "jpeg", "quality": 40}, "frame_0001.jpg", "mjpeg,64,36,yuvj420p"),
        ({"output_format": "exr", "color_depth": 32}, "frame_0001.exr", "exr,64,36,gbrpf32le"),
        ({"color_depth": 16, "transparent": True}, "frame_0001.png", "png,64,36,rgba64be"),
    ],
)
def test_a_frame_has_the_requested_format(render, fields, name, described):
    result, _ = render(frame=1, **fields)
    (frame,) = result.results["frames"]
    assert frame.name == name
    assert describe(frame.path).split(":")[0].startswith(described)


@pytest.mark.ship
def test_a_camera_is_chosen_by_its_name(render, refused, scenes, first_frame):
    """Even if a marker in the file binds another camera, and in a file compressed by an old version."""
    (scenes / "old.blend").write_bytes(gzip.compress((scenes / "scene.blend").read_bytes(), 1))
    above, _ = render("old.blend", frame=1, camera="Above")
    assert difference(first_frame, above.results["frames"][0].path) is not None
    error = refused(frame=1, camera="Behind")
    assert (type(error), error.code) == (Fail, "INPUT_INVALID")
    assert "'Behind'" in str(error)
    assert "'Above', 'Camera'" in str(error)


@pytest.mark.ship
def test_a_rendering_is_repeatable_and_a_seed_changes_the_noise(render, first_frame):
    same, _ = render(frame=1)
    seeded, _ = render(frame=1, seed=7)
    assert difference(first_frame, same.results["frames"][0].path) is None
    assert difference(first_frame, seeded.results["frames"][0].path) is not None


@pytest.mark.ship
def test_a_frame_of_several_equals_the_frame_alone(render, scenes):
    """Data that persist from frame to frame do not change the picture."""
    alone, _ = render(frame=3)
    several, _ = render(frames="1,3")
    assert difference(alone.results["frames"][0].path, several.results["frames"][1].path) is None


@pytest.mark.ship
def test_denoising_changes_the_picture(render, tools, device, first_frame):
    if not abilities(tools, device).denoiser:
        pytest.skip("this Blender has no denoiser")
    clean, _ = render(frame=1, denoise=True)
    assert difference(first_frame, clean.results["frames"][0].path) is not None


@pytest.mark.ship
def test_pixels_that_are_clean_enough_get_fewer_samples(render):
    """For the same price, which is known before."""
    fields = {**SMALL, "samples": 64}
    every, _ = render(small=fields, frame=1, noise_threshold=0)
    fewer, _ = render(small=fields, frame=1, noise_threshold=1)
    assert difference(every.results["frames"][0].path, fewer.results["frames"][0].path) is not None
    assert every.units == fewer.units


@pytest.mark.ship
def test_a_run_resumes_from_the_frames_of_another_miner(render):
    """Intact frames are not rendered again; damaged frames and frames of another size are."""
    whole, context = render(frames="1-5")
    content = {frame.name: frame.path.read_bytes() for frame in whole.results["frames"]}
    larger = io.BytesIO()
    Image.new("RGB", (64, 40)).save(larger, "PNG")
    checkpoints = {
        "frame_0001.png": content["frame_0003.png"],
        "frame_0002.png": content["frame_0002.png"][:900] + content["frame_0002.png"][-12:],
        "frame_0003.png": larger.getvalue(),
        "frame_0004.png": b"",
    }
    resumed, context = render(frames="1-5", checkpoints=checkpoints)
    assert resumed.results["resumed_frames"] == [1]
    assert [file.extra["frame"] for file in context.handed_over] == [2, 3, 4, 5]
    after = {frame.name: frame.path for frame in resumed.results["frames"]}
    assert after["frame_0001.png"].read_bytes() == content["frame_0003.png"], "it was copied unchanged"
    assert {path.parent for path in after.values()} == {context.output}, "the signed files are copies"
    for before in whole.results["frames"][1:]:
        assert difference(before.path, after[before.name]) is None
    assert resumed.units == whole.units
    assert context.reported[-1] == (99, whole.units)
