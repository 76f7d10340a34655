"""OpenAI's own client for Python."""

import base64
import json
import time

import openai
from cells import (
    CITY,
    COUNTRY,
    KEY,
    MESSAGES,
    MODEL,
    PICTURE,
    QUESTION,
    SPEECH,
    TOOL,
    URL,
    cell,
    error_of,
    run,
)
from pydantic import BaseModel

client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
exact = {"model": MODEL, "temperature": 0, "max_tokens": 48}
FORM = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
PICTURE_URL = f"data:image/png;base64,{base64.b64encode(PICTURE.read_bytes()).decode()}"


class City(BaseModel):
    city: str


@cell
def models():
    names = [model.id for model in client.models.list()]
    assert MODEL in names, names
    assert client.models.retrieve(MODEL).id == MODEL


@cell
def chat():
    answer = client.chat.completions.create(messages=MESSAGES, **exact)
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.completion_tokens > 3
    assert answer.usage.prompt_tokens_details.cached_tokens >= 0


@cell
def chat_streamed():
    chunks = list(
        client.chat.completions.create(
            messages=MESSAGES, stream=True, stream_options={"include_usage": True}, **exact
        )
    )
    assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage.total_tokens


@cell
def chat_stream_helper():
    with client.chat.completions.stream(messages=MESSAGES, **exact) as stream:
        assert "Paris" in stream.get_final_completion().choices[0].message.content


@cell
def tools():
    answer = client.chat.completions.create(messages=MESSAGES, tools=[TOOL], tool_choice="required", **exact)
    message = answer.choices[0].message
    assert json.loads(message.tool_calls[0].function.arguments).keys() == {"country"}
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "The capital of France is Paris."}
        for call in message.tool_calls
    ]
    messages = [*MESSAGES, message, *results]
    assert client.chat.completions.create(messages=messages, **exact).choices[0].message.content


@cell
def tools_streamed():
    chunks = client.chat.completions.create(
        messages=MESSAGES, tools=[TOOL], tool_choice="required", stream=True, **exact
    )
    parts = [part for chunk in chunks for part in chunk.choices[0].delta.tool_calls or ()]
    first = "".join(part.function.arguments or "" for part in parts if part.index == 0)
    assert json.loads(first).keys() == {"country"}


@cell
def tool_with_empty_arguments():
    call = {"id": "call_1", "type": "function", "function": {"name": "capital_of", "arguments": ""}}
    messages = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Paris"},
    ]
    client.chat.completions.create(messages=messages, tools=[TOOL], **exact)


@cell
def tools_with_a_form():
    answer = client.chat.completions.create(messages=MESSAGES, tools=[TOOL], response_format=FORM, **exact)
    message = answer.choices[0].message
    assert message.tool_calls or json.loads(message.content).keys() == {"city"}, message


@cell
def tools_of_usual_servers():
    properties = {
        "data": {"type": "string", "format": "byte"},
        "link": {"type": "string", "format": "uri"},
        "size": {"type": "integer", "format": "int64"},
        "labels": {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {}},
    }
    parameters = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}
    function = {"name": "store", "parameters": parameters | {"properties": properties}}
    client.chat.completions.create(
        messages=MESSAGES, tools=[{"type": "function", "function": function}], **exact
    )


@cell
def parse():
    answer = client.chat.completions.parse(messages=MESSAGES, response_format=City, **exact)
    assert answer.choices[0].message.parsed.city


@cell
def json_object():
    answer = client.chat.completions.create(
        messages=MESSAGES, response_format={"type": "json_object"}, **(exact | {"max_tokens": 300})
    )
    assert (
        answer.choices[0].finish_reason == "length"
        or json.loads(answer.choices[0].message.content) is not None
    )


@cell
def logprobs():
    answer = client.chat.completions.create(messages=MESSAGES, logprobs=True, top_logprobs=3, **exact)
    assert len(answer.choices[0].logprobs.content[0].top_logprobs) == 3


