"""`aitbc receipts`: show, export, verify. Verification needs only the coordinator's public log key."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from aitbc._http.local import sealing_file
from aitbc._http.sealing import SealingState
from aitbc._verification.conclusions import Verdict, check_words
from aitbc._verification.report import Check
from aitbc.canonical import b64decode, parse_json
from aitbc.cli._arguments.ids import find_job
from aitbc.cli._arguments.options import JobArgument, JsonOption, client_of
from aitbc.cli._arguments.trust import LogKeyOption, PolicyOption, trusted
from aitbc.cli._batch.journal import file_sha256, write_file
from aitbc.cli._terminal.exits import ExitCode
from aitbc.cli._terminal.output import (
    encoded,
    print_error,
    print_fields,
    print_indented,
    print_json,
    print_status,
    print_verdict,
)
from aitbc.errors import FormatError, VerificationError
from aitbc.figures.amounts import with_currency
from aitbc.policy import Policy
from aitbc.receipts import (
    Artifact,
    Verification,
    conclusions,
    other_network,
    verify_bundle,
    verify_receipt,
)
from aitbc.sealing import attestation
from aitbc.statement import decimal_text, money, parse_statement

_NOTED = frozenset({"sealed", "attestation"})
"""Checks that a verdict always names."""
_STATES: dict[Verdict, str] = {"proven": "ok", "failed": "FAIL", "unchecked": "unchecked"}

app = typer.Typer(help="Fetch receipts, and verify them offline.", no_args_is_help=True)


@app.command()
def show(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """Show the receipt of a completed job. With --json, also its signatures.

    Examples:
      aitbc receipts show last
      aitbc receipts show interview.wav --json
    """
    with client_of(context) as client:
        receipt = client.receipts.get(find_job(client, job)).to_dict()
    print_json(receipt) if as_json else print_fields(_summary(receipt))


def _summary(receipt: dict[str, Any]) -> dict[str, str]:
    """Return what a receipt states, without the signatures, which only programs can read."""
    fields = {name: receipt[name] for name in ("receipt_id", "job_id", "miner_id", "created_at")}
    # Showing a receipt is not verifying it: what cannot be read is left out, and `verify` says why.
    with suppress(VerificationError, LookupError, TypeError):
        statement = parse_statement(b64decode(receipt["envelope"]["payload"]))
        # All digits, since they are what the miner has signed.
        rate = f"{with_currency(money(statement.unit_price))} per {statement.unit}"
        fields |= {
            "service": statement.service,
            "model": statement.model.name if statement.model else "none",
            "device": statement.device_name,
            "ran": f"{statement.started_at} to {statement.finished_at}",
            "price": f"{with_currency(money(statement.price))} ({decimal_text(statement.units)} at {rate})",
            "outputs": ", ".join(output.name for output in statement.subject),
        }
    for signed_fields in receipt["attestations"]:
        fields[f"{signed_fields['type']} attested"] = str(signed_fields["timestamp"])
    return {
        **fields,
        "signature": "by the miner; `aitbc receipts export` and `aitbc receipts verify` check it",
    }


@app.command()
def export(
    context: typer.Context,
    job: JobArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")],
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Wait until the witnesses that this policy requires have cosigned."
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="The maximum wait for the witnesses.")
    ] = 60,
    as_json: JsonOption = False,
) -> None:
    """Write a job's receipt, results and proof to one file that can be verified offline.

    Examples:
      aitbc receipts export last -o receipt.json
      aitbc receipts export interview.wav -o r.json --policy policy.txt
    """
    trust = Policy.read(policy) if policy else None
    with client_of(context) as client:
        job = find_job(client, job)
        try:
            bundle = client.receipts.export(job, policy=trust, timeout=timeout)
        # Without a policy nothing waits for witnesses, so this is a slow coordinator.
        except TimeoutError as error:
            if trust is None:
                raise
            print_error(str(error))
            raise typer.Exit(ExitCode.FAILED) from None
    write_file(output, encoded(bundle))
    if as_json:
        print_json({"job_id": job, "receipt_id": bundle["receipt"]["receipt_id"], "file": str(output)})
    else:
        print_status(f"wrote {output}")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An exported receipt.")],
    log_key: LogKeyOption = None,
    policy: PolicyOption = None,
    artifact: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Also check this output file; may be repeated.")
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Show every check. Without it they are shown if the receipt is invalid."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify an exported receipt without a coordinator. Exits with 3 if it is invalid.

    Examples:
      aitbc receipts verify receipt.json
      aitbc receipts verify receipt.json --artifact film.mp4
      aitbc receipts verify receipt.json --log-key VKEY --verbose
    """
    trust = trusted(log_key, policy)
    try:
        content = parse_json(file.read_bytes())
    except FormatError as error:
        raise FormatError(f"{file} is not an exported receipt: {error}") from None
    # Once without the files: only the signed statement says which outputs they may be.
    outcome = _verify(content, trust, {})
    if artifact:
        named = {path: _named(path, outcome) for path in artifact}
        outcome = _relabelled(_verify(content, trust, dict(named.values())), named)
    outcome = _compared(_attested(outcome, content), content)
    if as_json:
        fields = ("valid", "miner_signature_valid", "coordinator_attestations", "failures")
        question_of = {
            check: conclusion.question for conclusion in conclusions(outcome) for check in conclusion.checks
        }
        checks = [{**dataclasses.asdict(check), "question": question_of[check]} for check in outcome.checks]
        print_json({**{name: getattr(outcome, name) for name in fields}, "checks": checks})
    else:
        _print(outcome, verbose=verbose)
    if not outcome.valid:
        raise typer.Exit(ExitCode.NOT_VALID)


