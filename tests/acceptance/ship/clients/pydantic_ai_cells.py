"""pydantic-ai with the agent's chat completions and responses."""

from contextlib import suppress

from cells import KEY, MODEL, QUESTION, URL, cell, run
from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.exceptions import UsageLimitExceeded
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import UsageLimits

provider = OpenAIProvider(base_url=f"{URL}/v1", api_key=KEY)
models = (OpenAIChatModel(MODEL, provider=provider), OpenAIResponsesModel(MODEL, provider=provider))
settings = {"temperature": 0, "max_tokens": 48}


class City(BaseModel):
    """A city."""

    city: str = Field(max_length=20)


@cell
def text():
    for model in models:
        assert "Paris" in Agent(model, model_settings=settings).run_sync(QUESTION).output


@cell
def native_output():
    for model in models:
        agent = Agent(model, output_type=NativeOutput(City), model_settings=settings)
        assert agent.run_sync(QUESTION).output.city


@cell
def tool_output():
    for model in models:
        agent = Agent(model, output_type=ToolOutput(City), model_settings=settings)
        assert agent.run_sync(QUESTION).output.city


@cell
def native_output_with_a_tool():
    for model in models:
        agent = Agent(model, output_type=NativeOutput(City), model_settings=settings)

        @agent.tool_plain
        def capital_of(country: str) -> str:
            """The capital of a country."""
            return "The capital of France is Paris."

        # The smallest models call a tool again and again.
        with suppress(UsageLimitExceeded):
            assert agent.run_sync(QUESTION, usage_limits=UsageLimits(request_limit=3)).output.city


run()
