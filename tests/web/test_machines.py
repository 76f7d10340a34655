"""The dashboard for machine owners and operators, and the page for keys."""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from agent.protocol.join_code import parse_join_code
from support.agents import Agent
from support.clients.scripted_miner import GPU, ScriptedMiner, capabilities
from support.dashboard import LIMIT_MS, MACHINE_PAGES, PHONE, Dashboard, visit
from support.jobs import ended
from support.machines.gpu_samples import store_gpu_samples

pytestmark = [pytest.mark.ship, pytest.mark.acceptance]

GPUS = [{**GPU, "uuid": f"GPU-{index}", "index": index, "name": f"GPU {index}"} for index in (0, 1)]
ENERGY = {
    "price": 0.31,
    "currency": "EUR",
    "problem": "https://prices.example.org: no answer in time",
    "today": {
        "period": "2026-12-01",
        "jobs": 3,
        "kwh": 1.25,
        "idle_kwh": 0.05,
        "earned": "1.2",
        "electricity": "0.39",
        "net": "0.81",
    },
    "month": {
        "period": "2026-12",
        "jobs": 9,
        "kwh": 5.0,
        "earned": "1.3",
        "electricity": "1.55",
        "net": "-0.25",
    },
    "unprofitable": [
        {"service": "image_generation", "model": "small-model", "reason": "An hour of it costs too much."}
    ],
}
SELFTEST = {
    "verdict": "failed",
    "began_at": 1.76e9,
    "seconds": 250.5,
    "agent_version": "0.2.0",
    "problems": ["GPU 0: The card throttles."],
    "cards": [
        {"uuid": "GPU-0", "figures": {"memory_checked": 24 * 2**30, "temperature": 97, "upload": 2**30}}
    ],
}
MODEL = "def predict(input):\n    return {'prediction': 'cat'}\n"

expect.set_options(timeout=LIMIT_MS)


@dataclass
class Rig(ScriptedMiner):
    """A scripted machine with two GPUs."""

    offered: dict[str, Any] = field(default_factory=dict)

    def beat(
        self,
        *,
        paused: str | None = None,
        executed: Sequence[str] = (),
        refused: Sequence[dict[str, Any]] = (),
    ) -> list[dict[str, Any]]:
        """Send a heartbeat with measurements of the GPUs, the second one paused with a reason. Return the waiting commands."""
        gpus = [
            {"uuid": "GPU-0", "memory_free": 6 * 2**30, "utilization": 97, "temperature": 71, "power": 310, "power_limit": 450},
            {"uuid": "GPU-1", "memory_free": 24 * 2**30, "utilization": 0, "temperature": 38, "power": 14, "paused": paused},
        ]  # fmt: skip
        activity = {
            "idle": [
                {"reason": "working", "share": 0.4},
                {"reason": "no jobs for this machine", "share": 0.4},
                {"reason": "fetching a model or an input", "share": 0.2},
            ],
            "downloads": [{"model": "large-model", "done": 2**30, "total": 4 * 2**30}],
            "energy": ENERGY,
        }
        body = {"leases": [], "gpus": gpus, "activity": activity, "executed": executed, "refused": refused}
        answer = self.http.post("/heartbeat", json=body)
        assert answer.status_code == 200, answer.text
        commands: list[dict[str, Any]] = answer.json()["commands"]
        return commands

    def report(self, **settings: Any) -> None:
        """Send the capabilities with these settings."""
        answer = self.http.post(
            "/heartbeat", json={"leases": [], "capabilities": {**self.offered, "settings": settings}}
        )
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def rig(agent: Agent) -> Rig:
    """A scripted machine that has joined the agent's network, after another machine of the same owner."""
    key = {"X-API-Key": agent.file["admin_key"]}
    body = {"owner": "alice", "uses": 2}
    token = httpx.post(f"{agent.url}/v1/admin/enrolments", json=body, headers=key).json()["enrolment_token"]
    other = ScriptedMiner(agent.url).register(enrolment_token=token, name="the old rig")
    assert other.status_code == 200, other.text
    rig = Rig(agent.url)
    offered = capabilities(gpus=GPUS, unavailable={"video_transcoding": ["ffmpeg was not found."]})
    del offered["services"]["video_transcoding"]
    offered["services"]["image_generation"] |= {"models": ["small-model"], "downloadable": True}
    offered["selftest"] = SELFTEST
    rig.offered = offered
    answer = rig.register(enrolment_token=token, capabilities=offered, name="the rig")
    assert answer.status_code == 200, answer.text
    rig.beat()
    return rig


