"""The clients' requests, and how they handle responses. Both clients run every test, over real HTTP."""

from __future__ import annotations

import hashlib
import io
import json
from decimal import Decimal

import httpx
import pytest
from starlette.responses import JSONResponse, Response

import aitbc
from aitbc import AITBCClient, AsyncAITBCClient, errors

from .conftest import Calls
from .support.stand_in import error

BODY = {"name": "my-job", "type": "ai-inference", "pricing": {"max_cost": "0.10"}}


def test_create_a_job_as_the_reference_shows(calls, coordinator) -> None:
    job = calls(lambda client: client.jobs.create(BODY))
    assert job["job_id"] == job.job_id == "job_1"
    assert coordinator.bodies == [BODY]
    assert coordinator.seen[0][2]["authorization"] == "Bearer key_1"


def test_responses_are_mappings_of_the_sent_fields(calls, coordinator) -> None:
    coordinator.states[0] = {"status": "running", "progress": 75, "queue_position": 3}
    job = calls(lambda client: client.jobs.get("job_1"))
    assert (
        {**job} == dict(job) == {"job_id": "job_1", "status": "running", "progress": 75, "queue_position": 3}
    )
    assert json.loads(job.json()) == dict(job)
    assert (job.queue_position, job.error, "error" in job, job.get("error", 1)) == (3, None, False, 1)
    with pytest.raises(KeyError):
        job["error"]


def test_a_jobs_files_are_uploaded_to_it(calls, coordinator, tmp_path) -> None:
    (tmp_path / "model.py").write_text("def predict(input): return 1")
    files = {"model.py": tmp_path / "model.py", "in put.jpg": b"jpeg", "three": io.BytesIO(b"3")}
    calls(lambda client: client.jobs.create(BODY, files=files))
    assert coordinator.files == {
        "model.py": b"def predict(input): return 1",
        "in put.jpg": b"jpeg",
        "three": b"3",
    }


def test_a_job_whose_upload_fails_is_cancelled(calls, coordinator) -> None:
    """Otherwise its money would be held for an hour."""
    coordinator.file_limit = 3
    with pytest.raises(errors.PayloadTooLarge):
        calls(lambda client: client.jobs.create(BODY, files={"a": b"123", "b": b"1234"}))
    assert coordinator.cancelled.is_set()


def test_a_missing_file_creates_no_job(calls, coordinator, tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        calls(lambda client: client.jobs.create(BODY, files={"a": tmp_path / "none"}))
    assert coordinator.seen == []


def test_decimals_are_sent_as_money(calls, coordinator) -> None:
    calls(lambda client: client.jobs.create({"pricing": {"max_cost": Decimal("0.10")}}))
    assert coordinator.bodies == [{"pricing": {"max_cost": "0.1"}}]


def test_list_cancel_and_results(calls, coordinator) -> None:
    coordinator.results = {"prediction": "cat"}
    page = calls(lambda client: client.jobs.list(status="completed", type="ai-inference", limit=10, offset=5))
    assert (page.total, page.limit, page.offset, page.jobs[0].job_id) == (1, 10, 5, "job_1")
    assert calls(lambda client: client.jobs.cancel("job_1")).status == "cancelled"
    assert calls(lambda client: client.jobs.get_results("job_1")).results == {"prediction": "cat"}


def not_completed(state: str) -> Response:
    body = {"code": "JOB_NOT_COMPLETED", "message": "No results.", "details": {"status": state}}
    return JSONResponse({"error": body}, 409)


def test_get_results_waits_for_an_unfinished_job(calls, coordinator, no_pauses) -> None:
    coordinator.results = {"prediction": "cat"}
    coordinator.faults.append(not_completed("running"))
    coordinator.states.appendleft({"status": "running"})
    assert calls(lambda client: client.jobs.get_results("job_1")).results == {"prediction": "cat"}
    assert coordinator.states[0]["status"] != "running"


@pytest.mark.parametrize(("state", "wait"), [("running", False), ("failed", True), ("cancelled", True)])
def test_get_results_does_not_wait_for_a_job_without_results(calls, coordinator, state, wait) -> None:
    coordinator.faults.append(not_completed(state))
    with pytest.raises(aitbc.JobNotCompleted):
        calls(lambda client: client.jobs.get_results("job_1", wait=wait))
    assert len(coordinator.seen) == 1


def test_wait_reports_every_change(calls, coordinator, no_pauses) -> None:
    coordinator.states.extendleft(
        [
            {"status": "running", "progress": 50},
            {"status": "running", "progress": 10},
            {"status": "running", "progress": 10, "estimated_completion": "2026-11-24T15:05:00Z"},
            {"status": "submitted"},
            {"status": "submitted"},
        ]
    )
    seen = []
    job = calls(lambda client: client.jobs.wait("job_1", on_progress=lambda job: seen.append(job.progress)))
    assert job.status == "completed"
    assert seen == [None, 10, 50, 100]
    assert no_pauses == sorted(no_pauses)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (
            {"status": "failed", "error": {"code": "INPUT_INVALID", "message": "No audio."}},
            "failed: No audio (INPUT_INVALID)",
        ),
        ({"status": "cancelled"}, "was cancelled: no reason was given (CANCELLED)"),
    ],
)
def test_wait_raises_if_the_job_fails(calls, coordinator, state, text: str) -> None:
    coordinator.states[0] = state
    with pytest.raises(aitbc.JobFailed) as failure:
        calls(lambda client: client.jobs.wait("job_1"))
    assert str(failure.value) == f"Job job_1 {text}"


