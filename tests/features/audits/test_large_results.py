"""Results with very many values, which a miner chooses, hold up no audit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agent.coordinator.features.audits.rounds import asking
from aitbc.canonical import canonical_json, sha256_hex
from support.audits.stage import TRUE, Stage, staged


@pytest.fixture
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("stage"), second_opinion_seconds=3600) as stage:
        yield stage


def test_attack_audits_insert_the_results_as_they_are_stored(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The specification of each audit job is canonical, without a second encoding of the results in the transaction."""
    encoded: list[Any] = []

    def noted(value: Any) -> bytes:
        encoded.append(value)
        return canonical_json(value)

    monkeypatch.setattr(asking, "canonical_json", noted)
    worker, first, second = stage.miner(), stage.miner(), stage.miner()
    results = {**TRUE, "words": [[[]]] * 100}
    job_id = stage.work(worker, results)
    leases = [stage.answer(first, "fail"), stage.answer(second, "fail")]
    assert len({lease["job_id"] for lease in leases}) == 2
    for lease in leases:
        spec = lease["spec"]
        assert (spec["job_id"], spec["audit"]["results"]) == (lease["job_id"], results)
        assert spec["audit"]["statement"]["predicate"]["job_id"] == job_id
        assert lease["spec_digest"] == sha256_hex(canonical_json(spec))
    assert len(encoded) == 1
    assert isinstance(encoded[0]["audit"]["results"], str)
