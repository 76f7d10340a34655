"""`aitbc chat`: a conversation with a language model, or one question."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from aitbc._client import AITBCClient
from aitbc._http.flow import present
from aitbc.cli._arguments.default_model import default_model
from aitbc.cli._arguments.options import JobOptions, client_of, model_option, with_options
from aitbc.cli._arguments.sealing import find_target
from aitbc.cli._batch.journal import write_file
from aitbc.cli._terminal.conversation import Conversation, Stopped
from aitbc.cli._terminal.exits import ExitCode, explain
from aitbc.cli._terminal.output import encoded, print_error, print_json, print_status
from aitbc.errors import AITBCError

_SERVICE = "llm_inference"
_HELP = """\
/model NAME   switch to another model; without a name, list the models
/clear        start a new conversation
/exit         leave (also Ctrl-D, or Ctrl-C at the prompt)
Ctrl-C        stop the answer and cancel its job"""


@with_options
def chat(
    context: typer.Context,
    job: JobOptions,
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="QUESTION", help="One question; `-` reads it from stdin. Default: a conversation."
        ),
    ] = None,
    model: Annotated[str | None, model_option(_SERVICE)] = None,
    system: Annotated[
        str | None,
        typer.Option("--system", "-s", help="Instructions for the model, such as 'Answer briefly.'"),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="The maximum length of the answer, in tokens. Default: 256.")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, max=2, help="0 gives the most likely text; higher values vary it. Default: 0.7."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="The random seed; the same seed repeats the answer. Default: random."),
    ] = None,
) -> None:
    """Chat with a language model. The answer is printed while it is generated.

    Examples:
      aitbc chat
      aitbc chat 'Name the capital of France.' --temperature 0
      git diff | aitbc chat - --system 'Write a commit message for this.'
    """
    if job.detach:
        raise typer.BadParameter(
            "--detach does not work with a chat, whose answer is printed while it is generated."
        )
    interactive = question is None and sys.stdin.isatty()
    if interactive and (job.as_json or job.receipt is not None):
        raise typer.BadParameter(
            "--json and --receipt need a single question; they do not work with a conversation."
        )
    # Read before anything else, so that an empty pipe ends the command without a request.
    single = "" if interactive else _question(question)
    options = present({"max_tokens": max_tokens, "temperature": temperature, "seed": seed})
    with client_of(context) as client:
        # The name is sent even if it is the default, so that the whole conversation has one model.
        body, chosen = job.body(context), model or default_model(client, _SERVICE)
        seal = None
        if job.seal:
            # Sealing adds the miner itself, which the API refuses together with an offer.
            miner_id, offer_id = body.pop("miner_id", None), body.get("offer_id")
            target = find_target(client, _SERVICE, model=chosen, miner_id=miner_id, offer_id=offer_id)
            print_status(target.notice)
            seal = target.miner_id
        conversation = Conversation(client, chosen, system, {**options, **body}, seal)
        if interactive:
            _converse(conversation)
        else:
            _answer_once(client, conversation, single, job)


def _question(argument: str | None) -> str:
    """Return the question from the arguments, else from stdin."""
    text = sys.stdin.read() if argument in {None, "-"} else argument
    if text is None or not text.strip():
        raise typer.BadParameter("The question is empty. Pass one as an argument or on stdin.")
    return text.strip()


def _answer_once(client: AITBCClient, conversation: Conversation, question: str, job: JobOptions) -> None:
    try:
        answer = conversation.ask(question, None if job.as_json else _print_piece)
    except Stopped as stopped:
        _end_line(stopped.text)
        print_error(f"Interrupted. {stopped}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if job.receipt is not None:
        write_file(job.receipt, encoded(client.receipts.export(answer.job_id)))
    if job.as_json:
        print_json(answer.to_dict())
    else:
        _end_line(str(answer.results.get("text", "")))


def _converse(conversation: Conversation) -> None:
    """Ask and answer until the user leaves."""
    _edit_lines()
    print_status(f"Model: {conversation.model}. /help lists the commands, Ctrl-D leaves.")
    while True:
        try:
            line = input("> ").strip()
        # The terminal shows no line end for Ctrl-D, and the shell's prompt would follow on the same line.
        except EOFError:
            print_status("")
            return
        except KeyboardInterrupt:
            print_status("")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        if line == "/exit":
            return
        if line.startswith("/"):
            _run_command(conversation, line)
        elif line:
            _answer(conversation, line)


def _answer(conversation: Conversation, line: str) -> None:
    try:
        answer = conversation.ask(line, _print_piece)
    except Stopped as stopped:
        _end_line(stopped.text)
        print_status(f"Stopped. {stopped}")
    except AITBCError as error:
        print_error(explain(error))
    else:
        _end_line(str(answer.results.get("text", "")))
        if answer.results.get("finish_reason") == "length":
            print_status("(the answer reached the limit of --max-tokens)")


def _run_command(conversation: Conversation, line: str) -> None:
    word, _, argument = line.partition(" ")
    commands: dict[str, Callable[[str], None]] = {
        "/model": lambda name: _change_model(conversation, name),
        "/clear": lambda _: conversation.clear(),
        "/help": lambda _: print_status(_HELP),
    }
    command = commands.get(word)
    if command is None:
        print_status(f"Unknown command {word}. /help lists the commands.")
        return
    try:
        command(argument.strip())
    except AITBCError as error:
        print_error(explain(error))


def _change_model(conversation: Conversation, name: str) -> None:
    models = [str(model) for model in conversation.client.registry.get(_SERVICE).get("models", ())]
    if name in models:
        conversation.model = name
        print_status(f"Model: {name}.")
        return
    if name:
        print_status(f"The model {name} does not exist here. Available models:")
    for model in models:
        print_status(f"{'*' if model == conversation.model else ' '} {model}")


def _print_piece(piece: str) -> None:
    sys.stdout.write(piece)
    # A terminal shows a line when it ends, and pieces are shorter than lines.
    sys.stdout.flush()


def _end_line(text: str) -> None:
    if text and not text.endswith("\n"):
        _print_piece("\n")


def _edit_lines() -> None:
    try:
        import readline  # noqa: F401, PLC0415 - importing it makes lines editable; some platforms lack it
    except ImportError:
        return
