"""Whose fault an engine's failure is, in the words of the engines themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuda_shim.states import WORDS
from runners.api import Model
from runners.causes import CAUSES, Outcome, Stage, cause_of, error_of
from runners.errors import UNABLE, Fail, FailureCode, Retry
from runners.torch_memory import engine_error, loading_faults, memory_faults

ARGUMENTS = (
    "Failed to parse tool call arguments as JSON: [json.exception.parse_error.101] parse error at line 1, "
    "column 1: attempting to parse an empty input"
)


@pytest.mark.parametrize(
    ("stage", "outcome", "text", "code"),
    [
        # The client's.
        (Stage.READING, Outcome.FAILED, ARGUMENTS, "INPUT_INVALID"),
        (Stage.READING, Outcome.FAILED, "anything that only reading finds", "INPUT_INVALID"),
        (Stage.READING, Outcome.LATE, "its server did not answer (ReadTimeout).", "INPUT_INVALID"),
        (Stage.ANSWERING, Outcome.REFUSED, "Conversation roles must alternate", "INPUT_INVALID"),
        (Stage.ANSWERING, Outcome.FAILED, ARGUMENTS, "INPUT_INVALID"),
        (Stage.ANSWERING, Outcome.FAILED, "Failed to parse input at pos 5: <tool_call>", "INPUT_INVALID"),
        (Stage.ANSWERING, Outcome.REFUSED, "the request exceeds the available context size", "CONTEXT_OVERFLOW"),
        (Stage.ANSWERING, Outcome.REFUSED, "This model's maximum context length is 4096 tokens", "CONTEXT_OVERFLOW"),
        (Stage.ANSWERING, Outcome.FAILED, "input (600 tokens) is too large to process", "CONTEXT_OVERFLOW"),
        # The machine's.
        (Stage.ANSWERING, Outcome.FAILED, "Compute error.", "RUNNER_CRASHED"),
        (Stage.ANSWERING, Outcome.LATE, "its server did not answer (ReadTimeout).", "RUNNER_CRASHED"),
        (Stage.ANSWERING, Outcome.FAILED, "CUDA error: an illegal memory access was encountered", "ENGINE_DIED"),
        # Nobody's: too little memory for it, or a model that does not load.
        (Stage.ANSWERING, Outcome.FAILED, "CUDA out of memory. Tried to allocate 2 GiB. CUDA error", "OUT_OF_MEMORY"),
        (Stage.LOADING, Outcome.FAILED, "No available memory for the cache blocks.", "OUT_OF_MEMORY"),
        (Stage.LOADING, Outcome.FAILED, "unknown model architecture", "MODEL_UNAVAILABLE"),
        (Stage.LOADING, Outcome.FAILED, "AssertionError: Error in memory profiling. Initial free memory 8 GiB", "NO_MEMORY"),
    ],
)  # fmt: skip
def test_a_failure_has_the_code_of_its_cause(stage: Stage, outcome: Outcome, text: str, code: str) -> None:
    error = error_of(stage, text, outcome)
    assert error.code == code
    assert isinstance(error, Retry if FailureCode(code).retried else Fail)


@pytest.mark.parametrize("quoted", [sign for cause in CAUSES for sign in cause.signs])
def test_words_that_an_engine_quotes_from_a_client_never_blame_the_machine(quoted: str) -> None:
    """Template errors and refusals repeat what a message says."""
    assert not cause_of(Stage.READING, f"unknown role {quoted.upper()}").code.retried
    assert not cause_of(Stage.ANSWERING, f"unknown role {quoted}", Outcome.REFUSED).code.retried


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("outcome", Outcome)
def test_every_failure_has_a_cause_and_a_message_of_bounded_length(stage: Stage, outcome: Outcome) -> None:
    assert len(str(error_of(stage, "{text} {0} " * 1000, outcome))) <= 500


UNSUPPORTED = [
    *((words.text, words.state.remedy) for words in WORDS),
    ("CUDA error: no kernel image is available for execution on the device", "another card"),
    ("CUDA error: CUDA failure 209: no kernel image is available for execution on the device ; GPU=0", "another card"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "remedy"), UNSUPPORTED)
def test_a_card_or_driver_that_cannot_run_the_engine_is_named_with_what_to_do(text: str, remedy: str) -> None:
    """It is no fault of the model's, and costs the machine no reputation."""
    with pytest.raises(Retry) as loading, memory_faults(), loading_faults(Model("model", Path("/nowhere"))):
        raise RuntimeError(text)
    running = engine_error(RuntimeError(text), "")
    # These words alone do not show whether CUDA has not started, or has failed after it had computed.
    vague = text.endswith("unknown error")
    for error in (loading.value, *(() if vague else (running,))):
        assert (error.code, error.code in UNABLE) == ("GPU_UNSUPPORTED", True)
        assert remedy in str(error)
        assert error.own_message
        assert text not in str(error)


def test_a_full_card_is_no_broken_driver() -> None:
    """CUDA's own context needs memory too."""
    text = "Unexpected error from cudaGetDeviceCount(). Error 2: out of memory"
    assert cause_of(Stage.LOADING, text).code is FailureCode.OUT_OF_MEMORY
    assert cause_of(Stage.LOADING, "CUDA driver error: out of memory").code is FailureCode.OUT_OF_MEMORY