@pytest.fixture
def owner(browser: Browser, agent: Agent, rig: Rig) -> Iterator[Dashboard]:
    """A browser window of the rig's owner, signed in with its key."""
    with visit(browser, agent) as dashboard:
        yield dashboard.sign_in(key=rig.registration["api_key"])
        assert not dashboard.faults


def status(agent: Agent, key: str) -> int:
    """Return the HTTP status of a call with this key."""
    return httpx.get(f"{agent.url}/v1/key", headers={"X-API-Key": key}).status_code


def confirm(page: Page, button: str) -> None:
    """Press a button of the open dialog."""
    page.get_by_role("dialog").get_by_role("button", name=button, exact=True).click()


def test_shows_the_machine_to_its_owner(owner: Dashboard, rig: Rig, agent: Agent) -> None:
    """All machines of the owner; GPU measurements, how its time was used, and why services are unavailable."""
    earlier = [{"uuid": "GPU-0", "utilization": 42}, {"uuid": "GPU-1", "utilization": 7}]
    store_gpu_samples(agent.data_dir, rig.miner_id, {time.time() - 3600: earlier})
    rig.beat(paused="for another program (game)")
    page = owner.open("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("the rig")
    page = owner.open("/machine")
    fleet = page.get_by_role("table", name="Your machines")
    expect(fleet.get_by_role("row")).to_have_count(3)
    expect(fleet).to_contain_text("the old rig")
    expect(page.get_by_text("2 of 2 online")).to_be_visible()
    memory = page.get_by_role("meter", name="Memory")
    expect(memory.first).to_have_attribute("aria-valuetext", "18 GiB of 24 GiB")
    expect(page.get_by_role("meter", name="Temperature").first).to_have_attribute("aria-valuetext", "71 °C")
    expect(page.get_by_text("for another program (game)")).to_be_visible()
    expect(page.get_by_role("button", name="Resume this GPU")).to_have_count(0)  # it ends by itself
    expect(page.get_by_text("No jobs for this machine")).to_be_visible()
    expect(page.get_by_text("no answer in time")).to_be_visible()
    expect(page.get_by_text("small-model: An hour of it costs too much.")).to_be_visible()
    expect(page.get_by_text("GPU 0: The card throttles.")).to_be_visible()
    # What fetches a model is no failure.
    fetching = page.locator(".idle-list li", has_text="Fetching a model")
    expect(fetching.locator("[data-part]")).to_have_attribute("data-part", "busy")
    expect(page.get_by_text("Not offered: Transcoding")).to_be_visible()
    expect(page.get_by_role("table", name="Earned by day")).to_be_attached()
    load = page.get_by_role("table", name="GPU load")
    # A stored sample of an hour ago, and what the machine reports now.
    expect(load).to_contain_text("GPU 0 (0) 42 %, GPU 1 (1) 7 %")
    expect(load).to_contain_text("GPU 0 (0) 97 %, GPU 1 (1) 0 %")
    page.get_by_role("tab", name="Self-test").click()
    figures = page.get_by_role("region", name="Self-test of GPU 0")
    for words in ("24 GiB", "1 GiB/s", "97 °C"):
        expect(figures).to_contain_text(words)
    page = owner.open("/machine/earnings")
    expect(page.get_by_text("0.31 EUR per kWh")).to_be_visible()
    electricity = page.get_by_role("table", name="Earnings and electricity, by UTC day and month")
    for words in ("1.250 kWh", "50.0 Wh", "0.81", "\u22120.25"):
        expect(electricity).to_contain_text(words)
    page = owner.open("/machine/models")
    expect(page.get_by_role("row", name="Transcoding")).to_contain_text("ffmpeg was not found.")
    expect(page.get_by_role("row", name="Transcoding")).to_contain_text("Off")
    expect(page.get_by_role("progressbar", name="Download of large-model")).to_have_attribute(
        "aria-valuenow", "25"
    )


def test_an_owner_pauses_a_gpu_for_an_hour_and_resumes_it(owner: Dashboard, rig: Rig) -> None:
    """The page shows the command until the machine has executed it, then the state that the machine reports."""
    rig.beat()
    page = owner.open("/machine")
    page.get_by_role("button", name="Pause this GPU").last.click()
    page.get_by_role("dialog").get_by_label("Duration").select_option("1 hour")
    confirm(page, "Pause")
    expect(page.get_by_text("1 command not executed yet")).to_be_visible()
    (command,) = rig.beat()
    assert command == {
        "command_id": command["command_id"],
        "command": "pause",
        "gpu": "GPU-1",
        "seconds": 3600,
    }
    assert rig.beat(paused="by its owner", executed=[command["command_id"]]) == []
    expect(page.get_by_text("by its owner")).to_be_visible()
    expect(page.get_by_text("not executed")).to_have_count(0)
    page.get_by_role("button", name="Resume this GPU").click()
    expect(page.get_by_text("1 command not executed yet")).to_be_visible()
    (command,) = rig.beat(paused="by its owner")
    assert (command["command"], command["gpu"]) == ("resume", "GPU-1")
    rig.beat(executed=[command["command_id"]])
    expect(page.get_by_text("by its owner")).to_have_count(0)


def test_pauses_the_agents_own_machine(dashboard: Dashboard, agent: Agent) -> None:
    """A job submitted during the pause waits, and runs when the machine resumes."""
    page = dashboard.open("/machine")
    page.get_by_role("button", name="Pause", exact=True).click()
    confirm(page, "Pause")
    expect(page.get_by_text("Paused: accepts no new jobs")).to_be_visible()
    assert agent.status()["miner"]["paused"] == "by hand"
    with httpx.Client(base_url=agent.url, headers={"X-API-Key": agent.file["client_key"]}) as client:
        model = {"type": "python", "entrypoint": "model.py", "source": {"inline": MODEL}}
        job = client.post("/v1/jobs", json={"type": "ai-inference", "model": model}).json()
        resumed = datetime.now(UTC).isoformat()
        page.get_by_role("button", name="Resume", exact=True).click()
        expect(page.get_by_text("Paused: accepts no new jobs")).to_have_count(0)
        ended(client, job["job_id"], "completed")
        started = client.get(f"/v1/jobs/{job['job_id']}").json()["started_at"]
    commands = httpx.get(f"{agent.url}/v1/miners", headers={"X-API-Key": agent.file["miner_key"]}).json()
    assert commands["miners"][0]["commands"] == []
    assert started > resumed


def test_an_owner_changes_prices_and_the_schedule_of_the_agents_own_machine(
    dashboard: Dashboard, agent: Agent
) -> None:
    """The settings file and the offer change without a restart; an invalid value is refused in the words of `config check`."""
    page = dashboard.open("/machine/models")
    change = page.get_by_role("button", name="Change")
    change.click()
    price = page.get_by_label("Price of Transcription")
    save = page.get_by_role("button", name="Save")
    expect(save).to_be_disabled()
    price.fill("cheap")
    save.click()
    expect(page.locator(".field-error")).to_contain_text("must be an amount")
    price.fill("0.00042")
    page.get_by_label("Schedule of pauses").fill("Sat,Sun 03:00-03:01")
    save.click()
    expect(page.get_by_text("The change was sent to the machine.")).to_be_visible()
    history = page.get_by_role("table", name="Commands").get_by_role("row").nth(1)
    expect(history).to_contain_text("Price of Transcription: default \u2192 0.00042")
    expect(history).to_contain_text("Owner")
    expect(history.get_by_text("Done")).to_be_visible()
    services = page.get_by_role("table", name="Services")
    expect(services.get_by_role("row", name="Transcription")).to_contain_text(
        "1.512 credits per hour of audio"
    )
    file = agent.data_dir / "agent.toml"
    assert tomllib.loads(file.read_text())["miner"] == {
        "prices": {"whisper_transcription": "0.00042"},
        "pause": {"schedule": ["Sat,Sun 03:00-03:01"]},
    }
    assert dashboard.problems() == []
    change.click()
    price.fill("")
    page.get_by_label("Schedule of pauses").fill("")
    save.click()
    expect(history).to_contain_text("0.00042 \u2192 default")
    expect(history.get_by_text("Done")).to_be_visible()
    assert tomllib.loads(file.read_text())["miner"]["pause"]["schedule"] == []
    # The refusal, which the browser reports to the console.
    dashboard.faults = [fault for fault in dashboard.faults if "422" not in fault]


def test_settings_that_the_machine_locks_are_shown_without_a_way_to_change_them(
    owner: Dashboard, rig: Rig
) -> None:
    """The reason and the engines are the machine's; its owner chooses one of those that are installed."""
    settings = {
        "prices": {},
        "default_prices": {},
        "engines": {"whisper_transcription": ["faster-whisper", "onnx-asr", None]},
    }
    rig.report(locked="The machine's owner has forbidden such changes.", **settings)
    page = owner.open("/machine/models")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_text("The machine's owner has forbidden such changes.")).to_be_visible()
    expect(page.get_by_label("Engine of Transcription")).to_be_disabled()
    rig.report(**settings)
    page = owner.open("/machine/models")
    page.get_by_role("button", name="Change").click()
    page.get_by_label("Engine of Transcription").select_option("onnx-asr")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Preferred engines: default \u2192")).to_be_visible()
    (command,) = rig.beat()
    assert command["settings"]["engines"] == ["onnx-asr"]
    rig.beat(executed=[command["command_id"]])
    rig.report(preferred=["onnx-asr"], **settings)
    page = owner.open("/machine/models")
    page.get_by_role("button", name="Change").click()
    expect(page.get_by_label("Engine of Transcription")).to_have_value("onnx-asr")
    assert owner.problems() == []


