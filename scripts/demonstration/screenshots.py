"""Takes the screenshots of the dashboard in docs/images, with a real agent, real jobs of all services, and Chromium.

    .venv/bin/python scripts/demonstration/screenshots.py             all of them
    .venv/bin/python scripts/demonstration/screenshots.py job chat    only these, by name

Each page is captured at desktop and phone width, in the light and the dark scheme.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from aitbc import AITBCClient
from demo_agent import running_agent

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
CHROMIUM = "/usr/bin/chromium"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")
SIZES = {"1440": (1440, 900), "390": (390, 844)}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
JOB_SECONDS = 300.0
LIMIT_MS = 30_000
SOME_PERCENT = 5

TALK = (
    "Good morning, and welcome to the weekly meeting. The new rendering machines have arrived. "
    "They will be connected to the network before noon on Friday. "
    "Please send your scenes to the coordinator in time. Thank you, and have a good week."
)
QUESTION = "Name the capital of France."
PROGRAM = """
def predict(input, **parameters):
    return {"label": "sunset", "confidence": 0.94, "others": {"forest": 0.04, "sea": 0.02}}
"""


@dataclass(frozen=True)
class Jobs:
    """The ids of the jobs on the pages."""

    talk: str
    film: str


def program(*command: str | Path) -> None:
    """Run a program that creates input."""
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def submit(client: AITBCClient, folder: Path) -> Jobs:
    """Run a job of each service and wait for all of them."""
    speech, clip, scene = folder / "meeting.wav", folder / "rushes.mov", folder / "scene.blend"
    program("espeak-ng", "-v", "en-us", "-s", "150", "-w", speech, TALK)
    source = "testsrc2=size=640x360:duration=4:rate=25"
    program("ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", clip)
    blender = ("blender", "--background", "--factory-startup", "--python-exit-code", "1")
    program(*blender, "--python", ROOT / "scripts" / "demonstration" / "demo_scene.py", "--", scene)
    model = folder / "classify.py"
    model.write_text(PROGRAM)
    services = client.services
    talk = services.transcribe(speech, model="tiny.en", name="Weekly meeting")
    film = services.render(
        scene,
        name="Opening shot",
        engine="cycles",
        samples=12,
        resolution_x=480,
        resolution_y=270,
        frames="1-3",
    )
    done = [
        talk,
        film,
        services.transcode(clip, output_format="webm", resolution="320x180", name="Rushes for the web"),
        services.generate(
            "A lighthouse in a storm", model="untrained-diffusion", size="64x64", steps=6, name="Lighthouse"
        ),
        services.infer(QUESTION, model="smollm2-135m-instruct", max_tokens=40, name="A question"),
        client.jobs.create(
            {"name": "Holiday pictures", "type": "ai_inference", "model": {"entrypoint": "classify.py"}},
            files={"classify.py": model},
        ),
    ]
    for job in done:
        client.jobs.wait(job["job_id"], timeout=JOB_SECONDS)
    return Jobs(talk=str(talk["job_id"]), film=str(film["job_id"]))


def keep_busy(client: AITBCClient, folder: Path) -> list[str]:
    """Submit jobs that are running or queued while the screenshots are taken. Returns their ids."""
    jobs = [
        client.services.render(
            folder / "scene.blend",
            name=name,
            engine="cycles",
            samples=4,
            resolution_x=480,
            resolution_y=270,
            frames="1-60",
        )
        for name in ("Title sequence", "Product turntable")
    ]
    for event in client.jobs.events(str(jobs[0]["job_id"])):
        if event.job is not None and (event.job.progress or 0) >= SOME_PERCENT:
            break
    return [str(job["job_id"]) for job in jobs]


def nothing(page: Page) -> None:
    """Leave the page as it is."""


def verify(page: Page) -> None:
    """Verify the receipt."""
    page.get_by_role("tab", name="Receipt").click()
    page.get_by_role("button", name="Verify in this browser").click()
    page.locator(".verdict").wait_for()


def ask(page: Page) -> None:
    """Ask a question and wait for the answer."""
    page.get_by_text("More settings").click()
    page.get_by_label("Temperature").fill("0")
    page.get_by_text("More settings").click()
    page.get_by_label("Your message").fill(QUESTION)
    page.get_by_role("button", name="Send").click()
    page.get_by_role("link", name="Job and receipt").wait_for(timeout=JOB_SECONDS * 1000)


def fill_in(page: Page) -> None:
    """Fill in a part of the form."""
    page.get_by_label("Prompt", exact=True).fill("A lighthouse in a storm, oil on canvas")
    page.get_by_label("Size").fill("512x512")
    page.get_by_label("Steps").fill("20")
    page.get_by_text("megapixel-steps").wait_for()


@dataclass(frozen=True)
class Shot:
    """A page, and the actions before its screenshot."""

    path: str
    prepare: Callable[[Page], None] = nothing


def shots(jobs: Jobs) -> dict[str, Shot]:
    """Return all screenshots by name."""
    return {
        "overview": Shot("/"),
        "job": Shot(f"/jobs/{jobs.film}", verify),
        "transcript": Shot(f"/jobs/{jobs.talk}"),
        "form": Shot("/new/image_generation", fill_in),
        "chat": Shot("/chat", ask),
        "wallet": Shot("/wallet"),
        "market": Shot("/market"),
        "machine": Shot("/machine"),
        "earnings": Shot("/machine/earnings"),
        "network": Shot("/network"),
    }


DOCUMENTED = ("overview", "job", "form", "machine")
"""The screenshots in the documentation; others are taken only on request."""


@contextmanager
def window(browser: Browser, size: tuple[int, int], scheme: Literal["light", "dark"]) -> Iterator[Page]:
    """Open a window without animations."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.set_default_timeout(LIMIT_MS)
    yield page
    context.close()


