"""Chooses the files of a repository of the Hugging Face Hub that make a model which an engine here can run."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.catalogue import CTRANSLATE2_WEIGHTS, DEFAULT_PATTERNS, is_included
from agent.core.errors import AgentError
from agent.hub_names import HubReference, form_of, pulled_name
from runners.model_files.gguf_header import is_later_shard, shards_of_name

_ANSWER_SECONDS: Final = 20.0
_SHOWN: Final = 30
_MIB: Final = 2**20
_BESIDE: Final = 1024
"""Mebibytes for a model's context and its processes, as long as its files are unknown."""

_BEST_FORMS: Final = (
    "Q4_K_M", "UD-Q4_K_XL", "Q4_K_XL", "Q4_K_L", "Q4_K_S", "Q4_K", "IQ4_NL", "IQ4_XS", "Q4_0", "Q4_1", "MXFP4", "MXFP4_MOE", "Q5_K_M",
    "UD-Q5_K_XL", "Q5_K_S", "Q5_0", "Q6_K", "Q8_0", "Q3_K_L", "Q3_K_M", "Q3_K_S", "F16", "FP16", "BF16", "F32",
)  # fmt: skip
"""Which form of the weights is taken if none is named: four bits, or else the nearest."""
_BEST_PROJECTORS: Final = ("F16", "FP16", "BF16", "Q8_0", "F32")


class NotPulled(AgentError):
    """The repository has no such model, or cannot be read. The message says what to do."""


class HubUnreachable(NotPulled):
    """The Hub does not answer. The message says what to do."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository. `size` is in bytes; `sha256` is None for small files, whose content the Hub names otherwise."""

    name: str
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model of a repository at a commit. `form` is the form of its weights, None unless it is one of several files."""

    repository: str
    commit: str
    files: tuple[HubFile, ...]
    form: str | None
    licence: str
    gated: bool

    @property
    def name(self) -> str:
        """The name that it gets here."""
        return pulled_name(self.repository, self.form)

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files)

    def estimate(self) -> dict[str, str]:
        """Return about how much memory it needs, for its entry, before its files are here."""
        is_gguf = any(file.name.endswith(".gguf") for file in self.files)
        # llama.cpp loads the weights as they are; others in single precision without a GPU.
        memory = self.size * 6 // 5 if is_gguf else self.size * 2
        return {
            field: f"{size // _MIB + _BESIDE}Mi"
            for field, size in (("memory", memory), ("vram", self.size * 6 // 5))
        }

    def entry(self) -> dict[str, Any]:
        """Return the fields of its entry in the catalogue that say from where it comes."""
        digests = {file.name: file.sha256 for file in self.files if file.sha256 is not None}
        return {
            "repository": self.repository,
            "revision": self.commit,
            "patterns": [glob.escape(file.name) for file in self.files],
            "size": str(self.size),
            "licence": self.licence,
            **({"digests": digests} if digests else {}),
            **({"gated": True} if self.gated else {}),
        }


def look_up(reference: HubReference, patterns: Sequence[str] = ()) -> HubModel:
    """Return the model of a repository that a reference names, as the Hub lists it now. Blocking. Raises `NotPulled`.

    With `patterns`, the model has the files that match one of them.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415 - the import takes a second

    try:
        listed = HfApi().model_info(
            reference.repository, revision=reference.revision, files_metadata=True, timeout=_ANSWER_SECONDS
        )
    except Exception as error:
        raise _explained(reference, error) from error
    files = [
        HubFile(file.rfilename, int(file.size or 0), file.lfs.sha256 if file.lfs is not None else None)
        for file in listed.siblings or ()
    ]
    if patterns:
        chosen, form = [file for file in files if is_included(file.name, patterns)], None
    else:
        chosen, form = choose(reference, files)
    card: Any = listed.card_data
    return HubModel(
        reference.repository,
        str(listed.sha or reference.revision or "main"),
        tuple(chosen),
        form,
        _licence(card, listed.tags or ()),
        bool(listed.gated),
    )


def _licence(card: Any, tags: Sequence[str]) -> str:
    stated = card.get("license") if card is not None else None
    stated = stated[0] if isinstance(stated, list) and stated else stated
    named = next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), "unknown")
    return str(stated or named)


def _explained(reference: HubReference, error: Exception) -> NotPulled:
    from huggingface_hub import errors  # noqa: PLC0415 - as above

    page = f"https://huggingface.co/{reference.repository}"
    match error:
        case errors.GatedRepoError():
            return NotPulled(
                f"{reference.repository} is gated. Accept its terms at {page}, then set HF_TOKEN to a token that may read it."
            )
        case errors.RevisionNotFoundError():
            return NotPulled(f"{reference.repository} has no revision {reference.revision!r}. See {page}.")
        case errors.RepositoryNotFoundError():
            return NotPulled(
                f"There is no repository {reference.repository}, or it is private. Correct its name, or set HF_TOKEN to a token that may "
                "read it."
            )
    response: Any = getattr(error, "response", None)
    if response is not None:
        return NotPulled(
            f"The Hub answered {response.status_code} for {reference.repository}. Try again later."
        )
    return HubUnreachable(f"The Hub cannot be reached ({type(error).__name__}). Check the network.")