def test_an_owner_downloads_and_removes_models(owner: Dashboard, rig: Rig) -> None:
    """If the machine refuses a command, the page says why."""
    page = owner.open("/machine/models")
    page.get_by_role("button", name="Download a model").click()
    page.get_by_role("dialog").get_by_label("Model", exact=True).select_option("stable-diffusion-1.5")
    confirm(page, "Download")
    expect(page.get_by_text("Download of stable-diffusion-1.5 requested.")).to_be_visible()
    page.get_by_role("button", name="Actions for small-model").click()
    page.get_by_role("menuitem", name="Remove").click()
    confirm(page, "Remove")
    expect(page.get_by_text("Removal of small-model requested.")).to_be_visible()
    commands = rig.beat()
    assert [(command["command"], command["model"]) for command in commands] == [
        ("fetch_model", "stable-diffusion-1.5"),
        ("remove_model", "small-model"),
    ]
    reason = "To allow changes from there, set miner.remote_settings = true on the machine."
    refused = {"command_id": commands[1]["command_id"], "reasons": [reason]}
    rig.beat(executed=[command["command_id"] for command in commands], refused=[refused])
    expect(page.get_by_role("row", name="Remove small-model").filter(has_text=reason)).to_contain_text(
        "Refused"
    )


def test_creates_accepts_and_withdraws_an_offer(dashboard: Dashboard, agent: Agent) -> None:
    """The accepted job runs on the agent's own machine."""
    page = dashboard.open("/machine/offers")
    page.get_by_role("button", name="New offer").click()
    page.get_by_label("Service").select_option("Jobs with a certain name…")
    page.get_by_role("button", name="Create offer").click()
    expect(page.get_by_text("Enter the name of the jobs.")).to_be_visible()
    page.get_by_label("Job name").fill("image-classification")
    page.get_by_label("Price per unit").fill("0.002")
    page.get_by_role("button", name="Create offer").click()
    row = page.get_by_role("row").filter(has_text="image-classification")
    expect(row).to_contain_text("10 of 10")

    with httpx.Client(base_url=agent.url, headers={"X-API-Key": agent.file["client_key"]}) as client:
        body = {
            "type": "ai-inference",
            "name": "image-classification",
            "model": {"type": "python", "entrypoint": "model.py"},
        }
        job_id = client.post("/v1/jobs", json=body).json()["job_id"]  # waits for its file
        page = dashboard.open("/market")
        offered = page.get_by_role("row").filter(has_text="image-classification")
        expect(offered).to_contain_text("0.002")
        page = dashboard.open(f"/jobs/{job_id}")
        page.get_by_role("button", name="Choose an offer").click()
        offers = page.get_by_role("dialog").get_by_label("Offer")
        offers.select_option(offers.locator("option", has_text="0.002").get_attribute("value"))
        confirm(page, "Assign the job")
        expect(page.get_by_text("The job was assigned to the offer.")).to_be_visible()
        assert client.put(f"/v1/jobs/{job_id}/files/model.py", content=MODEL).status_code == 200
        ended(client, job_id, "completed")
        assert client.get(f"/v1/jobs/{job_id}").json()["miner_id"] == agent.file["miner_id"]

    page = dashboard.open("/machine/offers")
    row = page.get_by_role("row").filter(has_text="image-classification")
    expect(row).to_contain_text("9 of 10")
    row.get_by_role("button", name="Withdraw").click()
    confirm(page, "Withdraw")
    expect(row).to_contain_text("Withdrawn")


