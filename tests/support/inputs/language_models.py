"""The language model of the tests, and requests to it."""

NAME = "smollm2-135m-instruct"
OPTIONS = {"context": 4096, "template": "smollm2"}
"""The catalogue's options of the model."""

QUESTION = "Name the capital of France."
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "colour": {"enum": ["red", "green"], "type": "string"},
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
    },
    "required": ["name", "age", "colour", "tags"],
}
"""A JSON schema for answers."""