def test_wait_ends_after_its_timeout(calls, coordinator) -> None:
    coordinator.states[0] = {"status": "running"}
    with pytest.raises(TimeoutError, match="still running after 0 seconds"):
        calls(lambda client: client.jobs.wait("job_1", timeout=0))


def test_transcribe_uploads_a_file_first(calls, coordinator, tmp_path) -> None:
    (tmp_path / "speech.wav").write_bytes(b"RIFF")
    job = calls(
        lambda client: client.services.transcribe(
            str(tmp_path / "speech.wav"), model="tiny.en", word_timestamps=True
        )
    )
    address = f"artifact:sha256:{hashlib.sha256(b'RIFF').hexdigest()}"
    assert coordinator.bodies == [{"audio_url": address, "model": "tiny.en", "word_timestamps": True}]
    assert job.service_id == "whisper/transcribe"
    assert coordinator.seen[0][2]["content-type"] == "audio/x-wav"


@pytest.mark.parametrize("address", ["https://example.com/video.mp4", "artifact:sha256:" + "0" * 64])
def test_transcode_passes_an_address_on(calls, coordinator, address: str) -> None:
    calls(lambda client: client.services.transcode(address, output_format="mp4", codec="h264", wait=5))
    assert coordinator.bodies == [{"input_url": address, "output_format": "mp4", "codec": "h264"}]
    assert coordinator.seen[0][2]["prefer"] == "wait=5"


def test_any_service_can_be_called(calls, coordinator) -> None:
    calls(lambda client: client.services.call("llm/inference", {"prompt": "Hello"}))
    assert coordinator.paths() == ["POST /v1/services/llm/inference"]


def test_generate_uploads_images_first(calls, coordinator, tmp_path) -> None:
    (tmp_path / "mask.png").write_bytes(b"mask")
    calls(
        lambda client: client.services.generate(
            "A sunset", model="sd", size="64x64", steps=4, image=b"png", mask=tmp_path / "mask.png", seed=7
        )
    )
    image, mask = (f"artifact:sha256:{hashlib.sha256(content).hexdigest()}" for content in (b"png", b"mask"))
    assert coordinator.bodies == [
        {"prompt": "A sunset", "model": "sd", "size": "64x64", "steps": 4, "image_url": image, "mask_url": mask, "seed": 7}
    ]  # fmt: skip
    assert coordinator.paths()[-1] == "POST /v1/services/stable-diffusion/generate"


