"""Open WebUI, unchanged and in an environment of its own, with a running agent: chats over both of its connections, pictures, speech, documents."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page

from support.agents import Agent, running
from support.dashboard import chromium

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.needs("ollama"),
    pytest.mark.needs("openai"),
    pytest.mark.timeout(2400),
]

PACKAGE = "open-webui==0.12.4"
ENVIRONMENT = Path(__file__).parents[4] / "build" / "clients" / "open-webui"
MODEL, EMBEDDER, LISTENER, PAINTER = (
    "smollm2-135m-instruct",
    "all-minilm-l6-v2",
    "tiny.en",
    "untrained-diffusion",
)
VOICE = "piper-en-us-joe"
QUESTION = [{"role": "user", "content": "Name the capital of France."}]
USER = {"name": "Ada", "email": "ada@example.com", "password": "Secret-12345"}
INSTALL_SECONDS = 1800
START_SECONDS = 600
LIMIT_SECONDS = 300


@pytest.fixture(scope="module")
def program() -> Path:
    """The installed program, which brings 3 GB of packages."""
    if sys.version_info >= (3, 13):
        pytest.skip(f"{PACKAGE} needs Python 3.11 or 3.12")
    program = ENVIRONMENT / "bin" / "open-webui"
    stamp = ENVIRONMENT / PACKAGE
    if not stamp.exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True, timeout=INSTALL_SECONDS)
        # pip and not uv, which would prefer PyTorch's build for CUDA to one for the processor in the configured folder.
        install = [ENVIRONMENT / "bin" / "pip", "install", "--quiet", "torch", PACKAGE]
        installation = subprocess.run(
            install, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
        if installation.returncode:
            pytest.skip(f"{PACKAGE} cannot be installed here: {installation.stderr.strip().splitlines()[-1]}")
        stamp.touch()
    return program


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    agent = Agent(tmp_path_factory.mktemp("open-webui") / "data", "start", "--port", "0")
    with running(agent):
        yield agent


def environment_of(agent: Agent) -> dict[str, str]:
    """Return the environment of Open WebUI: this agent for everything, and nothing from the internet."""
    address, key = f"{agent.url}/v1", agent.file["client_key"]
    services = ("", "AUDIO_STT_", "AUDIO_TTS_", "IMAGES_", "RAG_")
    return {
        **{f"{service}OPENAI_API_BASE_URL": address for service in services},
        **{f"{service}OPENAI_API_KEY": key for service in services},
        "OLLAMA_BASE_URL": agent.url,
        "OLLAMA_API_CONFIGS": json.dumps({"0": {"enable": True, "key": key}}),
        "RAG_EMBEDDING_ENGINE": "openai", "RAG_EMBEDDING_MODEL": EMBEDDER,
        "AUDIO_STT_ENGINE": "openai", "AUDIO_STT_MODEL": LISTENER,
        "AUDIO_TTS_ENGINE": "openai", "AUDIO_TTS_MODEL": VOICE, "AUDIO_TTS_VOICE": "alloy",
        "ENABLE_IMAGE_GENERATION": "true", "IMAGE_GENERATION_ENGINE": "openai",
        "IMAGE_GENERATION_MODEL": PAINTER, "IMAGE_SIZE": "64x64",
        "OFFLINE_MODE": "true", "HF_HUB_OFFLINE": "1", "ENABLE_VERSION_UPDATE_CHECK": "false",
        "ANONYMIZED_TELEMETRY": "false", "DO_NOT_TRACK": "true", "SCARF_NO_ANALYTICS": "true",
        # Otherwise its page sends more than 4,000 tokens of tools with each chat, which the small model's context cannot hold.
        "DEFAULT_MODEL_PARAMS": json.dumps({"function_calling": "legacy", "temperature": 0}),
        "WEBUI_SECRET_KEY": "only for this test",
    }  # fmt: skip


@pytest.fixture(scope="module")
def webui(program: Path, agent: Agent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Open WebUI, whose first user has signed up."""
    folder = tmp_path_factory.mktemp("webui")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AITBC_")}
    variables = inherited | environment_of(agent) | {"DATA_DIR": str(folder / "data")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", "--host", "127.0.0.1", "--port", str(port)],
            env=variables,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=LIMIT_SECONDS) as client:
            wait_until_ready(client, process, folder / "log")
            answer = client.post("/api/v1/auths/signup", json=USER)
            assert answer.status_code == 200, answer.text
            client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
            # It chats only with models that it has listed.
            assert client.get("/api/models").status_code == 200
            yield client
    finally:
        process.terminate()
        process.wait(LIMIT_SECONDS)


def wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
        time.sleep(1)


def posted(webui: httpx.Client, path: str, **request: Any) -> Any:
    answer = webui.post(path, **request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_both_connections_list_the_models(webui: httpx.Client) -> None:
    """The names of Ollama's have a tag, so the two do not hide each other."""
    listed = {model["id"]: model["owned_by"] for model in webui.get("/api/models").json()["data"]}
    assert (listed[MODEL], listed[f"{MODEL}:latest"]) == ("openai", "ollama")
    assert webui.get("/ollama/api/version").json()["version"]


@pytest.mark.parametrize(
    ("model", "settings"),
    [(MODEL, {"temperature": 0}), (f"{MODEL}:latest", {"options": {"temperature": 0}})],
    ids=["openai", "ollama"],
)
def test_a_chat_is_answered_and_streamed(webui: httpx.Client, model: str, settings: dict[str, Any]) -> None:
    body = {"model": model, "messages": QUESTION, "max_tokens": 32, **settings}
    answer = posted(webui, "/api/chat/completions", json=body)
    text = answer["choices"][0]["message"]["content"]
    assert "Paris" in text
    assert answer["usage"]["total_tokens"] > 0
    lines = webui.post("/api/chat/completions", json={**body, "stream": True}).text.splitlines()
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert len(chunks) > 3
    pieces = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
    assert "Paris" in "".join(pieces)


def test_a_pull_and_a_description_over_ollamas_connection(webui: httpx.Client) -> None:
    steps = webui.post("/ollama/api/pull/0", json={"model": MODEL}).text.splitlines()
    assert json.loads(steps[-1]) == {"status": "success"}
    assert (
        "completion" in posted(webui, "/ollama/api/show", json={"model": f"{MODEL}:latest"})["capabilities"]
    )


@pytest.mark.parametrize("model", [EMBEDDER, f"{EMBEDDER}:latest"], ids=["openai", "ollama"])
def test_texts_are_embedded(webui: httpx.Client, model: str) -> None:
    answer = posted(webui, "/api/embeddings", json={"model": model, "input": ["one", "two"]})
    assert [len(vector["embedding"]) for vector in answer["data"]] == [384, 384]


def test_a_document_is_read(webui: httpx.Client) -> None:
    """Its vectors come from the agent, and a question finds it by them."""
    note = {"name": "note", "content": "The workshop in Bremen opens at nine.", "collection_name": "notes"}
    assert posted(webui, "/api/v1/retrieval/process/text", json=note)["status"]
    question = {"collection_names": ["notes"], "query": "When does the workshop open?", "k": 1}
    answer = posted(webui, "/api/v1/retrieval/query/collection", json=question)
    assert "opens at nine" in answer["documents"][0][0]


def test_a_picture_is_generated(webui: httpx.Client) -> None:
    (picture,) = posted(webui, "/api/v1/images/generations", json={"prompt": "A red house", "n": 1})
    content = webui.get(picture["url"])
    assert content.headers["content-type"].startswith("image/")


def test_a_text_is_spoken_and_transcribed(webui: httpx.Client) -> None:
    spoken = webui.post(
        "/api/v1/audio/speech", json={"input": "Please send the result before noon on Friday."}
    )
    assert spoken.status_code == 200, spoken.text
    assert len(spoken.content) > 5000
    files = {"file": ("speech.mp3", io.BytesIO(spoken.content), "audio/mpeg")}
    assert "noon on Friday" in posted(webui, "/api/v1/audio/transcriptions", files=files)["text"]


def test_its_page_chats(webui: httpx.Client, tmp_path: Path) -> None:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        chat(page, str(webui.base_url).rstrip("/"), tmp_path)


def chat(page: Page, address: str, folder: Path) -> None:
    page.set_default_timeout(LIMIT_SECONDS * 1000)
    page.goto(f"{address}/auth")
    page.locator("input[type=email]").fill(USER["email"])
    page.locator("input[type=password]").fill(USER["password"])
    page.locator("button[type=submit]").click()
    page.wait_for_url(f"{address}/")
    # It opens once for each user, at its own time.
    news = page.get_by_role("button", name="Okay, Let's Go!")
    page.add_locator_handler(news, news.click)
    page.goto(f"{address}/?models={MODEL}&q=Name%20the%20capital%20of%20France.")
    page.locator("#send-message-button").click()
    page.locator(".chat-assistant").get_by_text("Paris").first.wait_for()
    page.screenshot(path=folder / "chat.png")