@cell
def several_answers():
    answer = client.chat.completions.create(messages=MESSAGES, n=2, **exact)
    assert [choice.index for choice in answer.choices] == [0, 1]


@cell
def logit_bias():
    client.chat.completions.create(messages=MESSAGES, logit_bias={"198": -100}, **exact)


@cell
def engines_samplers():
    client.chat.completions.create(
        messages=MESSAGES, extra_body={"min_p": 0.05, "top_k": 20, "repeat_penalty": 1.1}, **exact
    )


@cell
def images_in_messages():
    content = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": PICTURE_URL}},
    ]
    client.chat.completions.create(messages=[{"role": "user", "content": content}], **exact)


@cell
def audio_in_messages():
    audio = {"data": base64.b64encode(SPEECH.read_bytes()).decode(), "format": "wav"}
    content = [{"type": "input_audio", "input_audio": audio}]
    client.chat.completions.create(messages=[{"role": "user", "content": content}], **exact)


@cell
def prompt_that_is_too_long():
    messages = [{"role": "user", "content": "one two three " * 20_000}]
    error = error_of(
        openai.BadRequestError, lambda: client.chat.completions.create(messages=messages, **exact)
    )
    assert (error.code, error.type) == ("context_length_exceeded", "invalid_request_error"), error.body


@cell
def unknown_model():
    request = {"messages": MESSAGES, "model": "no-such-model"}
    error = error_of(openai.NotFoundError, lambda: client.chat.completions.create(**request))
    assert error.code == "model_not_found", error.body


@cell
def completions():
    answer = client.completions.create(prompt="The capital of France is", **exact)
    assert answer.choices[0].text


@cell
def completions_of_several_prompts():
    answer = client.completions.create(prompt=["The capital of France is", "One, two,"], **exact)
    assert [choice.index for choice in answer.choices] == [0, 1]


@cell
def completions_with_a_suffix():
    client.completions.create(prompt="def f(", suffix="return 1", **exact)


response = {"model": MODEL, "temperature": 0, "max_output_tokens": 48}


@cell
def responses():
    answer = client.responses.create(input=QUESTION, **response)
    assert "Paris" in answer.output_text
    assert answer.usage.input_tokens_details.cached_tokens >= 0


@cell
def responses_streamed():
    with client.responses.stream(input=QUESTION, **response) as stream:
        assert "Paris" in stream.get_final_response().output_text


@cell
def responses_parse():
    assert client.responses.parse(input=QUESTION, text_format=City, **response).output_parsed.city


@cell
def responses_tools_with_a_form():
    function = {"type": "function", "name": "capital_of", "parameters": COUNTRY, "strict": False}
    client.responses.create(
        input=QUESTION,
        tools=[function],
        text={"format": {"type": "json_schema", "name": "city", "schema": CITY}},
        **response,
    )


@cell
def stored_responses():
    first = client.responses.create(input=QUESTION, store=True, **response)
    second = client.responses.create(input="And of Spain?", previous_response_id=first.id, **response)
    assert second.previous_response_id == first.id
    assert client.responses.retrieve(first.id).output_text == first.output_text
    client.responses.delete(first.id)


@cell
def conversations():
    conversation = client.conversations.create()
    client.responses.create(input=QUESTION, conversation=conversation.id, **response)
    assert len(client.conversations.items.list(conversation.id).data) == 2
    client.conversations.delete(conversation.id)


@cell
def built_in_tools():
    client.responses.create(input=QUESTION, tools=[{"type": "web_search"}], **response)


@cell
def background():
    answer = client.responses.create(input=QUESTION, background=True, store=True, **response)
    deadline = time.monotonic() + 120
    while answer.status in {"queued", "in_progress"} and time.monotonic() < deadline:
        time.sleep(0.5)
        answer = client.responses.retrieve(answer.id)
    assert answer.status in {"completed", "incomplete"}, answer


@cell
def embeddings():
    texts = ["The weather is lovely.", "It is sunny."]
    answer = client.embeddings.create(model="all-minilm-l6-v2", input=texts)
    assert len(answer.data[1].embedding) == 384


