"""Compares the catalogue of models with what its sources have now. Needs the network.

.venv/bin/python scripts/catalogue_check.py                     checks all entries of configs/models.toml
.venv/bin/python scripts/catalogue_check.py NAME...             checks these
.venv/bin/python scripts/catalogue_check.py --file PATH         checks an owner's models.toml
.venv/bin/python scripts/catalogue_check.py --endpoint URL      asks a mirror of the Hugging Face Hub

Nothing is downloaded: the Hub lists the files, their sizes and digests, and the licence; other servers answer HEAD. Each line has a
model, `ok`, `wrong` or `unknown`, and what differs. The exit status is 1 if an entry is wrong, 3 if none is, but a source did not
answer. HF_TOKEN shows repositories whose terms its account has accepted.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

import httpx
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from agent.catalogue import (
    DEFAULT_PATTERNS,
    Addition,
    CatalogueEntry,
    ModelFile,
    is_included,
    load_catalogue,
    parse_catalogue,
)
from agent.configuration import read_document

SECONDS: Final = 20.0
TOLERANCE: Final = 0.1
"""How much of its size a download may differ from the catalogue's figure."""
COMMIT: Final = 40
"""Hex digits of a commit. A branch or a tag may move."""
WRONG: Final = 1
UNKNOWN: Final = 3
FORMATS: Final = (".safetensors", ".gguf")
PARTIAL: Final = re.compile(r"^mmproj|-\d+-of-\d+\.gguf$")
"""GGUF files that are used beside others: projectors, and parts of one."""
VARIANTS: Final = (".fp16", ".fp32", ".bf16", ".non_ema", ".ema")
"""Parts of the names of the same weights in another form."""


@dataclass
class Report:
    """What was found about an entry. `wrong` differs from the source, `unknown` could not be compared."""

    wrong: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> Literal["ok", "wrong", "unknown"]:
        """The worst of it."""
        return "wrong" if self.wrong else "unknown" if self.unknown else "ok"


def main(words: list[str]) -> int:
    """Check the named entries, or all, and return the exit status."""
    parser = argparse.ArgumentParser(description="Compare the catalogue of models with its sources.")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--file", type=Path)
    parser.add_argument("--endpoint")
    arguments = parser.parse_args(words)
    catalogue = (
        load_catalogue()
        if arguments.file is None
        else parse_catalogue(read_document(arguments.file), str(arguments.file))
    )
    missing = [name for name in arguments.names if name not in catalogue]
    if missing:
        parser.error(f"the catalogue has no {', '.join(missing)}")
    chosen = [catalogue[name] for name in arguments.names] or [
        entry for entry in catalogue.values() if entry.fetchable
    ]
    verdicts: Counter[str] = Counter()
    with httpx.Client(timeout=SECONDS, follow_redirects=True) as client:
        for entry in chosen:
            report = check(entry, HfApi(endpoint=arguments.endpoint), client)
            verdicts[report.verdict] += 1
            print(f"{report.verdict:<8}{entry.name}", *report.wrong, *report.unknown, sep="\n        ")
    print(", ".join(f"{verdicts[verdict]} {verdict}" for verdict in ("ok", "wrong", "unknown")))
    return WRONG if verdicts["wrong"] else UNKNOWN if verdicts["unknown"] else 0


def check(entry: CatalogueEntry, hub: HfApi, client: httpx.Client) -> Report:
    """Compare one entry with its repositories and with the servers of its files."""
    report = Report()
    for file in entry.files:
        _check_file(file, client, report)
    if entry.repository is not None:
        own = Addition(entry.repository, entry.patterns, entry.revision)
        files = [found for source in (own, *entry.additions) for found in _listed(source, hub, report, entry)]
        if files:
            _check_files(entry, files, report)
    return report


