"""A small model in the form of Parakeet's ONNX files, which recognises where it is loud.

Its encoder averages the loudness over 0.4 s, in steps of 80 ms. Where it becomes loud, the decoder says a word of two tokens, "Word" and a
digit; where it becomes quiet again, it says a comma or, after every second word, a full stop. It counts from 0 to 9, and from 0 again in
every clip: "Word0, Word1. Word2, Word3."
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCABULARY = ["<unk>", "▁Word", *"0123456789", ",", ".", "<blk>"]
WORD, DIGIT, COMMA, STOP, BLANK = 1, 2, 12, 13, 14
DURATIONS = 5
"""Steps that a token can last, from 0 to 4."""
STEP = 8
"""Frames of 10 ms in a step of the encoder."""
KERNEL = 40
"""Frames whose loudness is averaged."""
LOUD = 0.0
"""The features of a clip have a mean of 0 over time."""
OPSET = 17


def write_transducer(directory: Path, *, quantised: bool = False) -> Path:
    """Write the model's files into a new directory and return it. `quantised` concerns only the files' names."""
    directory.mkdir(parents=True)
    suffix = ".int8" if quantised else ""
    encoder, decoder = (
        directory / f"{name}{suffix}.onnx" for name in ("encoder-model", "decoder_joint-model")
    )
    if quantised:
        onnx.save(_encoder(), encoder)
    else:
        data = {"save_as_external_data": True, "location": f"{encoder.name}.data", "size_threshold": 0}
        onnx.save(_encoder(), encoder, **data)
    onnx.save(_decoder(), decoder)
    lines = (f"{token} {number}\n" for number, token in enumerate(VOCABULARY))
    (directory / "vocab.txt").write_text("".join(lines), encoding="utf-8")
    settings = {"model_type": "nemo-conformer-tdt", "features_size": 128, "subsampling_factor": STEP}
    (directory / "config.json").write_text(json.dumps(settings))
    return directory


def _encoder() -> Any:
    """Build the encoder: one channel, the mean of all features, where the sound has ended too."""
    weights = np.full((1, 128, KERNEL), 1 / (128 * KERNEL), dtype=np.float32)
    before = (KERNEL - STEP) // 2
    nodes = [
        helper.make_node(
            "Conv",
            ["audio_signal", "weights"],
            ["outputs"],
            strides=[STEP],
            pads=[before, KERNEL - before - 1],
        ),
        helper.make_node("Sub", ["length", "one"], ["before_last"]),
        helper.make_node("Div", ["before_last", "step"], ["steps"]),
        helper.make_node("Add", ["steps", "one"], ["encoded_lengths"]),
    ]
    constants = {"weights": weights, "one": np.int64([1]), "step": np.int64([STEP])}
    inputs = {
        "audio_signal": (TensorProto.FLOAT, ["batch", 128, "frames"]),
        "length": (TensorProto.INT64, ["batch"]),
    }
    outputs = {
        "outputs": (TensorProto.FLOAT, ["batch", 1, "steps"]),
        "encoded_lengths": (TensorProto.INT64, ["batch"]),
    }
    return _model(nodes, constants, inputs, outputs)


def _decoder() -> Any:
    """Build the decoder: the table's row of the last token, for loud or quiet, where the first state counts words."""
    rows = np.full((len(VOCABULARY), 2), BLANK, dtype=np.int64)
    rows[[COMMA, STOP, BLANK], 1] = WORD
    rows[WORD] = DIGIT  # plus the number of words
    rows[DIGIT:COMMA, 0] = COMMA  # or a full stop
    nodes = [
        helper.make_node("Greater", ["encoder_outputs", "loud"], ["is_loud"]),
        helper.make_node("Cast", ["is_loud"], ["loud_number"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["loud_number", "flat"], ["column"]),
        helper.make_node("Cast", ["targets"], ["targets_number"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["targets_number", "flat"], ["row"]),
        helper.make_node("Concat", ["row", "column"], ["index"], axis=0),
        helper.make_node("GatherND", ["rows", "index"], ["found"]),
        helper.make_node("Slice", ["input_states_1", "zero", "one", "last_axis"], ["counted"]),
        helper.make_node("Reshape", ["counted", "flat"], ["words"]),
        helper.make_node("Cast", ["words"], ["words_number"], to=TensorProto.INT64),
        # A digit is the number of words before it, the last one; the mark after it is a full stop after an odd one.
        helper.make_node("Equal", ["found", "digit"], ["is_digit"]),
        helper.make_node("Equal", ["found", "comma"], ["is_mark"]),
        helper.make_node("Mod", ["words_number", "ten"], ["last_digit"]),
        helper.make_node("Mod", ["words_number", "two"], ["odd"]),
        helper.make_node("Where", ["is_digit", "last_digit", "zero"], ["more_of_digit"]),
        helper.make_node("Where", ["is_mark", "odd", "zero"], ["more_of_mark"]),
        helper.make_node("Add", ["found", "more_of_digit"], ["partly"]),
        helper.make_node("Add", ["partly", "more_of_mark"], ["token"]),
        helper.make_node("Cast", ["is_mark"], ["mark_number"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["input_states_1", "mark_number"], ["output_states_1"]),
        helper.make_node("Identity", ["input_states_2"], ["output_states_2"]),
        # "Word" takes no time, so that its digit follows in the same step; all others take one step.
        helper.make_node("Equal", ["token", "word"], ["is_word"]),
        helper.make_node("Where", ["is_word", "zero", "one"], ["duration"]),
        helper.make_node("OneHot", ["token", "tokens", "chances"], ["token_scores"]),
        helper.make_node("OneHot", ["duration", "durations", "chances"], ["duration_scores"]),
        helper.make_node("Concat", ["token_scores", "duration_scores"], ["scores"], axis=-1),
        helper.make_node("Reshape", ["scores", "four"], ["outputs"]),
    ]
    constants = {
        "rows": rows,
        "loud": np.float32([LOUD]),
        "flat": np.int64([1]),
        "zero": np.int64([0]),
        "one": np.int64([1]),
        "two": np.int64([2]),
        "ten": np.int64([10]),
        "last_axis": np.int64([2]),
        "digit": np.int64([DIGIT]),
        "comma": np.int64([COMMA]),
        "word": np.int64([WORD]),
        "tokens": np.int64(len(VOCABULARY)),
        "durations": np.int64(DURATIONS),
        "chances": np.float32([0, 8]),
        "four": np.int64([1, 1, 1, -1]),
    }
    state = (TensorProto.FLOAT, [1, "batch", 1])
    inputs = {
        "encoder_outputs": (TensorProto.FLOAT, ["batch", 1, "steps"]),
        "targets": (TensorProto.INT32, ["batch", "length"]),
        "target_length": (TensorProto.INT32, ["batch"]),
        "input_states_1": state,
        "input_states_2": state,
    }
    scores = (TensorProto.FLOAT, [1, 1, 1, len(VOCABULARY) + DURATIONS])
    outputs = {"outputs": scores, "output_states_1": state, "output_states_2": state}
    return _model(nodes, constants, inputs, outputs)


def _model(nodes: Any, constants: Any, inputs: Any, outputs: Any) -> Any:
    def described(values: Any) -> list[Any]:
        return [helper.make_tensor_value_info(name, *kind) for name, kind in values.items()]

    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "transducer", described(inputs), described(outputs), stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model
