"""`aitbc-agent config`: reports errors with their location and correction, and shows settings with their origin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.configuring.reading import load_settings, settings_by_key

# The text of a file, the line and the key that must be reported, and a part of the suggestion.
PLANTED = {
    "a misspelt key": ("[coordinator]\nprot = 1", 2, "coordinator.prot", "Did you mean coordinator.port?"),
    "a misspelt section": ("[mienr]\nslots = 1", 1, "mienr", "Did you mean [miner]?"),
    "a misspelt subsection": (
        "[miner.input]\nallow_http = true", 1, "miner.input", "Did you mean [miner.inputs]?"),
    "a key in the wrong section": (
        "[miner]\nmax_redirects = 3", 2, "miner.max_redirects", "It belongs in [miner.inputs]: miner.inputs.max_redirects."),
    "a key of the top level in a section": (
        "[log]\ndata_dir = '/x'", 2, "log.data_dir", "It belongs above all sections: data_dir."),
    "the wrong type": ('[miner]\nslots = "many"', 2, "miner.slots", "Allowed: whole number, 1 to 256."),
    "a number out of range": ("[coordinator]\n\nport = 65536", 3, "coordinator.port", "0 to 65535"),
    "a size with a unit of its own": (
        '[miner]\nvram_reserve = "8 GiB"', 2, "miner.vram_reserve", 'Write vram_reserve = "8Gi"'),
    "a size without quotes": ("[miner]\nvram_reserve = 8Gi", 2, "vram_reserve", 'in quotes: vram_reserve = "8Gi"'),
    "a duration with a unit": (
        '[coordinator]\nlease_seconds = "5m"', 2, "coordinator.lease_seconds", "Write lease_seconds = 300"),
    "a rate without its span": (
        "[coordinator.rate_limits]\nclient = 600", 2, "coordinator.rate_limits.client", 'Write client = "600 per minute"'),
    "an unknown word": ('[log]\nlevel = "warn"', 2, "log.level", 'Write level = "warning"'),
    "money as a number": (
        "[coordinator]\ndefault_max_cost = 0.5", 2, "coordinator.default_max_cost", 'Write default_max_cost = "0.5"'),
    "a price as a number": (
        "[miner.prices]\nvideo_transcoding = 0.1", 2, "miner.prices.video_transcoding", 'Write video_transcoding = "0.1"'),
    "a price of an unknown service": (
        '[miner.prices]\nwhisper = "0.0002"', 2, "miner.prices.whisper", "Write whisper_transcription."),
    "a list instead of text": ('[miner]\nname = ["rig"]', 2, "miner.name", 'Write name = "rig"'),
    "text instead of a list": (
        '[miner]\nmodels_pinned = "tiny.en, base"', 2, "miner.models_pinned", 'Write models_pinned = ["tiny.en", "base"]'),
    "a wrong entry of a list over several lines": (
        '[miner]\nmodels_pinned = [\n  "tiny.en",\n  5,\n]', 2, "miner.models_pinned", 'Write "5" instead.'),
    "a value instead of a section": ("log = 5", 1, "log", "Write [log] on a line of its own"),
    "a key that is set twice": (
        '[log]\nlevel = "info"\nlevel = "debug"', 3, "level", "Keep one of the two lines."),
    "a section that is defined twice": ("[log]\n[miner]\n[log]", 3, "", "below the first definition"),
    "a colon instead of =": ('[log]\nlevel: "info"', 2, "level", 'name and value: level = "info"'),
    "a word of another language": ("[runners]\npython_models = False", 2, "python_models", "Write python_models = false"),
    "nothing as a value": ("[miner]\nslots = null", 2, "slots", "Remove the line"),
    "text that is not TOML": ("[log\n", 1, "", None),
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "my.toml"


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
def test_an_error_is_reported_with_its_line_its_key_and_a_correction(
    run: Any, config: Path, planted: tuple[str, int, str, str | None]
) -> None:
    text, line, key, suggestion = planted
    config.write_text(text)
    done = run("config", "check", config, "--json")
    report = json.loads(done.out)
    assert (done.code, done.err, report["valid"], len(report["errors"])) == (1, "", False, 1)
    error = report["errors"][0]
    assert (error["source"], error["location"], error["line"]) == ("file", str(config), line)
    assert error["key"] == key
    assert error["message"].endswith(".")
    assert (suggestion or "") in (error["suggestion"] or "")
    text = run("config", "check", config).out
    assert text.startswith(f"{config}, line {line}: ")
    assert error["message"] in text
    assert text.endswith("\n1 error.\n")


@pytest.mark.parametrize(
    "planted", [it for it in PLANTED.values() if "Write " in (it[3] or "") and " = " in (it[3] or "")]
)
def test_the_suggested_line_is_valid(run: Any, config: Path, planted: tuple[str, int, str, str]) -> None:
    """The file has no error after the suggested line has replaced the invalid one."""
    text, line, _, suggestion = planted
    lines = text.splitlines()
    lines[line - 1] = suggestion.partition("Write ")[2].rpartition(": ")[2]
    config.write_text("\n".join(lines))
    assert run("config", "check", config).code == 0, config.read_text()


@pytest.mark.parametrize(
    ("name", "value", "key", "suggestion"),
    [
        ("AITBC_MINER__SLOTZ", "1", "AITBC_MINER__SLOTZ", "Did you mean AITBC_MINER__SLOTS?"),
        ("AITBC_COORDINATOR_PORT", "1", "AITBC_COORDINATOR_PORT", "Did you mean AITBC_COORDINATOR__PORT?"),
        (
            "AITBC_MINER__MODELS_PINNED",
            "a, b",
            "AITBC_MINER__MODELS_PINNED",
            """Write AITBC_MINER__MODELS_PINNED='["a", "b"]'""",
        ),
        ("AITBC_MINER__SLOTS", "0", "miner.slots", "Allowed: whole number, 1 to 256."),
        ("AITBC_LOG__LEVEL", "warn", "log.level", 'Write AITBC_LOG__LEVEL="warning"'),
    ],
)
def test_an_error_in_the_environment_names_its_variable(
    run: Any, config: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, key: str, suggestion: str
) -> None:
    config.write_text("")
    monkeypatch.setenv(name, value)
    done = run("config", "check", config, "--json")
    error = json.loads(done.out)["errors"][0]
    assert (done.code, error["key"], error["source"], error["location"]) == (1, key, "environment", name)
    assert suggestion in error["suggestion"]


def test_all_errors_are_reported_in_the_order_of_the_file(
    run: Any, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors in the environment follow those in the file."""
    config.write_text('[log]\nlevel = "loud"\n[coordinator]\nprot = 1\nport = -1\n')
    monkeypatch.setenv("AITBC_MINER__SLOTZ", "1")
    done = run("config", "check", config)
    starts = [line.partition(": ")[0] for line in done.out.splitlines() if not line.startswith("  ")]
    assert starts == [f"{config}, line {line}" for line in (2, 4, 5)] + [
        "environment variable AITBC_MINER__SLOTZ",
        "4 errors.",
    ]