@cell
def embeddings_as_floats():
    answer = client.embeddings.create(model="all-minilm-l6-v2", input="Hi", encoding_format="float")
    assert len(answer.data[0].embedding) == 384


@cell
def embeddings_of_tokens():
    client.embeddings.create(model="all-minilm-l6-v2", input=[[101, 7632, 102]])


@cell
def transcription():
    for form in ("json", "text", "srt", "vtt", "verbose_json"):
        with SPEECH.open("rb") as file:
            answer = client.audio.transcriptions.create(model="tiny.en", file=file, response_format=form)
        assert "coordinator" in str(getattr(answer, "text", answer)), (form, answer)


@cell
def transcription_with_words():
    with SPEECH.open("rb") as file:
        answer = client.audio.transcriptions.create(
            model="tiny.en", file=file, response_format="verbose_json", timestamp_granularities=["word"]
        )
    assert answer.words


@cell
def transcription_streamed():
    with SPEECH.open("rb") as file:
        events = list(client.audio.transcriptions.create(model="tiny.en", file=file, stream=True))
    assert events[-1].type == "transcript.text.done"


@cell
def transcription_in_english_by_its_name():
    with SPEECH.open("rb") as file:
        client.audio.transcriptions.create(model="tiny.en", file=file, language="english")


@cell
def transcription_by_whisper_1():
    with SPEECH.open("rb") as file:
        assert client.audio.transcriptions.create(model="whisper-1", file=file).text


@cell
def speech():
    answer = client.audio.speech.create(model="tts-1", voice="alloy", input=QUESTION, response_format="wav")
    assert answer.content[:4] == b"RIFF"


@cell
def speech_streamed():
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="nova", input=QUESTION, response_format="pcm"
    ) as answer:
        assert sum(map(len, answer.iter_bytes())) > 10_000


picture = {"model": "untrained-diffusion", "prompt": "A red square", "size": "64x64"}


@cell
def images():
    answer = client.images.generate(response_format="b64_json", **picture)
    assert base64.b64decode(answer.data[0].b64_json)[:4] == b"\x89PNG"


@cell
def images_by_address():
    assert client.images.generate(response_format="url", **picture).data[0].url.startswith("http")


@cell
def image_edits():
    with PICTURE.open("rb") as file:
        assert client.images.edit(image=file, **picture).data[0].b64_json


@cell
def image_variations():
    with PICTURE.open("rb") as file:
        answer = client.images.create_variation(
            image=file, model=picture["model"], size="256x256", response_format="b64_json"
        )
    assert answer.data[0].b64_json


@cell
def files():
    stored = client.files.create(file=("a.jsonl", b'{"a": 1}\n'), purpose="batch")
    assert client.files.content(stored.id).content == b'{"a": 1}\n'
    assert stored.id in [file.id for file in client.files.list()]
    client.files.delete(stored.id)


@cell
def batches():
    body = {"model": "all-minilm-l6-v2", "input": "Hi"}
    lines = [
        {"custom_id": str(number), "method": "POST", "url": "/v1/embeddings", "body": body}
        for number in range(3)
    ]
    content = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    stored = client.files.create(file=("batch.jsonl", content), purpose="batch")
    batch = client.batches.create(input_file_id=stored.id, endpoint="/v1/embeddings", completion_window="24h")
    deadline = time.monotonic() + 120
    while batch.status not in {"completed", "failed", "expired"} and time.monotonic() < deadline:
        time.sleep(0.5)
        batch = client.batches.retrieve(batch.id)
    assert batch.request_counts.completed == 3, batch
    results = client.files.content(batch.output_file_id).text.splitlines()
    assert {json.loads(line)["custom_id"] for line in results} == {"0", "1", "2"}


@cell
def moderations():
    client.moderations.create(input=QUESTION)


@cell
def fine_tuning():
    client.fine_tuning.jobs.create(model=MODEL, training_file="file_1")


run()
