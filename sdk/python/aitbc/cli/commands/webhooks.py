"""`aitbc webhooks`: try webhooks on this machine, and see what became of a job's messages."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Annotated

import typer

from aitbc.cli._arguments import complete
from aitbc.cli._arguments.ids import find_job
from aitbc.cli._arguments.options import JobArgument, JsonOption, client_of
from aitbc.cli._terminal.output import (
    moment,
    print_json,
    print_json_line,
    print_rows,
    print_status,
    print_text,
)
from aitbc.cli._terminal.webhook_receiver import ReceivedWebhook, WebhookReceiver
from aitbc.errors import ConfigurationError, ValidationFailed

app = typer.Typer(
    help="Try webhooks on this machine, and see what became of a job's messages.", no_args_is_help=True
)

_SETTINGS = """\
The coordinator sends to this machine only if its operator allows it, for a trial at home in agent.toml:
  [coordinator.webhooks]
  allow_http = true
  allow_private = true"""
_LAST = frozenset({"job.completed", "job.failed", "job.cancelled"})


@app.command()
def listen(
    context: typer.Context,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="The port; 0 for a free one.")
    ] = 4242,
    forward: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Pass valid messages on to this address, and answer as it answers."),
    ] = None,
    job: Annotated[
        str | None,
        typer.Option(
            "--job",
            metavar="JOB",
            help="Run this job again with this address, and end when its message has arrived.",
            autocompletion=complete.jobs,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each message as a line of JSON.")] = False,
) -> None:
    """Receive webhooks on this machine: verify each message, print it in one line, and pass it on. Ctrl-C ends.

    Examples:
      aitbc webhooks listen
      aitbc webhooks listen --job last
      aitbc webhooks listen --forward http://127.0.0.1:3000/hooks/aitbc
    """
    ended = threading.Event()
    awaited: set[str] = set()
    arrived: set[str] = set()

    def on_received(received: ReceivedWebhook) -> None:
        _print(received, as_json=as_json)
        about = received.message.get("data")
        if received.error is None and isinstance(about, dict) and received.message.get("type") in _LAST:
            arrived.add(str(about.get("job_id")))
        if arrived & awaited:
            ended.set()

    with client_of(context) as client:
        try:
            receiver = WebhookReceiver(port, client.webhooks.secret().secret, forward, on_received)
        except OSError as error:
            raise typer.BadParameter(
                f"Port {port} of this machine cannot be used: {error.strerror}. Choose another one with --port."
            ) from None
        with receiver:
            threading.Thread(target=receiver.serve_forever, name="webhooks", daemon=True).start()
            print_status(f"Listening on {receiver.url} for messages that your account's secret has signed.")
            if job is None:
                print_status(
                    f"Add `--webhook {receiver.url}` to a command that creates a job, in another terminal."
                )
                print_status(_SETTINGS)
            else:
                try:
                    repeated_job = client.jobs.rerun(find_job(client, job), webhook_url=receiver.url)
                except ValidationFailed as error:
                    if "webhook_url" not in error.fields:
                        raise
                    raise ConfigurationError(f"{error.fields['webhook_url']}.\n{_SETTINGS}") from None
                awaited.add(repeated_job.job_id)
                # The message of a short job may arrive before the answer that names it.
                if arrived & awaited:
                    ended.set()
                print_status(f"{repeated_job.job_id} runs; its message will arrive here.")
            try:
                ended.wait()
            except KeyboardInterrupt:
                # The usual end of a server, and no failure.
                print_status("")
            finally:
                receiver.shutdown()


def _print(received: ReceivedWebhook, *, as_json: bool) -> None:
    message, verified = received.message, received.error is None
    if as_json:
        print_json_line(
            {
                "webhook_id": received.webhook_id,
                "verified": verified,
                "error": received.error,
                "forwarded": received.forwarded,
                "message": dict(message),
            }
        )
        return
    about = message.get("data")
    data = about if isinstance(about, dict) else {}
    parts = [
        f"{datetime.now().astimezone():%H:%M:%S}",
        str(message.get("type") or "message"),
        str(data.get("job_id") or ""),
    ]
    if isinstance(data.get("error"), dict):
        parts.append(str(data["error"].get("code")))
    parts.append("signature valid" if verified else f"REFUSED: {received.error}")
    if received.forwarded is not None:
        parts.append(received.forwarded)
    print_text("  ".join(part for part in parts if part))


@app.command()
def show(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """Show the messages about a job: whether they arrived, and why not.

    Examples:
      aitbc webhooks show last
      aitbc webhooks show interview.wav --json
    """
    with client_of(context) as client:
        deliveries = client.webhooks.of_job(find_job(client, job))
    if as_json:
        print_json(deliveries.to_dict())
        return
    rows = [
        (
            delivery.type,
            delivery.status,
            str(delivery.attempts),
            moment(delivery.last_attempt_at),
            delivery.last_error or "",
            delivery.url,
        )
        for delivery in deliveries.webhooks
    ]
    print_rows(("MESSAGE", "STATUS", "ATTEMPTS", "LAST ATTEMPT", "ERROR", "URL"), rows, free=("ERROR", "URL"))
    if not rows:
        print_status("There is no message: the job has not ended, or was created without --webhook.")


@app.command()
def secret(context: typer.Context, as_json: JsonOption = False) -> None:
    """Print the secret that signs your account's messages, for a library of Standard Webhooks. Protect it like a key.

    Examples:
      aitbc webhooks secret
      export WEBHOOK_SECRET=$(aitbc webhooks secret)
    """
    with client_of(context) as client:
        current = client.webhooks.secret()
    print_json(current.to_dict()) if as_json else print_text(current.secret)
