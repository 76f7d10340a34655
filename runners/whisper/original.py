"""The engine openai-whisper: OpenAI's own implementation, on PyTorch."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from runners.api import Device, Model
from runners.torch_memory import memory_faults
from runners.whisper.base import WINDOW_SECONDS, Listener, is_doubtful, plain_segment, weights
from runners.whisper.request import TranscribeRequest

if TYPE_CHECKING:
    from runners.whisper.base import Samples


class OpenAIWhisper:
    """A model in openai-whisper: half precision on a GPU, single on a CPU."""

    def __init__(self, model: Model, device: Device) -> None:
        import torch  # noqa: PLC0415 - the coordinator imports the runner without the engine
        import whisper  # noqa: PLC0415 - the coordinator imports the runner without the engine

        torch.set_num_threads(max(1, device.threads))
        self.weights = weights("openai-whisper", model)
        self._half = device.kind == "cuda"
        self.precision = "float16" if self._half else "float32"
        # First to main memory: halving there needs only half of the card's.
        loaded: Any = whisper.load_model(str(self.weights[0]), device="cpu")
        # Loading by path omits the attention heads that follow the timing of words.
        heads = whisper._ALIGNMENT_HEADS.get(model.name)  # noqa: SLF001 - no public name for the table
        if heads is not None:
            loaded.set_alignment_heads(heads)
        if self._half:
            halve(loaded)
        self._model = loaded.to(device.kind)

    def transcribe(self, samples: Samples, request: TranscribeRequest, listener: Listener) -> str:
        """See `TranscriptionEngine`."""
        with memory_faults(), _followed(self._model, listener) as follower:
            result = self._model.transcribe(
                samples,
                language=request.language,
                task=request.task,
                temperature=request.temperatures,
                initial_prompt=request.initial_prompt,
                word_timestamps=request.word_timestamps,
                fp16=self._half,
                verbose=None,
            )
            follower.finish(result["segments"])
        return str(result["language"])


def halve(model: Any) -> None:
    """Convert a model's weights to half precision, which openai-whisper's option `fp16` does only while it computes.

    Its layer norms always compute in single precision, and so need such weights.
    """
    import torch  # noqa: PLC0415 - the coordinator imports the runner without the engine

    model.half()
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.float()


@contextmanager
def _followed(model: Any, listener: Listener) -> Iterator[_Follower]:
    """Make `model.decode`, called for each window and temperature, also report to the listener."""
    follower = _Follower(model.decode, listener)
    model.decode = follower
    try:
        yield follower
    finally:
        # The instance's own attribute hid the class's method.
        del model.decode


class _Follower:
    """Replaces a model's `decode` to observe the progress of `whisper.transcribe`.

    That function reports only a progress bar, which stops during silence. This class reads its local variables `seek` (in
    steps of 10 ms), `all_segments` and `language`. If a later version renames them, segments
    are reported at the end, and only progress and checkpoints are lost.
    """

    def __init__(self, decode: Any, listener: Listener) -> None:
        self._decode = decode
        self._listener = listener
        self._reported = 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        frame = inspect.currentframe()
        seek, segments, language = _progress_of_transcribe(frame)
        self.finish(segments)
        self._listener.reached(seek / 100, language)
        decoded = self._decode(*arguments, **options)
        if decoded.temperature == 0 and is_doubtful(decoded.avg_logprob, decoded.compression_ratio):
            self._listener.doubtful(seek / 100, seek / 100 + WINDOW_SECONDS)
        return decoded

    def finish(self, segments: Sequence[Mapping[str, Any]]) -> None:
        """Report those of the segments so far that have not been reported."""
        spoken = [segment for segment in segments if segment["text"].strip()]
        for segment in spoken[self._reported :]:
            self._reported += 1
            text = segment["text"]
            published = plain_segment(segment["start"], segment["end"], text, segment.get("words"))
            self._listener.segment(published, text)


def _progress_of_transcribe(
    frame: FrameType | None,
) -> tuple[int, Sequence[Mapping[str, Any]], str | None]:
    """Return `seek`, `all_segments` and `language` of the function `transcribe` on the stack; 0, () and None without it."""
    while frame is not None:
        if frame.f_code.co_name == "transcribe" and "all_segments" in frame.f_locals:
            variables = frame.f_locals
            return int(variables.get("seek", 0)), variables["all_segments"], variables.get("language")
        frame = frame.f_back
    return 0, (), None
