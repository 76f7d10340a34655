"""Lists the files of a catalogue model: their names, addresses and digests.

The Hugging Face Hub lists the files of a repository, with the owner's token if there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agent.catalogue import Addition, CatalogueEntry, is_included
from agent.deadline import call_within
from agent.miner.models.store import ModelUnavailable, SourceUnreachable

_ANSWER_SECONDS: Final = 10.0
_LISTING_SECONDS: Final = 40.0
"""Time for importing the library on a busy machine and for the Hub's answer together."""
_MAX_FILES: Final = 2000


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to fetch. `name` is its path in the model's directory; `size` is in bytes, None if only the server knows it.

    Its content has the hex SHA-256 `sha256`: the catalogue's, or else the Hub's. Small files of a repository have only the SHA-1
    of their Git blob, `blob`.
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
        """The bytes of all files; None if the size of one is unknown."""
        sizes = [file.size for file in self.files if file.size is not None]
        return sum(sizes) if len(sizes) == len(self.files) else None


async def list_files(entry: CatalogueEntry, endpoint: str | None = None) -> Listing:
    """Return the files of a model. `endpoint` replaces the Hub's address. Raises `ModelUnavailable`."""
    if entry.files:
        return Listing(tuple(RemoteFile(file.name, file.url, file.size, file.sha256) for file in entry.files))
    try:
        listing = await call_within(
            _LISTING_SECONDS, lambda: _list_repositories(entry, endpoint), name=f"list-{entry.name}"
        )
    except TimeoutError:
        raise SourceUnreachable(
            f"The Hugging Face Hub did not list {entry.repository} in time. Try again later."
        ) from None
    return listing


def _list_repositories(entry: CatalogueEntry, endpoint: str | None) -> Listing:
    """Return the files of the entry's repository and of its additions."""
    # Imported here because the import takes a second, which would delay every start of the agent.
    from huggingface_hub import get_token  # noqa: PLC0415 - as above

    token = get_token()
    # Asked before the Hub is: its answer would be the same, and does not say what to do.
    if entry.gated and not token:
        raise needs_token(entry)
    own_files = Addition(str(entry.repository), entry.patterns, entry.revision)
    commits, files = [], {}
    for source in (own_files, *entry.additions):
        commit, listed_files = _list_repository(entry, source, endpoint)
        commits.append(commit)
        # An addition replaces a file of the same name: that is why it was added.
        files.update({file.name: file for file in listed_files})
    absent = entry.digests.keys() - files.keys()
    if absent:
        raise ModelUnavailable(
            f"{entry.repository} does not have {min(absent)} at {commits[0]}; correct the catalogue."
        )
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return Listing(tuple(files.values()), commits[0], headers)


def _list_repository(
    entry: CatalogueEntry, source: Addition, endpoint: str | None
) -> tuple[str, tuple[RemoteFile, ...]]:
    """Return a repository's commit and its files that match the patterns. Raises `ModelUnavailable`."""
    from huggingface_hub import HfApi, hf_hub_url  # noqa: PLC0415 - as above

    repository = source.repository
    try:
        info = HfApi(endpoint=endpoint).model_info(
            repository, revision=source.revision, files_metadata=True, timeout=_ANSWER_SECONDS
        )
    except Exception as error:
        raise _explain(entry, source, error) from error
    # The commit and not the branch, so that all files of a download are from the same moment.
    commit = info.sha or source.revision or "main"
    usable = [file for file in info.siblings or () if is_included(file.rfilename, source.patterns)]
    if len(usable) > _MAX_FILES:
        raise ModelUnavailable(
            f"{repository} has more than {_MAX_FILES} files. Add patterns to the catalogue's entry {entry.name!r}."
        )
    if not usable:
        raise ModelUnavailable(
            f"{repository} has no usable file for {entry.name!r}: none matches its patterns "
            f"({', '.join(source.patterns)}), or those that match could run code when they are loaded."
        )
    files = tuple(
        RemoteFile(
            name=file.rfilename,
            url=hf_hub_url(repository, file.rfilename, revision=commit, endpoint=endpoint),
            size=file.size,
            sha256=entry.digests.get(file.rfilename) or (file.lfs.sha256 if file.lfs is not None else None),
            blob=file.blob_id if file.lfs is None else None,
        )
        for file in usable
    )
    # Nothing is stored whose content cannot be checked: it will be loaded by programs with access to the GPU.
    unnamed = next((file.name for file in files if file.sha256 is None and file.blob is None), None)
    if unnamed is not None:
        raise ModelUnavailable(f"The Hub states no digest of {unnamed} in {repository}.")
    return commit, files


def _explain(entry: CatalogueEntry, source: Addition, error: Exception) -> ModelUnavailable:
    from huggingface_hub import errors  # noqa: PLC0415 - as above

    response: Any = getattr(error, "response", None)
    match error:
        case errors.GatedRepoError():
            return needs_token(entry)
        case errors.RevisionNotFoundError():
            why = f"has no revision {source.revision!r}; correct the catalogue's entry"
        case errors.RepositoryNotFoundError():
            why = (
                "does not exist, or is private; correct the catalogue's entry, or set HF_TOKEN to a token that may "
                "read it"
            )
        case _ if response is not None:
            why = f"cannot be listed: the Hub answered {response.status_code}; try again later"
        case _:
            return SourceUnreachable(
                f"The repository {source.repository} of {entry.name!r} cannot be listed: the Hub cannot be reached "
                f"({type(error).__name__}); check the network."
            )
    return ModelUnavailable(f"The repository {source.repository} of {entry.name!r} {why}.")


def needs_token(entry: CatalogueEntry) -> ModelUnavailable:
    """Return the error for a repository whose terms must be accepted first."""
    return ModelUnavailable(
        f"The repository {entry.repository} of {entry.name!r} requires that you accept its terms. Accept them at "
        f"https://huggingface.co/{entry.repository}, create a token that may read it at "
        "https://huggingface.co/settings/tokens, and set it as the agent's environment variable HF_TOKEN."
    )
