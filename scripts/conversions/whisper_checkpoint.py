"""Converts a Whisper model from CTranslate2's format into a checkpoint of openai-whisper.

The demo model is packaged in CTranslate2's format only, for faster-whisper. The same weights in both formats allow tests to
run and compare both engines of the Whisper runner.

CTranslate2's binary format, version 6, all integers little-endian and strings written as a uint16 length followed by
that many bytes, the last of them zero:

    uint32 version, string specification ("WhisperSpec"), uint32 revision (3)
    uint32 number of variables, then each: string name, uint8 rank, uint32 per dimension,
        uint8 type (0 float32, 1 int8, 2 int16, 3 int32, 4 float16), uint32 bytes, the bytes
    uint32 number of aliases, then each: string alias, string name of the variable it stands for

Names are paths, for example `decoder/layer_0/attention/linear_1/weight`. Self-attention keeps the query, key and value
projections in one matrix, one above the other (`self_attention/linear_0`); cross-attention keeps the query alone
(`attention/linear_0`) and key and value together (`attention/linear_1`). Whisper's key projections have no bias, so the
key's part of a joint bias is zero.

openai-whisper's checkpoint is `{"dims": {...}, "model_state_dict": {...}}`, saved by `torch.save`; it holds only tensors
and numbers, so that `torch.load(weights_only=True)` reads it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

BINARY_VERSION = 6
SPECIFICATION = "WhisperSpec"
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
MAX_RANK = 4

Variables = Mapping[str, np.ndarray]
State = dict[str, torch.Tensor]


class FormatError(Exception):
    """The file is not a Whisper model in the supported version of CTranslate2's format."""


def convert(source: Path, target: Path) -> None:
    """Read CTranslate2's `source` (a `model.bin`) and write openai-whisper's checkpoint to `target`.

    The weights keep their type (float16 stays float16). Raises `FormatError` if `source` is something else.
    """
    with source.open("rb") as stream:
        variables = read_variables(stream)
    try:
        checkpoint = {"dims": dimensions(variables), "model_state_dict": state(variables)}
    except KeyError as error:
        raise FormatError(f"{source} has no variable {error}.") from error
    torch.save(checkpoint, target)


def read_variables(stream: BinaryIO) -> dict[str, np.ndarray]:
    """Read all variables of a model in CTranslate2's binary format, without aliases.

    Raises `FormatError` for another version, another kind of model, or a file that ends early.
    """
    version, specification, _revision = _unpack(stream, "I"), _string(stream), _unpack(stream, "I")
    if version != BINARY_VERSION or specification != SPECIFICATION:
        raise FormatError(
            f"Version {version} of {specification!r} is not version {BINARY_VERSION} of {SPECIFICATION!r}."
        )
    return dict(_variable(stream) for _ in range(_unpack(stream, "I")))


def _variable(stream: BinaryIO) -> tuple[str, np.ndarray]:
    name, rank = _string(stream), _unpack(stream, "B")
    if rank > MAX_RANK:
        raise FormatError(f"{name} has {rank} dimensions.")
    shape = tuple(_unpack(stream, "I") for _ in range(rank))
    type_id, size = _unpack(stream, "B"), _unpack(stream, "I")
    if type_id not in TYPES:
        raise FormatError(f"{name} has the unknown type {type_id}.")
    # A bytearray, since torch warns about read-only memory.
    values = np.frombuffer(bytearray(_read(stream, size)), dtype=np.dtype(TYPES[type_id]).newbyteorder("<"))
    try:
        return name, values.reshape(shape)
    except ValueError as error:
        raise FormatError(f"{name} has {values.size} values for the shape {shape}.") from error


def _unpack(stream: BinaryIO, code: str) -> int:
    layout = struct.Struct(f"<{code}")
    return int(layout.unpack(_read(stream, layout.size))[0])


def _string(stream: BinaryIO) -> str:
    return _read(stream, _unpack(stream, "H")).rstrip(b"\0").decode()


