"""The form of a job for a language model."""

from __future__ import annotations

from runners.forms import FormField, ServiceForm

FORM = ServiceForm(
    first={
        "prompt": FormField(
            "Prompt",
            "With the text that it is about, if there is one.",
            empty="Ask a question, or describe a task",
        ),
        "model": FormField("Model", "Larger models know more and answer more slowly."),
        "max_tokens": FormField(
            "Longest answer",
            "An answer that reaches the limit is cut off. 100 tokens are about 75 English words.",
            unit="tokens",
        ),
    },
    more={
        "Style": {
            "temperature": FormField(
                "Temperature",
                "0 always takes the likeliest word, which suits facts and code; 0.7 sounds natural; up to 2 grows wilder.",
            ),
            "top_p": FormField(
                "Top p",
                "Considers only the likeliest words that together have this share of the probability. 1 considers all.",
            ),
            "top_k": FormField("Top k", "Considers only so many of the likeliest words. 0 sets no limit."),
            "repetition_penalty": FormField(
                "Penalty for any repetition",
                "Above 1 makes words less likely that stand in the prompt or the answer already; 1.1 is mild.",
            ),
            "min_p": FormField(
                "Min p",
                "Leaves out words that are less likely than this share of the likeliest one. 0 leaves out none.",
            ),
            "typical_p": FormField(
                "Typical p", "Prefers words that are as surprising as usual in this text. 1 has no effect."
            ),
            "mirostat": FormField(
                "Mirostat",
                "Version 1 or 2 holds the surprise of the text at one level, in place of the other samplers. Only in llama.cpp.",
            ),
            "mirostat_tau": FormField("Surprise of Mirostat", "The level that Mirostat holds."),
            "mirostat_eta": FormField("Pace of Mirostat", "How quickly Mirostat returns to its level."),
            "presence_penalty": FormField(
                "Penalty for used words", "Above 0 moves the answer to new subjects; from -2 to 2."
            ),
            "frequency_penalty": FormField(
                "Penalty for frequent words",
                "Grows with each use of a word, and so ends loops; from -2 to 2.",
            ),
            "seed": FormField(
                "Seed", "The same number repeats the answer on the same kind of machine.", empty="Random"
            ),
            "stop": FormField(
                "Stop before",
                "The answer ends where one of these texts would begin. One a line, up to 8.",
                control="lines",
            ),
            "reasoning_effort": FormField(
                "Thinking",
                "How long a model that can think does so before it answers. Its thoughts cost as many tokens as they have.",
                empty="As the model usually does",
                choices={"none": "Off", "low": "Short", "medium": "Medium", "high": "Long"},
            ),
            "min_tokens": FormField(
                "Shortest answer", "The answer does not end before. Not in llama.cpp.", unit="tokens"
            ),
            "ignore_eos": FormField(
                "Never end early", "The answer always reaches its longest length, for measurements."
            ),
            "raw": FormField(
                "Continue the text", "The model writes on from the end of the prompt instead of answering it."
            ),
            "suffix": FormField(
                "Text after the answer",
                "The answer fills the gap between the prompt and this text. Needs a model for code.",
            ),
            "n": FormField(
                "Number of answers", "Up to 8 different answers to the same prompt. Each is paid for."
            ),
        },
        "Answers for programs": {
            "json_object": FormField("Answer in JSON", "The answer is one valid JSON object of any form."),
            "response_schema": FormField(
                "JSON schema of the answer",
                "The answer is JSON with exactly these properties, in this order.",
            ),
            "grammar": FormField(
                "Grammar of the answer", "In GBNF, with a rule root: the answer is a text of this grammar."
            ),
            "template_options": FormField(
                "Variables of the chat template",
                'What the model\'s template reads besides the messages, as JSON: {"enable_thinking": false}.',
            ),
            "top_logprobs": FormField(
                "Alternatives to each token",
                "Reports the probability of each token, and of up to 20 others that were possible.",
                empty="Report none",
            ),
            "logit_bias": FormField(
                "Weights of tokens",
                'Makes tokens likelier (up to 100) or rarer (down to -100), by their numbers: {"198": -100}.',
            ),
            "messages": FormField(
                "Conversation",
                'Instead of a prompt, as JSON: [{"role": "user", "content": "Hello"}]. To talk, open the chat.',
            ),
            "tools": FormField(
                "Functions to call",
                "JSON with name, description and parameters of each. The answer then may be a call for your program.",
            ),
            "tool_choice": FormField(
                "Must it call a function?",
                "Only with functions.",
                choices={"auto": "If it helps", "none": "Never", "required": "Always"},
            ),
            "only_tokens": FormField(
                "Only count tokens",
                "Instead of an answer: the number of the prompt's tokens, their numbers, or their texts. A hundredth of the price.",
                empty="No, answer the prompt",
                choices={
                    "count": "Count them",
                    "tokens": "List their numbers",
                    "pieces": "List numbers and texts",
                    "text": "Make text of numbers",
                },
            ),
            "special_tokens": FormField(
                "Count what begins a text too",
                "Only for a text that is continued: most models begin one with a token.",
            ),
            "token_ids": FormField(
                "Numbers of tokens", "As a JSON list, to make text of them; instead of a prompt."
            ),
            "parallel_tool_calls": FormField(
                "Several calls at once", "One answer may call more than one function."
            ),
        },
    },
)
