"""The commands that need a running agent, with one real coordinator."""

from __future__ import annotations

import base64
import io
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.cli.systemd import systemctl
from agent.protocol.join_code import parse_join_code
from aitbc.keys import format_vkey
from support.agents import Agent, running
from support.clients.scripted_miner import ScriptedMiner

pytestmark = pytest.mark.system

ORIGIN = "log.example.org/test"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """Run `aitbc-agent coordinator` in a process of its own."""
    data_dir = tmp_path_factory.mktemp("agent") / "data"
    agent = Agent(data_dir, "coordinator", "--port", "0", AITBC_COORDINATOR__ORIGIN=ORIGIN)
    with running(agent):
        yield agent


@pytest.fixture
def command(run: Any, agent: Agent) -> Any:
    """Return a function that runs a command on the agent's data directory."""
    return lambda *words: run(*words, "--data-dir", agent.data_dir)


def status_with(agent: Agent, key: str) -> int:
    """Return the status of a request with this key."""
    return httpx.get(f"{agent.url}/v1/jobs", headers={"X-API-Key": key}).status_code


def test_only_the_owner_can_read_the_agents_file(agent: Agent) -> None:
    for path in (agent.data_dir / "agent.json", agent.data_dir / "coordinator" / "keys.json"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert agent.data_dir.stat().st_mode & 0o077 == 0
    assert agent.process is not None
    assert (agent.file["url"], agent.file["pid"]) == (agent.url, agent.process.pid)
    assert agent.file["miner_id"] is agent.file["miner_key"] is None
    assert status_with(agent, agent.file["client_key"]) == 200


def test_a_login_link_works_once(agent: Agent, command: Any) -> None:
    """The link that is printed at the start, and those of `login`."""
    printed = agent.lines.get(timeout=300).removeprefix("Dashboard: ").strip()
    made = json.loads(command("login", "--json").out)["url"]
    for url in (printed, made):
        page, _, token = url.partition("#login=")
        assert page == f"{agent.url}/dashboard/"
        answer = httpx.post(f"{agent.url}/v1/login", json={"token": token})
        assert [key["role"] for key in answer.json()["keys"]] == ["client", "admin"]
        assert status_with(agent, answer.json()["keys"][0]["key"]) == 200
        assert httpx.post(f"{agent.url}/v1/login", json={"token": token}).status_code == 401
    done = command("login")
    assert done.out.startswith(f"{page}#login=")
    assert "once" in done.err


def test_the_configured_origin_is_part_of_the_logs_key(agent: Agent) -> None:
    assert agent.file["log_key"].startswith(f"{ORIGIN}+")
    assert httpx.get(f"{agent.url}/v1/health").json()["log_key"] == agent.file["log_key"]
    challenge = httpx.post(f"{agent.url}/v1/miners/challenge", json={}).json()
    assert challenge["origin"] == ORIGIN


def test_an_account_is_created_credited_and_listed(command: Any) -> None:
    account_id = json.loads(command("accounts", "create", "a customer", "--json").out)["account_id"]
    assert json.loads(command("accounts", "credit", account_id, "12.50", "--json").out)["balance"] == "12.5"
    done = command("accounts", "credit", account_id, "1", "--note", "a present")
    assert (done.code, done.out) == (0, f"The balance of {account_id} is now 13.5 credits.\n")
    listed = json.loads(command("accounts", "list", "--json").out)
    assert [(item["name"], item["balance"], item["held"]) for item in listed] == [
        ("local", "1000", "0"),
        ("a customer", "13.5", "0"),
    ]
    assert "a customer" in command("accounts", "list").out
    refused = command("accounts", "credit", account_id, "-5")
    assert refused.code != 0


def test_an_invalid_amount_is_refused_with_the_allowed_format(command: Any) -> None:
    account_id = json.loads(command("accounts", "list", "--json").out)[0]["account_id"]
    refused = command("accounts", "credit", account_id, "lots")
    assert refused.code == 1
    assert "amount: must be an amount of credits below" in refused.err
    assert "There is no account account_x" in command("accounts", "credit", "account_x", "1").err


def test_a_key_is_created_listed_and_revoked(command: Any, agent: Agent) -> None:
    made = command("keys", "create", "for the web shop", "--json")
    assert made.code == 0
    key = json.loads(made.out)
    assert (key["role"], key["name"]) == ("client", "for the web shop")
    assert status_with(agent, key["key"]) == 200
    listed = command("keys", "list", "--json")
    assert key["key"] not in listed.out
    (row,) = (row for row in json.loads(listed.out) if row["key_id"] == key["key_id"])
    assert row["account_id"] == key["account_id"]
    assert "revoked_at" not in row
    assert key["key_id"] in command("keys", "list").out
    assert json.loads(command("keys", "revoke", key["key_id"], "--json").out) == {
        "key_id": key["key_id"],
        "revoked": True,
    }
    assert status_with(agent, key["key"]) == 401
    again = command("keys", "revoke", key["key_id"])
    assert (again.code, again.out) == (1, "")
    assert again.err == f"aitbc-agent: There is no valid key {key['key_id']}.\n"
    assert "revoked_at" in command("keys", "list", "--json").out


def test_a_miner_is_excluded_listed_and_included(command: Any, agent: Agent) -> None:
    token = json.loads(command("enroll", "--json").out)["enrolment_token"]
    miner = ScriptedMiner(agent.url)
    assert miner.register(enrolment_token=token).status_code == 200

    def listed() -> dict[str, Any]:
        rows = json.loads(command("miners", "list", "--json").out)
        return next(row for row in rows if row["miner_id"] == miner.miner_id)

    excluded = command("miners", "exclude", miner.miner_id, "--reason", "It lies.")
    message = f"{miner.miner_id} is excluded. 0 running jobs returned to the queue.\n"
    assert (excluded.code, excluded.out) == (0, message)
    assert listed()["excluded_reason"] == "It lies."
    assert "excluded" in command("miners", "list").out
    assert miner.register().status_code == 403
    assert command("miners", "include", miner.miner_id).out == f"{miner.miner_id} is included again.\n"
    assert listed()["excluded_at"] is None
    assert miner.register().status_code == 200
    assert miner.register(agent_version="0.1.0").status_code == 409
    (row,) = (line for line in command("miners", "list").out.splitlines() if miner.miner_id in line)
    assert "refused" in row
    assert "0.1.0" in row
    versions = command("miners", "list").err.splitlines()
    assert any("with version 0.1.0: The miner's version, 0.1.0, does not work" in line for line in versions)
    unknown = f"miner_{'a' * 26}"
    assert f"There is no miner {unknown}" in command("miners", "exclude", unknown).err


def test_a_miner_is_removed_and_its_token_is_listed_and_revoked(command: Any, agent: Agent) -> None:
    made = json.loads(command("enroll", "--uses", "3", "--note", "the new rack", "--json").out)
    miner = ScriptedMiner(agent.url)
    assert miner.register(enrolment_token=made["enrolment_token"], name="rig-9").status_code == 200
    removed = command("miners", "remove", "rig-9")
    message = f"{miner.miner_id} is removed. 0 running jobs returned to the queue.\n"
    assert (removed.code, removed.out) == (0, message)
    assert miner.miner_id not in command("miners", "list", "--json").out

    def listed() -> dict[str, Any]:
        rows = json.loads(command("enroll", "list", "--json").out)
        return next(row for row in rows if row["enrolment_id"] == made["enrolment_id"])

    assert (listed()["status"], listed()["uses_left"], listed()["note"]) == ("valid", 2, "the new rack")
    assert listed()["miners"] == [{"miner_id": miner.miner_id, "name": "rig-9"}]
    assert "valid" in command("enroll", "list").out
    revoked = command("enroll", "revoke", "the new rack")
    assert (revoked.code, revoked.out) == (0, f"{made['enrolment_id']} is revoked.\n")
    assert listed()["status"] == "revoked"
    assert miner.register(enrolment_token=made["enrolment_token"]).status_code == 403
    assert "There is no enrolment token enrolment_x" in command("enroll", "revoke", "enrolment_x").err


def test_an_account_is_debited_below_zero_only_by_force(command: Any) -> None:
    account_id = json.loads(command("accounts", "create", "a debtor", "--json").out)["account_id"]
    command("accounts", "credit", account_id, "5")
    done = command("accounts", "debit", "a debtor", "2", "--note", "paid out")
    assert (done.code, done.out) == (0, f"The balance of {account_id} is now 3 credits.\n")
    refused = command("accounts", "debit", account_id, "4")
    assert refused.code == 1
    assert "The account has 3 credits, less than 4 credits." in refused.err
    assert (
        json.loads(command("accounts", "debit", account_id, "4", "--force", "--json").out)["balance"] == "-1"
    )


def test_only_the_keys_secret_is_on_standard_output(command: Any, agent: Agent) -> None:
    """It can be redirected to a file or stored in a variable."""
    made = command("keys", "create", "script")
    assert re.fullmatch(r"aitbc_client_\S+\n", made.out)
    assert status_with(agent, made.out.strip()) == 200
    assert "not shown again" in made.err


def test_two_keys_can_share_an_account(command: Any, agent: Agent) -> None:
    first = json.loads(command("keys", "create", "one", "--json").out)
    second = json.loads(command("keys", "create", "two", "--account", first["account_id"], "--json").out)
    assert second["account_id"] == first["account_id"]
    unknown = command("keys", "create", "three", "--account", "account_unknown")
    assert (unknown.code, unknown.err) == (1, "aitbc-agent: There is no account account_unknown.\n")


def test_an_owner_gets_a_login_link_of_a_coordinator_that_the_agent_has_joined(
    command: Any, agent: Agent
) -> None:
    """It signs in as the owner of this machine only."""
    miner = ScriptedMiner(agent.url)
    token = json.loads(command("enroll", "--json").out)["enrolment_token"]
    miner.register(enrolment_token=token).raise_for_status()
    identity = agent.data_dir / "miner/identity.key"
    identity.parent.mkdir(mode=0o700, exist_ok=True)
    identity.write_bytes(base64.b64encode(bytes(miner.key)))
    identity.chmod(0o600)
    file = agent.data_dir / "agent.json"
    original = file.read_text(encoding="utf-8")
    # No API key at all: the miner's own key signs.
    file.write_text(
        json.dumps({**agent.file, "miner_id": miner.miner_id, "miner_key": None, "admin_key": None})
    )
    try:
        url = command("login").out.strip()
    finally:
        file.write_text(original, encoding="utf-8")
        identity.unlink()
    page, _, token = url.partition("#login=")
    assert page == f"{agent.url}/dashboard/"
    (new,) = httpx.post(f"{agent.url}/v1/login", json={"token": token}).json()["keys"]
    assert new["role"] == "miner"
    shown = httpx.get(f"{agent.url}/v1/key", headers={"X-API-Key": new["key"]}).json()
    assert shown["miner_id"] == miner.miner_id
    refused = httpx.post(f"{agent.url}/v1/logins", headers={"X-API-Key": agent.file["client_key"]})
    assert refused.status_code == 403


def test_a_key_has_a_role(command: Any, agent: Agent) -> None:
    admin = json.loads(command("keys", "create", "second administrator", "--role", "admin", "--json").out)
    answer = httpx.get(f"{agent.url}/v1/admin/overview", headers={"X-API-Key": admin["key"]})
    assert answer.status_code == 200
    without = command("keys", "create", "x", "--role", "miner")
    assert without.code == 1
    assert "miner_id: required for the role miner, and only for it" in without.err
    unknown = command("keys", "create", "x", "--role", "king")
    assert unknown.code == 2
    assert "'client', 'miner', 'admin'" in unknown.err


def test_an_enrolment_token_admits_the_requested_number_of_miners(command: Any, agent: Agent) -> None:
    answer = json.loads(command("enroll", "--uses", "2", "--json").out)
    assert answer["uses"] == 2
    miners = [ScriptedMiner(agent.url) for _ in range(3)]
    codes = [miner.register(enrolment_token=answer["enrolment_token"]).status_code for miner in miners]
    assert codes == [200, 200, 403]
    shown = json.loads(command("status", "--json").out)["coordinator"]["miners"]
    assert {miner.miner_id for miner in miners[:2]} <= {miner["miner_id"] for miner in shown}


def test_enroll_prints_the_command_for_the_other_machine(command: Any, agent: Agent) -> None:
    done = command("enroll", "--hours", "1")
    token = done.out.strip()
    assert re.fullmatch(r"enrol_\S+", token)
    code = parse_join_code(join_code(done.err))
    assert (code.url, code.enrolment_token, code.log_key) == (agent.url, token, agent.file["log_key"])


def join_code(text: str) -> str:
    """Return the code in the command that `enroll` prints."""
    match = re.search(r"aitbc-agent join (AITBC1\w+)", text)
    assert match is not None
    return match[1]


def test_join_writes_the_settings_of_a_code(command: Any, agent: Agent, run: Any, tmp_path: Path) -> None:
    """Before the first start, with the file's other settings and comments, and without using the token up."""
    code = join_code(command("enroll").err)
    file = tmp_path / "data" / "agent.toml"
    file.parent.mkdir()
    file.write_text('# mine\n[miner]\nname = "rig"\n')
    for written in (code, f"@{tmp_path / 'code'}"):
        (tmp_path / "code").write_text(f"{code.lower()}\n")
        done = run("join", written, "--data-dir", tmp_path / "data")
        assert (done.code, done.err) == (0, "")
        assert f"works for {agent.url} from its next start" in done.out
        assert "Next: aitbc-agent start" in done.out
    assert file.read_text().startswith("# mine\n")
    assert file.stat().st_mode & 0o777 == 0o600
    assert tomllib.loads(file.read_text())["miner"] == {
        "name": "rig",
        "coordinator": agent.url,
        "log_key": agent.file["log_key"],
        "enrolment_token": parse_join_code(code).enrolment_token,
    }
    shown = run("config", "show", "--data-dir", tmp_path / "data").out
    assert parse_join_code(code).enrolment_token not in shown


def test_join_says_how_a_running_agent_gets_to_work_for_the_coordinator(command: Any, agent: Agent) -> None:
    """Here one that has run its own coordinator so far."""
    code = join_code(command("enroll").err)
    try:
        done = command("join", code)
    finally:
        (agent.data_dir / "agent.toml").unlink(missing_ok=True)
    assert done.code == 0
    assert "The coordinator that it has run itself is not started any more; its data stays." in done.out
    assert "The agent is running. Restart it: aitbc-agent stop, then aitbc-agent start" in done.out


def test_join_refuses_to_write_what_a_service_would_not_read(
    command: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service got its coordinator when it was installed."""
    code = join_code(command("enroll").err)
    manager = systemctl.Systemd(user=False, units=tmp_path / "units", settings=tmp_path / "etc")
    monkeypatch.setattr(systemctl, "find", lambda **_: manager)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/agent.env").write_text(
        f'AITBC_DATA_DIR="{tmp_path / "data"}"\nAITBC_MINER__COORDINATOR="https://a.example.org"\n'
    )
    refused = run("join", code, "--data-dir", tmp_path / "data")
    assert (refused.code, (tmp_path / "data").exists()) == (1, False)
    assert "sudo aitbc-agent service install --join CODE" in refused.err
    assert run("join", code, "--data-dir", tmp_path / "other").code == 0


def test_join_asks_for_the_code_so_that_it_is_in_no_list_of_processes(
    command: Any, agent: Agent, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{join_code(command('enroll').err)}\n"))
    assert run("join", "--name", "rig-2", "--data-dir", tmp_path).code == 0
    miner = tomllib.loads((tmp_path / "agent.toml").read_text())["miner"]
    assert (miner["coordinator"], miner["name"]) == (agent.url, "rig-2")


def test_a_code_that_does_not_hold_changes_nothing(
    command: Any, agent: Agent, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mistyped, of another coordinator, revoked, expired, without an answer, or overridden by a variable: each says what to do."""
    good = parse_join_code(join_code(command("enroll", "--note", "to revoke").err))
    foreign = replace(good, log_key=format_vkey("log.example.org/other", bytes(32)))
    silent = replace(good, url="http://127.0.0.1:9")
    cases = [
        (f"{str(good)[:-9]}AAAAAAAAA", "mistyped or incomplete"),
        (str(foreign), "Another coordinator than the one to join answers"),
        (str(silent), "Nothing listens at http://127.0.0.1:9"),
    ]
    for code, words in cases:
        done = run("join", code, "--data-dir", tmp_path)
        assert done.code == 1
        assert words in done.err
    command("enroll", "revoke", "to revoke")
    assert "unknown, expired, revoked or used up" in run("join", str(good), "--data-dir", tmp_path).err
    expired = replace(good, expires_at=1_700_000_000)
    assert "The code expired at 2023-11-14 22:13 UTC" in run("join", str(expired), "--data-dir", tmp_path).err
    monkeypatch.setenv("AITBC_MINER__COORDINATOR", "https://other.example.org")
    assert "AITBC_MINER__COORDINATOR sets it" in run("join", str(good), "--data-dir", tmp_path).err
    assert list(tmp_path.iterdir()) == []


def test_enroll_and_login_name_the_public_address(command: Any, agent: Agent) -> None:
    """Without one, `enroll` says that other machines cannot reach a loopback address."""
    assert f"Other machines cannot reach {agent.url}." in command("enroll").err
    file = agent.data_dir / "agent.json"
    original = file.read_text(encoding="utf-8")
    assert agent.file["public_url"] is None
    public = "https://jobs.example.org/api"
    file.write_text(json.dumps({**agent.file, "public_url": public}))
    try:
        done = command("enroll")
        assert "cannot reach" not in done.err
        assert command("login").out.startswith("https://jobs.example.org/dashboard/#login=")
    finally:
        file.write_text(original, encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [(("--hours", "0"), 2, "hours"), (("--hours", "1000"), 1, "valid_seconds: ")],
)
def test_the_validity_of_a_token_is_limited(
    command: Any, options: tuple[str, ...], code: int, words: str
) -> None:
    done = command("enroll", *options)
    assert done.code == code
    assert words in done.err


def test_status_shows_a_coordinator_without_a_miner(command: Any, agent: Agent) -> None:
    shown = json.loads(command("status", "--json").out)
    assert (shown["url"], shown["pid"]) == (agent.url, agent.file["pid"])
    assert "miner" not in shown
    assert shown["coordinator"]["jobs"] == {}
    done = command("status")
    assert done.code == 0
    assert agent.url in done.out
    assert "jobs: none" in done.out


def test_a_second_agent_with_the_same_data_directory_is_refused(agent: Agent, command: Any) -> None:
    done = agent.cli("coordinator", "--port", "0", check=False)
    assert done.returncode == 1
    assert "Another agent is running with the data directory" in done.stderr
    assert command("status").code == 0


def test_an_agent_continues_with_its_data_after_a_stop(run: Any, tmp_path: Path) -> None:
    """The keys and the log are the same, also after a `kill -9`."""
    agent = Agent(tmp_path / "data", "coordinator", "--port", "0")
    with running(agent):
        before = agent.file
        agent.kill()
        assert run("status", "--data-dir", agent.data_dir).code == 1
        agent.start()
        after = agent.file
        for name in ("log_key", "client_key", "admin_key"):
            assert after[name] == before[name]
        done = run("stop", "--json", "--data-dir", agent.data_dir)
        assert (done.code, json.loads(done.out)) == (0, {"pid": after["pid"], "stopped": True})
        assert agent.process is not None
        assert agent.process.wait(60) == 0
        assert not (agent.data_dir / "agent.json").exists()
        done = run("stop", "--data-dir", agent.data_dir)
        assert done.code == 1
        assert "No agent is running" in done.err


@pytest.mark.needs("waits")
@pytest.mark.needs("payouts")
def test_earnings_and_reasons_are_those_of_the_agents_own_miner(command: Any, agent: Agent) -> None:
    """Without a miner, the commands fail; with one, they show its statistics and payments, and why it does not get a job."""
    none = command("earnings")
    assert (none.code, none.out) == (1, "")
    assert "no miner" in none.err
    assert command("explain").code == 1
    miner = ScriptedMiner(agent.url)
    token = json.loads(command("enroll", "--json").out)["enrolment_token"]
    key = miner.register(enrolment_token=token).json()["api_key"]
    file = agent.data_dir / "agent.json"
    original = file.read_text(encoding="utf-8")
    file.write_text(json.dumps({**agent.file, "miner_id": miner.miner_id, "miner_key": key}))
    try:
        with agent.client() as client:
            job = client.services.transcribe("https://example.com/a.mp3", model="base")
        (lease,) = miner.poll()
        assert miner.complete(lease, {"text": "hello", "units": 2}).status_code == 200
        shown = json.loads(command("earnings", "--json").out)
        assert (shown["miner_id"], shown["total_earned"], shown["total_jobs"]) == (miner.miner_id, "0.002", 1)
        assert [payment["job_id"] for payment in shown["payments"]] == [job.job_id]
        with agent.client() as client:
            waits = {"wait_for_miner": True, "pricing": {"max_cost": "0.0001"}}
            job2 = client.services.transcribe("https://example.com/a.mp3", model="base", **waits)
        why = command("explain").out
        assert "1 job of whisper_transcription, base" in why
        assert "Lower miner.prices.whisper_transcription to at most 0.0001" in why
        assert json.loads(command("explain", "--json").out)["waiting_jobs"] == 1
        with agent.client() as client:
            client.jobs.cancel(job2.job_id)
        # It warns, and removes nothing without a confirmation.
        assert f"balance < 0.01 credits, pending 0 credits at {agent.url}" in command("uninstall").out
        lines = command("earnings").out
        # Without a terminal all digits, for programs.
        assert "0.002 credits earned since" in lines
        assert job.job_id in lines
        # The operator's view of the same earnings.
        reason = "new here; it is paid when payouts.new_miner_hours have passed since it joined"
        assert command("payouts", "preview", "--rate", "1").out.splitlines() == [
            "No miner would be paid.",
            "",
            "Not paid:",
            "MINER\tPAYABLE (CREDITS)\tREASON",
            f"{miner.miner_id} (scripted)\t0\t{reason}",
        ]
        # Without a rate, and without the setting for the currency.
        assert (
            "what one credit is worth in EUR; payouts.rates can hold it" in command("payouts", "preview").err
        )
    finally:
        file.write_text(original, encoding="utf-8")