def _read(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise FormatError("The file ends early.")
    return data


def dimensions(variables: Variables) -> dict[str, int]:
    """Derive the model's dimensions, under the names of openai-whisper's `ModelDimensions`, from its variables' shapes."""
    n_audio_state, n_mels, _kernel = variables["encoder/conv1/weight"].shape
    n_vocab, n_text_state = variables["decoder/embeddings/weight"].shape
    return {
        "n_mels": n_mels,
        "n_audio_ctx": variables["encoder/position_encodings/encodings"].shape[0],
        "n_audio_state": n_audio_state,
        "n_audio_head": int(variables["encoder/num_heads"]),
        "n_audio_layer": _layers(variables, "encoder"),
        "n_vocab": n_vocab,
        "n_text_ctx": variables["decoder/position_encodings/encodings"].shape[0],
        "n_text_state": n_text_state,
        "n_text_head": int(variables["decoder/num_heads"]),
        "n_text_layer": _layers(variables, "decoder"),
    }


def _layers(variables: Variables, part: str) -> int:
    prefix = f"{part}/layer_"
    return len({name.split("/")[1] for name in variables if name.startswith(prefix)} - {"layer_norm"})


def state(variables: Variables) -> State:
    """Return the weights under openai-whisper's names. Raises `KeyError` with the name of a missing variable."""
    weights: State = {
        "encoder.positional_embedding": _tensor(variables["encoder/position_encodings/encodings"]),
        "decoder.positional_embedding": _tensor(variables["decoder/position_encodings/encodings"]),
        "decoder.token_embedding.weight": _tensor(variables["decoder/embeddings/weight"]),
    }
    for name in ("conv1", "conv2"):
        weights |= _linear(variables, f"encoder/{name}", f"encoder.{name}")
    weights |= _norm(variables, "encoder/layer_norm", "encoder.ln_post")
    weights |= _norm(variables, "decoder/layer_norm", "decoder.ln")
    for part in ("encoder", "decoder"):
        for number in range(_layers(variables, part)):
            weights |= _layer(variables, f"{part}/layer_{number}", f"{part}.blocks.{number}")
    return weights


def _layer(variables: Variables, source: str, target: str) -> State:
    attention = f"{source}/self_attention"
    weights = _split(variables, f"{attention}/linear_0", f"{target}.attn", ("query", "key", "value"))
    weights |= _linear(variables, f"{attention}/linear_1", f"{target}.attn.out")
    weights |= _norm(variables, f"{attention}/layer_norm", f"{target}.attn_ln")
    weights |= _linear(variables, f"{source}/ffn/linear_0", f"{target}.mlp.0")
    weights |= _linear(variables, f"{source}/ffn/linear_1", f"{target}.mlp.2")
    weights |= _norm(variables, f"{source}/ffn/layer_norm", f"{target}.mlp_ln")
    if source.startswith("decoder/"):
        cross = f"{source}/attention"
        weights |= _linear(variables, f"{cross}/linear_0", f"{target}.cross_attn.query")
        weights |= _split(variables, f"{cross}/linear_1", f"{target}.cross_attn", ("key", "value"))
        weights |= _linear(variables, f"{cross}/linear_2", f"{target}.cross_attn.out")
        weights |= _norm(variables, f"{cross}/layer_norm", f"{target}.cross_attn_ln")
    return weights


def _linear(variables: Variables, source: str, target: str) -> State:
    return {f"{target}.{kind}": _tensor(variables[f"{source}/{kind}"]) for kind in ("weight", "bias")}


def _norm(variables: Variables, source: str, target: str) -> State:
    return {
        f"{target}.weight": _tensor(variables[f"{source}/gamma"]),
        f"{target}.bias": _tensor(variables[f"{source}/beta"]),
    }


def _split(variables: Variables, source: str, target: str, names: tuple[str, ...]) -> State:
    return dict(_projections(variables, source, target, names))


def _projections(
    variables: Variables, source: str, target: str, names: tuple[str, ...]
) -> Iterator[tuple[str, torch.Tensor]]:
    weights = np.split(variables[f"{source}/weight"], len(names))
    biases = np.split(variables[f"{source}/bias"], len(names))
    for name, weight, bias in zip(names, weights, biases, strict=True):
        yield f"{target}.{name}.weight", _tensor(weight)
        if name != "key":
            yield f"{target}.{name}.bias", _tensor(bias)


def _tensor(values: np.ndarray) -> torch.Tensor:
    # Cloned, since torch.save writes the whole memory behind a slice, and slices of one matrix share it.
    return torch.from_numpy(values).clone()
