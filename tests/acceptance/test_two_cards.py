"""A whole agent on a machine with two cards of 24 GiB, as NVML describes it: models are placed, evicted, refused, released.

NVML is a stand-in (no machine that runs these tests has a GPU); the agent, its children, and the decisions are real.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from miner_support.cards import GIBIBYTE
from nvml_shim.shim import TWO_CARDS
from support.machines.two_cards import WAIT_SECONDS, Rig, working

pytestmark = [pytest.mark.ship, pytest.mark.acceptance]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with working(tmp_path_factory.mktemp("machine")) as rig:
        yield rig


@pytest.fixture
def rig(machine: Rig) -> Rig:
    """The machine without loaded models and waiting jobs."""
    machine.clear()
    return machine


def test_jobs_are_spread_over_the_cards_and_models_stay_loaded_while_they_fit(rig: Rig) -> None:
    """Two concurrent jobs use two cards. The third, for a loaded model, loads nothing."""
    first, second = rig.submit("small", "one"), rig.submit("middle", "two")
    miner = rig.until(lambda miner: sum(child["busy"] for child in miner["children"]) == 2)
    assert {child["device"] for child in miner["children"] if child["busy"]} == {
        card.uuid for card in TWO_CARDS
    }
    rig.open("one")
    rig.open("two")
    for job in (first, second):
        assert rig.client.jobs.wait(job, WAIT_SECONDS).status == "completed"
    rig.client.jobs.wait(rig.submit("small"), WAIT_SECONDS)
    assert [event for event in rig.events() if event == ("placed", "small")] == [("placed", "small")]


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Rig]:
    """A machine that has not measured how much memory its models use."""
    with working(tmp_path) as rig:
        yield rig


def test_models_are_evicted_for_others_and_a_model_that_never_fits_is_unavailable(fresh: Rig) -> None:
    """Both cards are full of idle models; another model evicts one of them. A model of 40 GiB fits on no card, so its job waits."""
    rig = fresh
    rig.cards.others[:] = [7 * GIBIBYTE, 7 * GIBIBYTE]
    for model in ("large", "middle", "small"):
        rig.client.jobs.wait(rig.submit(model), WAIT_SECONDS)
    unavailable = rig.until(lambda miner: "huge" in miner["unavailable_models"].get("cards", {}))[
        "unavailable_models"
    ]["cards"]
    assert "no device here has more than 23.5 GiB" in unavailable["huge"]
    assert "huge" in rig.agent.cli("status").stdout
    rig.submit("huge", wait=True)
    rig.client.jobs.wait(rig.submit("other"), WAIT_SECONDS)
    events = rig.events()
    assert [event for event, _ in events] == ["placed", "placed", "placed", "evicted", "placed"]
    assert events[-1] == ("placed", "other")
    assert ("placed", "huge") not in events
    assert rig.client.jobs.list(status="submitted").total == 1
    for number, card in enumerate(TWO_CARDS):
        assert rig.cards.claimed(card.uuid) + rig.cards.others[number] <= 24 * GIBIBYTE


def test_another_programs_memory_is_respected(rig: Rig) -> None:
    """A game uses the cards: idle models are unloaded, the model is unavailable with a reason, and its job waits until the game ends."""
    rig.client.jobs.wait(rig.submit("large"), WAIT_SECONDS)
    rig.cards.others[:] = [72 * GIBIBYTE // 10, 72 * GIBIBYTE // 10]  # nearly all memory besides 16 GiB
    rig.until(lambda miner: not any(child["model"] for child in miner["children"]))
    assert ("released", "large") in rig.events()
    rig.cards.others[:] = [20 * GIBIBYTE, 20 * GIBIBYTE]
    unavailable = rig.until(lambda miner: "large" in miner["unavailable_models"].get("cards", {}))[
        "unavailable_models"
    ]["cards"]
    assert "other programs leave at most" in unavailable["large"]
    rig.until(lambda _: "large" not in rig.client.registry.get("cards").to_dict()["ready"])
    job = rig.submit("large")
    assert rig.client.jobs.get(job).status == "submitted"
    rig.cards.others[:] = [0, 0]
    assert rig.client.jobs.wait(job, WAIT_SECONDS).status == "completed"
    assert rig.client.jobs.get(job).to_dict()["attempts"] == 1


def test_the_references_job_runs_with_a_gpu(rig: Rig, tmp_path: Path) -> None:
    """With the reference's own body, including `gpu`: a numpy model classifies a generated jpeg."""
    from PIL import Image  # noqa: PLC0415 - only this test draws

    body = {
        "name": "image-classification", "type": "ai-inference",
        "model": {"type": "python", "entrypoint": "model.py", "requirements": ["numpy", "pillow"]},
        "input": {"type": "image", "format": "jpeg"}, "output": {"type": "json"},
        "resources": {"cpu": "1000m", "memory": "2Gi", "gpu": "1"}, "pricing": {"max_cost": "0.10"},
    }  # fmt: skip
    Image.linear_gradient("L").convert("RGB").point(lambda value: value // 2).save(tmp_path / "cat.jpeg")
    model = Path(__file__).parents[2] / "scripts/demonstration/demo_classifier.py"
    files = {"model.py": model.read_bytes(), "cat.jpeg": (tmp_path / "cat.jpeg").read_bytes()}
    job = rig.client.jobs.create(body, files=files)
    assert rig.client.jobs.wait(job.job_id, 150).status == "completed"
    results = rig.client.jobs.get_results(job.job_id).results
    assert results["prediction"] in ("sunset", "forest", "sea")
    assert 0 <= results["confidence"] <= 1
    receipt = rig.client.receipts.export(job.job_id)
    assert '"kind":"cuda"' in _payload(receipt)


def test_a_model_that_fails_to_load_three_times_becomes_unavailable(rig: Rig) -> None:
    """Its jobs fail with the cause or wait; jobs of other models continue. It is the last test, since the model stays unavailable."""
    (rig.directory / "models/small/bytes").unlink()
    (rig.directory / "models/small/broken").touch()
    job = rig.submit("small", max_attempts=10)
    unavailable = rig.until(lambda miner: "small" in miner["unavailable_models"].get("cards", {}))[
        "unavailable_models"
    ]["cards"]
    assert "failed to load 3 times" in unavailable["small"]
    assert "small is damaged" in unavailable["small"]
    assert rig.client.jobs.wait(rig.submit("middle"), WAIT_SECONDS).status == "completed"
    assert rig.client.jobs.get(job).status == "submitted"


def _payload(bundle: dict[str, Any]) -> str:
    import base64  # noqa: PLC0415 - only this reads an envelope

    return base64.b64decode(bundle["receipt"]["envelope"]["payload"]).decode()
