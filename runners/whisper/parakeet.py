"""The engine onnx-asr: NVIDIA's Parakeet models (FastConformer with a token-and-duration transducer) on ONNX Runtime.

Clips of speech are decoded several at once. The model reports when each token begins; words and segments are made from that. See "Efficient
Sequence Transduction by Jointly Predicting Tokens and Durations" (Xu et al., 2023).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from runners.api import Device, Fail, FailureCode, Model, Retry
from runners.torch_memory import memory_faults
from runners.whisper.base import SAMPLE_RATE, Listener, plain_segment, weights
from runners.whisper.request import PARAKEET, PARAKEET_ENGLISH_PREFIX, UNDETERMINED, TranscribeRequest
from runners.whisper.speech import Block, Clip, batches, blocks

if TYPE_CHECKING:
    from runners.whisper.base import Samples

BATCH: Final = {"cuda": 4, "cpu": 1}
"""Clips that are encoded at once. On a CPU one clip occupies all threads."""

TOKEN_SECONDS: Final = 0.32
"""The longest duration of a token that the models predict: four steps of the encoder, 80 ms each."""

PAUSE_SECONDS: Final = 1.0
"""The shortest pause that ends a segment within a sentence."""

SENTENCE_ENDS: Final = (".", "?", "!", "…")

QUANTISED: Final = ".int8."
"""Part of the names of files whose weights are 8-bit integers."""


@dataclass(slots=True)
class ParakeetWord:
    """A word with its times in seconds. `probability` is the mean of its tokens'."""

    word: str
    start: float
    end: float
    probability: float


@dataclass(slots=True)
class Passage:
    """The words of a clip, in the form in which `Block.restore` converts times."""

    start: float
    end: float
    words: list[ParakeetWord]


class Parakeet:
    """A model in onnx-asr: single precision on a GPU and a CPU, or 8-bit integers on a CPU, depending on its files.

    ONNX Runtime computes 8-bit integers on the CPU in a process with a GPU too, since its CUDA provider cannot.
    """

    def __init__(self, model: Model, device: Device) -> None:
        import onnx_asr  # noqa: PLC0415 - the coordinator imports the runner without the engine
        import onnxruntime  # noqa: PLC0415 - as above

        self.weights = weights(PARAKEET, model)
        quantised = QUANTISED in self.weights[0].name
        self.precision = "int8" if quantised else "float32"
        self._gpu = device.kind == "cuda" and not quantised
        self._batch = BATCH["cuda" if self._gpu else "cpu"]
        self._language = "en" if model.name.startswith(PARAKEET_ENGLISH_PREFIX) else UNDETERMINED
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, device.threads)
        # Operators follow each other in these models, so more threads would only wait.
        options.inter_op_num_threads = 1
        providers = _providers(gpu=self._gpu)
        with _faults(gpu=self._gpu):
            if self._gpu:
                _require_gpu(onnxruntime, providers)
            loaded: Any = onnx_asr.load_model(
                "nemo-conformer-tdt",
                model.path,
                quantization="int8" if quantised else None,
                sess_options=options,
                providers=providers,
                preprocessor_config={
                    "sess_options": options,
                    "providers": providers,
                    "max_concurrent_workers": 1,
                },
            )
        self._model = loaded.with_timestamps()

    def transcribe(self, samples: Samples, request: TranscribeRequest, listener: Listener) -> str:
        """See `TranscriptionEngine`. Raises `Fail` for what Parakeet models cannot do."""
        if (refusal := request.refused_by_parakeet()) is not None:
            words = str(refusal)
            raise Fail(f"{words[0].upper()}{words[1:]}.")
        language = request.language or self._language
        listener.reached(0, language)
        with memory_faults(), _faults(gpu=self._gpu):
            for block in blocks(samples):
                for clips in batches(block.clips, self._batch):
                    results = self._model.recognize([_sound(block, clip) for clip in clips])
                    for clip, result in zip(clips, results, strict=True):
                        _report(block, clip, result, listener, words=request.word_timestamps)
                        listener.reached(clip.border, language)
                listener.reached(block.end, language)
        return language