def test_embed(calls, coordinator) -> None:
    calls(lambda client: client.services.embed(["one", "two"], model="small", dimensions=64))
    assert coordinator.bodies == [{"input": ["one", "two"], "model": "small", "dimensions": 64}]
    assert coordinator.paths() == ["POST /v1/services/text/embedding"]


def test_rerank(calls, coordinator) -> None:
    calls(lambda client: client.services.rerank("a", ("one", "two"), model="small", document_tokens=64))
    assert coordinator.bodies == [
        {"query": "a", "documents": ["one", "two"], "model": "small", "document_tokens": 64}
    ]
    assert coordinator.paths() == ["POST /v1/services/text/reranking"]


def test_speak(calls, coordinator) -> None:
    calls(
        lambda client: client.services.speak(
            "Hi", model="m", voice="v", output_format="wav", speed=2, language="en"
        )
    )
    assert coordinator.bodies == [
        {"input": "Hi", "model": "m", "voice": "v", "output_format": "wav", "speed": 2, "language": "en"}
    ]
    assert coordinator.paths() == ["POST /v1/services/speech/synthesize"]


def test_infer_and_render(calls, coordinator) -> None:
    calls(
        lambda client: client.services.infer("Once upon", model="llama-7b", max_tokens=5, stop=["."], wait=2)
    )
    calls(
        lambda client: client.services.render(
            "https://example.com/a.blend", engine="cycles", resolution_x=320
        )
    )
    assert coordinator.bodies == [
        {"prompt": "Once upon", "model": "llama-7b", "max_tokens": 5, "stop": ["."]},
        {"blend_file_url": "https://example.com/a.blend", "engine": "cycles", "resolution_x": 320},
    ]
    assert coordinator.paths() == ["POST /v1/services/llm/inference", "POST /v1/services/blender/render"]
    assert coordinator.seen[0][2]["prefer"] == "wait=2"


def test_registry(calls, coordinator) -> None:
    service = {"service_id": "llm_inference", "name": "Language model"}
    schema = {"type": "object", "properties": {"prompt": {"type": "string"}}}
    coordinator.registry = {
        "": {"services": [service]},
        "/llm_inference": service,
        "/llm_inference/schema": schema,
        "/llm_inference/requirements": {"gpu": "optional"},
        "/validate": {"valid": False, "errors": [{"field": "model", "message": "unknown"}], "warnings": []},
    }
    found = calls(lambda client: client.registry.services(category="ai", search="chat & more"))
    assert [dict(one) for one in found.services] == [service]
    assert coordinator.asked == ["category=ai&search=chat+%26+more"]
    assert calls(lambda client: client.registry.get("llm_inference")).name == "Language model"
    assert calls(lambda client: client.registry.schema("llm_inference")) == schema
    assert dict(calls(lambda client: client.registry.requirements("llm_inference"))) == {"gpu": "optional"}
    verdict = calls(lambda client: client.registry.validate("llm_inference", {"model": "llama-8b"}))
    assert (verdict.valid, verdict.errors[0].field) == (False, "model")
    assert coordinator.bodies == [{"service_id": "llm_inference", "request_data": {"model": "llama-8b"}}]


OFFER = {
    "offer_id": "offer_1", "miner_id": "miner_1", "job_type": "image-classification", "price": "0.001", "reputation": 4.8,
}  # fmt: skip


