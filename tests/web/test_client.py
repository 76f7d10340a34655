"""The dashboard for clients: each service from its form to its result and a verified receipt, with real engines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from aitbc import AITBCClient
from support.agents import Agent
from support.dashboard import Dashboard
from support.media import SENTENCE, make_scene, make_speech, make_video

pytestmark = pytest.mark.acceptance

JOB_MS = 90_000
"""Time limit of a job, including the start of its engine."""

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


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Media:
    folder = tmp_path_factory.mktemp("media")
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


@pytest.fixture(scope="module")
def client(agent: Agent) -> Iterator[AITBCClient]:
    with agent.client() as client:
        yield client


def choose(page: Page, label: str, path: Path) -> None:
    """Choose a file with the button of its field."""
    with page.expect_file_chooser() as choosing:
        field = page.locator(f'[data-field="{label}"]')
        field.get_by_role("button", name="Choose").click()
    choosing.value.set_files(path)


def fill_transcription(page: Page, media: Media) -> None:
    choose(page, "Audio", media.speech)
    # The browser reads the duration, from which the price is estimated.
    expect(page.get_by_text("audio seconds", exact=False).first).to_be_visible()


def fill_pictures(page: Page, media: Media) -> None:
    page.get_by_label("Prompt", exact=True).fill("A lighthouse in a storm")
    page.get_by_label("Model").select_option("untrained-diffusion")
    page.get_by_label("Size").fill("64x64")
    page.get_by_label("Number of images").fill("2")
    page.get_by_label("Steps").fill("4")


def fill_text(page: Page, media: Media) -> None:
    page.get_by_label("Prompt").fill("Name the capital of France.")
    page.get_by_label("Maximum tokens").fill("24")
    page.get_by_label("Temperature").fill("0")


def fill_video(page: Page, media: Media) -> None:
    choose(page, "Input", media.video)
    page.get_by_label("Output format").select_option("webm")
    page.get_by_label("Resolution").fill("160x90")


def fill_rendering(page: Page, media: Media) -> None:
    choose(page, "Blend file", media.scene)
    page.get_by_label("Engine").select_option("cycles")
    page.get_by_label("Width").fill("96")
    page.get_by_label("Height").fill("64")
    page.get_by_label("Samples").fill("2")
    page.get_by_text("More settings").click()
    page.get_by_label("Frames optional", exact=True).fill("1-2")


def fill_program(page: Page, media: Media) -> None:
    choose(page, "Program", media.program)
    choose(page, "Input file", media.picture)
    # Suggested from the file name.
    expect(page.get_by_label("Entry point")).to_have_value("classify.py")


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


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.service_id)
def test_runs_a_job_from_its_form_to_its_verified_receipt(
    dashboard: Dashboard, media: Media, service: Service
) -> None:
    """Fill in the form, follow the job, see the result, and verify the receipt in the browser."""
    page = dashboard.open("/new")
    page.locator(f'a.tile[href$="/new/{service.service_id}"]').click()
    service.fill(page, media)
    page.get_by_role("button", name="Submit job").click()
    page.wait_for_url(re.compile(r"/jobs/job_"))
    expect(page.get_by_role("heading", name="Receipt")).to_be_visible(timeout=JOB_MS)
    service.see(page.locator("section", has=page.get_by_role("heading", name="Result")))
    page.get_by_role("button", name="Verify in this browser").click()
    verdict = page.locator(".verdict")
    expect(verdict).to_contain_text("This receipt is valid.")
    expect(verdict.locator("[data-tone=bad]")).to_have_count(0)
    assert dashboard.problems() == []


def test_names_the_failed_check_of_a_tampered_receipt(
    dashboard: Dashboard, client: AITBCClient, tmp_path: Path
) -> None:
    """An unchanged file is valid; for a changed one, the page shows which check failed."""
    bundle = client.receipts.export(a_completed_job(client))
    page = dashboard.open("/verify")
    good = tmp_path / "good.json"
    good.write_text(json.dumps(bundle))
    choose(page, "Receipt", good)
    expect(page.locator(".verdict")).to_contain_text("This receipt is valid.")

    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(tampered(bundle)))
    choose(page, "Receipt", bad)
    expect(page.locator(".verdict")).to_contain_text("This receipt is not valid")
    expect(page.locator(".checks [data-tone=bad]").first).to_contain_text("results")
    assert dashboard.problems() == []

    nothing = tmp_path / "notes.json"
    nothing.write_text("no receipt at all")
    choose(page, "Receipt", nothing)
    expect(page.locator(".verdict")).to_contain_text("This receipt is not valid")


def tampered(bundle: dict[str, Any]) -> dict[str, Any]:
    """Return the bundle with changed results."""
    return {**bundle, "results": {**bundle["results"], "processing_time": 0.001}}


def a_completed_job(client: AITBCClient) -> str:
    """Return a job of an earlier test, or a new one if this test runs alone."""
    done = client.jobs.list(status="completed", limit=1)["jobs"]
    if done:
        return str(done[0]["job_id"])
    source = "def predict(input):\n    return 1\n"
    job = client.jobs.create(
        {"type": "ai_inference", "model": {"entrypoint": "model.py", "source": {"inline": source}}}
    )
    client.jobs.wait(job["job_id"], timeout=60)
    return str(job["job_id"])


def test_shows_validation_errors_at_their_fields(dashboard: Dashboard) -> None:
    """Submitting an incomplete form shows an error at each invalid field."""
    page = dashboard.open("/new/blender_rendering")
    page.get_by_label("Samples").fill("0")
    page.get_by_role("button", name="Submit job").click()
    samples = page.locator('[data-field="Samples"]')
    expect(samples.locator(".field-error")).to_be_visible()
    expect(samples.locator("input")).to_have_attribute("aria-invalid", "true")
    expect(page.locator('[data-field="Blend file"] .field-error')).to_be_visible()
    assert dashboard.problems() == []


def test_shows_chat_answers_as_they_are_written(dashboard: Dashboard) -> None:
    """The second answer builds on the first, and each links to its job."""
    page = dashboard.open("/chat")
    page.get_by_text("More settings").click()
    page.get_by_label("Maximum tokens of an answer").fill("24")
    page.get_by_label("Temperature").fill("0")
    box = page.get_by_label("Your message")
    for question in ("Name the capital of France.", "Say it again."):
        box.fill(question)
        box.press("Enter")
        expect(page.get_by_role("button", name="Send")).to_be_visible(timeout=JOB_MS)
    answers = page.locator('.chat-turn[data-role="assistant"]')
    expect(answers).to_have_count(2)
    expect(answers.first).to_contain_text("Paris")
    expect(answers.first).to_contain_text("tokens")
    assert dashboard.problems() == []
    answers.first.get_by_role("link", name="Job and receipt").click()
    expect(page.get_by_role("heading", name="Receipt")).to_be_visible()


def test_updates_the_job_list_live(dashboard: Dashboard, client: AITBCClient) -> None:
    """A job submitted elsewhere appears, waits for its file, and can be cancelled."""
    page = dashboard.open("/jobs")
    job = client.jobs.create(
        {"name": "From elsewhere", "type": "ai_inference", "model": {"entrypoint": "late.py"}}
    )
    row = page.get_by_role("row", name="From elsewhere")
    expect(row).to_contain_text("waiting for files")
    row.get_by_role("link").click()
    expect(page.get_by_text("Not uploaded yet: model.source")).to_be_visible()
    page.get_by_role("button", name="Cancel the job").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    expect(page.get_by_text("The job was cancelled").first).to_be_visible()
    assert client.jobs.get(job["job_id"])["status"] == "cancelled"


def test_assigns_a_waiting_job_to_an_offer(dashboard: Dashboard, client: AITBCClient) -> None:
    """A client accepts an offer for one of its own jobs."""
    job = client.jobs.create({"name": "For sale", "type": "ai_inference", "model": {"entrypoint": "late.py"}})
    page = dashboard.open("/market")
    page.get_by_label("For", exact=True).select_option("ai_inference")
    assign = page.get_by_role("button", name="Assign a waiting job")
    expect(assign).to_have_count(1)  # until the filter takes effect, offers for other services are listed too
    assign.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Job").select_option(job["job_id"])
    assert dashboard.problems() == []
    dialog.get_by_role("button", name="Assign job").click()
    expect(page.get_by_text("The job was assigned to the offer.")).to_be_visible()
    assert client.jobs.get(job["job_id"])["offer_id"]
    client.jobs.cancel(job["job_id"])
