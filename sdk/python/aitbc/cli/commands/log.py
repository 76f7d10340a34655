"""`aitbc log`: verify a whole log, or act as its witness. Neither needs an API key."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from nacl.signing import SigningKey

from aitbc._http.local import Address, find_address
from aitbc.cli._arguments.options import JsonOption
from aitbc.cli._arguments.state import GlobalOptions
from aitbc.cli._arguments.trust import LogKeyOption, PolicyOption, trusted
from aitbc.cli._batch.journal import write_file
from aitbc.cli._terminal.exits import ExitCode
from aitbc.cli._terminal.output import (
    print_indented,
    print_json,
    print_status,
    print_text,
    print_verdict,
)
from aitbc.errors import FormatError
from aitbc.keys import COSIGNATURE_TYPE, format_vkey
from aitbc.log import PROOF_HEADER, Checkpoint, parse_proof
from aitbc.monitor import LogAddress, LogDirectory, LogReport, LogSource, verify_log
from aitbc.notes import cosign as cosign_note
from aitbc.notes import parse_note
from aitbc.policy import Policy

SEED_BYTES = 32

app = typer.Typer(
    help="Verify the log of receipts, settlements and verdicts, or act as its witness.", no_args_is_help=True
)

SourceArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="SOURCE", help="The log's URL, or a directory with a copy. Default: the coordinator's log."
    ),
]
RememberOption = Annotated[
    Path | None,
    typer.Option(
        "--remember",
        metavar="FILE",
        help="Compare with the checkpoint stored in this file, then store the newest one there.",
    ),
]
AgainstOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--against", metavar="FILE", help="Also compare with this checkpoint or proof; may be repeated."
    ),
]


@app.command()
def verify(
    context: typer.Context,
    source: SourceArgument = None,
    log_key: LogKeyOption = None,
    policy: PolicyOption = None,
    remember: RememberOption = None,
    against: AgainstOption = None,
    new_only: Annotated[
        bool, typer.Option("--new-only", help="Read only the leaves after the stored checkpoint.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Show every check. Without it they are shown if one failed."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify all leaves, tiles and the checkpoint; detect changed leaves, forks and truncation. Exits with 3 if the log is invalid.

    Examples:
      aitbc log verify --remember seen.checkpoint
      aitbc log verify https://aitbc.example.org/v1/log --log-key VKEY
    """
    trust = trusted(log_key, policy)
    with _source(context, source) as files:
        report = _verified(files, trust, remember, against or (), new_only=new_only)
    _show(report, as_json=as_json, verbose=verbose)
    if not report.valid:
        raise typer.Exit(ExitCode.NOT_VALID)
    # Only a valid checkpoint is stored, or a forked log would be the measure of the next verification.
    if remember is not None:
        write_file(remember, str(report.note).encode())


@app.command("witness-key")
def witness_key(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The witness's name, such as witness.example.org/w1.")
    ],
    key: Annotated[
        Path, typer.Option("--key", metavar="FILE", help="The file to write. Only you can read it.")
    ],
) -> None:
    """Create a witness's key, and print its public key for the operator's `coordinator.witnesses` and for policies.

    Examples:
      aitbc log witness-key witness.example.org/w1 --key w1.key
      aitbc log witness-key witness.example.org/w2 --key w2.key
    """
    signing_key = SigningKey.generate()
    vkey = format_vkey(name, bytes(signing_key.verify_key), COSIGNATURE_TYPE)
    # Exclusive: a witness that overwrites a witness's key cannot sign as before again.
    handle = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(bytes(signing_key))
    print_text(vkey)


