"""Where engines store the code that they compile while they run.

They load it as shared libraries, which a /tmp of a container that is mounted noexec does not allow, and they need it again at the next
start.
"""

from __future__ import annotations

from pathlib import Path


def variables(cache_dir: Path) -> dict[str, str]:
    """Return the environment variables that make Triton, PyTorch and vLLM store it below `cache_dir`."""
    directory = cache_dir.absolute() / "compiled"
    names = {"TRITON_CACHE_DIR": "triton", "TORCHINDUCTOR_CACHE_DIR": "inductor", "VLLM_CACHE_ROOT": "vllm"}
    return {variable: str(directory / name) for variable, name in names.items()}
