"""How people name models of the Hugging Face Hub, and the names that such models get here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_SERVER: Final = re.compile(r"^(https?://)?(www\.)?(hf\.co|huggingface\.co)/", re.IGNORECASE)
_REPOSITORY: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")
_FORM: Final = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q[1-8](?:_[0-9A-Z]+)*|TQ[12]_0|MXFP4(?:_MOE)?|BF16|F16|FP16|F32))(?=[-./]|$)",
    re.IGNORECASE,
)
_MAX_NAME: Final = 100


@dataclass(frozen=True, slots=True)
class HubReference:
    """A model of the Hub: a repository, and if they are named the form of its weights (such as Q4_K_M), one file and a revision."""

    repository: str
    form: str | None = None
    file: str | None = None
    revision: str | None = None


def parse_reference(text: str) -> HubReference | None:
    """Return the model that a text such as `hf.co/OWNER/REPO:Q4_K_M`, `OWNER/REPO` or the address of a page names; None if it names none."""
    path, colon, form = _SERVER.sub("", text.strip()).partition("?")[0].partition(":")
    owner, _, rest = path.strip("/").partition("/")
    name, _, below = rest.partition("/")
    repository = f"{owner}/{name}"
    if _REPOSITORY.match(repository) is None or (colon and not form):
        return None
    if not below:
        return HubReference(repository, form or None)
    kind, _, pinned_path = below.partition("/")
    revision, _, file = pinned_path.partition("/")
    # Pages of the Hub: one revision of a repository, or one file in it.
    if kind not in ("tree", "blob", "resolve") or not revision:
        return None
    return HubReference(repository, form or None, file if file and kind != "tree" else None, revision)


def form_of(file: str) -> str | None:
    """Return the form of weights that the name of a file states, in capitals; None if it states none."""
    stated = _FORM.findall(file.removesuffix(".gguf"))
    return str(stated[-1]).upper() if stated else None


def pulled_name(repository: str, form: str | None = None) -> str:
    """Return the name of a repository's model here: that of the repository without "GGUF", and the form of the weights."""
    base = re.sub(r"[-_.]gguf$", "", repository.casefold())
    return safe_name(base if form is None else f"{base}-{form.casefold()}")


def form_after(name: str, model: str) -> bool:
    """Return whether a model's name is this one and a form of weights."""
    rest = model.removeprefix(f"{name}-")
    return rest != model and (form_of(rest) or "").casefold() == rest


def safe_name(text: str) -> str:
    """Return a text as a model's name, which becomes the name of a directory."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.casefold()).lstrip("._-")[:_MAX_NAME].rstrip("._-") or "model"
