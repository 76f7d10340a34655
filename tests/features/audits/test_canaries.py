"""Jobs with a known answer: they look like a client's, and end with the data that they came from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import text

from agent.coordinator.features.retention import retention
from agent.coordinator.operations.context import Context
from support.audits.stage import FOUND, LIE, TRUE, Stage, staged, stopped


def test_canaries_are_compared_with_their_known_answer(tmp_path: Path) -> None:
    with staged(tmp_path) as stage, stopped():
        miners = [stage.miner() for _ in range(3)]
        known = stage.work(miners[0], TRUE)
        stage.answer(miners[1], "pass")
        canary = stage.admin.post("/v1/admin/canaries", json={"job_id": known, "note": "by ear"}).json()
        assert stage.client.get("/v1/admin/canaries").status_code == 403
        make_due(stage)
        tested, lease = next((miner, found[0]) for miner in miners if (found := miner.poll(1, wait=0.3)))
        first, second = [miner for miner in miners if miner is not tested]
        assert not {"canary", "audit", "account_id"} & lease["spec"].keys()
        tested.complete(lease, LIE).raise_for_status()
        assert stage.answer(first, "fail")["spec"]["audit"]["answer"] == TRUE
        stage.answer(second, "fail")
        found = stage.admin.get("/v1/audits", params={"verdict": "fail"}).json()["audits"]
        assert [(audit["kind"], audit["miner_id"]) for audit in found] == [
            ("third", tested.miner_id),
            ("canary", tested.miner_id),
        ]
        assert stage.admin.get("/v1/admin/canaries").json()["canaries"][0]["submitted"] == 1
        stage.admin.delete(f"/v1/admin/canaries/{canary['canary_id']}").raise_for_status()
        make_due(stage)
        assert [miner.poll(1, wait=0.1) for miner in miners] == [[], [], []]
        assert canary_data(stage) == []
        stage.check()


def test_a_client_that_deletes_its_data_deletes_the_canary_that_it_became(tmp_path: Path) -> None:
    with staged(tmp_path, least_share=0.0, canaries_per_day=1000) as stage:
        miners = [stage.miner() for _ in range(2)]
        stored = stage.client.post(
            "/v1/artifacts", content=b"speech", headers={"Content-Type": "audio/wav"}
        ).json()["artifact_id"]
        known = stage.work(miners[0], TRUE, {"audio_url": f"artifact:{stored}"})
        stage.advance()
        for miner in miners:
            for lease in miner.poll(4, wait=0.1):  # the audit of a new miner
                miner.complete(lease, {"verdict": "pass", **FOUND, "units": 1, "processing_time": 0.5})
        stage.advance()
        stage.admin.post("/v1/admin/canaries", json={"job_id": known}).raise_for_status()
        with stopped():
            make_due(stage)
            tested, lease = next((one, found[0]) for one in miners if (found := one.poll(1, wait=0.3)))
            tested.complete(lease, TRUE).raise_for_status()
            stage.client.delete(f"/v1/jobs/{known}/data").raise_for_status()
        stage.advance()
        assert stage.admin.get("/v1/admin/canaries").json()["canaries"] == []
        (audit,) = stage.admin.get("/v1/audits", params={"miner_id": tested.miner_id}).json()["audits"][:1]
        assert (audit["kind"], audit["verdict"]) == ("canary", "unproven")
        assert canary_data(stage) == []
        assert stage.admin.get(f"/v1/artifacts/{stored}").status_code == 404
        stage.check()


def test_a_canary_ends_when_its_file_is_deleted(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        stored = stage.client.post(
            "/v1/artifacts", content=b"other speech", headers={"Content-Type": "audio/wav"}
        ).json()["artifact_id"]
        known = stage.work(stage.miner(), TRUE, {"audio_url": f"artifact:{stored}"})
        stage.admin.post("/v1/admin/canaries", json={"job_id": known}).raise_for_status()
        stage.client.delete(f"/v1/artifacts/{stored}").raise_for_status()
        assert stage.admin.get("/v1/admin/canaries").json()["canaries"] == []


def test_data_that_an_audit_or_a_canary_needs_outlives_its_retention_period(tmp_path: Path) -> None:
    with staged(tmp_path, canaries_per_day=0) as stage, stopped():
        worker, auditor = stage.miner(), stage.miner()
        audited, known = stage.work(worker, TRUE), stage.work(worker, TRUE)
        canary = stage.admin.post("/v1/admin/canaries", json={"job_id": known}).raise_for_status().json()

        def left() -> set[str]:
            """Delete old data, and return which of the two jobs have some."""
            stage.served.do(lambda context: retention.delete_jobs(a_year_later(context)))
            return {job["job_id"] for job in stage.client.get("/v1/jobs").json()["jobs"]}

        assert left() == {audited, known}
        for _ in range(2):
            stage.answer(auditor, "pass")
        stage.advance()
        assert left() == {known}
        stage.admin.delete(f"/v1/admin/canaries/{canary['canary_id']}").raise_for_status()
        assert left() == set()
        stage.check()


def a_year_later(context: Context) -> Context:
    settings = context.settings.model_copy(update={"job_retention_seconds": 30 * 86_400.0})
    return replace(context, settings=settings, clock=lambda: context.clock() + 365 * 86_400)


def canary_data(stage: Stage) -> list[Any]:
    """Return the specifications that are left of canaries and their jobs."""
    query = text(
        "SELECT spec FROM canaries WHERE spec != '{}' UNION ALL SELECT spec FROM jobs WHERE spec != '{}' "
        "AND account_id IN (SELECT account_id FROM canaries)"
    )
    return stage.served.do(
        lambda context: context.database.read(lambda connection: list(connection.execute(query)))
    )


def make_due(stage: Stage) -> None:
    """Have all canaries due, and submitted."""

    def due(connection: Any) -> None:
        connection.execute(text("UPDATE canaries SET due_at = 1"))

    stage.served.do(lambda context: context.database.write(due))
    stage.advance()
