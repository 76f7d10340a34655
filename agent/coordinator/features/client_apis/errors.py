"""The errors of answers that wait for their jobs."""

from __future__ import annotations

from agent.core.errors import ApiError


class AnswerFailed(ApiError):
    """The job behind the answer failed for a reason other than its input. The code may be specific to its runner."""

    code = "MACHINE_FAULT"
    open_code = True
    status = 502
    remedy = (
        "Nothing was charged. Send the request again; the network has made all attempts that the job allows."
    )

    def __init__(self, job_id: str, message: str, code: str | None = None) -> None:
        super().__init__(message, {"job_id": job_id})
        if code is not None:
            self.code = code
        # The network has made all attempts that the job allows. An automatic retry by the client would create another job.
        self.headers = {"X-Job-ID": job_id, "X-Should-Retry": "false"}


class AnswerRefused(AnswerFailed):
    """The job behind the answer failed because of its input. The code may be specific to its runner."""

    code = "INPUT_INVALID"
    status = 422
    remedy = "Change the request; the message states what the runner does not accept."


class AnswerCancelled(AnswerFailed):
    """The job behind the answer was cancelled."""

    code = "JOB_CANCELLED"
    status = 409
    remedy = "Send the request again if that was unintended."


class AnswerInvalid(AnswerFailed):
    """The miner's result does not have the form that its service defines."""

    code = "RESULT_INVALID"
    remedy = "Send the request again. If only one model is affected, inform the operator."


class AnswerChanged(AnswerFailed):
    """The final text differs from the part that was already streamed."""

    code = "TEXT_CHANGED"
    remedy = "Discard the streamed text and send the request again, or send it without `stream`."


class AnswerTimeout(AnswerFailed):
    """The job behind the answer did not end in time."""

    code = "ANSWER_TIMEOUT"
    status = 504
    remedy = "Request less (`max_tokens`, shorter audio), or submit the work as a job and wait for its end."
