"""How a person fills in the form of each service, and what the result shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from support.inputs.media import make_scene, make_speech, make_video
from support.inputs.speech import SENTENCE

PROGRAM = """
def predict(input, **parameters):
    return {"animal": "cat", "bytes": len(open(input, "rb").read())}
"""


@dataclass(frozen=True)
class Media:
    speech: Path
    video: Path
    scene: Path
    program: Path
    picture: Path


def make_media(folder: Path) -> Media:
    """Create the input files in a folder."""
    program = folder / "classify.py"
    program.write_text(PROGRAM)
    picture = folder / "cat.jpg"
    picture.write_bytes(b"\xff\xd8\xff" + bytes(97))
    return Media(
        speech=make_speech(folder / "speech.wav"),
        video=make_video(folder / "clip.mp4", seconds=1, size="320x180"),
        scene=make_scene(folder / "scene.blend"),
        program=program,
        picture=picture,
    )


def choose(page: Page, label: str, path: Path) -> None:
    """Choose a file with the button of its field."""
    with page.expect_file_chooser() as choosing:
        field = page.locator(f'[data-field="{label}"]')
        field.get_by_role("button", name="Choose").click()
    choosing.value.set_files(path)


def fill_transcription(page: Page, media: Media) -> None:
    choose(page, "Recording", media.speech)
    # The browser reads the duration, from which the price is estimated.
    expect(page.get_by_text(" s of sound").first).to_be_visible()


def fill_pictures(page: Page, media: Media) -> None:
    page.get_by_label("Prompt", exact=True).fill("A lighthouse in a storm")
    page.get_by_label("Model").select_option("untrained-diffusion")
    page.get_by_label("Size").fill("64x64")
    page.get_by_label("Number of pictures").fill("2")
    page.get_by_text("More options").click()
    page.get_by_label("Steps", exact=True).fill("4")


def fill_text(page: Page, media: Media) -> None:
    page.get_by_label("Prompt").fill("Name the capital of France.")
    page.get_by_label("Longest answer").fill("24")
    page.get_by_text("More options").click()
    page.get_by_label("Temperature").fill("0")


def fill_video(page: Page, media: Media) -> None:
    choose(page, "Video or sound", media.video)
    page.get_by_label("Convert to").select_option("webm")
    page.get_by_label("Picture size").fill("160x90")


def fill_rendering(page: Page, media: Media) -> None:
    choose(page, "Blend file", media.scene)
    page.get_by_label("Width").fill("96")
    page.get_by_label("Height").fill("64")
    page.get_by_label("Samples").fill("2")
    page.get_by_label("Frames", exact=True).fill("1-2")
    page.get_by_text("More options").click()
    page.get_by_label("Engine").select_option("cycles")


def fill_program(page: Page, media: Media) -> None:
    choose(page, "Program", media.program)
    choose(page, "Input file", media.picture)
    # Suggested from the file name.
    expect(page.get_by_label("File with predict")).to_have_value("classify.py")


def see_transcript(result: Locator) -> None:
    expect(result).to_contain_text(SENTENCE)
    audio = result.locator("audio")
    audio.evaluate(
        "audio => new Promise(done => audio.readyState ? done() : (audio.onloadedmetadata = done))"
    )
    # Headless Chromium has no sound device, so the test checks the position, not the sound.
    result.locator(".transcript button").last.click()
    expect(result.locator(".transcript li").last).to_have_attribute("aria-current", "true")


def see_pictures(result: Locator) -> None:
    pictures = result.get_by_role("img")
    expect(pictures).to_have_count(2)
    assert pictures.first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64


def see_text(result: Locator) -> None:
    expect(result.locator(".answer")).to_contain_text("Paris")


def see_video(result: Locator) -> None:
    width = result.locator("video").evaluate(
        "video => new Promise(done => { const report = () => done(video.videoWidth);"
        " video.readyState ? report() : (video.onloadedmetadata = report) })"
    )
    assert width == 160


def see_frames(result: Locator) -> None:
    expect(result.get_by_role("button", name="Show frame")).to_have_count(2)
    result.get_by_role("button", name="Show frame 1").click()
    frame = result.get_by_role("img", name="Frame 1")
    assert frame.evaluate("image => image.decode().then(() => image.naturalWidth)") == 96


def see_answer(result: Locator) -> None:
    expect(result.locator(".json")).to_contain_text('"bytes": 100')


@dataclass(frozen=True)
class Service:
    service_id: str
    fill: Callable[[Page, Media], None]
    see: Callable[[Locator], None]


SERVICES = [
    Service("video_transcoding", fill_video, see_video),
    Service("blender_rendering", fill_rendering, see_frames),
    Service("ai_inference", fill_program, see_answer),
    Service("whisper_transcription", fill_transcription, see_transcript),
    Service("llm_inference", fill_text, see_text),
    Service("image_generation", fill_pictures, see_pictures),
]
