"""Settings: precedence of the sources, validation, and error messages."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from agent.configuring.description import describe
from agent.configuring.reading import load_settings, settings_by_key
from agent.coordinator.features.rate_limits.settings import RateLimitSettings
from agent.core.errors import ConfigurationError
from agent.sections import section_of
from agent.settings import Settings
from runners.extras import extra_command


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the settings of the machine that runs the tests, and use an empty data directory."""
    for name in os.environ:
        if name.upper().startswith("AITBC_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AITBC_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def config(tmp_path: Path) -> Any:
    """Return a function that writes a configuration file."""

    def write(text: str, path: Path = tmp_path / "given.toml") -> Path:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_flags_override_the_environment_which_overrides_the_file_which_overrides_defaults(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each setting is resolved by itself, also within one section."""
    path = config('[coordinator]\nport = 1\nhost = "file"\nenvironment = "file"\n')
    assert load_settings().coordinator.port == 8420
    assert load_settings(path).coordinator.port == 1
    monkeypatch.setenv("AITBC_COORDINATOR__PORT", "2")
    monkeypatch.setenv("AITBC_COORDINATOR__HOST", "environment")
    assert load_settings(path).coordinator.port == 2
    coordinator = load_settings(path, {"coordinator": {"port": 3}}).coordinator
    assert (coordinator.port, coordinator.host, coordinator.environment) == (3, "environment", "file")
    assert coordinator.lease_seconds == 60


def test_the_file_in_the_data_directory_is_read_unless_another_is_given(config: Any, tmp_path: Path) -> None:
    config('[log]\nlevel = "error"\n', tmp_path / "data" / "agent.toml")
    assert load_settings().log.level == "error"
    assert load_settings(config("")).log.level == "info"
    config('[log]\nlevel = "debug"\n', tmp_path / "other" / "agent.toml")
    assert load_settings(flags={"data_dir": tmp_path / "other"}).log.level == "debug"


def test_a_given_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"There is no configuration file .*none\.toml"):
        load_settings(tmp_path / "none.toml")


def test_prices_are_merged_from_all_sources(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config('[miner.prices]\nwhisper_transcription = "0.5"\n')
    monkeypatch.setenv("AITBC_MINER__PRICES__video_transcoding", "0.25")
    prices = load_settings(path).miner.prices
    assert prices == {"whisper_transcription": Decimal("0.5"), "video_transcoding": Decimal("0.25")}
    # The variable of the whole table, and that of one entry.
    monkeypatch.setenv("AITBC_MINER__PRICES", '{"llm_inference": "0.1", "video_transcoding": "1"}')
    assert load_settings(path).miner.prices == prices | {"llm_inference": Decimal("0.1")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[coordinator]\nprot = 1",
            r"coordinator\.prot: there is no such setting\. Did you mean coordinator\.port\?",
        ),
        (
            "[miner.inputs]\nmax_sise = 1",
            r"miner\.inputs\.max_sise: .* Did you mean miner\.inputs\.max_size\?",
        ),
        ("[mienr]\nslots = 1", r"mienr: there is no such section\. Did you mean \[miner\]\?"),
        ("dta_dir = '/x'", r"dta_dir: there is no such setting\. Did you mean data_dir\?"),
        ("zzzzzzzzzz = 1", r"zzzzzzzzzz: there is no such setting\. \(.*, line 1\)$"),
    ],
)
def test_an_unknown_key_in_the_file_is_refused_and_the_nearest_one_suggested(
    config: Any, text: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load_settings(config(text))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "AITBC_COORDINATOR__PROT",
            r"AITBC_COORDINATOR__PROT: there is no such setting\. Did you mean AITBC_COORDINATOR__PORT\?",
        ),
        ("AITBC_COORDINATOR_PORT", r"Did you mean AITBC_COORDINATOR__PORT\?"),
        ("AITBC_DATADIR", r"Did you mean AITBC_DATA_DIR\?"),
        ("aitbc_log__levle", r"aitbc_log__levle: there is no such setting\. Did you mean AITBC_LOG__LEVEL\?"),
    ],
)
def test_an_unknown_variable_is_refused_and_the_nearest_one_suggested(
    monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigurationError, match=words):
        load_settings()


@pytest.mark.parametrize(
    "name", ["AITBC_DATA_DIR", "AITBC_MODELS_DIR", "AITBC_ENGINES__DIRECTORY", "AITBC_LOG__LEVEL"]
)
def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An empty path would be the current directory."""
    monkeypatch.delenv(name, raising=False)
    defaults = load_settings()
    monkeypatch.setenv(name, "")
    assert load_settings() == defaults


@pytest.mark.parametrize("key", ["models_dir", "cache_dir", "engines.directory", "miner.sealing.directory"])
def test_an_empty_path_in_the_file_is_refused(config: Any, key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{key}: .*must not be empty"):
        load_settings(config(f'{key} = ""'))


def test_an_unknown_flag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"coordinator\.prot: .* Did you mean coordinator\.port\?"):
        load_settings(flags={"coordinator": {"prot": 1}})


def test_a_rate_may_be_set_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As text, as docs/reference/settings.md shows it; other variables for lists and tables are JSON."""
    monkeypatch.setenv("AITBC_COORDINATOR__RATE_LIMITS__CLIENT", "600 per minute")
    assert section_of(load_settings().coordinator, RateLimitSettings).client.seconds == 60
    monkeypatch.setenv("AITBC_COORDINATOR__RATE_LIMITS__CLIENT", "600")
    with pytest.raises(
        ConfigurationError, match='Write AITBC_COORDINATOR__RATE_LIMITS__CLIENT="600 per minute"'
    ):
        load_settings()


def test_variables_of_the_sdk_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AITBC_API_KEY", "aitbc_client_x")
    monkeypatch.setenv("AITBC_BASE_URL", "http://127.0.0.1:1")
    load_settings()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[coordinator]\nmax_body = "lots"', r"coordinator\.max_body: 'lots' is not a quantity"),
        ("[coordinator]\nmax_body = -1", r"coordinator\.max_body: "),
        ('[coordinator]\nmax_body = "500m"', r"coordinator\.max_body: "),
        (
            "[coordinator]\ndefault_max_cost = 1.0",
            r"coordinator\.default_max_cost: must be an amount",
        ),
        ('[miner.prices]\nx = "free"', r"miner\.prices\.x: must be an amount"),
        ("[coordinator]\nport = 65536", r"coordinator\.port: .*65535"),
        ("[coordinator]\nlease_seconds = 0", r"coordinator\.lease_seconds: "),
        ('[log]\nlevel = "loud"', r'log\.level: .*"debug"'),
        ("[miner]\nslots = 0", r"miner\.slots: "),
        ("[coordinator\n", r"this is not TOML: .*line 1"),
        ("coordinator = 5", r"coordinator: "),
    ],
)
def test_an_invalid_value_is_reported_with_its_key(config: Any, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{words}") as caught:
        load_settings(config(text))
    assert "Value error" not in str(caught.value)


def test_all_errors_are_reported_together(config: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(config('[coordinator]\nprot = 1\nport = "x"\n[log]\nlevel = "loud"\n'))
    assert len(str(caught.value).splitlines()) == 3


def test_sizes_may_be_written_as_quantities(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AITBC_COORDINATOR__MAX_ARTIFACT", "2Ti")
    settings = load_settings(config('[coordinator]\nmax_body = "1Mi"\nmax_result = 5\n'))
    assert (settings.coordinator.max_body, settings.coordinator.max_result) == (2**20, 5)
    assert settings.coordinator.max_artifact == 2**41


def test_settings_do_not_change_after_loading() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.data_dir = Path("/elsewhere")
    with pytest.raises(ValidationError, match="frozen"):
        settings.coordinator.port = 1


def sections(model: type[BaseModel] = Settings) -> list[type[BaseModel]]:
    """Return the model and all models below it."""
    found = [model]
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += sections(field.annotation)
    return found


def test_every_section_is_frozen_and_forbids_unknown_keys() -> None:
    for section in sections():
        assert section.model_config.get("frozen"), section
        assert section.model_config.get("extra") == "forbid", section
    assert len(list(describe(Settings))) == len(settings_by_key()) > 40


def test_a_gpu_has_settings_of_its_own_by_index_or_uuid(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come from the file and from variables. Settings that are missing fall back to `miner.pause`."""
    path = config(
        '[miner.pause]\nschedule = ["Mon-Fri 09:00-18:00"]\n[miner.gpus.0.pause]\nschedule = []\n'
        '[miner.gpus."GPU-11aa".pause]\nmax_temperature = 75\n'
    )
    monkeypatch.setenv("AITBC_MINER__GPUS__1__PAUSE__MAX_POWER", "250")
    monkeypatch.setenv("AITBC_MINER__GPUS__1__PAUSE__SCHEDULE", '["22:00-06:00"]')
    miner = load_settings(path).miner
    assert miner.pause.schedule == ("Mon-Fri 09:00-18:00",)
    assert (miner.gpus["0"].pause.schedule, miner.gpus["1"].pause.max_power) == ((), 250)
    assert miner.gpus["1"].pause.schedule == ("22:00-06:00",)
    assert miner.gpus["GPU-11aa"].pause.schedule is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '[miner.pause]\nschedule = ["Mon-Fri 9-18"]',
            r"miner\.pause\.schedule: 'Mon-Fri 9-18' is not a time of the week; write it like",
        ),
        (
            "[miner.gpus.first.pause]\nschedule = []",
            r"miner\.gpus\.first.*'first' names no GPU; write its index",
        ),
        (
            "[miner.gpus.0.pause]\nshedule = []",
            r"there is no such setting\. Did you mean miner\.gpus\.0\.pause\.schedule\?",
        ),
        ("[miner.gpus.0.pause]\nmax_power = -1", r"miner\.gpus\.0\.pause\.max_power: -1 is not allowed\."),
        ("[miner.pause]\nmax_temperature = 500", r"miner\.pause\.max_temperature: .*150"),
    ],
)
def test_an_invalid_pause_setting_is_refused_with_the_allowed_values(
    config: Any, text: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load_settings(config(text))


WITHOUT_EXTENSIONS = """
import sys
from importlib import metadata
from pathlib import Path

entry_points = metadata.entry_points
metadata.entry_points = lambda **of: tuple(it for it in entry_points(**of) if not it.value.startswith("aitbc_"))

from agent.configuring.reading import load_settings
from agent.settings import Settings

assert list(type(Settings().payouts).model_fields)[-2:] == ["file", "http"]
try:
    load_settings(Path(sys.argv[1]))
except Exception as error:
    print(error)
"""


@pytest.mark.needs("payouts")
def test_settings_of_an_extension_that_is_not_installed_say_what_to_install(config: Any) -> None:
    path = config("[payouts.evm]\nchain_id = 5\n[miner.ray]\ncpus = 2")
    printed = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTENSIONS, path],
        env={**os.environ, "AITBC_PAYOUTS__LIGHTNING__SOCKET": "/rpc"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    ).stdout.splitlines()
    missing = "the extension with this setting is not installed. Install it:"
    assert printed == [
        f"payouts.evm: {missing} {extra_command('payouts-evm')}. ({path}, line 1)",
        f"miner.ray: {missing} {extra_command('ray')}. ({path}, line 3)",
        f"AITBC_PAYOUTS__LIGHTNING__SOCKET: {missing} {extra_command('payouts-lightning')}.",
    ]
