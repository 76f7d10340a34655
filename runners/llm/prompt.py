"""Converts a request's prompt or messages to tokens."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Any

from runners.api import Fail
from runners.llm.request import InferenceRequest

BRIEF: Mapping[str, Any] = {"enable_thinking": False, "reasoning_effort": "none"}
"""Variables of chat templates with which models do not think."""


def template_options(request: InferenceRequest, text: Callable[[str], str]) -> dict[str, Any]:
    """Return the variables of the chat template that a request sets. `text` converts each string."""
    effort = request.reasoning_effort
    thinking = {} if effort is None else {"enable_thinking": effort != "none", "reasoning_effort": effort}
    named = {
        name: text(value) if isinstance(value, str) else value
        for name, value in request.template_options.items()
    }
    # A model that must answer in a certain form cannot think aloud before.
    return {**thinking, **named, **(BRIEF if request.is_formed or request.forced_tools else {})}


_FILL_IN = (
    ("<|fim_prefix|>", "PREFIX", "<|fim_suffix|>", "SUFFIX", "<|fim_middle|>"),  # Qwen, Gemma
    ("<fim_prefix>", "PREFIX", "<fim_suffix>", "SUFFIX", "<fim_middle>"),  # StarCoder, Granite
    ("<｜fim▁begin｜>", "PREFIX", "<｜fim▁hole｜>", "SUFFIX", "<｜fim▁end｜>"),  # noqa: RUF001 - DeepSeek's characters
    ("<[fim-suffix]>", "SUFFIX", "<[fim-prefix]>", "PREFIX", "<[fim-middle]>"),  # Seed
    ("[SUFFIX]", "SUFFIX", "[PREFIX]", "PREFIX"),  # Codestral
)
"""The parts of a prompt for the text between two others, by family of models: tokens of their own, and the two texts."""


def raw_prompt(request: InferenceRequest, is_token: Callable[[str], bool]) -> str:
    """Return the prompt that a model continues unchanged. `is_token` returns whether a text is one token of the model.

    Raises `Fail` if there is a suffix and the model has no tokens for it.
    """
    prompt = request.prompt or ""
    if not request.suffix:
        return prompt
    texts = {"PREFIX": prompt, "SUFFIX": request.suffix}
    for form in _FILL_IN:
        if all(part in texts or is_token(part) for part in form):
            return "".join(texts.get(part, part) for part in form)
    raise Fail(
        f"The model {request.model!r} cannot fill in a text: it has no tokens for that. Remove suffix, or choose a model for code."
    )


class PromptReader:
    """Converts requests to tokens with a transformers tokenizer. Safe to use from several threads.

    A conversation is rendered with the model's chat template. The template may add control tokens, but a message never
    contains any: the text of a control token ("<|im_end|>") in a message is tokenized as words, so that no message can
    end its own turn and imitate another role.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()  # a tokenizer stores even the options of a single call in itself
        self._added = frozenset(token.content for token in tokenizer.added_tokens_decoder.values())
        control = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        control |= set(tokenizer.all_special_tokens)
        self._control_ids = frozenset(tokenizer.convert_tokens_to_ids(sorted(control)))
        # One token may be the beginning of another.
        longest_first = sorted((text for text in control if text), key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def read(self, request: InferenceRequest) -> list[int]:
        """Return the tokens of a request's prompt. Raises `Fail` if the model does not support the request."""
        with self._lock:
            tokens = self._tokens(request)
        if not tokens:
            raise Fail("The prompt is empty: it has no tokens.")
        return tokens

    def _tokens(self, request: InferenceRequest) -> list[int]:
        templated = self._tokenizer.chat_template is not None
        if request.prompt is None and not templated:
            raise Fail(
                f"The model {request.model!r} has no chat template; send a prompt instead of messages."
            )
        if request.prompt is not None and (request.raw or not templated):
            return list(
                self._tokenizer(
                    raw_prompt(request, self._added.__contains__), add_special_tokens=request.special_tokens
                )["input_ids"]
            )
        return self._conversation(
            [{"role": message.role, "content": message.text} for message in request.conversation],
            template_options(request, self._words_only),
        )

    def _conversation(self, messages: list[dict[str, str]], options: Mapping[str, Any]) -> list[int]:
        # An unguessable mark stands for the text of each control token in a message while the template is rendered.
        mark = f"mark{secrets.token_hex(16)}"
        texts = [text for message in messages for text in self._control.findall(message["content"])]
        numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        marked = [
            {
                **message,
                "content": self._control.sub(
                    lambda control: f"{mark}n{numbers[control.group()]}e", message["content"]
                ),
            }
            for message in messages
        ]
        text = self._render(marked, options)
        if not numbers:
            return self._encode(text)
        words = {str(number): self._encode_words(control) for control, number in numbers.items()}
        # Every second part is the number of a control token.
        parts = re.split(f"{mark}n([0-9]+)e", text)
        return [
            token
            for position, part in enumerate(parts)
            for token in (words[part] if position % 2 else self._encode(part))
        ]

    def _render(self, messages: list[dict[str, str]], options: Mapping[str, Any]) -> str:
        from jinja2.exceptions import TemplateError  # noqa: PLC0415 - the coordinator has no engine

        try:
            text: str = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **options
            )
        except TemplateError as error:
            raise Fail(f"The model's chat template refuses these messages: {error}"[:500]) from None
        return text

    def _encode(self, text: str, **options: Any) -> list[int]:
        encoded: Mapping[str, list[int]] = self._tokenizer(text, add_special_tokens=False, **options)
        return list(encoded["input_ids"])

    def _words_only(self, text: str) -> str:
        if control := self._control.search(text):
            raise Fail(
                f"A variable of the chat template contains {control.group()!r}, which is a control token."
            )
        return text

    def _encode_words(self, text: str) -> list[int]:
        tokens = self._encode(text, split_special_tokens=True)
        if self._control_ids.isdisjoint(tokens):
            return tokens
        raise Fail(f"A message contains {text!r}, which is a control token of this model; remove it.")
