"""`aitbc chat`: a conversation with a language model, or one question."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from aitbc._client import AITBCClient
from aitbc.cli._conversation import Conversation, Stopped
from aitbc.cli._exits import ExitCode, explain
from aitbc.cli._notebook import write_file
from aitbc.cli._options import JobOptions, client_of, model_option, with_options
from aitbc.cli._output import complain, encoded, print_json, say
from aitbc.errors import AITBCError

_SERVICE = "llm_inference"
_HELP = """\
/model NAME   go on with another model; without a name: list them
/clear        begin a new conversation
/exit         leave (also Ctrl-D, and Ctrl-C while nothing is being written)
Ctrl-C        stop the answer, and cancel its job"""


@with_options
def chat(
    context: typer.Context,
    job: JobOptions,
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="[QUESTION]", help="One question; - reads it from a pipe. Default: a conversation."
        ),
    ] = None,
    model: Annotated[str | None, model_option(_SERVICE)] = None,
    system: Annotated[
        str | None, typer.Option("--system", "-s", help="What the model is told before everything.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The longest answer.")] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=2, help="0 is always the likeliest text, more varies it.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Makes a temperature above 0 repeatable.")] = None,
) -> None:
    """Talk to a language model. The answer is printed while it is written."""
    talks = question is None and sys.stdin.isatty()
    if talks and (job.as_json or job.receipt is not None):
        raise typer.BadParameter("--json and --receipt go with one question, not with a conversation.")
    asked = "" if talks else _question(question)
    given = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    options = {name: value for name, value in given.items() if value is not None}
    with client_of(context) as client:
        conversation = Conversation(client, model or _usual(client), system, {**options, **job.body})
        if talks:
            _talk(conversation)
        else:
            _answer_once(client, conversation, asked, job)


def _question(given: str | None) -> str:
    """The question in the arguments, else what comes through the pipe."""
    text = sys.stdin.read() if given in {None, "-"} else given
    if text is None or not text.strip():
        raise typer.BadParameter("There is no question: name one, or send one through a pipe.")
    return text.strip()


def _usual(client: AITBCClient) -> str:
    """The model to talk to where none is named: one that miners have run here. Raises `BadParameter`."""
    service = client.registry.get(_SERVICE)
    for duration in service.get("durations", ()):
        if duration.get("model"):
            return str(duration["model"])
    raise typer.BadParameter(
        f"No miner has run a language model here so far; name one with --model: {', '.join(service.get('models', ()))}."
    )


def _answer_once(client: AITBCClient, conversation: Conversation, question: str, job: JobOptions) -> None:
    try:
        answer = conversation.ask(question, None if job.as_json else _print_piece)
    except Stopped as stopped:
        _end_line(stopped.text)
        complain(f"interrupted; {stopped}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if job.receipt is not None:
        write_file(job.receipt, encoded(client.receipts.export(answer.job_id)))
    if job.as_json:
        print_json(answer.to_dict())
    else:
        _end_line(str(answer.results.get("text", "")))


def _talk(conversation: Conversation) -> None:
    """Ask and answer until the user leaves."""
    _edit_lines()
    say(f"{conversation.model}; /help shows what there is beside questions, Ctrl-D leaves")
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            say("")
            return
        except KeyboardInterrupt:
            say("")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        if line == "/exit":
            return
        if line.startswith("/"):
            _execute(conversation, line)
        elif line:
            _answer(conversation, line)


def _answer(conversation: Conversation, line: str) -> None:
    try:
        answer = conversation.ask(line, _print_piece)
    except Stopped as stopped:
        _end_line(stopped.text)
        say(f"stopped; {stopped}")
    except AITBCError as error:
        complain(explain(error))
    else:
        _end_line(str(answer.results.get("text", "")))
        if answer.results.get("finish_reason") == "length":
            say("(the answer was as long as --max-tokens allows)")


def _execute(conversation: Conversation, line: str) -> None:
    word, _, rest = line.partition(" ")
    commands: dict[str, Callable[[str], None]] = {
        "/model": lambda name: _change_model(conversation, name),
        "/clear": lambda _: conversation.clear(),
        "/help": lambda _: say(_HELP),
    }
    command = commands.get(word)
    if command is None:
        say(f"There is no {word}; /help shows what there is.")
        return
    try:
        command(rest.strip())
    except AITBCError as error:
        complain(explain(error))


def _change_model(conversation: Conversation, name: str) -> None:
    known = [str(model) for model in conversation.client.registry.get(_SERVICE).get("models", ())]
    if name in known:
        conversation.model = name
        say(f"{name} answers from here on")
        return
    if name:
        say(f"There is no model {name} here.")
    for model in known:
        say(f"{'*' if model == conversation.model else ' '} {model}")


def _print_piece(piece: str) -> None:
    sys.stdout.write(piece)
    sys.stdout.flush()


def _end_line(text: str) -> None:
    if text and not text.endswith("\n"):
        _print_piece("\n")


def _edit_lines() -> None:
    try:
        import readline  # noqa: F401, PLC0415 - importing it is what makes lines editable; it is not everywhere
    except ImportError:
        return
