"""instructor, in its modes for OpenAI's API."""

import instructor
import openai
from cells import KEY, MESSAGES, MODEL, URL, cell, run
from pydantic import BaseModel, Field


class City(BaseModel):
    """A city."""

    city: str = Field(max_length=20)


def ask(mode, **options):
    """Ask in a mode; return the city."""
    client = instructor.from_openai(
        openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0), mode=mode
    )
    return client.chat.completions.create(
        model=MODEL, messages=MESSAGES, response_model=City, temperature=0, max_retries=0, **options
    ).city


@cell
def tools():
    assert ask(instructor.Mode.TOOLS)


@cell
def tools_strict():
    assert ask(instructor.Mode.TOOLS_STRICT)


@cell
def json_schema():
    assert ask(instructor.Mode.JSON_SCHEMA)


@cell
def responses_tools():
    assert ask(instructor.Mode.RESPONSES_TOOLS)


run()