def test_marketplace(calls, coordinator) -> None:
    path = "/v1/marketplace/offers"
    payment = {"transaction_id": "tx_1", "status": "pending", "created_at": "2024-01-01T12:00:00Z"}
    numbers = {
        "total_jobs": 3, "active_jobs": 1, "completed_jobs": 2, "failed_jobs": 0, "average_completion_time": 1.5,
        "total_volume": "0.5", "active_miners": 1,
    }  # fmt: skip
    coordinator.answers = {
        f"POST {path}": {**OFFER, "status": "active"},
        f"GET {path}": {"offers": [OFFER]},
        f"POST {path}/offer_1/accept": payment,
        f"DELETE {path}/offer_1": {"offer_id": "offer_1", "status": "withdrawn"},
        "GET /v1/marketplace/stats": numbers,
    }
    made = calls(
        lambda client: client.marketplace.create_offer(
            "image-classification",
            Decimal("0.0010"),
            max_jobs=10,
            duration=3600,
            requirements={"min_cpu": "2000m"},
        )
    )
    assert (made.offer_id, made.status) == ("offer_1", "active")
    body = {"job_type": "image-classification", "price": "0.001", "max_jobs": 10, "duration": 3600}
    assert coordinator.bodies == [{**body, "requirements": {"min_cpu": "2000m"}}]
    found = calls(lambda client: client.marketplace.offers(job_type="a b", max_price="0.01", limit=5))
    assert [dict(offer) for offer in found.offers] == [OFFER]
    assert found.next is None
    calls(lambda client: client.marketplace.offers(mine=True, before="offer_9"))
    assert coordinator.asked[-2:] == [
        "job_type=a+b&max_price=0.01&limit=5",
        "limit=50&mine=true&before=offer_9",
    ]
    assert (
        dict(calls(lambda client: client.marketplace.accept("offer_1", "job_1", bid_price="0.001")))
        == payment
    )
    assert coordinator.bodies[-1] == {"job_id": "job_1", "bid_price": "0.001"}
    assert calls(lambda client: client.marketplace.withdraw("offer_1")).status == "withdrawn"
    assert dict(calls(lambda client: client.marketplace.stats())) == numbers


def test_accepting_an_offer_is_retried_after_a_lost_response(calls, coordinator) -> None:
    """Accepting is idempotent, while a repeated creation would make a second offer."""
    coordinator.answers = {"POST /v1/marketplace/offers/offer_1/accept": {
        "transaction_id": "tx_1", "status": "pending", "created_at": "2024-01-01T12:00:00Z",
    }}  # fmt: skip
    coordinator.faults.append(error(502, "BAD_GATEWAY", "lost"))
    assert calls(
        lambda client: client.marketplace.accept("offer_1", "job_1", bid_price="1")
    ).transaction_id == "tx_1"  # fmt: skip
    coordinator.faults.append(error(502, "BAD_GATEWAY", "lost"))
    with pytest.raises(aitbc.APIError, match="lost"):
        calls(lambda client: client.marketplace.create_offer("a", "1", max_jobs=1, duration=1))


def test_wallet_and_miners(calls, coordinator) -> None:
    payment = {
        "transaction_id": "tx_1",
        "type": "payment",
        "status": "settled",
        "amount": "0.5",
        "created_at": "now",
    }
    numbers = {
        "miner_id": "miner_1", "reputation": 4.8, "total_jobs": 5, "success_rate": 0.98, "average_completion_time": 1.5,
        "total_earned": "0.5", "active_since": "2024-01-01T12:00:00Z",
    }  # fmt: skip
    coordinator.answers = {
        "GET /v1/wallet": {"account_id": "account_1", "balance": "10", "held": "0.5"},
        "GET /v1/wallet/transactions": {"transactions": [payment], "next": "tx_1"},
        "GET /v1/miners/miner_1/stats": numbers,
    }
    assert calls(lambda client: client.wallet.get()).balance == "10"
    page = calls(lambda client: client.wallet.transactions(limit=1, before="tx_2"))
    assert ([dict(one) for one in page.transactions], page.next) == ([payment], "tx_1")
    assert coordinator.asked[-1] == "limit=1&before=tx_2"
    assert dict(calls(lambda client: client.miners.stats("miner_1"))) == numbers