def test_a_client_creates_and_revokes_a_key(dashboard: Dashboard, agent: Agent) -> None:
    page = dashboard.open("/keys")
    page.get_by_role("button", name="New key").click()
    assert dashboard.problems() == []
    page.get_by_label("Name").fill("laptop")
    confirm(page, "Create key")
    key = page.get_by_role("dialog").locator(".secret [title]").get_attribute("title") or ""
    assert status(agent, key) == 200
    confirm(page, "Done")
    assert key not in page.content()
    page.get_by_role("button", name="Revoke laptop").click()
    confirm(page, "Revoke")
    expect(page.get_by_text("laptop was revoked.")).to_be_visible()
    assert status(agent, key) == 401


def test_an_operator_creates_and_credits_an_account_with_a_key(dashboard: Dashboard, agent: Agent) -> None:
    page = dashboard.open("/network/accounts")
    page.get_by_role("button", name="New account").click()
    page.get_by_label("Name").fill("render farm")
    confirm(page, "Create account")
    page.get_by_role("button", name="Actions for render farm").click()
    assert dashboard.problems() == []
    page.get_by_role("menuitem", name="Credit").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Amount").fill("ten")
    expect(dialog.get_by_role("button", name="Credit")).to_be_disabled()
    expect(dialog.get_by_text("Enter a number like 10")).to_be_visible()
    dialog.get_by_label("Amount").fill("12.5")
    confirm(page, "Credit")
    expect(page.get_by_role("row").filter(has_text="render farm")).to_contain_text("12.5")

    page = dashboard.open("/network/keys")
    page.get_by_role("button", name="New key").click()
    page.get_by_role("dialog").get_by_label("Account").select_option("render farm")
    page.get_by_label("Name").fill("frames")
    confirm(page, "Create key")
    key = page.get_by_role("dialog").locator(".secret [title]").get_attribute("title") or ""
    wallet = httpx.get(f"{agent.url}/v1/wallet", headers={"X-API-Key": key}).json()
    assert wallet["balance"] == "12.5"
    confirm(page, "Done")
    page.get_by_role("button", name="Revoke frames").click()
    confirm(page, "Revoke")
    expect(page.get_by_text("frames was revoked.")).to_be_visible()
    assert status(agent, key) == 401