def _verify(content: Any, trust: Policy, artifacts: dict[str, Artifact]) -> Verification:
    # A receipt as the API returns it, without results and proof.
    if isinstance(content, dict) and "format" not in content:
        return verify_receipt(content, log_key=trust, artifacts=artifacts)
    return verify_bundle(content, trust, artifacts)


def _attested(outcome: Verification, content: Any) -> Verification:
    """Return the outcome with a check of what the machine attests about itself, if the statement contains that."""
    statement = outcome.statement
    if statement is None or statement.attestation is None:
        return outcome
    receipt = content.get("receipt", content)
    key_id = None if statement.sealed is None else statement.sealed.key_id
    nonce = attestation.nonce_of(
        b64decode(receipt["signature"]["public_key"]), job_id=statement.job_id, key_id=key_id
    )
    try:
        check = Check("attestation", ok=True, message=attestation.verify(statement.attestation, nonce))
    except VerificationError as error:
        check = Check("attestation", ok=False, message=str(error))
    return dataclasses.replace(outcome, valid=outcome.valid and check.ok, checks=(*outcome.checks, check))


def _compared(outcome: Verification, content: Any) -> Verification:
    """Return the outcome with a check of whether the receipt is about what this client sealed as its job, if it sealed that."""
    statement = outcome.statement
    if statement is None:
        return outcome
    results = content.get("results") if isinstance(content, dict) else None
    try:
        # Still without a coordinator: the memory of what was sealed is on this machine.
        opener = SealingState(sealing_file()).opener(statement.job_id)
        wrong = [] if opener is None else opener.errors_of(statement, results)
    except VerificationError as error:
        opener, wrong = None, [str(error)]
    if opener is None and not wrong and statement.sealed is None:
        return outcome
    message = "it answers the request that this client sealed"
    if opener is None:
        message = (
            "this client has no memory of sealing the job, so whether it answers your request is not known"
        )
    check = Check("sealed", ok=not wrong, message="; ".join(wrong) or message)
    return dataclasses.replace(outcome, valid=outcome.valid and check.ok, checks=(*outcome.checks, check))


def _named(path: Path, outcome: Verification) -> tuple[str, Artifact]:
    """Return the output that a file claims to be: the output with its name, else the one with its content."""
    outputs = outcome.statement.subject[1:] if outcome.statement else ()
    if path.name in {output.name for output in outputs}:
        return path.name, path
    digest = file_sha256(path)
    is_output = digest in {output.sha256 for output in outputs}
    return (f"sha256:{digest}" if is_output else path.name), digest


def _relabelled(outcome: Verification, named: Mapping[Path, tuple[str, Artifact]]) -> Verification:
    """Return the outcome with each artifact named by the path that the user passed."""
    labels = {f"artifact {name}": f"artifact {path}" for path, (name, _) in named.items()}
    checks = tuple(
        dataclasses.replace(check, name=labels.get(check.name, check.name)) for check in outcome.checks
    )
    return dataclasses.replace(outcome, checks=checks)


def _print(outcome: Verification, *, verbose: bool) -> None:
    """Print the verdict, then its reasons if they were asked for or something is wrong."""
    print_verdict(_verdict(outcome), good=outcome.valid)
    if outcome.valid and not verbose:
        # What was sealed or attested is no part of every receipt, and may be unknown although nothing is wrong.
        for check in outcome.checks:
            if check.name in _NOTED:
                print_indented("  ", f"{check.name}: {check.message}")
        return
    for conclusion in conclusions(outcome):
        print_indented(
            f"  {conclusion.question.capitalize():<6} {_STATES[conclusion.verdict]:<10} ", conclusion.sentence
        )
        for check in conclusion.checks:
            if verbose or not check.ok:
                print_indented(f"    {'ok  ' if check.ok else 'FAIL'}  ", check_words(check))


def _verdict(outcome: Verification) -> str:
    """Return one line: that the receipt is valid, or why it is not."""
    statement = outcome.statement
    if outcome.valid and statement is not None:
        return f"valid: {statement.miner_id} ran {statement.service} for {statement.job_id}"
    if (network := other_network(outcome)) is not None:
        return f"NOT valid: this receipt is from another network, {network}. Pass the key of its log with --log-key."
    reasons = [conclusion.sentence for conclusion in conclusions(outcome) if conclusion.verdict == "failed"]
    return f"NOT valid: {' '.join(reasons)}".rstrip(": ")
