"""OpenAI's package for agents with the agent's chat completions and responses."""

import asyncio
from typing import Annotated

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from agents.exceptions import MaxTurnsExceeded
from cells import KEY, MODEL, QUESTION, URL, cell, run
from openai import AsyncOpenAI
from pydantic import BaseModel, Field

set_tracing_disabled(True)
# Enough for the many calls that the smallest models write at once.
settings = ModelSettings(temperature=0, max_tokens=800)


class City(BaseModel):
    """A city."""

    city: str = Field(max_length=20)


@function_tool
def capital_of(country: Annotated[str, Field(max_length=20)]) -> str:
    """The capital of a country."""
    return "The capital of France is Paris."


def ask(**options):
    """Ask in both forms; return the outputs."""

    async def outputs():
        client = AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
        models = (
            OpenAIChatCompletionsModel(model=MODEL, openai_client=client),
            OpenAIResponsesModel(model=MODEL, openai_client=client),
        )
        answers = []
        for model in models:
            agent = Agent(name="guide", model=model, model_settings=settings, **options)
            try:
                answers.append((await Runner.run(agent, QUESTION, max_turns=3)).final_output)
            except MaxTurnsExceeded:  # the smallest models call a tool again and again
                answers.append(None)
        await client.close()
        return answers

    return asyncio.run(outputs())


@cell
def text():
    assert all("Paris" in output for output in ask())


@cell
def output_type():
    assert all(output.city for output in ask(output_type=City))


@cell
def tools():
    ask(tools=[capital_of])


@cell
def tools_with_output_type():
    ask(tools=[capital_of], output_type=City)


@cell
def stream():
    async def streamed():
        client = AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
        model = OpenAIResponsesModel(model=MODEL, openai_client=client)
        result = Runner.run_streamed(Agent(name="guide", model=model, model_settings=settings), QUESTION)
        async for _ in result.stream_events():
            pass
        await client.close()
        return result.final_output

    assert "Paris" in asyncio.run(streamed())


run()
