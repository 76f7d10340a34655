"""What the document says in words: of the API as a whole, and of each group of calls."""

from __future__ import annotations

from typing import Final

SUMMARY: Final = (
    "Jobs for GPUs: submitted by clients, run by miners, paid once, with receipts that anybody can verify."
)

DESCRIPTION: Final = """\
Every path answers under `/v1/...` and `/api/v1/...`. Bodies are JSON unless a call says otherwise.

## Keys

`Authorization: Bearer KEY` or `X-API-Key: KEY`. A key has a role: `client` (has an account, which owns jobs, files and
money), `miner` (for the owner of one miner) or `admin`. Miners themselves speak with session tokens. Each call says who may
make it; without a key all others answer 401 `UNAUTHORIZED`, and with a key of another role 403 `FORBIDDEN`. What belongs to
somebody else is 404, as if it did not exist.

## Errors

One shape everywhere, also for unknown paths and for bodies that are no JSON:

```json
{"error": {"code": "JOB_NOT_FOUND", "message": "The job job_1 does not exist.", "details": {"job_id": "job_1"}, "request_id": "5f0c2f3a9d1e4b77"}}
```

`code` is for programs, `message` is a sentence that says what to do, `request_id` stands in the header `X-Request-ID` and
in the server's log too. `details.fields` of a `VALIDATION_ERROR` has a sentence for each wrong field, by its dotted path.
429 and 503 carry `Retry-After`, in seconds. Every call can be answered 429, 500 and 503; these are not repeated below.

Calls are counted per key, and per address where there is no valid key; `RateLimit-Policy` and `RateLimit` say what is left, and a 429 has
`details: {policy, limit, window_seconds, retry_after}` (docs/reference/limits.md).

## Values

* Times are UTC, RFC 3339 with `Z`.
* Money is a decimal string with at most 8 decimals, never a number.
* `cpu`, `memory` and `gpu` are Kubernetes quantities: `"1000m"`, `"2Gi"`, `"1"`.
* Ids begin with what they name (`job_`, `offer_`, `tx_`, `receipt_`, `miner_`) and sort by time; a miner's follows from its public key.
* Numbers, booleans and strings are not taken for each other: `"5"` is no number. Unknown fields are refused.
* What does not apply is left out of an answer.

## The life of a job

A job is `submitted`, `running`, and in the end `completed`, `failed` or `cancelled`. A lease that ends without a result makes it
`submitted` again. Its `max_cost` is held in escrow when it is submitted (402 `INSUFFICIENT_BALANCE` without the money, and
nothing is queued); when it ends, what was metered is paid and the rest comes back. `estimated_completion` is the work ahead of it plus
the typical time of such jobs; five minutes while nothing has been measured. A job that failed carries `error`: why.

**Type.** `type` is the id of a service; hyphens and underscores are the same. Services are listed by
`GET /v1/registry/services`; the service calls make jobs of their kind without it.

**Files.** A field for a file takes an https address, the id of an artifact (`artifact:sha256:...`), or where its schema says so
`{"inline": "text"}`. Where it may be left out, the file can come later: the new job names it under `missing_files`,
`PUT /v1/jobs/{job_id}/files/{name}` uploads it, and no miner gets the job before. After an hour without it the job fails with `INPUT_MISSING`.
Addresses inside private networks are refused.

**Python models** (`ai_inference`). The entrypoint defines `predict(input, **parameters)`. `input` is the path of the input file, or
None. What it returns, which JSON must be able to hold, is the result; files that it writes to the current directory become artifacts.

**Models.** A request names a model of the catalogue, or one that a miner has; adapters (LoRA and the like) are names of the
catalogue too. An unknown name is a `VALIDATION_ERROR` with the nearest one.

**Results.** All have `processing_time` in seconds and `units`, what was metered. A file is `{artifact_id, url, media_type, size, name}`.

| service | results |
|---|---|
| `whisper_transcription` | `{text, language, duration, segments: [{start, end, text, words?}], files}` |
| `image_generation` | `{images: [file + {seed, width, height}]}` |
| `llm_inference` | `{text, finish_reason, usage: {prompt_tokens, completion_tokens, total_tokens}}` |
| `video_transcoding` | `{file, duration, width, height, codec}` |
| `blender_rendering` | `{frames: [file + {frame}], video?}` |
| `ai_inference` | what `predict` returned (under `value` unless it is an object), and `files` if there are any |

**Waiting.** `Prefer: wait=N` on a new job holds the answer until the job ends, N seconds at most (60), and then has its `results` or `error`.
`GET /v1/jobs/{job_id}/events` follows a job as it happens, the WebSocket `/ws` everything that concerns you (docs/reference/streams.md), and a `webhook_url` among the job's options gets a signed message when it has ended
(docs/how-to/webhooks.md).

**Repeating.** A POST with an `Idempotency-Key` that was used before gets the first answer again for a day; the same key with another
request is a 409 `CONFLICT`.

## This document

`GET /v1/openapi.json` is this API as OpenAPI 3.1, without a key. Beside the standard's fields, `x-audience` says who may make a call,
and `x-error-codes` which codes an error answer can have. Fields of a JSON Schema that are marked `x-aitbc-file` take the address of a file.
"""

_GROUPS: Final = {
    "Jobs": "A job is one request for a service.",
    "Services": (
        "One call per service; each makes a job of its kind. The body is the service's input, with the options of any "
        "job beside it."
    ),
    "Service registry": (
        "Which services there are, what they take, what they need, and who offers them now. Hyphens and underscores in "
        "a service's id are the same."
    ),
    "Artifacts": (
        "Input and output files, addressed by their SHA-256. A file can be read by the account that owns it, or that owns "
        "a job which used or made it, and by the miner that holds the lease. Outputs belong to the account of their job."
    ),
    "Uploads": "Large files in pieces that survive a broken connection: tus 1.0 (docs/how-to/uploads.md).",
    "Marketplace": "Offers of miners, and what the network has done (docs/explanation/marketplace.md, docs/explanation/reputation.md).",
    "Receipts": "What a miner signs about what it ran, with the coordinator's attestations.",
    "Log": "The append-only Merkle log of receipts and settlements, open to everybody (docs/reference/transparency-log.md).",
    "Wallet": "What an account can spend, what a miner has earned, and every payment behind it.",
    "Streams": "What happens, as it happens (docs/reference/streams.md).",
    "Webhooks": "A job's end, told to an address of the client's, after Standard Webhooks (docs/how-to/webhooks.md).",
    "OpenAI-compatible": (
        "The paths that OpenAI's clients call, so that they work unchanged. Each holds or streams the answer of a job of "
        "the caller, which `X-Job-ID` names. What is sent and not supported is refused. A job that fails answers with its "
        "own code (docs/reference/openai.md)."
    ),
    "Miners": "Machines as their owners and the operator see them, and what their owners command them to do.",
    "Keys and logins": "The key with which you ask, further ones for your account, and the login links of the dashboard (docs/how-to/dashboard.md).",
    "Sessions": "How a browser signs in to the dashboard and out again: a cookie, and no key in the page (docs/how-to/dashboard.md).",
    "Health": "Whether the coordinator works.",
    "Administration": "Accounts, keys, enrolment tokens and login links.",
    "Miner protocol": "What miners call. docs/reference/miner-protocol.md explains it as a whole, with the WebSocket.",
}


def tags(used: set[str]) -> list[dict[str, str]]:
    """The groups of the calls that there are, in the order in which people read them."""
    known = [name for name in _GROUPS if name in used]
    return [{"name": name, "description": _GROUPS[name]} for name in known]