def words_of(result: Any, clip: Clip) -> list[ParakeetWord]:
    """Return the words of a clip, in seconds of its block's speech.

    A word ends where the next token begins, at most `TOKEN_SECONDS` after its own last token began, and not after the clip. Punctuation,
    which the model writes only in the pause that follows, does not count as one of its tokens.
    """
    starts = [min(clip.start + time, clip.end) for time in result.timestamps]
    following = [*starts[1:], clip.end]
    ends = [
        min(next_start, start + TOKEN_SECONDS) for start, next_start in zip(starts, following, strict=True)
    ]
    words: list[ParakeetWord] = []
    chances: list[list[float]] = []
    for token, start, end, logarithm in zip(result.tokens, starts, ends, result.logprobs, strict=True):
        if token.startswith("<") and token.endswith(">"):  # unknown characters and marks, which are no text
            continue
        if token.startswith(" ") or not words:
            words.append(ParakeetWord("", start, end, 0.0))
            chances.append([])
        # Punctuation must not make a word last until the end of a pause.
        if any(character.isalnum() for character in token) or not words[-1].word:
            words[-1].end = end
        words[-1].word += token.strip()
        chances[-1].append(math.exp(min(0.0, logarithm)))
    for word, of_tokens in zip(words, chances, strict=True):
        word.probability = sum(of_tokens) / len(of_tokens)
    return [word for word in words if word.word]


def segments_of(words: Sequence[ParakeetWord]) -> Iterator[list[ParakeetWord]]:
    """Yield the words of each segment: a sentence, or a part of one before a pause."""
    segment = list(words[:1])
    for previous, word in pairwise(words):
        ended = previous.word.endswith(SENTENCE_ENDS) and not word.word[0].islower()
        if ended or word.start - previous.end >= PAUSE_SECONDS:
            yield segment
            segment = []
        segment.append(word)
    if segment:
        yield segment


def _report(block: Block, clip: Clip, result: Any, listener: Listener, *, words: bool) -> None:
    spoken = words_of(result, clip)
    if not spoken:
        return
    for passage in block.restore([Passage(clip.start, clip.end, spoken)]):
        for segment in segments_of(passage.words):
            text = f" {' '.join(word.word for word in segment)}"
            timed = [asdict(word) for word in segment] if words else None
            listener.segment(plain_segment(segment[0].start, segment[-1].end, text, timed), text)


def _sound(block: Block, clip: Clip) -> Samples:
    return block.speech[round(clip.start * SAMPLE_RATE) : round(clip.end * SAMPLE_RATE)]


def _providers(*, gpu: bool) -> list[Any]:
    if not gpu:
        return ["CPUExecutionProvider"]
    options = {
        "arena_extend_strategy": "kSameAsRequested",  # else it takes up to twice the memory that it needs
        "cudnn_conv_algo_search": "HEURISTIC",  # else each new length of a clip begins with a search
    }
    return [("CUDAExecutionProvider", options), "CPUExecutionProvider"]


def _require_gpu(onnxruntime: Any, providers: Sequence[Any]) -> None:
    """Raise `Retry` if ONNX Runtime does not get at the GPU, where it would compute on the CPU without an error."""
    from importlib.resources import files  # noqa: PLC0415 - only for GPUs

    import onnx_asr.preprocessors  # noqa: PLC0415 - the coordinator imports the runner without the engine

    # Any small graph shows it; this one is part of the package.
    graph = files(onnx_asr.preprocessors).joinpath("data", "nemo128_conv.onnx").read_bytes()
    # Without the fall-back to the CPU it raises CUDA's own words. A missing library is no error even so.
    session = onnxruntime.InferenceSession(graph, providers=providers, enable_fallback=0)
    if "CUDAExecutionProvider" not in session.get_providers():
        raise Retry(
            "ONNX Runtime cannot use the GPU: a library of CUDA 12 is missing; install it with: aitbc-agent engines install onnx-asr.",
            code=FailureCode.ENGINE_MISSING,
        )


@contextmanager
def _faults(*, gpu: bool) -> Iterator[None]:
    """Turn ONNX Runtime's errors about memory and about a failed GPU into those that `runners.torch_memory` knows."""
    try:
        yield
    except Exception as error:
        text = str(error)
        if "Failed to allocate memory" in text or "CUDA failure 2:" in text:
            if gpu:
                raise RuntimeError(f"ONNX Runtime is out of memory: {text}") from error
            raise MemoryError(text) from error
        if "CUDA failure" in text:
            raise RuntimeError(f"CUDA error: {text}") from error
        raise
