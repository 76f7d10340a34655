"""The JavaScript SDK in Chromium, on a page over plain http, where browsers provide no WebCrypto."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, sync_playwright

from support.agents import Agent
from support.dashboard import CHROMIUM, FLAGS, LIMIT_MS

ROOT = Path(__file__).parents[3]
BUNDLER = ROOT / "tests" / "javascript" / "bundle.js"
HOST = "coordinator.test"

pytestmark = [pytest.mark.ship, pytest.mark.acceptance]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, bundled by Vite."""
    directory = tmp_path_factory.mktemp("bundle")
    command = ["node", BUNDLER, directory]
    subprocess.run(command, cwd=BUNDLER.parent, check=True, timeout=300)
    return directory


@pytest.fixture(scope="module")
def page(agent: Agent, modules: Path) -> Iterator[Page]:
    """A page on the agent's origin, under a host name that browsers do not recognise as this machine."""

    def answer(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        if not name:
            route.fulfill(body="<!doctype html><title>A page</title>", content_type="text/html")
            return
        route.fulfill(body=(modules / name).read_text(), content_type="text/javascript")

    flags = (
        f"--host-resolver-rules=MAP {HOST} 127.0.0.1",
        # The test serves the page itself, so Chromium treats it as a page from the internet that accesses this machine.
        "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
        page = browser.new_page()
        page.set_default_timeout(LIMIT_MS)
        page.route("**/page/**", answer)
        page.goto(f"http://{HOST}:{agent.port}/page/")
        # All resources are loaded before interception ends: while requests are intercepted, large uploads fail.
        for module in modules.iterdir():
            page.evaluate("name => import('/page/' + name).then(() => null)", module.name)
        page.unroute_all()
        yield page
        browser.close()


def run(page: Page, agent: Agent, script: str) -> Any:
    """Run a script with `client` and the package, `aitbc`. Returns its result."""
    begin = "const aitbc = await import('/page/client.js'); const client = new aitbc.AITBCClient({apiKey});"
    return page.evaluate(f"async apiKey => {{ {begin} {script} }}", agent.file["client_key"])


def test_the_sdk_needs_no_webcrypto_and_finds_its_own_server(page: Page, agent: Agent) -> None:
    answer = run(page, agent, "return [isSecureContext, 'subtle' in crypto, client.baseUrl]")
    assert answer == [False, False, f"http://{HOST}:{agent.port}"]


UPLOAD = """
const bytes = new Uint8Array(17 * 2 ** 20).fill(7);
const sent = [];
const onProgress = (done, total) => sent.push([done, total]);
const artifact = await client.artifacts.upload(new File([bytes], 'film.mkv'), { onProgress });
const blob = await client.artifacts.blob(artifact.artifactId);
return [artifact.mediaType, artifact.size, sent.at(-1), blob.size, blob.type];
"""


@pytest.mark.needs("tus")
def test_files_are_uploaded_in_parts_and_downloaded_again(page: Page, agent: Agent) -> None:
    size = 17 * 2**20
    answer = run(page, agent, UPLOAD)
    assert answer == ["video/x-matroska", size, [size, size], size, "video/x-matroska"]


JOB = """
const types = [];
const controller = new AbortController();
const listening = (async () => {
  for await (const event of client.events({ signal: controller.signal, onOpen: () => start() })) {
    types.push(event.type);
    if (event.type === 'receipt_created') controller.abort('received');
  }
})().catch(reason => reason);
await new Promise(resolve => { globalThis.start = resolve; });
const source = 'def predict(input, **parameters): return {"size": len(open(input).read())}';
const job = await client.services.run(new File([source], 'count.py'), { input: new Blob(['hello']) });
const states = [];
for await (const { job: state } of client.jobs.events(job.jobId)) if (state) states.push(state.status);
const ended = await listening;
const { logKey } = await client.health();
const bundle = await client.receipts.export(job.jobId);
const found = await aitbc.verifyReceipt(bundle, { logKey });
bundle.results.size = 6;
const tampered = await aitbc.verifyReceipt(bundle, { logKey });
return [states.at(-1), ended, types.includes('job_update'), found.valid, found.failures, tampered.failures];
"""


def test_a_job_is_followed_and_its_receipt_verified(page: Page, agent: Agent) -> None:
    """Over server-sent events and a WebSocket, which cannot send headers in a browser."""
    changed = ["results: SHA-256 differs from the signed statement."]
    assert run(page, agent, JOB) == ["completed", "received", True, True, [], changed]
