"""The form of a reranking job."""

from __future__ import annotations

from runners.forms import FormField, ServiceForm

FORM = ServiceForm(
    first={
        "query": FormField("Question", "What the texts are to be compared with."),
        "documents": FormField(
            "Texts", "One a line, up to 1000. Each gets a score from 0 to 1.", control="lines"
        ),
        "model": FormField(
            "Model", "Scores of different models cannot be compared; only their order means the same."
        ),
    },
    more={
        "Length": {
            "document_tokens": FormField(
                "Tokens of a text",
                "The rest of a longer text is not read. 100 tokens are about 75 English words.",
                empty="All; a text that is too long is an error",
            )
        }
    },
)
