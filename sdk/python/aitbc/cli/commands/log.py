"""`aitbc log`: verify a whole log, and be a witness of one. Neither needs a key of the coordinator's."""

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
from aitbc.cli._exits import ExitCode
from aitbc.cli._options import JsonOption, State
from aitbc.cli._output import print_json, print_text, say
from aitbc.cli._trust import LogKeyOption, PolicyOption, trusted
from aitbc.errors import FormatError
from aitbc.keys import COSIGNATURE_TYPE, format_vkey
from aitbc.log import PROOF_HEADER, Checkpoint, parse_proof
from aitbc.monitor import LogAddress, LogDirectory, LogReport, LogSource, verify_log
from aitbc.notes import cosign as cosign_note
from aitbc.notes import parse_note
from aitbc.policy import Policy

SEED_BYTES = 32

app = typer.Typer(help="Verify the log of receipts and settlements, or be its witness.", no_args_is_help=True)

SourceArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="SOURCE", help="The log's address or a directory with a copy. Default: the coordinator's log."
    ),
]
RememberOption = Annotated[
    Path | None,
    typer.Option(
        "--remember",
        metavar="FILE",
        help="Compare with the checkpoint kept in this file, and keep the newest there.",
    ),
]
AgainstOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--against", metavar="FILE", help="Compare with this checkpoint or proof too; may be repeated."
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
        bool, typer.Option("--new-only", help="Read only the leaves since the remembered checkpoint.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify all leaves, tiles and the checkpoint; find changed leaves, forks and truncation. Exits with 3 when not valid."""
    trust = trusted(log_key, policy)
    with _source(context, source) as files:
        report = _verified(files, trust, remember, against or (), new_only=new_only)
    _show(report, as_json=as_json)
    if not report.valid:
        raise typer.Exit(ExitCode.NOT_VALID)
    if remember is not None:
        _keep(remember, str(report.note))


@app.command("witness-key")
def witness_key(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The witness's name, such as witness.example.org/w1.")
    ],
    key: Annotated[
        Path, typer.Option("--key", metavar="FILE", help="The file to write, readable by you only.")
    ],
) -> None:
    """Make a witness's key, and print its public key: for the operator's `coordinator.witnesses` and for policies."""
    signing_key = SigningKey.generate()
    vkey = format_vkey(name, bytes(signing_key.verify_key), COSIGNATURE_TYPE)
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
        Path, typer.Option("--remember", metavar="FILE", help="Where the checkpoint cosigned last is kept.")
    ],
    source: Annotated[
        str | None,
        typer.Option("--log", metavar="URL", help="The log's address. Default: the coordinator's log."),
    ] = None,
    log_key: LogKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Be a witness: cosign the newest checkpoint if the log continues what was cosigned before. Exits with 3 if it does not."""
    trust = trusted(log_key, None)
    seed = key.read_bytes()
    if len(seed) != SEED_BYTES:
        raise FormatError(f"{key} is not a witness's key; `aitbc log witness-key` makes one.")
    with _source(context, source) as files:
        if not isinstance(files, LogAddress):
            raise typer.BadParameter("A cosignature is brought to the log's address, not to a directory.")
        report = _verified(files, trust, remember, (), new_only=True)
        if not report.valid or report.note is None or report.checkpoint is None:
            _show(report, as_json=as_json)
            raise typer.Exit(ExitCode.NOT_VALID)
        signed = report.note.with_signatures(
            cosign_note(report.note, name, SigningKey(seed), int(time.time()))
        )
        # Kept before it is given away: after a crash, no older checkpoint is cosigned on top.
        _keep(remember, str(report.note))
        files.cosign(str(signed))
    if as_json:
        print_json({"size": report.checkpoint.size, "witness": name})
    else:
        say(f"cosigned {report.checkpoint.size} leaves as {name}")


@contextmanager
def _source(context: typer.Context, source: str | None) -> Iterator[LogSource]:
    if source is not None and not source.startswith(("http://", "https://")):
        yield LogDirectory(Path(source))
        return
    state = context.find_object(State)
    if source is None:
        address = find_address(state.base_url if state else None, None)
        prefix = f"{address.base_url}/v1/log"
    else:
        address, prefix = Address(source, None), source
    with LogAddress(prefix, trust_env=not address.is_loopback) as opened:
        yield opened


def _verified(
    files: LogSource, trust: Policy, remember: Path | None, against: Sequence[Path], *, new_only: bool
) -> LogReport:
    remembered = {f"checkpoint in {path}": _checkpoint(path, trust) for path in against}
    first = 0
    if remember is not None and remember.exists():
        known = _checkpoint(remember, trust)
        remembered["remembered checkpoint"] = known
        first = known.size if new_only else 0
    return verify_log(files, trust, remembered=remembered, first=first)


def _checkpoint(path: Path, trust: Policy) -> Checkpoint:
    """The checkpoint in a file, alone or in a proof. Raises `VerificationError` when no log of the policy signed it."""
    content = path.read_bytes()
    note = parse_proof(content).note if content.startswith(PROOF_HEADER.encode()) else parse_note(content)
    return trust.open(note)


def _keep(path: Path, note: str) -> None:
    """Write in one step: a crash leaves the one before or this one."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(note)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _show(report: LogReport, *, as_json: bool) -> None:
    size = report.checkpoint.size if report.checkpoint else None
    if as_json:
        checks = [dataclasses.asdict(check) for check in report.checks]
        counts = {name: getattr(report, name) for name in ("receipts", "settlements", "others")}
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
    for check in report.checks:
        print_text(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.message}")
    print_text(f"valid: {size} leaves" if report.valid else "NOT valid")
