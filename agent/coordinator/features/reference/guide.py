"""The descriptions in the OpenAPI document: of the API as a whole, and of each group of calls."""

from __future__ import annotations

from typing import Final

SUMMARY: Final = (
    "Jobs for GPUs: submitted by clients, run by miners, paid once, with receipts that anybody can verify."
)

DESCRIPTION: Final = """\
Every path is available under `/v1/...` and `/api/v1/...`. Bodies are JSON unless stated otherwise.

## Keys

Send `Authorization: Bearer KEY` or `X-API-Key: KEY`. A key has a role: `client` (with an account, which owns jobs, files and
money), `miner` (for the owner of one miner) or `admin`. Miners themselves use session tokens. The description of each call states who
may make it. A call that needs a key answers 401 `UNAUTHORIZED` without one, and 403 `FORBIDDEN` with a key of another role. Resources
of other owners are 404, as if they did not exist.

## Errors

All errors have the same form, including those for unknown paths and for bodies that are not JSON:

```json
{"error": {"code": "JOB_NOT_FOUND", "message": "The job job_1 does not exist.", "details": {"job_id": "job_1"}, "request_id": "5f0c2f3a9d1e4b77"}}
```

`code` is for programs. `message` states what went wrong and what to do. `request_id` is also in the header `X-Request-ID` and
in the server's log. `details.fields` of a `VALIDATION_ERROR` has a sentence for each invalid field, by its dotted path.
429 and 503 have `Retry-After`, in seconds. Every call can answer 429, 500 and 503; these are not repeated below.

Calls are counted per key, or per address without a valid key. `RateLimit-Policy` and `RateLimit` state the remaining budget, and a 429 has
`details: {policy, limit, window_seconds, retry_after}` (docs/reference/limits.md).

## Versions

Every answer states the coordinator's version in `X-AITBC-Version`. Requests and answers only get further fields; ignore those that you do not know.
Our libraries, which state their version (`User-Agent: aitbc-python/0.3.0`), are served from `oldest_client` of `GET /v1/health` on: two minor versions
before the coordinator's. Older ones get 409 `CLIENT_OUTDATED`, with what to update.

## Values

* Times are UTC, RFC 3339 with `Z`.
* Money is a decimal string with at most 8 decimals, never a number.
* `cpu`, `memory` and `gpu` are Kubernetes quantities: `"1000m"`, `"2Gi"`, `"1"`.
* Ids begin with their kind (`job_`, `offer_`, `tx_`, `receipt_`, `miner_`) and sort by time; a miner's id is derived from its public key.
* Numbers, booleans and strings are not converted into each other: `"5"` is not a number. Unknown fields are refused.
* Fields that do not apply are omitted from an answer.

## The life of a job

A job is `submitted`, then `running`, and finally `completed`, `failed` or `cancelled`. If its lease ends without a result, it is
`submitted` again. On submission its `max_cost` is held in escrow; without enough money, the answer is 402 `INSUFFICIENT_BALANCE` and
nothing is queued. When the job ends, the metered amount is paid and the rest is refunded. `estimated_completion` is based on the work
ahead of the job and the typical duration of such jobs, or five minutes while none has been measured. A failed job has an `error` with
the reason.

**Type.** `type` is the id of a service; hyphens and underscores are equivalent. `GET /v1/registry/services` lists the services; the
service calls create jobs of their kind without it.

**Files.** A file field accepts an https address, the id of an artifact (`artifact:sha256:...`), or `{"inline": "text"}` if its schema
allows that. If the field is optional, the file can be uploaded later: the new job names it under `missing_files`,
`PUT /v1/jobs/{job_id}/files/{name}` uploads it, and no miner gets the job before that. After an hour without the file, the job fails
with `INPUT_MISSING`. Addresses in private networks are refused.

**Python models** (`ai_inference`). The entrypoint defines `predict(input, **parameters)`. `input` is the path of the input file, or
None. Its return value, which must be valid JSON, is the result; files that it writes to the current directory become artifacts.

**Models.** A request names a model in the catalogue or one that a miner has. Adapters (LoRA and the like) are names in the
catalogue too. An unknown name is a `VALIDATION_ERROR`, which suggests the nearest name.

**Results.** All results have `processing_time` in seconds and the metered `units`. A file is `{artifact_id, url, media_type, size, name}`.

| service | results |
|---|---|
| `whisper_transcription` | `{text, language, duration, segments: [{start, end, text, words?}], files}` |
| `image_generation` | `{images: [file + {seed, width, height}], settings}`, where `settings` is everything else that determines the images |
| `llm_inference` | `{text, finish_reason, usage: {prompt_tokens, completion_tokens, total_tokens, cached_tokens?}, reasoning?, tool_calls?, logprobs?, answers?, tokens?, pieces?}` |
| `speech_synthesis` | `{audio: file, duration, sample_rate, voice, segments: [{start, end, text}]}` |
| `text_embedding` | `{embeddings: [[number]], usage: {prompt_tokens, total_tokens}}` |
| `text_reranking` | `{scores: [number], usage: {prompt_tokens, total_tokens}}`, in the order of the documents |
| `video_transcoding` | `{file, duration, width, height, codec}` |
| `blender_rendering` | `{frames: [file + {frame}], video?}` |
| `ai_inference` | the return value of `predict` (under `value` unless it is an object), and `files` if there are any |

**Waiting.** With `Prefer: wait=N`, the answer to a new job is delayed until the job ends, for at most N (up to 60) seconds, and has its
`results` or `error`. `GET /v1/jobs/{job_id}/events` streams the events of a job, and the WebSocket `/ws` those of your whole account
(docs/reference/streams.md). The job option `webhook_url` gets a signed message when the job has ended (docs/how-to/webhooks.md).

**Repeating.** For a day, a repeated POST with the same `Idempotency-Key` gets the first answer. The same key with a different request
is a 409 `CONFLICT`.

## This document

`GET /v1/openapi.json` returns this document as OpenAPI 3.1, and needs no key. In addition to the standard's fields, `x-audience` states
who may make a call, and `x-error-codes` the codes of an error answer. In a JSON Schema, `x-aitbc-file` marks fields for the address of a file.
"""