@app.command()
def cosign(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The witness's name, as in its public key.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The witness's key.")],
    remember: Annotated[
        Path,
        typer.Option(
            "--remember", metavar="FILE", help="The file with the last checkpoint that you cosigned."
        ),
    ],
    source: Annotated[
        str | None,
        typer.Option("--log", metavar="URL", help="The log's URL. Default: the coordinator's log."),
    ] = None,
    log_key: LogKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cosign the newest checkpoint as a witness, if the log extends the last one that you cosigned. Exits with 3 if it does not.

    Examples:
      aitbc log cosign witness.example.org/w1 --key w1.key --remember seen
      aitbc log cosign w1 --key w1.key --remember seen --log https://example.org
    """
    trust = trusted(log_key, None)
    seed = key.read_bytes()
    if len(seed) != SEED_BYTES:
        raise FormatError(f"{key} is not a witness's key. Create one with `aitbc log witness-key`.")
    with _source(context, source) as files:
        if not isinstance(files, LogAddress):
            raise typer.BadParameter("--log is a directory. A cosignature is sent to the log's URL.")
        # Only what is new: a witness has seen the rest, and cosigns every few minutes.
        report = _verified(files, trust, remember, (), new_only=True)
        if not report.valid or report.note is None or report.checkpoint is None:
            _show(report, as_json=as_json)
            raise typer.Exit(ExitCode.NOT_VALID)
        signed = report.note.with_signatures(
            cosign_note(report.note, name, SigningKey(seed), int(time.time()))
        )
        # Stored durably before it is sent: a witness that forgets what it cosigned could be made to cosign a fork.
        write_file(remember, str(report.note).encode())
        files.cosign(str(signed))
    if as_json:
        print_json({"size": report.checkpoint.size, "witness": name})
    else:
        print_status(f"cosigned {report.checkpoint.size} leaves as {name}")


@contextmanager
def _source(context: typer.Context, source: str | None) -> Iterator[LogSource]:
    if source is not None and not source.startswith(("http://", "https://")):
        yield LogDirectory(Path(source))
        return
    state = context.find_object(GlobalOptions)
    if source is None:
        # Without a key: the log is public, and a witness need not be a client.
        address = find_address(state.base_url if state else None, None)
        prefix = f"{address.base_url}/v1/log"
    else:
        address, prefix = Address(source, None), source
    with LogAddress(prefix, trust_env=not address.is_loopback) as opened:
        yield opened


def _verified(
    files: LogSource, trust: Policy, remember: Path | None, against: Sequence[Path], *, new_only: bool
) -> LogReport:
    checkpoints = {f"checkpoint in {path}": _checkpoint(path, trust) for path in against}
    first = 0
    if remember is not None and remember.exists():
        stored = _checkpoint(remember, trust)
        checkpoints["stored checkpoint"] = stored
        first = stored.size if new_only else 0
    return verify_log(files, trust, known=checkpoints, first=first)


def _checkpoint(path: Path, trust: Policy) -> Checkpoint:
    """Return the checkpoint in a file, alone or in a proof. Raises `VerificationError` if no log of the policy signed it."""
    content = path.read_bytes()
    note = parse_proof(content).note if content.startswith(PROOF_HEADER.encode()) else parse_note(content)
    return trust.open(note)


def _show(report: LogReport, *, as_json: bool, verbose: bool = False) -> None:
    size = report.checkpoint.size if report.checkpoint else None
    if as_json:
        checks = [dataclasses.asdict(check) for check in report.checks]
        names = ("receipts", "settlements", "payouts", "verdicts", "others")
        counts = {name: getattr(report, name) for name in names}
        print_json(
            {
                "valid": report.valid,
                "size": size,
                **counts,
                "failures": list(report.failures),
                "checks": checks,
            }
        )
        return
    failed = [check for check in report.checks if not check.ok]
    reason = f"{failed[0].name}: {failed[0].message}" if failed else ""
    verdict = f"valid: {size} leaves" if report.valid else f"NOT valid: {reason}".rstrip(": ")
    print_verdict(verdict, good=report.valid)
    for check in report.checks if verbose or not report.valid else ():
        print_indented(f"  {'ok  ' if check.ok else 'FAIL'}  ", f"{check.name}: {check.message}")