def test_an_operator_adds_a_miner(dashboard: Dashboard, agent: Agent) -> None:
    page = dashboard.open("/network/miners")
    page.get_by_role("button", name="Add a miner").click()
    assert dashboard.problems() == []
    confirm(page, "Create token")
    command = page.get_by_role("dialog").locator(".secret [title]").get_attribute("title") or ""
    assert command.startswith("aitbc-agent join AITBC1")
    code = parse_join_code(command.split()[-1])
    assert (code.url, code.log_key) == (agent.url, agent.file["log_key"])
    picture = page.get_by_role("img", name="The join code as a QR code")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.complete && image.naturalWidth > 100")
    joining = ScriptedMiner(agent.url)
    assert joining.register(name="new rig", enrolment_token=code.enrolment_token).status_code == 200
    page = dashboard.open("/network/miners")
    row = page.get_by_role("row").filter(has_text="new rig")
    expect(row).to_contain_text("Ready")
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("new rig")


def test_an_operator_sees_the_jobs_of_all_accounts_and_cancels_one(
    dashboard: Dashboard, agent: Agent
) -> None:
    """With the account's name and the reason for waiting, filtered by account."""
    admin = httpx.Client(base_url=agent.url, headers={"X-API-Key": agent.file["admin_key"]})
    account = admin.post("/v1/admin/accounts", json={"name": "a studio"}).json()["account_id"]
    admin.post(f"/v1/admin/accounts/{account}/credit", json={"amount": "5"}).raise_for_status()
    owner = {"role": "client", "name": "k", "account_id": account}
    key = {"X-API-Key": admin.post("/v1/admin/keys", json=owner).json()["key"]}
    body = {
        "type": "ai-inference", "name": "a costly model", "model": {"type": "python", "entrypoint": "model.py"}, "wait": True,
    }  # fmt: skip
    job_id = httpx.post(f"{agent.url}/v1/jobs", json=body, headers=key).json()["job_id"]
    page = dashboard.open("/network")
    page.get_by_role("link", name=re.compile(r"^\d+$")).nth(2).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
    expect(page.get_by_role("button", name="Waiting")).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Account").select_option("a studio")
    row = page.get_by_role("row").filter(has_text="a costly model")
    expect(row).to_contain_text("a studio")
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("a costly model")
    expect(page.get_by_text(re.compile("model.source")).first).to_be_visible()
    page.get_by_role("button", name="Cancel job").click()
    confirm(page, "Cancel job")
    expect(page.get_by_text("The job was cancelled.")).to_be_visible()
    assert admin.get(f"/v1/jobs/{job_id}").json()["status"] == "cancelled"