_GROUPS: Final = {
    "Jobs": "A job is one request for a service.",
    "Services": (
        "One call per service, which creates a job of its kind. The body consists of the service's input and the job options."
    ),
    "Service registry": (
        "The services, their input, their requirements and their current supply. Hyphens and underscores in a service's "
        "id are equivalent."
    ),
    "Artifacts": (
        "Input and output files, addressed by their SHA-256. A file can be read by the account that owns it or a job that "
        "used or produced it, and by the miner that holds the lease. Outputs belong to the account of their job."
    ),
    "Uploads": "Resumable uploads of large files with tus 1.0 (docs/how-to/uploads.md).",
    "Marketplace": "Miners' offers, and statistics of the network (docs/explanation/marketplace.md, docs/explanation/reputation.md).",
    "Audits": "Checks of results by other miners, and canaries, the jobs with known answers (docs/explanation/audits.md).",
    "Receipts": "Miners' signed statements about their runs, with the coordinator's attestations.",
    "Log": "The append-only Merkle log of receipts, settlements, verdicts and payouts, open to everybody (docs/reference/transparency-log.md).",
    "Wallet": "Balances of accounts, earnings of miners, and all payments.",
    "Payouts": "Batches that pay out what miners have earned, payout addresses, and proofs (docs/how-to/payouts.md).",
    "Streams": "Messages about events as they happen (docs/reference/streams.md).",
    "Webhooks": "Messages to a client's address when a job ends, by Standard Webhooks (docs/how-to/webhooks.md).",
    "Anthropic-compatible": "The paths of Anthropic's API, for its clients and Claude Code. Each call submits a job (docs/reference/anthropic.md).",
    "OpenAI-compatible": (
        "The paths of OpenAI's API, for its clients unchanged. Each call submits a job of the caller, which `X-Job-ID` "
        "names, and answers with its results or streams them. Unsupported parameters are refused. The error of a failed "
        "job has the job's own code (docs/reference/openai.md)."
    ),
    "Ollama-compatible": (
        "The paths of Ollama's API, for its clients unchanged, with a key. Each call submits a job of the caller, which `X-Job-ID` "
        'names. Errors have Ollama\'s form, `{"error": "..."}` (docs/reference/ollama.md).'
    ),
    "Tokens": "The tokens of texts and conversations, for clients of llama.cpp and vLLM (docs/reference/openai.md).",
    "Reranking": "Documents sorted by relevance, for clients of Jina, Cohere and vLLM (docs/reference/openai.md).",
    "Miners": "Machines for their owners and the operator, and their owners' commands for them.",
    "Keys and logins": "The key of the request, other keys of your account, and login links for the dashboard (docs/how-to/dashboard.md).",
    "Sessions": "Browsers' sessions for the dashboard, with a cookie instead of a key in the page (docs/how-to/dashboard.md).",
    "Health": "The health of the coordinator.",
    "Administration": "Accounts, keys, enrolment tokens and login links.",
    "Miner protocol": "The calls of miners. docs/reference/miner-protocol.md describes the whole protocol, including the WebSocket.",
}


def tags(names_in_use: set[str]) -> list[dict[str, str]]:
    """Return the groups of calls in use, in reading order."""
    names = [name for name in _GROUPS if name in names_in_use]
    return [{"name": name, "description": _GROUPS[name]} for name in names]
