"""LlamaIndex with the agent as an OpenAI-compatible server."""

from cells import KEY, MODEL, QUESTION, URL, cell, run
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, Field

llm = OpenAILike(
    model=MODEL,
    api_base=f"{URL}/v1",
    api_key=KEY,
    is_chat_model=True,
    is_function_calling_model=True,
    temperature=0,
    max_tokens=48,
    max_retries=0,
)


class City(BaseModel):
    """A city."""

    city: str = Field(max_length=20)


def capital_of(country: str) -> str:
    """The capital of a country."""
    return "The capital of France is Paris."


@cell
def chat():
    assert "Paris" in llm.chat([ChatMessage(role="user", content=QUESTION)]).message.content


@cell
def stream():
    pieces = list(llm.stream_chat([ChatMessage(role="user", content=QUESTION)]))
    assert "Paris" in pieces[-1].message.content


@cell
def complete():
    assert "Paris" in llm.complete(QUESTION).text


@cell
def structured():
    assert llm.as_structured_llm(City).complete(QUESTION).raw.city


@cell
def tools():
    tool = FunctionTool.from_defaults(capital_of)
    answer = llm.chat_with_tools([tool], user_msg=QUESTION, tool_required=True)
    assert llm.get_tool_calls_from_response(answer)


@cell
def embeddings():
    model = OpenAILikeEmbedding(model_name="all-minilm-l6-v2", api_base=f"{URL}/v1", api_key=KEY)
    assert len(model.get_text_embedding_batch(["Hi", "Ho"])[1]) == 384


run()