def test_an_operator_excludes_readmits_and_removes_a_miner(dashboard: Dashboard, agent: Agent) -> None:
    admin = httpx.Client(base_url=agent.url, headers={"X-API-Key": agent.file["admin_key"]})
    made = admin.post("/v1/admin/enrolments", json={"uses": 2, "note": "the old rack"}).json()
    miner = ScriptedMiner(agent.url)
    assert miner.register(name="old rig", enrolment_token=made["enrolment_token"]).status_code == 200
    assert miner.register(name="old rig", agent_version="0.1.0").status_code == 409
    page = dashboard.open("/network/miners")
    expect(
        page.get_by_text("1 with version 0.1.0. The miner's version, 0.1.0, does not work")
    ).to_be_visible()
    assert miner.register(name="old rig").status_code == 200
    page.get_by_role("row").filter(has_text="old rig").get_by_role("link", name="old rig", exact=True).click()
    page.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Exclude").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("It lies.")
    confirm(page, "Exclude")
    expect(page.get_by_text("It lies.")).to_be_visible()
    assert miner.register().json()["error"]["code"] == "MINER_EXCLUDED"
    page.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Readmit").click()
    expect(page.get_by_text("It lies.")).to_have_count(0)
    assert miner.register(name="old rig").status_code == 200
    page.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Remove").click()
    confirm(page, "Remove")
    expect(page.get_by_text("old rig was removed.")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Miners")
    expect(page.get_by_role("link", name="old rig", exact=True)).to_have_count(0)

    page = dashboard.open("/network/keys")
    row = page.get_by_role("row").filter(has_text="the old rack")
    expect(row).to_contain_text("1 of 2")
    expect(row).to_contain_text("old rig")
    row.get_by_role("button", name="Revoke the old rack").click()
    confirm(page, "Revoke")
    expect(row).to_contain_text("Revoked")
    assert miner.register(enrolment_token=made["enrolment_token"]).status_code == 403


def test_an_operator_debits_an_account(dashboard: Dashboard, agent: Agent) -> None:
    admin = httpx.Client(base_url=agent.url, headers={"X-API-Key": agent.file["admin_key"]})
    account = admin.post("/v1/admin/accounts", json={"name": "a debtor"}).json()["account_id"]
    admin.post(f"/v1/admin/accounts/{account}/credit", json={"amount": "5"}).raise_for_status()
    page = dashboard.open("/network/accounts")
    page.get_by_role("button", name="Actions for a debtor").click()
    page.get_by_role("menuitem", name="Debit").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("at most 5 credits")).to_be_visible()
    dialog.get_by_label("Amount").fill("7")
    expect(dialog.get_by_text("The account has 5 credits. Enter less")).to_be_visible()
    expect(dialog.get_by_role("button", name="Debit")).to_be_disabled()
    dialog.get_by_label("Allow a negative balance").check()
    confirm(page, "Debit")
    expect(page.get_by_role("row").filter(has_text="a debtor")).to_contain_text("\N{MINUS SIGN}2")