def test_receipts(calls, coordinator, signed) -> None:
    coordinator.receipt, coordinator.results = signed.receipt, signed.results
    coordinator.proofs.append(signed.proof)
    receipt = calls(lambda client: client.receipts.get("job_1"))
    assert aitbc.verify_receipt(receipt, log_key=signed.log_key).failures == ()
    assert calls(lambda client: client.receipts.verify(receipt)).valid
    assert coordinator.bodies == [{"receipt": signed.receipt}]
    bundle = calls(lambda client: client.receipts.export("job_1"))
    assert aitbc.verify_bundle(bundle, signed.log_key).failures == ()


def test_health(calls) -> None:
    assert calls(lambda client: client.health()).services == {"database": "healthy"}


@pytest.mark.parametrize(("code", "kind"), sorted(errors.API_ERRORS.items()))
def test_each_error_code_has_its_class(calls, coordinator, code: str, kind: type[errors.APIError]) -> None:
    coordinator.faults.append(error(400, code, "The message."))
    with pytest.raises(kind, match=rf"^The message \({code}\)$") as raised:
        calls(lambda client: client.jobs.get("job_1"))
    found = raised.value
    assert type(found) is kind
    assert (found.status, found.code, found.details, found.request_id) == (400, code, {"a": 1}, "req_1")


def test_validation_error_lists_the_invalid_fields() -> None:
    found = errors.ValidationFailed(
        422, "VALIDATION_ERROR", "Not valid.", {"fields": {"codec": "is unknown", "fps": "is 0"}}
    )
    assert str(found) == "Not valid. codec: is unknown; fps: is 0 (VALIDATION_ERROR)"
    found = errors.ValidationFailed(
        422, "VALIDATION_ERROR", "Not valid. fps: is 0.", {"fields": {"fps": "is 0"}}
    )
    assert str(found) == "Not valid. fps: is 0 (VALIDATION_ERROR)"
    assert (
        str(errors.ValidationFailed(422, "VALIDATION_ERROR", "Not valid.")) == "Not valid (VALIDATION_ERROR)"
    )


def test_unknown_codes_and_foreign_responses_are_api_errors(calls, coordinator) -> None:
    """They come from a newer coordinator, or from a proxy."""
    coordinator.faults.extend(
        [error(418, "TEAPOT", "I am."), Response("<html>", 404), JSONResponse({"a": 1}), Response("<html>")]
    )
    with pytest.raises(aitbc.APIError, match="TEAPOT"):
        calls(lambda client: client.health())
    with pytest.raises(aitbc.APIError, match="HTTP_404"):
        calls(lambda client: client.health())
    for _ in range(2):
        with pytest.raises(aitbc.TransportError, match="GET /v1/health"):
            calls(lambda client: client.health())


def test_retry_after_is_honoured(calls, coordinator, no_pauses) -> None:
    coordinator.faults.extend(
        [
            error(429, "RATE_LIMIT_EXCEEDED", "Slow down.", **{"Retry-After": "7"}),
            error(503, "SERVICE_UNAVAILABLE", "Restarting.", **{"Retry-After": "2"}),
        ]
    )
    assert calls(lambda client: client.health()).status == "ok"
    assert no_pauses == [7.0, 2.0]


def test_retries_are_limited(calls, coordinator, no_pauses) -> None:
    coordinator.faults.extend(error(503, "SERVICE_UNAVAILABLE", "Down.") for _ in range(50))
    with pytest.raises(aitbc.ServiceUnavailable):
        calls(lambda client: client.health())
    assert len(coordinator.seen) == 5
    assert len(no_pauses) == 4


def test_a_retry_after_that_is_too_long_is_not_awaited(calls, coordinator, no_pauses) -> None:
    coordinator.faults.append(error(429, "RATE_LIMIT_EXCEEDED", "Tomorrow.", **{"Retry-After": "86400"}))
    with pytest.raises(aitbc.RateLimitExceeded):
        calls(lambda client: client.health())
    assert no_pauses == []


