"""The language model of the tests, and requests to it."""

from pathlib import Path

import gguf

NAME = "smollm2-135m-instruct"
OPTIONS = {"context": 4096, "template": "smollm2"}
"""The catalogue's options of the model."""

QUESTION = "Name the capital of France."
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "colour": {"enum": ["red", "green"], "type": "string"},
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
    },
    "required": ["name", "age", "colour", "tags"],
}
"""A JSON schema for answers."""


def requantised(source: Path, target: Path, form: str) -> None:
    """Write a GGUF model in another format ("Q4_0", "Q8_0", "F16"), which is used for all its matrices."""
    kind = getattr(gguf.GGMLQuantizationType, form)
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in {"general.architecture", "general.file_type"}:
            continue
        sub_type = field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type)
    writer.add_file_type(int(getattr(gguf.LlamaFileType, "ALL_F32" if form == "F32" else f"MOSTLY_{form}")))
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        if len(tensor.shape) == 1:
            writer.add_tensor(tensor.name, values)
        else:
            writer.add_tensor(tensor.name, gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