def choose(reference: HubReference, files: Sequence[HubFile]) -> tuple[list[HubFile], str | None]:
    """Return the files of the model that a reference names, and the form of its weights. Raises `NotPulled`."""
    by_name = {
        file.name: file
        for file in files
        if is_included(file.name, ("*",)) or file.name == CTRANSLATE2_WEIGHTS
    }
    weights = sorted(
        name for name in by_name if name.endswith(".gguf") and not _base(name).startswith("mmproj")
    )
    if weights and (reference.file is None or reference.file.endswith(".gguf")):
        first = _chosen_weights(
            reference, [name for name in weights if not is_later_shard(_base(name))], by_name
        )
        parts = shards_of_name(first)
        missing = [part for part in parts if part not in by_name]
        if missing:
            raise NotPulled(
                f"{reference.repository} lacks {missing[0]}, a part of {first}. Choose another form of the weights."
            )
        projector = _projector(by_name)
        return [by_name[name] for name in (*parts, *((projector,) if projector else ()))], form_of(first)
    if reference.file is not None or reference.form is not None:
        raise NotPulled(
            f"{reference.repository} has no GGUF files, of which one could be chosen. Leave out {reference.form or reference.file}."
        )
    return [by_name[name] for name in _others(reference, by_name)], None


def _chosen_weights(reference: HubReference, firsts: Sequence[str], by_name: Mapping[str, HubFile]) -> str:
    """Return the file that a reference names, or else the best. Raises `NotPulled`, which lists them."""
    forms = {name: form_of(name) or "" for name in firsts}
    if reference.file is not None:
        fitting = [name for name in firsts if name == reference.file]
    elif reference.form is not None and reference.form != "latest":
        wanted = reference.form.casefold()
        fitting = [
            name
            for name, form in forms.items()
            if wanted
            in (form.casefold(), _base(name).casefold(), _base(name).casefold().removesuffix(".gguf"))
        ]
    else:
        fitting = list(firsts)
    if not fitting:
        sizes = {
            form or _base(name): sum(by_name[part].size for part in shards_of_name(name) if part in by_name)
            for name, form in forms.items()
        }
        listed = [
            f"{form} ({size / 2**20:.0f} MiB)"
            for form, size in sorted(sizes.items(), key=lambda item: item[1])
        ]
        more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
        raise NotPulled(
            f"{reference.repository} has no {reference.form or reference.file}. It has: {', '.join(listed[:_SHOWN])}{more}. Name one: "
            f"{reference.repository}:{next(iter(sizes))}"
        )
    rank = {form: position for position, form in enumerate(_BEST_FORMS)}
    # The shortest name is that of the model itself, if there are variants of it.
    return min(fitting, key=lambda name: (rank.get(forms[name], len(rank)), len(name), name))


def _projector(names: Mapping[str, HubFile]) -> str | None:
    """Return the file that lets the model see images, None without one."""
    projectors = [name for name in names if _base(name).startswith("mmproj") and name.endswith(".gguf")]
    rank = {form: position for position, form in enumerate(_BEST_PROJECTORS)}
    return min(projectors, key=lambda name: (rank.get(form_of(name) or "", len(rank)), name), default=None)


def _others(reference: HubReference, names: Mapping[str, HubFile]) -> list[str]:
    """Return the files of a model that is not GGUF. Raises `NotPulled`."""
    patterns = (*DEFAULT_PATTERNS, "*.onnx", "*.onnx.data")
    usable = [name for name in names if is_included(name, patterns)]
    if "model_index.json" in names:
        # Beside the parts of a pipeline, most repositories have all of it again in one file.
        return [name for name in usable if "/" in name or not name.endswith(".safetensors")]
    top = [name for name in usable if "/" not in name and not name.startswith("consolidated")]
    if CTRANSLATE2_WEIGHTS in names and not any(name.endswith(".safetensors") for name in top):
        return [*top, CTRANSLATE2_WEIGHTS]
    is_transformer = "config.json" in top and any(name.endswith(".safetensors") for name in top)
    is_parakeet = "vocab.txt" in top and any(name.startswith("encoder-model") for name in top)
    if not (is_transformer or is_parakeet):
        raise NotPulled(
            f"{reference.repository} has no weights that an engine here can load: no GGUF, no safetensors with config.json, no model.bin of CTranslate2. "
            "Look for a repository of the same model with GGUF files."
        )
    return top


def _base(name: str) -> str:
    return name.rpartition("/")[2]