@pytest.mark.needs("trail")
def test_the_trail_says_who_did_what(dashboard: Dashboard, agent: Agent) -> None:
    """On a tab of the accounts, newest first, with what was entered."""
    admin = httpx.Client(base_url=agent.url, headers={"X-API-Key": agent.file["admin_key"]})
    account = admin.post("/v1/admin/accounts", json={"name": "a traced one"}).json()["account_id"]
    admin.post(f"/v1/admin/accounts/{account}/credit", json={"amount": "5"}).raise_for_status()
    dashboard.open("/network/accounts").get_by_role("link", name="Trail").click()
    rows = dashboard.page.get_by_role("table", name="Trail").get_by_role("row")
    expect(rows.nth(1)).to_contain_text("Credit an account")
    expect(rows.nth(1)).to_contain_text("amount 5")
    expect(rows.nth(1)).to_contain_text("local administrator")
    expect(rows.nth(2)).to_contain_text("name a traced one")
    assert dashboard.problems() == []


def test_the_network_page_charts_jobs_money_and_miners(dashboard: Dashboard) -> None:
    page = dashboard.open("/network")
    for label in ("Jobs that ended", "Queue", "Money in and out", "Miners that accept jobs"):
        table = page.get_by_role("table", name=label, exact=True)
        expect(table.get_by_role("row")).to_have_count(48)
    page.get_by_role("button", name="Hour").click()
    expect(page.get_by_role("table", name="Queue", exact=True).get_by_role("row")).to_have_count(12)
    money = page.get_by_role("table", name="Money in and out", exact=True)
    expect(money).to_contain_text("credited 1,0")


RENDERING_MS = 90_000
"""Time limit for the whole API's description to be made and drawn, beside other tests."""


def test_the_api_reference_needs_no_other_host_and_makes_calls(browser: Browser, agent: Agent) -> None:
    """Under the dashboard's content policy, which the browser would report as an error."""
    with visit(browser, agent) as dashboard:
        page = dashboard.page
        page.goto(f"{agent.url}/reference/")
        page.get_by_role("button", name="Authorize").first.click(timeout=RENDERING_MS)
        page.get_by_label("auth-bearer-value").first.fill(agent.file["client_key"])
        page.get_by_role("button", name="Apply credentials").first.click()
        page.get_by_role("button", name="Close").first.click()
        page.locator("#operations-tag-Wallet").click()
        page.locator(".opblock-summary-path").get_by_text(re.compile("^/v1/wallet$")).click()
        page.get_by_role("button", name="Execute").click()
        expect(page.locator(".live-responses-table")).to_contain_text('"balance"')
        assert not dashboard.faults


def test_owner_and_operator_pages_are_accessible_on_a_phone(browser: Browser, agent: Agent, rig: Rig) -> None:
    """axe-core finds no serious problem in dark mode, and no page is wider than the screen."""
    rig.beat()
    with visit(browser, agent, size=PHONE, scheme="dark") as dashboard:
        dashboard.sign_in()
        for path in (*MACHINE_PAGES, f"/network/miners/{rig.miner_id}"):
            page = dashboard.open(path)
            assert dashboard.problems() == [], path
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0], path
        assert not dashboard.faults
