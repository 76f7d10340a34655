"""The same model in several GGUF formats, as a miner has it that saves memory."""

from __future__ import annotations

from pathlib import Path

import gguf


def requantised(source: Path, target: Path, form: str, *, stated: str | None = None) -> None:
    """Write a GGUF model in another format ("Q4_0", "Q8_0", "F16"), which is used for all its matrices.

    A liar's file has another format than `stated` in it.
    """
    kind = getattr(gguf.GGMLQuantizationType, form)
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in {"general.architecture", "general.file_type"}:
            continue
        sub_type = field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type)
    named = stated or form
    writer.add_file_type(int(getattr(gguf.LlamaFileType, "ALL_F32" if named == "F32" else f"MOSTLY_{named}")))
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
