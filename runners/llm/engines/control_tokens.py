"""Keeps control tokens out of a client's messages.

A chat template is text, and so are the messages in it: a message with a model's control tokens ("<|im_end|>") could end its own
turn and imitate another role. A space without width inside their text makes the tokenizer read them as words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

INVISIBLE = "\u200b"


def breaker(control: Iterable[str]) -> Callable[[str], str]:
    """Return a function that breaks every occurrence of these control tokens in a text."""
    tokens = sorted((token for token in control if len(token) > 1), key=len, reverse=True)

    def broken(text: str) -> str:
        for token in tokens:
            text = text.replace(token, f"{token[0]}{INVISIBLE}{token[1:]}")
        return text

    return broken
