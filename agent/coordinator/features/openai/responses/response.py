"""The answer to `POST /v1/responses`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from agent.coordinator.features.client_apis.submission import AnswerSubmission
from agent.coordinator.features.openai.responses.request import ResponseRequest
from aitbc.answers.fields import example
from runners.llm.request import Answer, InferenceRequest, InferenceResult, TokenLogprob

ItemStatus = Literal["in_progress", "completed", "incomplete"]


class OutputToken(BaseModel, defer_build=True):
    """A token and its log-probability; `bytes` are those of its text."""

    token: str
    logprob: float
    bytes: list[int]


class OutputLogprob(OutputToken):
    """A token of the text, and the most likely tokens instead of it."""

    top_logprobs: list[OutputToken]


class OutputText(BaseModel, defer_build=True):
    """The text of a message. There are no annotations."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[Any] = []
    logprobs: list[OutputLogprob] = []


class OutputMessage(BaseModel, defer_build=True):
    """The model's message."""

    type: Literal["message"] = "message"
    id: str
    status: ItemStatus
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]


class OutputCall(BaseModel, defer_build=True):
    """A function that the model calls. `arguments` is a JSON object as text; `call_id` belongs in the function's answer."""

    type: Literal["function_call"] = "function_call"
    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus


class SummaryText(BaseModel, defer_build=True):
    """What the model thought, whole."""

    type: Literal["summary_text"] = "summary_text"
    text: str


class OutputReasoning(BaseModel, defer_build=True):
    """What the model thought before it answered."""

    type: Literal["reasoning"] = "reasoning"
    id: str
    summary: list[SummaryText]


OutputItem = OutputReasoning | OutputMessage | OutputCall


class InputDetails(BaseModel, defer_build=True):
    """How many tokens the engine had computed for an earlier request of the account; 0 if it does not report that."""

    cached_tokens: int = 0


class OutputDetails(BaseModel, defer_build=True):
    """Engines do not report thoughts apart from the answer."""

    reasoning_tokens: int = 0


class ResponseUsage(BaseModel, defer_build=True):
    """Tokens read and generated."""

    input_tokens: int
    input_tokens_details: InputDetails = InputDetails()
    output_tokens: int
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int


class IncompleteDetails(BaseModel, defer_build=True):
    """Why the answer is not complete."""

    reason: Literal["max_output_tokens"]


class Response(BaseModel, defer_build=True):
    """The answer and the request's settings. `id` is the job's id; `status` is `incomplete` if the token limit ended the answer."""

    model_config = example(
        {
            "id": "job_1234567890",
            "object": "response",
            "created_at": 1704110400,
            "completed_at": 1704110402,
            "status": "completed",
            "model": "smollm2-135m-instruct",
            "output": [
                {
                    "type": "message",
                    "id": "msg_1234567890_0",
                    "status": "completed",
                    "role": "assistant",
                    "content": [
                        {
                            "type": "output_text",
                            "text": "The capital of France is Paris.",
                            "annotations": [],
                            "logprobs": [],
                        }
                    ],
                }
            ],
            "usage": {
                "input_tokens": 14,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 8,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 22,
            },
            "instructions": None,
            "temperature": 0,
            "top_p": 1,
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "top_logprobs": 0,
            "max_output_tokens": 64,
            "tools": [],
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            "text": {"format": {"type": "text"}, "verbosity": "medium"},
            "reasoning": {"effort": None, "summary": None},
            "metadata": {},
            "user": None,
            "safety_identifier": None,
            "prompt_cache_key": None,
        }
    )

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    model: str
    output: list[OutputItem]
    usage: ResponseUsage | None = None
    incomplete_details: IncompleteDetails | None = None
    error: dict[str, Any] | None = None
    instructions: str | None
    temperature: float
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    top_logprobs: int
    max_output_tokens: int | None
    tools: list[dict[str, Any]]
    tool_choice: str | dict[str, Any]
    parallel_tool_calls: bool
    text: dict[str, Any]
    reasoning: dict[str, Any] | None
    metadata: dict[str, str]
    user: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None
    previous_response_id: str | None = None
    conversation: dict[str, str] | None = None
    max_tool_calls: None = None
    background: bool = False
    store: bool = False
    service_tier: Literal["default"] = "default"
    truncation: Literal["disabled"] = "disabled"


class ResponseDeleted(BaseModel, defer_build=True):
    """The response no longer exists."""

    model_config = example({"id": "job_1234567890", "object": "response.deleted", "deleted": True})

    id: str
    object: Literal["response.deleted"] = "response.deleted"
    deleted: Literal[True] = True


