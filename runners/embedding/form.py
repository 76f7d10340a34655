"""The form of an embedding job."""

from __future__ import annotations

from runners.forms import FormField, ServiceForm

FORM = ServiceForm(
    first={
        "input": FormField(
            "Texts",
            "One a line, up to 512. Each becomes a list of numbers, similar for similar meanings.",
            control="lines",
        ),
        "model": FormField(
            "Model",
            "Compare only numbers that come from the same model. Its name often says which languages it knows.",
        ),
    },
    more={
        "Size": {
            "dimensions": FormField(
                "Numbers for each text",
                "Fewer need less space and compare a little less exactly. Only some models are made for it.",
                empty="All that the model gives",
            )
        }
    },
)
