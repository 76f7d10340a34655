"""Takes screenshots of the dashboard's pages, for those who change them.

    scripts/screenshots serve &                        keeps an agent with content running; further calls use it, and need a few seconds
    scripts/screenshots                                all pages at 1440, 768 and 390 pixels, light and dark, into build/screenshots
    scripts/screenshots /wallet failed --sizes 390     only these pages; names stand for jobs and other objects (list them with --list)
    scripts/screenshots / --as client --themes dark --axe --fold
    scripts/screenshots guide                          the pictures of the style guide and of the documentation, in docs/
    scripts/screenshots guide                          the style guide's two pictures in docs/assets

The dashboard is served from web/dist: after `npm run build --workspace agent/coordinator/web` a running agent serves the new one.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Page

from support.agents import Agent
from support.dashboard import CLIENT_PAGES, MACHINE_PAGES, Dashboard, Scheme, chromium, login_path, visit
from support.machines.showroom import showroom

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "build" / "screenshots"
STATE = PICTURES / "agent.json"
GUIDE = ROOT / "docs" / "assets"
GUIDE_SIZE = (1280, 900)
DOCUMENTED = {"home": "/", "form": "/new/video_transcoding", "job": "film", "machine": "/machine"}
"""The pages in docs/images/dashboard-NAME.png."""
COLOURS = 128
"""As many as these pictures need; they are files of the repository, and so they are small."""
HEIGHTS = {1440: 900, 768: 1024, 390: 844}
THEMES: tuple[Scheme, ...] = ("light", "dark")
FURTHER = ("/style", "/machine/payouts", "/machine/audits", "/network/audits", "/network/payouts")
ROLES = {
    "all": ("account_id", "miner_id", "admin"),
    "client": ("account_id",),
    "owner": ("miner_id",),
    "operator": ("admin",),
    "nobody": (),
}


def read_arguments() -> argparse.Namespace:
    """Return the options and the pages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pages", nargs="*", help="addresses such as /wallet, names, or `serve`")
    parser.add_argument("--sizes", default="1440,768,390", help="widths in pixels (default: %(default)s)")
    parser.add_argument("--themes", default="light,dark", help="default: %(default)s")
    parser.add_argument("--as", dest="role", choices=ROLES, default="all", help="who is signed in")
    parser.add_argument("--fold", action="store_true", help="only what is visible without scrolling")
    parser.add_argument("--axe", action="store_true", help="print what axe finds")
    parser.add_argument("--list", action="store_true", help="list the names of pages")
    return parser.parse_args()


def main() -> None:
    """Serve, list, or take screenshots."""
    arguments = read_arguments()
    PICTURES.mkdir(parents=True, exist_ok=True)
    if arguments.pages == ["serve"]:
        serve()
        return
    with served() as state:
        if arguments.pages == ["guide"]:
            picture_guide(state)
        elif arguments.list:
            print(*(f"{name:12} {path}" for name, path in state["names"].items()), sep="\n")
        else:
            shoot(state, arguments)