def test_a_job_is_not_created_twice(calls, coordinator, no_pauses) -> None:
    """After a gateway's error the job may exist, and a second one would cost money."""
    coordinator.faults.append(Response("", 504))
    with pytest.raises(aitbc.APIError, match="HTTP_504"):
        calls(lambda client: client.jobs.create(BODY))
    assert len(coordinator.seen) == 1


def test_a_refused_job_is_retried(calls, coordinator, no_pauses) -> None:
    coordinator.faults.append(error(503, "SERVICE_UNAVAILABLE", "Not yet."))
    assert calls(lambda client: client.jobs.create(BODY)).job_id == "job_1"


def test_a_job_with_an_idempotency_key_is_retried(calls, coordinator, no_pauses) -> None:
    coordinator.faults.append(Response("", 502))
    calls(lambda client: client.jobs.create(BODY, idempotency_key="order-17"))
    assert [headers["idempotency-key"] for _, _, headers in coordinator.seen] == ["order-17"] * 2


def test_cancel_is_not_retried(calls, coordinator, no_pauses) -> None:
    coordinator.faults.append(Response("", 504))
    with pytest.raises(aitbc.APIError, match="HTTP_504"):
        calls(lambda client: client.jobs.cancel("job_1"))
    assert len(coordinator.seen) == 1


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_unreachable_coordinator_is_a_transport_error(kind: str, no_pauses, free_address: str) -> None:
    calls = Calls(kind, free_address)
    with pytest.raises(aitbc.TransportError, match="cannot be reached"):
        calls(lambda client: client.jobs.cancel("job_1"))
    assert len(no_pauses) == 4
    calls.close()


@pytest.mark.parametrize("suffix", ["", "/", "/api", "/api/", "/v1", "/api/v1/"])
def test_base_url_with_or_without_api(suffix: str) -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        return httpx.Response(200, json={"status": "ok", "version": "1"})

    with AITBCClient("key", f"https://aitbc.test{suffix}", transport=httpx.MockTransport(answer)) as client:
        client.health()
    assert seen == ["/api/v1/health" if "api" in suffix else "/v1/health"]


def test_slow_coordinator_is_a_timeout_error() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    with (
        AITBCClient("key", "https://aitbc.test", retries=0, transport=httpx.MockTransport(answer)) as client,
        pytest.raises(TimeoutError, match="GET /v1/health"),
    ):
        client.health()


def test_both_clients_have_the_same_calls() -> None:
    groups = ("jobs", "services", "artifacts", "receipts", "registry", "marketplace", "wallet", "miners")
    for name in groups:
        pair = [getattr(kind("k", "http://localhost:1"), name) for kind in (AITBCClient, AsyncAITBCClient)]
        assert (
            len({frozenset(attribute for attribute in dir(group) if attribute[0] != "_") for group in pair})
            == 1
        )


def test_public_names_are_sorted() -> None:
    assert aitbc.__all__ == sorted(aitbc.__all__)
    assert all(hasattr(aitbc, name) for name in aitbc.__all__)


@pytest.mark.parametrize(
    ("status", "coordinator_version", "hint"),
    [
        (404, "0.2.9", True),
        (422, "0.2", True),
        (404, "99.0.0", False),
        (404, "unknown", False),
        (404, None, False),
        (403, "0.2.9", False),
    ],
)
def test_an_error_of_an_older_coordinator_says_that_it_may_not_know_the_call(
    status: int, coordinator_version: str | None, hint: bool
) -> None:
    headers = {} if coordinator_version is None else {"X-AITBC-Version": coordinator_version}
    body = {"error": {"code": "NOT_FOUND", "message": "The path does not exist.", "details": {}}}
    answer = httpx.Response(status, headers=headers, json=body)
    transport = httpx.MockTransport(lambda _: answer)
    with (
        AITBCClient("key", "https://aitbc.test", transport=transport) as client,
        pytest.raises(errors.APIError) as raised,
    ):
        client.wallet.get()
    text = f"The coordinator's version, {coordinator_version}, is older than this library's"
    assert (text in str(raised.value)) is hint