def _check_file(file: ModelFile, client: httpx.Client, report: Report) -> None:
    try:
        answer = client.head(file.url)
    except httpx.HTTPError as error:
        report.unknown.append(f"{file.url} did not answer ({type(error).__name__})")
        return
    if answer.is_client_error:
        report.wrong.append(f"{file.url} answers {answer.status_code}")
    elif answer.is_error:
        report.unknown.append(f"{file.url} answers {answer.status_code}")
    elif file.size is not None and answer.headers.get("content-length") != str(file.size):
        report.wrong.append(
            f"{file.url} has {answer.headers.get('content-length')} bytes instead of {file.size}"
        )


def _listed(source: Addition, hub: HfApi, report: Report, entry: CatalogueEntry) -> Iterator[Any]:
    """Yield the files of a repository that belong to the model."""
    if source.revision is None or len(source.revision) != COMMIT:
        report.wrong.append(
            f"{source.repository}: {source.revision or 'no revision'} is not a commit, so its files may change"
        )
    try:
        found = hub.model_info(
            source.repository, revision=source.revision, files_metadata=True, timeout=SECONDS
        )
    except RevisionNotFoundError:
        report.wrong.append(f"{source.repository} has no revision {source.revision}")
        return
    except RepositoryNotFoundError:
        report.wrong.append(f"{source.repository} does not exist, or is private")
        return
    except Exception as error:  # noqa: BLE001 - the library raises what its HTTP client does
        report.unknown.append(f"{source.repository} cannot be listed ({type(error).__name__})")
        return
    names = [file.rfilename for file in found.siblings or ()]
    if source.patterns != DEFAULT_PATTERNS:
        report.wrong += [
            f"{source.repository} has no file {pattern}"
            for pattern in source.patterns
            if not any(fnmatchcase(name, pattern) for name in names)
        ]
    if source.repository == entry.repository:
        _check_terms(entry, found, report)
    yield from (file for file in found.siblings or () if is_included(file.rfilename, source.patterns))


def _check_terms(entry: CatalogueEntry, found: Any, report: Report) -> None:
    if bool(found.gated) != entry.gated:
        report.wrong.append(
            f"gated is {str(entry.gated).lower()}; the Hub says {str(bool(found.gated)).lower()}"
        )
    card = found.card_data or {}
    licence = card.get("license")
    if licence is None:
        report.unknown.append("the repository names no licence")
    elif (not entry.licence.startswith("LicenseRef-") and licence.lower() != entry.licence.lower()) or (
        entry.licence.startswith("LicenseRef-") and licence.lower() in {"mit", "apache-2.0"}
    ):
        report.wrong.append(f"the licence is {entry.licence}; the Hub says {licence}")


def _check_files(entry: CatalogueEntry, files: list[Any], report: Report) -> None:
    digests = {file.rfilename: file.lfs.sha256 for file in files if file.lfs is not None}
    for name, digest in entry.digests.items():
        if name not in digests:
            report.wrong.append(f"there is no large file {name}")
        elif digests[name] != digest:
            report.wrong.append(f"the digest of {name} is {digest}; the Hub says {digests[name]}")
    total = sum(file.size or 0 for file in files)
    if entry.size is not None and abs(total - entry.size) > TOLERANCE * entry.size:
        report.wrong.append(f"a download has {total} bytes; the entry says {entry.size}")
    weights = [PurePosixPath(file.rfilename) for file in files if file.rfilename.endswith(FORMATS)]
    same = Counter(_weights(path) for path in weights)
    report.wrong += [f"{name} is downloaded in {count} forms" for name, count in same.items() if count > 1]
    quantised = [path for path in weights if path.suffix == ".gguf" and not PARTIAL.search(path.name)]
    if len(quantised) > 1:
        report.wrong.append(f"{len(quantised)} GGUF files are downloaded; name one in patterns")


def _weights(path: PurePosixPath) -> str:
    """Return a file's name without its format and the form of its numbers."""
    name = path.stem
    for variant in VARIANTS:
        name = name.replace(variant, "")
    return str(path.with_name(name))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
