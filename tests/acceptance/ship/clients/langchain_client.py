"""LangChain with the agent's chat completions and responses: an answer, a stream, a called tool, and an agent that uses one."""

import sys

from langchain.agents import create_agent
from langchain.agents.middleware import ModelRequest, ModelResponse, wrap_model_call
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

URL, KEY, MODEL = sys.argv[1:]
QUESTION = "Name the capital of France."
asked: list[str] = []


@tool
def capital_of(country: str) -> str:
    """The capital of a country."""
    asked.append(country)
    return "The capital of France is Paris."


@wrap_model_call
def require_the_tool_first(request: ModelRequest, handler) -> ModelResponse:
    """Let the model call the tool, and then answer without it: the smallest models need to be led."""
    if isinstance(request.messages[-1], HumanMessage):
        return handler(request.override(tool_choice="required"))
    return handler(request.override(tools=[]))


for responses in (False, True):
    model = ChatOpenAI(
        base_url=f"{URL}/v1",
        api_key=KEY,
        model=MODEL,
        temperature=0,
        max_tokens=64,
        use_responses_api=responses,
    )
    answer = model.invoke(QUESTION)
    assert "Paris" in answer.text, answer
    assert answer.usage_metadata["output_tokens"] > 3, answer
    pieces = list(model.stream(QUESTION))
    assert "".join(piece.text for piece in pieces) == answer.text, pieces
    (call,) = model.bind_tools([capital_of], tool_choice="capital_of").invoke(QUESTION).tool_calls
    assert (call["name"], [*call["args"]]) == ("capital_of", ["country"]), call
    agent = create_agent(model, tools=[capital_of], middleware=[require_the_tool_first])
    messages = agent.invoke({"messages": [HumanMessage(QUESTION)]})["messages"]
    kinds = [type(message) for message in messages]
    assert kinds == [HumanMessage, AIMessage, ToolMessage, AIMessage], messages
    assert asked, messages
    assert "Paris" in messages[-1].text, messages
    asked.clear()