def item_id(prefix: str, submission: AnswerSubmission, number: int) -> str:
    """Return the id of the item at a position of the output."""
    return f"{prefix}_{submission.job_id.removeprefix('job_')}_{number}"


def begun(submission: AnswerSubmission, request: ResponseRequest, *, stored: bool = False) -> Response:
    """Return the answer before it has any output."""
    defaults = {name: field.default for name, field in InferenceRequest.model_fields.items()}
    request_fields = request.model_dump(mode="json", exclude_none=True) | {"text": _text(request)}
    return Response(
        id=submission.job_id,
        created_at=submission.created,
        status="in_progress",
        model=submission.model,
        output=[],
        instructions=request.instructions,
        **{
            name: request_fields.get(name, defaults[name])
            for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty")
        },
        top_logprobs=request.top_logprobs or 0,
        max_output_tokens=request.max_output_tokens,
        tools=[
            {"description": None, "parameters": None, "strict": False, **tool}
            for tool in request_fields.get("tools", ())
        ],
        tool_choice=request_fields.get("tool_choice", "auto"),
        parallel_tool_calls=request.parallel_tool_calls is not False,
        text=request_fields["text"],
        reasoning={"effort": None, "summary": None, **request_fields.get("reasoning", {})},
        metadata=request.metadata or {},
        user=request.user,
        safety_identifier=request.safety_identifier,
        prompt_cache_key=request.prompt_cache_key,
        previous_response_id=request.previous_response_id,
        conversation=None if request.conversation_id is None else {"id": request.conversation_id},
        background=bool(request.background),
        store=stored,
    )


def _text(request: ResponseRequest) -> dict[str, Any]:
    form = request.format.model_dump(mode="json", by_alias=True)
    if form["type"] == "json_schema":
        form["strict"] = bool(form["strict"])
    return {"format": form, "verbosity": "medium"}


def ended(
    response: Response, submission: AnswerSubmission, result: InferenceResult, output: Sequence[OutputItem]
) -> Response:
    """Return the complete answer."""
    cut = result.finish_reason == "length"
    usage = ResponseUsage(
        input_tokens=result.usage.prompt_tokens,
        input_tokens_details=InputDetails(cached_tokens=result.usage.cached_tokens or 0),
        output_tokens=result.usage.completion_tokens,
        total_tokens=result.usage.total_tokens,
    )
    return response.model_copy(
        update={
            "status": "incomplete" if cut else "completed",
            "completed_at": None if cut else int(submission.context.clock()),
            "incomplete_details": IncompleteDetails(reason="max_output_tokens") if cut else None,
            "output": list(output),
            "usage": usage,
        }
    )


def made(response: Response, submission: AnswerSubmission, result: InferenceResult) -> Response:
    """Return the complete answer to a request that began with `response`."""
    return ended(response, submission, result, _output(submission, result))


def _output(submission: AnswerSubmission, answer: Answer) -> list[OutputItem]:
    """Return the items of an answer: its thoughts, its text, its calls. Without calls there always is a text."""
    status = final_status(answer)
    output: list[OutputItem] = []
    if answer.reasoning:
        summary = [SummaryText(text=answer.reasoning)]
        output.append(OutputReasoning(id=item_id("rs", submission, 0), summary=summary))
    if answer.text or not answer.tool_calls:
        content = [OutputText(text=answer.text, logprobs=token_logprobs(answer.logprobs or ()))]
        message_id = item_id("msg", submission, len(output))
        output.append(OutputMessage(id=message_id, status=status, content=content))
    for call in answer.tool_calls or ():
        output.append(
            OutputCall(
                id=item_id("fc", submission, len(output)),
                call_id=call.id,
                name=call.name,
                arguments=call.arguments,
                status=status,
            )
        )
    return output


def final_status(answer: Answer) -> ItemStatus:
    """Return the status of an answer's last item."""
    return "incomplete" if answer.finish_reason == "length" else "completed"


def token_logprobs(tokens: Sequence[TokenLogprob]) -> list[OutputLogprob]:
    """Return log-probabilities in the answer's form, where bytes are never missing."""
    return [
        OutputLogprob(
            token=token.token,
            logprob=token.logprob,
            bytes=_bytes(token.bytes, token.token),
            top_logprobs=[
                OutputToken(
                    token=candidate.token,
                    logprob=candidate.logprob,
                    bytes=_bytes(candidate.bytes, candidate.token),
                )
                for candidate in token.top_logprobs
            ],
        )
        for token in tokens
    ]


def _bytes(reported: list[int] | None, token: str) -> list[int]:
    return [*token.encode(errors="surrogatepass")] if reported is None else reported