def serve() -> None:
    """Run the agent until Ctrl-C or a kill, which the shell of a script makes a background program ignore."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with exhibited() as state:
        print(
            f"Serving {state['url']}/dashboard/ until Ctrl-C; its data is in {state['data_dir']}.", flush=True
        )
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("Stopping.")


@contextmanager
def exhibited() -> Iterator[dict[str, Any]]:
    """Run an agent with content, and yield what is needed to use it."""
    # Not in build/: the path of the agent's control socket must not exceed 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="shots-") as folder,
        showroom(Path(folder)) as (agent, rig, names),
    ):
        state = {"url": agent.url, "data_dir": str(agent.data_dir), "miner_id": rig.miner_id, "names": names}
        STATE.write_text(json.dumps(state))
        try:
            yield state
        finally:
            STATE.unlink(missing_ok=True)


@contextmanager
def served() -> Iterator[dict[str, Any]]:
    """Yield the running agent, or one that is started for this call."""
    try:
        state = json.loads(STATE.read_text())
        httpx.get(f"{state['url']}/v1/health", timeout=60).raise_for_status()
    except (OSError, httpx.HTTPError):
        with exhibited() as state:
            yield state
    else:
        yield state


def agent_of(state: dict[str, Any]) -> Agent:
    """Return the running agent."""
    agent = Agent(Path(state["data_dir"]))
    agent.url = state["url"]
    return agent


def picture_guide(state: dict[str, Any]) -> None:
    """Take the pictures of the style guide in both themes, and those of the documentation."""
    agent = agent_of(state)
    with chromium() as browser:
        for theme in THEMES:
            with visit(browser, agent, size=GUIDE_SIZE, scheme=theme) as dashboard:
                store_picture(dashboard, "/style", GUIDE / f"style-{theme}.png", full_page=True)
        with visit(browser, agent, size=(1440, 900), scheme="light") as dashboard:
            dashboard.sign_in(login_path(agent, miner_id=state["miner_id"], only=ROLES["all"]))
            for name, path in DOCUMENTED.items():
                file = ROOT / "docs" / "images" / f"dashboard-{name}.png"
                store_picture(dashboard, state["names"].get(path, path), file, full_page=False)


def store_picture(dashboard: Dashboard, path: str, file: Path, *, full_page: bool) -> None:
    """Store a small picture of a page."""
    settled(dashboard, path).screenshot(path=file, full_page=full_page)
    with Image.open(file) as picture:
        picture.convert("RGB").quantize(COLOURS).save(file, optimize=True)
    print(file.relative_to(ROOT), f"{file.stat().st_size // 1000} kB")


def shoot(state: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Take the screenshots, and print each file's path with the errors that the page had."""
    agent = agent_of(state)
    names = state["names"]
    paths = arguments.pages or [*CLIENT_PAGES, *MACHINE_PAGES, *FURTHER, *names]
    if unknown := [path for path in paths if path not in names and not path.startswith("/")]:
        sys.exit(
            f"{unknown[0]} is neither an address such as /jobs nor one of these names: {', '.join(names)}."
        )
    signed_in = "" if arguments.role == "all" else f"-{arguments.role}"
    with chromium() as browser:
        for width in map(int, arguments.sizes.split(",")):
            for theme in arguments.themes.split(","):
                with visit(browser, agent, size=(width, HEIGHTS.get(width, 900)), scheme=theme) as dashboard:
                    if ROLES[arguments.role]:
                        # The owner of the machine with two cards.
                        dashboard.sign_in(
                            login_path(agent, miner_id=state["miner_id"], only=ROLES[arguments.role])
                        )
                    for path in paths:
                        take(
                            dashboard,
                            names.get(path, path),
                            f"{slug(path)}{signed_in}-{width}-{theme}",
                            arguments,
                        )


def slug(path: str) -> str:
    """Return an address as a part of a file's name."""
    return "-".join(part for part in path.replace("?", "/").replace("=", "/").split("/") if part) or "home"


def settled(dashboard: Dashboard, path: str) -> Page:
    """Open a page, and return it once it has its data, pictures and fonts."""
    page: Page = dashboard.open(path)
    page.get_by_text("\u2026", exact=True).first.wait_for(state="detached")
    page.evaluate(
        "Promise.all([document.fonts.ready, ...[...document.images].map(image => image.decode().catch(() => 0))])"
    )
    page.evaluate("document.activeElement?.blur(); scrollTo(0, 0)")
    return page


def take(dashboard: Dashboard, path: str, name: str, arguments: argparse.Namespace) -> None:
    """Take one screenshot."""
    page = settled(dashboard, path)
    file = PICTURES / f"{name}.png"
    page.screenshot(path=file, full_page=not arguments.fold)
    problems = dashboard.problems() if arguments.axe else []
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    if wide > 0:
        problems.append(f"the page is {wide} pixels wider than the screen")
    print(file.relative_to(ROOT), *dashboard.faults, *problems, sep="\n    ", flush=True)
    dashboard.faults.clear()


if __name__ == "__main__":
    main()
