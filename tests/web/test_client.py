"""The dashboard for clients: each service from its form to its result and a verified receipt, with real engines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from aitbc import AITBCClient
from support.agents import Agent
from support.dashboard import Dashboard, visit
from support.sealed_forms import DIARY, Traffic, fill_private_program, seal, see_private_result
from support.service_forms import SERVICES, Media, Service, choose, fill_text, make_media

pytestmark = [pytest.mark.ship, pytest.mark.acceptance]

JOB_MS = 90_000
"""Time limit of a job, including the start of its engine."""

PRINTING = """
def predict(input, **parameters):
    print("one line of its own")
    return {"parameters": parameters}
"""
MARKDOWN = """A table and `code`:

| name | size |
|---|---|
| snake_case_name | **12** |

```python
print("copied")
```

<img src=x onerror="document.title='run'"> [page](https://example.com/) [script](javascript:alert(1))
"""

VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Media:
    return make_media(tmp_path_factory.mktemp("media"))


@pytest.fixture(scope="module")
def client(agent: Agent) -> Iterator[AITBCClient]:
    with agent.client() as client:
        yield client


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
    receipt = page.get_by_role("tab", name="Receipt")
    expect(receipt).to_be_visible(timeout=JOB_MS)
    service.see(page.locator("section", has=page.get_by_role("heading", name="Result")))
    receipt.click()
    page.get_by_role("button", name="Verify in this browser").click()
    verdict = page.locator(".conclusions")
    expect(verdict).to_contain_text("This receipt is genuine.")
    expect(verdict.locator("dt")).to_have_text(
        [f"{word} (proven)" for word in ("Who", "What", "Price", "Log")]
    )
    expect(page.locator(".stamp")).to_have_text("Verified")
    assert dashboard.problems() == []


def test_names_what_is_wrong_with_a_receipt(
    dashboard: Dashboard, client: AITBCClient, tmp_path: Path
) -> None:
    """A genuine receipt, one with another result, one of another network, which is not called wrong, and a file that is none."""
    bundle = client.receipts.export(a_completed_job(client))
    page = dashboard.open("/verify")
    verdict = page.locator(".conclusions")

    def check(content: str) -> None:
        file = tmp_path / "receipt.json"
        file.write_text(content)
        choose(page, "Receipt", file)

    check(json.dumps(bundle))
    expect(verdict).to_contain_text("This receipt is genuine.")

    check(json.dumps(tampered(bundle)))
    expect(verdict).to_contain_text("Do not trust this receipt.")
    expect(verdict.locator("div[data-tone=bad]")).to_contain_text(
        "The result is not the one that the miner signed."
    )
    expect(verdict.locator(".checks [data-tone=bad]").first).to_be_visible()
    assert dashboard.problems() == []

    foreign = json.loads((VECTORS / "receipts.json").read_text())
    check(json.dumps(foreign["bundle"]))
    expect(page.get_by_text("This receipt is from another network")).to_be_visible()
    expect(verdict.locator("dl > div[data-tone=bad]")).to_have_count(0)
    page.get_by_label("Log key of that network").fill(foreign["log_key"])
    expect(verdict).to_contain_text("This receipt is genuine.")
    assert dashboard.problems() == []

    check("no receipt at all")
    expect(verdict).to_contain_text("not a receipt that can be read")


def test_offers_the_receipts_of_the_latest_jobs(dashboard: Dashboard, client: AITBCClient) -> None:
    """One click away from their verification; a visitor without a key sees none."""
    a_completed_job(client)
    page = dashboard.open("/verify")
    page.get_by_role("table", name="Receipts of your latest jobs").get_by_role("link").first.click()
    page.wait_for_url(re.compile(r"/verify\?job=job_"))
    expect(page.locator(".conclusions")).to_contain_text("This receipt is genuine.")
    page.context.clear_cookies()
    page = dashboard.open("/verify")
    expect(page.get_by_text("Drop a receipt here")).to_be_visible()
    expect(page.get_by_role("table")).to_have_count(0)


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
    client.jobs.wait(job["job_id"], timeout=300)
    return str(job["job_id"])


def test_a_form_says_what_is_wrong_before_it_can_be_submitted(dashboard: Dashboard, media: Media) -> None:
    """Each wrong field has one error with an example; Submit is disabled, and links lead to what is needed."""
    page = dashboard.open("/new/blender_rendering")
    submit = page.get_by_role("button", name="Submit job")
    expect(submit).to_be_disabled()
    expect(page.locator(".field-error")).to_have_count(0)
    page.get_by_label("Samples").fill("0")
    samples = page.locator('[data-field="Samples"]')
    expect(samples.locator(".field-error")).to_have_text(
        "Enter a whole number from 1 to 65,536, for example 128."
    )
    expect(samples.locator("input")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Maximum cost").fill("1,5")
    expect(page.locator('[data-field="Maximum cost"] .field-error')).to_have_text(
        "Enter an amount in credits, for example 1.00."
    )
    needed = page.locator(".todo")
    needed.get_by_role("button", name="Blend file").click()
    expect(page.locator('[data-field="Blend file"] .field-error')).to_have_text("Add a file.")
    assert dashboard.problems() == []
    choose(page, "Blend file", media.scene)
    page.get_by_label("Samples").fill("2")
    expect(submit).to_be_disabled()
    page.get_by_label("Maximum cost").fill("1.5")
    expect(submit).to_be_enabled()
    expect(needed).to_have_count(0)


def test_shows_the_coordinators_own_errors_once(dashboard: Dashboard) -> None:
    """What only the coordinator can check appears at its field while the form is filled in, on one line."""
    page = dashboard.open("/new/image_generation")
    page.get_by_label("Prompt", exact=True).fill("A lighthouse")
    page.get_by_label("Size").fill("huge")
    error = page.locator('[data-field="Size"] .field-error')
    expect(error).to_have_count(1)
    expect(error).not_to_contain_text("pattern")
    expect(page.get_by_role("button", name="Submit job")).to_be_disabled()


def test_shows_chat_answers_as_they_are_written(dashboard: Dashboard) -> None:
    """The second answer builds on the first, and can be replaced; an error replaces it; the history survives a reload."""
    page = dashboard.open("/chat")
    models = page.get_by_label("Model", exact=True)
    expect(models.locator('optgroup[label="Available now"] option')).to_have_count(1)
    expect(models).to_have_value("smollm2-135m-instruct")
    expect(models.locator('optgroup[label="After a download"]')).to_contain_text("qwen3-8b")
    page.get_by_role("button", name="Settings of the answers").click()
    page.get_by_label("Longest answer").fill("24")
    page.get_by_label("Temperature").fill("0")
    page.get_by_role("button", name="Done").click()
    box = page.get_by_label("Your message")
    for number, question in enumerate(("Name the capital of France.", "Say it again."), start=1):
        box.fill(question)
        box.press("Enter")
        expect(page.get_by_role("link", name="Job and receipt")).to_have_count(number, timeout=JOB_MS)
    answers = page.locator('.chat-turn[data-role="assistant"]')
    expect(answers).to_have_count(2)
    expect(answers.first).to_contain_text("Paris")
    expect(answers.first).to_contain_text("tokens")
    expect(answers.first.locator(".chat-who")).to_have_text("smollm2-135m-instruct")
    assert dashboard.problems() == []
    page.get_by_role("button", name="Edit").click()
    expect(box).to_have_value("Say it again.")
    box.fill("Name the capital of Italy.")
    page.route("**/v1/services/llm/inference", lambda route: route.abort(), times=1)
    box.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("does not respond")
    expect(page.locator(".chat-turn")).to_have_count(4)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("link", name="Job and receipt")).to_have_count(2, timeout=JOB_MS)
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_text("Say it again.")).to_have_count(0)
    dashboard.faults = [fault for fault in dashboard.faults if "ERR_FAILED" not in fault]
    page.reload()
    expect(answers).to_have_count(2)
    expect(page.locator(".chat-list").get_by_text("Name the capital of France.")).to_be_visible()
    answers.first.get_by_role("link", name="Job and receipt").click()
    expect(page.get_by_role("tab", name="Receipt")).to_be_visible()


def test_shows_markdown_that_can_be_copied_and_deleted(browser: Browser, agent: Agent) -> None:
    """Tables, code and links are elements, HTML is text, and a deleted conversation does not come back."""
    with visit(browser, agent) as dashboard, agent.client() as client:
        dashboard.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = dashboard.sign_in().open("/chat")
        turns = [
            {"role": "user", "content": "Show it."},
            {"role": "assistant", "content": MARKDOWN, "note": "9 tokens"},
        ]
        stored = [{"id": "1", "updatedAt": "2026-11-27T12:00:00Z", "turns": turns}]
        page.evaluate(
            "([key, value]) => localStorage.setItem(key, value)",
            [f"aitbc.chat.{client.wallet.get()['account_id']}", json.dumps(stored)],
        )
        dashboard.open("/chat")
        page.get_by_role("link", name="Show it.").click()
        answer = page.locator(".answer")
        expect(answer.get_by_role("cell", name="snake_case_name")).to_be_visible()
        expect(answer).to_contain_text('<img src=x onerror="')
        expect(answer.get_by_role("link")).to_have_count(1)
        assert page.title() == "Chat - AITBC"
        answer.get_by_role("button", name="Copy the code").click()
        assert page.evaluate("navigator.clipboard.readText()") == 'print("copied")'
        page.get_by_role("button", name="Copy the answer").click()
        assert page.evaluate("navigator.clipboard.readText()") == MARKDOWN
        assert dashboard.problems() == []
        page.get_by_role("button", name="Delete the conversation").click()
        expect(answer).to_have_count(0)
        dashboard.open("/chat?c=1")
        expect(page.locator(".chat-turn")).to_have_count(0)
        assert not dashboard.faults


def test_updates_the_job_list_live(dashboard: Dashboard, client: AITBCClient) -> None:
    """A job submitted elsewhere appears, waits for its file, and can be cancelled. Its age goes on."""
    page = dashboard.open("/jobs")
    job = client.jobs.create(
        {"name": "From elsewhere", "type": "ai_inference", "model": {"entrypoint": "late.py"}}
    )
    row = page.get_by_role("row", name="From elsewhere")
    expect(row).to_contain_text("waits for files")
    age = row.locator("time")
    expect(age).to_have_text(re.compile(r"^\d+ s ago$"))
    expect(age).not_to_have_text(age.inner_text())
    assert re.search(r"\d\d:\d\d:\d\d", age.get_attribute("title") or "")
    row.get_by_role("link").click()
    expect(page.get_by_text("Not uploaded yet: model.source")).to_be_visible()
    page.get_by_role("button", name="Cancel the job").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    expect(page.get_by_text("The job was cancelled").first).to_be_visible()
    assert client.jobs.get(job["job_id"])["status"] == "cancelled"


def test_filters_of_the_job_list_are_in_its_address(dashboard: Dashboard, client: AITBCClient) -> None:
    """Jobs are found by state, service, name and label; the filters survive a reload and can be opened as a link."""
    job = printing_job(client, name="Filtered", labels={"project": "filters"})
    page = dashboard.open("/jobs")
    page.get_by_role("button", name="Completed").click()
    page.get_by_label("Service").select_option("ai_inference")
    page.get_by_label("Label", exact=True).select_option(label="project: filters (1)")
    expect(page.get_by_text("1 job (completed, Python model, labelled project: filters)")).to_be_visible()
    row = page.get_by_role("row").filter(has=page.locator(f'a[href$="{job}"]'))
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(1)
    address = page.url
    assert all(
        part in address for part in ("status=completed", "type=ai_inference", "label=project%3Afilters")
    )
    page.reload()
    expect(row).to_be_visible()
    expect(rows).to_have_count(1)
    page.get_by_label("Name").fill("Nothing has this name")
    page.get_by_label("Name").press("Enter")
    page.get_by_role("link", name="Remove the filters").click()
    expect(row).to_be_visible()
    row.get_by_role("link", name="project: filters").click()
    page.wait_for_url(re.compile(r"/jobs\?label=project%3Afilters$"))
    expect(rows).to_have_count(1)
    assert dashboard.problems() == []


def test_shows_what_a_job_was_given_and_runs_it_again(dashboard: Dashboard, client: AITBCClient) -> None:
    """The page has the request and the log; the job runs again, with and without changes, and can be deleted."""
    job = printing_job(client, name="Again", parameters={"strength": 1})
    page = dashboard.open(f"/jobs/{job}")
    expect(page.locator(".fact-line")).to_have_text(
        re.compile(r"Completed.*Python model.*on .+took .+cost .+ credits.* ago")
    )
    panel = page.get_by_role("tabpanel")
    expect(panel).to_contain_text("model.py")
    panel.get_by_text("Program").click()
    expect(panel).to_contain_text("one line of its own")
    page.get_by_role("tab", name="Log").click()
    expect(page.get_by_role("list", name="Log")).to_contain_text("one line of its own")
    page.get_by_role("tab", name="Details").click()
    # One kind of time, with the other in its tooltip.
    times = panel.locator("time")
    expect(times).to_have_text([re.compile(r"ago$|^now$")] * 3)
    expect(times.first).to_have_attribute("title", re.compile(r"\d\d:\d\d:\d\d"))
    expect(page.get_by_role("tab", name=re.compile("Audit|Files"))).to_have_count(0)
    assert dashboard.problems() == []
    page.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Run again unchanged").click()
    page.wait_for_url(re.compile(rf"/jobs/(?!{job})job_"))
    expect(page.get_by_role("heading", name="Again")).to_be_visible()
    page.get_by_role("link", name="Run again").click(timeout=JOB_MS)
    expect(page.get_by_text("Filled in from an earlier job")).to_be_visible()
    expect(page.get_by_label("File with predict")).to_have_value("model.py")
    page.get_by_label("Parameters").fill('{"strength": 2}')
    page.get_by_role("button", name="Submit job").click()
    expect(page.get_by_role("heading", name="Result")).to_be_visible(timeout=JOB_MS)
    expect(page.locator(".json").first).to_contain_text('"strength": 2')
    changed = page.url.rpartition("/")[2]
    page.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete the job").click()
    page.wait_for_url(re.compile(r"/jobs$"))
    jobs = client.jobs.list(limit=50)["jobs"]
    assert changed not in {other["job_id"] for other in jobs}


@pytest.mark.needs("sealing")
def test_seals_a_job_that_only_this_browser_opens(
    dashboard: Dashboard, browser: Browser, agent: Agent, client: AITBCClient, tmp_path: Path
) -> None:
    """Program, input, log, result and output file: in no request in clear, and all there on the page that sealed them."""
    page = dashboard.open("/new/ai_inference")
    seal(page)
    traffic = Traffic(page)  # the empty form may have been validated before
    fill_private_program(page, tmp_path)
    assert dashboard.problems() == []
    page.get_by_role("button", name="Seal and submit").click()
    page.wait_for_url(re.compile(r"/jobs/job_"))
    expect(page.get_by_role("tab", name="Receipt")).to_be_visible(timeout=JOB_MS)
    see_private_result(page)
    page.get_by_role("tab", name="Receipt").click()
    expect(page.get_by_text("none: the machine's owner can read its memory")).to_be_visible()
    page.get_by_role("button", name="Verify in this browser").click()
    expect(page.locator(".conclusions")).to_contain_text("This receipt is genuine.")
    expect(page.locator(".conclusions")).to_contain_text("opens with your key")
    expect(page.get_by_role("link", name="Run again")).to_have_count(0)
    assert dashboard.problems() == []
    assert traffic.in_clear() == []
    job = client.jobs.get(page.url.partition("#")[0].rpartition("/")[2])
    assert (job["parameters"], bool(job["sealed"]["request_id"])) == ({}, True)
    forge(page, job["job_id"])
    page.reload()
    expect(
        page.get_by_text("The job's answer is not sealed, though its request was. Do not trust it.")
    ).to_be_visible()
    expect(page.get_by_text("lines in clear in the log")).to_have_count(0)
    assert "FORGED" not in page.content()
    with visit(browser, agent) as other:
        other.sign_in().open(f"/jobs/{job['job_id']}")
        expect(other.page.get_by_text("Sealed in another browser or program")).to_be_visible()
        expect(other.page.get_by_text("was sealed with another key")).to_be_visible()
        assert DIARY not in other.page.content()


def forge(page: Page, job_id: str) -> None:
    """Have the coordinator describe a sealed job as one in clear, with a result and a log of its own."""
    entries = [{"time": "2026-12-01T00:00:00Z", "attempt": 1, "source": "stdout", "text": "FORGED"}]
    for path, changes in (
        ("", {"sealed": None, "parameters": {"text": "FORGED"}}),
        ("/results", {"results": {"text": "FORGED"}}),
        ("/log", {"entries": entries}),
    ):

        def answer(route: Route, *, changes: dict[str, Any] = changes) -> None:
            response = route.fetch()
            route.fulfill(response=response, json={**response.json(), **changes})

        page.route(f"**/v1/jobs/{job_id}{path}", answer)


@pytest.mark.needs("sealing")
def test_shows_a_sealed_answer_as_it_is_written(dashboard: Dashboard, media: Media) -> None:
    """The events of a sealed job are opened too; the coordinator checks nothing that was typed."""
    page = dashboard.open("/new/llm_inference")
    seal(page)
    traffic = Traffic(page)  # the empty form may have been validated before
    fill_text(page, media)
    page.get_by_role("button", name="Seal and submit").click()
    page.wait_for_url(re.compile(r"/jobs/job_"))
    expect(page.locator(".answer")).to_contain_text("Paris", timeout=JOB_MS)
    expect(page.get_by_role("tab", name="Receipt")).to_be_visible(timeout=JOB_MS)
    assert traffic.in_clear() == []


def test_a_wrong_form_has_no_estimate_and_cannot_be_submitted(dashboard: Dashboard) -> None:
    """Each wrong field has its own error; what is wrong with several together is at the one to change."""
    page = dashboard.open("/new/image_generation")
    submit = page.get_by_role("button", name="Submit job")
    total = page.locator(".receipt-total")
    page.get_by_label("Prompt", exact=True).fill("A cat")
    page.get_by_text("More options").click()
    page.get_by_label("Steps", exact=True).fill("2")
    page.get_by_label("Size").fill("64x64")
    expect(total).to_contain_text("About")
    page.get_by_label("Steps", exact=True).fill("-3")
    expect(total).to_contain_text("Correct the form to see the price")
    expect(submit).to_be_disabled()
    page.get_by_label("Steps", exact=True).fill("2")
    page.get_by_label("Size").fill("10x10")
    expect(page.locator("[data-name=size] .field-error")).to_contain_text("Sides are multiples of 8")
    expect(total).to_contain_text("Correct the form to see the price")
    expect(submit).to_be_disabled()
    page.get_by_label("Size").fill("64x64")
    expect(submit).to_be_enabled()
    page.get_by_label("Quality").fill("50")
    expect(page.locator("[data-name=quality] .field-error")).to_contain_text("Has no effect on png")
    expect(submit).to_be_disabled()
    assert dashboard.problems() == []


def test_shows_lists_of_a_request_in_one_line(dashboard: Dashboard, client: AITBCClient) -> None:
    parameters = {"model": "smollm2-135m-instruct", "prompt": "Hello", "stop": ["one", "two"]}
    job = client.jobs.create(
        {
            "type": "llm_inference",
            "parameters": parameters,
            "pricing": {"max_cost": "0.00000001"},
            "wait": True,
        }
    )
    page = dashboard.open(f"/jobs/{job.job_id}")
    expect(page.locator("dt:text-is('Stop') + dd")).to_have_text("one, two")
    client.jobs.cancel(job.job_id)


@pytest.mark.needs("waits")
def test_says_why_a_job_waits(dashboard: Dashboard, client: AITBCClient) -> None:
    """A form names the reason for which no miner can run the job; the job that waits all the same does so too."""
    page = dashboard.open("/new/llm_inference")
    page.get_by_label("Prompt").fill("Hello")
    page.get_by_label("Have another miner check the result").check()
    expect(page.locator(".receipt-lines")).to_contain_text("Audit, 10 % of the price")
    page.get_by_label("Have another miner check the result").uncheck()
    page.get_by_label("Maximum cost").fill("0.00000001")
    page.get_by_role("button", name="Submit job").click()
    refusal = page.locator(".notice", has_text="No miner can run this job")
    expect(refusal.locator("li").first).to_contain_text("0.00000001")
    expect(refusal).to_contain_text("You:")
    assert dashboard.problems() == []
    refusal.get_by_role("button", name="Submit and wait anyway").click()
    page.wait_for_url(re.compile(r"/jobs/job_"))
    waiting = page.locator(".notice")
    expect(waiting).to_contain_text("0.00000001")
    expect(waiting).to_contain_text("You: Submit the job again")
    waiting.get_by_text("1 miner considered").click()
    expect(waiting.locator("dd")).to_contain_text("0.00000001")
    assert dashboard.problems() == []
    # The refusal, which the browser reports to the console.
    dashboard.faults = [fault for fault in dashboard.faults if "422" not in fault]
    client.jobs.cancel(page.url.rpartition("/")[2])


def test_assigns_a_waiting_job_to_an_offer(dashboard: Dashboard, client: AITBCClient) -> None:
    """A client chooses an offer for a job of its own that waits."""
    job = client.jobs.create({"name": "For sale", "type": "ai_inference", "model": {"entrypoint": "late.py"}})
    page = dashboard.open(f"/jobs/{job['job_id']}")
    page.get_by_role("button", name="Choose an offer").click()
    dialog = page.get_by_role("dialog")
    offer = dialog.get_by_label("Offer")
    offer.select_option(index=1)
    expect(offer).to_contain_text(re.compile(r"[\d.]+ credits per hour of a machine"))
    assert dashboard.problems() == []
    dialog.get_by_role("button", name="Assign the job").click()
    expect(page.get_by_text("The job was assigned to the offer.")).to_be_visible()
    assert client.jobs.get(job["job_id"])["offer_id"]
    client.jobs.cancel(job["job_id"])


def test_the_market_names_miners_units_and_one_action(dashboard: Dashboard, client: AITBCClient) -> None:
    """Each offer is one row with one link, to a new job for it."""
    (miner,) = client.marketplace.miners()["miners"]
    page = dashboard.open("/market")
    row = page.get_by_role("table", name="Offers of machines").get_by_role("row", name="Language model")
    expect(row.get_by_role("link")).to_have_count(1)
    expect(row.get_by_role("button")).to_have_count(0)
    expect(row).to_contain_text(miner["name"])
    expect(row).to_contain_text("smollm2-135m-instruct")
    expect(row).to_contain_text("credits per million tokens")
    row.get_by_role("link").click()
    page.wait_for_url(re.compile(r"/new/llm_inference\?offer=offer_"))
    expect(page.get_by_text("Job for an offer")).to_be_visible()


def printing_job(client: AITBCClient, **options: Any) -> str:
    """Run a Python model that prints a line. Return the job's id."""
    model = {"entrypoint": "model.py", "source": {"inline": PRINTING}}
    job = client.jobs.create({"type": "ai_inference", "model": model, **options})
    client.jobs.wait(job["job_id"], timeout=JOB_MS / 1000)
    return str(job["job_id"])