def sign_in(page: Page, agent: dict[str, Any], account_id: str) -> None:
    """Sign in by a one-time link with all of the agent's roles."""
    answer = httpx.post(
        f"{agent['url']}/v1/admin/logins",
        headers={"X-API-Key": agent["admin_key"]},
        json={"account_id": account_id, "miner_id": agent["miner_id"], "admin": True},
        timeout=10,
    )
    page.goto(agent["url"] + answer.raise_for_status().json()["path"])
    page.get_by_role("button", name="Sign out", include_hidden=True).first.wait_for(state="attached")


def capture(agent: dict[str, Any], account_id: str, pages: dict[str, Shot]) -> None:
    """Take screenshots in all sizes and schemes."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        for width, size in SIZES.items():
            for scheme in SCHEMES:
                with window(browser, size, scheme) as page:
                    sign_in(page, agent, account_id)
                    for name, shot in pages.items():
                        page.goto(f"{agent['url']}/dashboard{shot.path}")
                        page.locator("h1").wait_for()
                        page.locator("[aria-busy=true]").first.wait_for(state="detached")
                        page.get_by_text("\u2026", exact=True).first.wait_for(state="detached")
                        shot.prepare(page)
                        page.evaluate("document.activeElement?.blur(); scrollTo(0, 0)")
                        page.screenshot(path=IMAGES / f"dashboard-{name}-{width}-{scheme}.png")
        browser.close()


def main(names: Sequence[str]) -> None:
    """Take the screenshots in `names`, by default those in the documentation."""
    # Not in build/: the path of the agent's control socket must not exceed 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="aitbc-pictures-") as folder,
        running_agent(Path(folder) / "agent.log", []) as (_, agent),
        AITBCClient(api_key=agent["client_key"], base_url=agent["url"]) as client,
    ):
        every = shots(submit(client, Path(folder)))
        # Otherwise the chat would have to wait for the only device of a machine without cards.
        busy = keep_busy(client, Path(folder)) if "chat" not in names else []
        capture(
            agent, str(client.wallet.get()["account_id"]), {name: every[name] for name in names or DOCUMENTED}
        )
        for job in busy:
            client.jobs.cancel(job)


if __name__ == "__main__":
    main(sys.argv[1:])
