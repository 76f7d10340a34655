"""LangChain with the agent's chat completions and responses."""

from typing import Annotated

from cells import CITY, KEY, MODEL, QUESTION, URL, cell, run
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRequest, ModelResponse, wrap_model_call
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

server = {"base_url": f"{URL}/v1", "api_key": KEY, "model": MODEL, "temperature": 0, "max_tokens": 48}
chats = {"chat": ChatOpenAI(**server), "responses": ChatOpenAI(use_responses_api=True, **server)}


class City(BaseModel):
    """A city."""

    city: str = Field(max_length=20)


@tool
def capital_of(country: Annotated[str, Field(max_length=20)]) -> str:
    """The capital of a country."""
    return "The capital of France is Paris."


@wrap_model_call
def require_the_tool_first(request: ModelRequest, handler) -> ModelResponse:
    """Let the model call the tool, and then answer without it: the smallest models need to be led."""
    if isinstance(request.messages[-1], HumanMessage):
        return handler(request.override(tool_choice="required"))
    return handler(request.override(tools=[]))


@wrap_model_call
def call_at_most_once(request: ModelRequest, handler) -> ModelResponse:
    """Let the model call the tool or answer, and after a call only answer."""
    called = isinstance(request.messages[-1], ToolMessage)
    return handler(request.override(tools=[]) if called else request)


@cell
def invoke():
    for chat in chats.values():
        answer = chat.invoke(QUESTION)
        assert "Paris" in answer.text, answer
        assert answer.usage_metadata["output_tokens"] > 3, answer


@cell
def stream():
    for chat in chats.values():
        assert "Paris" in "".join(piece.text for piece in chat.stream(QUESTION))


@cell
def batch():
    assert len(chats["chat"].batch([QUESTION, QUESTION])) == 2


@cell
def bind_tools():
    for chat in chats.values():
        bound = chat.bind_tools([capital_of], tool_choice="capital_of")
        call = bound.invoke(QUESTION).tool_calls[0]
        assert (call["name"], [*call["args"]]) == ("capital_of", ["country"]), call


@cell
def structured_output():
    for method in ("json_schema", "function_calling"):
        assert chats["chat"].with_structured_output(City, method=method).invoke(QUESTION).city


@cell
def strict_json_schema():
    assert (
        chats["chat"].with_structured_output(CITY | {"title": "City"}, strict=True).invoke(QUESTION)["city"]
    )


@cell
def agent_with_a_tool():
    for chat in chats.values():
        agent = create_agent(chat, tools=[capital_of], middleware=[require_the_tool_first])
        messages = agent.invoke({"messages": [HumanMessage(QUESTION)]})["messages"]
        kinds = {type(message) for message in messages}
        assert kinds == {HumanMessage, AIMessage, ToolMessage}, messages


@cell
def agent_with_a_tool_and_a_form():
    for chat in chats.values():
        # The smallest models write many calls at once, each within the bounds of its form.
        patient = chat.model_copy(update={"max_tokens": 800})
        agent = create_agent(
            patient,
            tools=[capital_of],
            middleware=[call_at_most_once],
            response_format=ProviderStrategy(City),
        )
        assert agent.invoke({"messages": [HumanMessage(QUESTION)]})["structured_response"].city


@cell
def logprobs():
    answer = ChatOpenAI(logprobs=True, top_logprobs=2, **server).invoke(QUESTION)
    assert answer.response_metadata["logprobs"]["content"]


@cell
def stop():
    assert "Paris" not in chats["chat"].bind(stop=["Paris"]).invoke(QUESTION).text


@cell
def legacy_completions():
    assert OpenAI(**server).invoke("The capital of France is")


@cell
def legacy_completions_of_two_prompts():
    assert len(OpenAI(**server).generate(["The capital of France is", "One, two,"]).generations) == 2


@cell
def embeddings():
    model = OpenAIEmbeddings(
        base_url=f"{URL}/v1", api_key=KEY, model="all-minilm-l6-v2", check_embedding_ctx_length=False
    )
    assert len(model.embed_query("Hi")) == 384


run()