def test_an_invalid_secret_is_not_shown(run: Any, config: Path) -> None:
    config.write_text("[miner]\nenrolment_token = 8765309\n")
    done = run("config", "check", config)
    assert (done.code, "miner.enrolment_token" in done.out) == (1, True)
    assert "8765309" not in done.out + run("status", "--config", config).err


def test_a_file_that_is_not_text_or_does_not_exist_is_explained(run: Any, config: Path) -> None:
    config.write_bytes(b"[log]\n\xff\xfe\n")
    assert run("config", "check", config).out.startswith(f"{config}, line 2: this is not UTF-8 text.")
    done = run("config", "check", config.with_name("none.toml"))
    assert (done.code, done.err) == (
        1,
        f"aitbc-agent: There is no configuration file {config.with_name('none.toml')}.\n",
    )


def test_valid_settings_are_reported_as_valid(run: Any, config: Path, tmp_path: Path) -> None:
    config.write_text('[miner]\nslots = 2\nname = "rig"\n')
    done = run("config", "check", config)
    assert (done.code, done.out) == (0, f"{config} is valid (2 settings).\n")
    assert json.loads(run("config", "check", config, "--json").out) == {
        "valid": True, "file": str(config), "errors": []}  # fmt: skip
    done = run("config", "check", "--data-dir", tmp_path)
    assert (done.code, done.out.startswith(f"There is no {tmp_path / 'agent.toml'}")) == (0, True)


def test_show_lists_every_setting_with_its_origin(
    run: Any, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('[coordinator]\nport = 1\n\nmax_body = "1Mi"\n[log]\nlevel = "error"\n')
    monkeypatch.setenv("AITBC_LOG__LEVEL", "debug")
    words = ("config", "show", "--data-dir", tmp_path, "--config", config)
    shown = {row["key"]: row for row in json.loads(run(*words, "--json").out)["settings"]}
    assert list(shown) == list(settings_by_key())
    assert shown["coordinator.max_body"] == {
        "key": "coordinator.max_body", "value": 2**20, "unit": "bytes", "source": "file", "location": str(config), "line": 4,
    }  # fmt: skip
    assert [shown["log.level"][name] for name in ("value", "source", "location", "line")] == [
        "debug", "environment", "AITBC_LOG__LEVEL", None]  # fmt: skip
    assert (shown["data_dir"]["value"], shown["data_dir"]["source"]) == (str(tmp_path), "flag")
    assert (shown["miner.slots"]["value"], shown["miner.slots"]["source"]) == (None, "default")
    lines = run(*words).out.splitlines()
    assert "miner.slots = (not set)" in lines
    assert f'coordinator.max_body = "1Mi"    # {config}, line 4' in lines
    assert len(lines) == len(settings_by_key())
    assert run(*words, "--changed").out.splitlines() == [
        f'data_dir = "{tmp_path}"    # flag',
        f"coordinator.port = 1    # {config}, line 2",
        f'coordinator.max_body = "1Mi"    # {config}, line 4',
        'log.level = "debug"    # environment variable AITBC_LOG__LEVEL',
    ]


def test_show_says_when_nothing_is_changed(run: Any, config: Path) -> None:
    config.write_text("")
    done = run("config", "show", "--changed", "--config", config)
    assert (done.code, done.out, done.err) == (0, "", "All settings have their default values.\n")


def test_show_masks_secrets(run: Any, config: Path) -> None:
    """Of a database URL, only the password and the query are masked. A missing value is not masked."""
    config.write_text(
        '[miner]\nenrolment_token = "enrol_word"\n[database]\nurl = "postgresql://me:word@host/name?password=word"\n'
    )
    for words in (("config", "show"), ("config", "show", "--json"), ("config", "show", "--changed")):
        assert "word" not in run(*words, "--config", config).out.replace("/name?password", "")
    lines = run("config", "show", "--config", config).out
    assert 'enrolment_token = "***"' in lines
    assert 'url = "postgresql://me:***@host/name?***"' in lines
    assert "enrolment_token = (not set)" in run("config", "show", "--data-dir", config.parent / "none").out


def test_a_path_may_begin_with_a_tilde(config: Path) -> None:
    config.write_text('data_dir = "~/agent"\n')
    assert load_settings(config).data_dir == Path.home() / "agent"
