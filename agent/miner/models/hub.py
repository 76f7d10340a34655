"""What a model of the catalogue consists of: which files, where, and what their contents must be.

The files of a repository are asked of the Hugging Face Hub, with the owner's token if there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agent.core.machine.catalogue import CatalogueEntry, is_included
from agent.deadline import call_within
from agent.miner.models.store import ModelUnavailable

_ANSWER_SECONDS: Final = 20.0
_LISTING_SECONDS: Final = 60.0
"""Importing the library on a busy machine and the Hub's answer together."""
_MAX_FILES: Final = 2000


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to fetch. `name` is its path in the model's directory; `size` is bytes, None if only the server knows.

    Its content has the hex SHA-256 `sha256` or, for small files of a repository, is the Git blob of the SHA-1 `blob`.
    """

    name: str
    url: str
    size: int | None
    sha256: str | None = None
    blob: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a model. `revision` is the commit in a repository; `headers` go with each request to its server."""

    files: tuple[RemoteFile, ...]
    revision: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int | None:
        """Bytes of all files; None if the size of one is not known."""
        sizes = [file.size for file in self.files if file.size is not None]
        return sum(sizes) if len(sizes) == len(self.files) else None


async def list_files(entry: CatalogueEntry, endpoint: str | None = None) -> Listing:
    """What to fetch for a model. `endpoint` replaces the Hub's address. Raises `ModelUnavailable`."""
    if entry.files:
        return Listing(tuple(RemoteFile(file.name, file.url, file.size, file.sha256) for file in entry.files))
    try:
        listing = await call_within(
            _LISTING_SECONDS, lambda: _list_repository(entry, endpoint), name=f"list-{entry.name}"
        )
    except TimeoutError:
        raise ModelUnavailable(
            f"The Hugging Face Hub did not say in time what {entry.repository} holds; try again later."
        ) from None
    if not listing.files:
        raise ModelUnavailable(
            f"{entry.repository} has no file that may be taken for {entry.name!r}: none fits its patterns "
            f"({', '.join(entry.patterns)}), or they could run code when they are loaded."
        )
    return listing


def _list_repository(entry: CatalogueEntry, endpoint: str | None) -> Listing:
    # Imported here because it takes a second, which no start of the agent should cost.
    from huggingface_hub import HfApi, get_token, hf_hub_url  # noqa: PLC0415 - as above

    repository = str(entry.repository)
    try:
        found = HfApi(endpoint=endpoint).model_info(
            repository, revision=entry.revision, files_metadata=True, timeout=_ANSWER_SECONDS
        )
    except Exception as error:
        raise _explain(entry, error) from error
    commit = found.sha or entry.revision or "main"
    taken = [file for file in found.siblings or () if is_included(file.rfilename, entry.patterns)]
    if len(taken) > _MAX_FILES:
        raise ModelUnavailable(
            f"{repository} has more than {_MAX_FILES} files; give {entry.name!r} patterns."
        )
    files = tuple(
        RemoteFile(
            name=file.rfilename,
            url=hf_hub_url(repository, file.rfilename, revision=commit, endpoint=endpoint),
            size=file.size,
            sha256=file.lfs.sha256 if file.lfs is not None else None,
            blob=file.blob_id if file.lfs is None else None,
        )
        for file in taken
    )
    unnamed = next((file.name for file in files if file.sha256 is None and file.blob is None), None)
    if unnamed is not None:
        raise ModelUnavailable(f"The Hub does not say what {unnamed} of {repository} must contain.")
    token = get_token()
    return Listing(files, commit, {"Authorization": f"Bearer {token}"} if token else {})


def _explain(entry: CatalogueEntry, error: Exception) -> ModelUnavailable:
    from huggingface_hub import errors  # noqa: PLC0415 - as above

    response: Any = getattr(error, "response", None)
    match error:
        case errors.GatedRepoError():
            return needs_token(entry)
        case errors.RevisionNotFoundError():
            why = f"has no revision {entry.revision!r}; correct the catalogue's entry"
        case errors.RepositoryNotFoundError():
            why = (
                "is not there, or is private; correct the catalogue's entry, or give the agent a token that may "
                "read it (HF_TOKEN)"
            )
        case _ if response is not None:
            why = f"cannot be listed: the Hub answers {response.status_code}; try again later"
        case _:
            why = f"cannot be listed: the Hub is not reached ({type(error).__name__}); check the network"
    return ModelUnavailable(f"The repository {entry.repository} of {entry.name!r} {why}.")


def needs_token(entry: CatalogueEntry) -> ModelUnavailable:
    """What to say when a repository is only for those who accepted its terms."""
    return ModelUnavailable(
        f"The repository {entry.repository} of {entry.name!r} is open only to those who accepted its terms: accept them at "
        f"https://huggingface.co/{entry.repository}, make a token that may read it at "
        "https://huggingface.co/settings/tokens, and give it to the agent as the environment variable HF_TOKEN."
    )
