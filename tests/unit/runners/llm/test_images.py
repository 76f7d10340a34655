"""Images in messages, with a real model in llama.cpp that sees red, green and blue."""

from __future__ import annotations

import base64
import io
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from runners.api import Cancelled, Device, Fail, Model, Retry, Tools
from runners.errors import Fault
from runners.llm import LLMRunner, images
from runners.llm.images import MAX_PIXELS, SEEN_PIXELS, read_images
from runners.llm.request import MAX_IMAGES, InferenceRequest
from support.inputs.language_models import NAME, OPTIONS
from support.inputs.projectors import COLOURS, TOKENS, write_projector

pytestmark = pytest.mark.system

PURE = dict(zip(COLOURS, ("red", "lime", "blue"), strict=True))
REPEAT = {"type": "text", "text": "Repeat the word."}
Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def seeing(model: Model, device: Device, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMRunner]:
    """The tests' language model with a projector beside it."""
    directory = tmp_path_factory.mktemp("seeing")
    (directory / "model.gguf").symlink_to(model.path / "model.gguf")
    write_projector(model.path / "model.gguf", directory / "mmproj.gguf")
    runner = LLMRunner(Tools(models_dir=directory.parent, batch=4), device)
    runner.load(Model(NAME, directory, options=OPTIONS))
    yield runner
    runner.close()


def conversation(*parts: Any) -> dict[str, Any]:
    """Return the input with one message."""
    content = [
        {"type": "image", "image_url": f"https://client.example/{number}"} if isinstance(part, Path) else part
        for number, part in enumerate(parts)
    ]
    return {
        "model": NAME,
        "messages": [{"role": "user", "content": content}],
        "temperature": 0,
        "max_tokens": 8,
    }


@pytest.fixture
def ask(make_context: Callable[..., Any]) -> Ask:
    def run(runner: LLMRunner, *parts: Any) -> dict[str, Any]:
        request = InferenceRequest.model_validate(conversation(*parts))
        files = {
            f"messages.0.content.{number}.image_url": part
            for number, part in enumerate(parts)
            if isinstance(part, Path)
        }
        results: dict[str, Any] = runner.run(request, make_context(files)).results
        return results

    return run


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    def make(colour: str, name: str = "picture.png", **options: Any) -> Path:
        Image.new("RGB", (64, 48), PURE.get(colour, colour)).save(tmp_path / name, **options)
        return tmp_path / name

    return make


@pytest.mark.ship
@pytest.mark.parametrize("colour", COLOURS)
def test_the_answer_says_what_the_image_shows(
    seeing: LLMRunner, ask: Ask, picture: Callable[..., Path], colour: str
) -> None:
    answer = ask(seeing, picture(colour), REPEAT)
    assert [word for word in COLOURS if word in answer["text"]] == [colour]


@pytest.mark.parametrize("name", ["picture.jpg", "picture.webp", "picture.gif"])
def test_every_usual_format_is_read(
    seeing: LLMRunner, ask: Ask, picture: Callable[..., Path], name: str
) -> None:
    assert "blue" in ask(seeing, picture("blue", name), REPEAT)["text"]


@pytest.mark.ship
def test_images_and_texts_are_read_in_their_order_and_counted(
    seeing: LLMRunner, ask: Ask, picture: Callable[..., Path]
) -> None:
    first, second = picture("red", "1.png"), picture("blue", "2.png")
    one = ask(seeing, first, REPEAT)
    two = ask(seeing, first, second, REPEAT)
    turned = ask(seeing, second, first, REPEAT)
    assert two["usage"]["prompt_tokens"] - one["usage"]["prompt_tokens"] >= TOKENS
    assert two["text"] != turned["text"]


def test_the_mark_of_an_image_in_a_text_is_a_text(
    seeing: LLMRunner, ask: Ask, picture: Callable[..., Path]
) -> None:
    """llama.cpp marks the images with a text of its own, which a client may write."""
    answer = ask(seeing, {"type": "text", "text": "<__media__>"}, picture("red"), REPEAT)
    assert answer["usage"]["completion_tokens"] > 0


@pytest.mark.ship
def test_a_photo_is_turned_as_its_camera_was(
    seeing: LLMRunner, ask: Ask, tmp_path: Path, make_context: Callable[..., Any]
) -> None:
    """The same pixels, stored lying on their side with EXIF's note of it, give the same answer."""
    upright = Image.new("RGB", (56, 28), "red")
    upright.paste("blue", (28, 0, 56, 28))
    upright.save(tmp_path / "upright.png")
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    lying.save(tmp_path / "lying.png", exif=exif)
    assert ask(seeing, tmp_path / "lying.png", REPEAT) == ask(seeing, tmp_path / "upright.png", REPEAT)


def test_a_model_of_texts_says_that_it_does_not_see(
    runner: LLMRunner, ask: Ask, picture: Callable[..., Path]
) -> None:
    with pytest.raises(Fail, match=f"The model '{NAME}' reads text only; remove the images"):
        ask(runner, picture("red"), REPEAT)


@pytest.mark.ship
def test_transformers_leaves_images_to_other_machines(
    tiny_runner: LLMRunner, ask: Ask, picture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not at fault for a model that sees elsewhere. A model of texts is the client's choice."""
    with pytest.raises(Fail, match="reads text only"):
        ask(tiny_runner, picture("red"), REPEAT)
    engine: Any = tiny_runner._engine
    monkeypatch.setattr(engine._loaded.model.config, "vision_config", {}, raising=False)
    with pytest.raises(Retry, match=r"Images need llama\.cpp or vLLM") as error:
        ask(tiny_runner, picture("red"), REPEAT)
    assert error.value.fault is Fault.NEITHER


def test_a_model_of_texts_decodes_no_image(runner: LLMRunner, ask: Ask, tmp_path: Path) -> None:
    """Not even one that is none: the refusal comes before."""
    (tmp_path / "file").write_bytes(b"not an image")
    with pytest.raises(Fail, match="reads text only"):
        ask(runner, tmp_path / "file", REPEAT)


def header_of(side: int, path: Path) -> Path:
    """Write a PNG file that claims to have so many pixels on each side, and has none."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk, end = b"IHDR" + header, b"IDAT"
    parts = (struct.pack(">I", len(header)), chunk, struct.pack(">I", zlib.crc32(chunk)))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(parts)
        + struct.pack(">I", 0)
        + end
        + struct.pack(">I", zlib.crc32(end))
    )
    return path


def test_the_images_of_a_request_have_a_limit_together_which_precedes_decoding(
    tmp_path: Path, make_context: Callable[..., Any]
) -> None:
    """The error names the setting. Two headers without pixels are below it alone."""
    tools, pixels = Tools(), Tools().max_picture_pixels
    paths = [header_of(int((pixels * 0.6) ** 0.5), tmp_path / f"{number}.png") for number in range(2)]
    with pytest.raises(Fail, match=r"second: .* 64 million pixels together, .*runners\.max_picture_pixels"):
        read_images(make_context(dict(zip(("first", "second"), paths, strict=True))), tools)


def decoded(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


@pytest.mark.ship
@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.png", "RGB"), ("a.png", "RGBA"), ("a.png", "P"), ("a.jpg", "RGB"), ("a.webp", "RGB")],
)
def test_an_image_is_scaled_down_to_what_models_see(
    tmp_path: Path, make_context: Callable[..., Any], name: str, mode: str
) -> None:
    Image.new("RGB", (6000, 3000), "blue").convert(mode).save(tmp_path / name)
    context = make_context({"image": tmp_path / name})
    image = decoded(read_images(context, Tools())["image"])
    assert 0.9 * SEEN_PIXELS < image.width * image.height <= SEEN_PIXELS
    assert image.width == pytest.approx(2 * image.height, rel=0.01)
    assert image.mode == "RGB"
    pixel: Any = image.getpixel((9, 9))
    assert pixel == pytest.approx((0, 0, 255), abs=3)
    assert context.reported, "the miner sees that it works"


def test_a_small_image_is_passed_on_unchanged(
    picture: Callable[..., Path], make_context: Callable[..., Any]
) -> None:
    path = picture("red")
    url = read_images(make_context({"image": path}), Tools())["image"]
    assert base64.b64decode(url.partition(",")[2]) == path.read_bytes()


def test_memory_that_an_image_takes_is_the_clients_and_bounded(
    tmp_path: Path, make_context: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither this process nor the machine runs out of it."""
    Image.new("RGB", (6000, 6000), "blue").save(tmp_path / "large.png")
    monkeypatch.setattr(images, "MEMORY", 80 * 2**20)
    with pytest.raises(Fail, match="memory"):
        read_images(make_context({"image": tmp_path / "large.png"}), Tools())


def test_a_cancelled_request_reads_no_more_images(
    picture: Callable[..., Path], make_context: Callable[..., Any]
) -> None:
    context = make_context({"image": picture("red")})
    context.on_progress = context.cancel
    with pytest.raises(Cancelled):
        read_images(context, Tools())


def test_a_machine_without_a_sandbox_still_reads_images(
    picture: Callable[..., Path], make_context: Callable[..., Any]
) -> None:
    tools = Tools(sandbox="bubblewrap", bubblewrap="no-such-program")
    assert read_images(make_context({"image": picture("red")}), tools)["image"].startswith("data:image/png")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not an image", "not an image in PNG, JPEG, WebP or GIF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not an image in PNG, JPEG, WebP or GIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image in PNG, JPEG, WebP or GIF"),
    ],
)
def test_a_file_that_is_no_image_is_refused_by_its_field(
    seeing: LLMRunner, ask: Ask, tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(Fail, match=rf"messages\.0\.content\.0\.image_url: .*{words}") as caught:
        ask(seeing, tmp_path / "file", REPEAT)
    assert str(tmp_path) not in str(caught.value), "the path of the machine's data directory"


def test_a_truncated_image_is_refused(
    seeing: LLMRunner, ask: Ask, picture: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "half.jpg").write_bytes(picture("red", "whole.jpg").read_bytes()[:-200])
    with pytest.raises(Fail, match="not an image"):
        ask(seeing, tmp_path / "half.jpg", REPEAT)


def test_a_small_file_of_a_giant_image_is_refused_before_it_is_decoded(
    seeing: LLMRunner, ask: Ask, tmp_path: Path
) -> None:
    side = int(MAX_PIXELS**0.5) + 1
    with pytest.raises(Fail, match=f"{side} x {side} pixels; at most 50 million"):
        ask(seeing, header_of(side, tmp_path / "giant.png"), REPEAT)


def test_only_users_send_images_and_not_too_many() -> None:
    image = {"type": "image", "image_url": "https://client.example/1"}
    with pytest.raises(ValidationError, match="only a user's message has images"):
        InferenceRequest.model_validate({"model": NAME, "messages": [{"role": "system", "content": [image]}]})
    with pytest.raises(ValidationError, match=f"more than {MAX_IMAGES} images"):
        InferenceRequest.model_validate(conversation(*[image] * (MAX_IMAGES + 1)))


def test_both_files_identify_the_model(model: Model, device: Device, tmp_path: Path) -> None:
    """A receipt names the digest of all weights."""
    shutil.copy(model.path / "model.gguf", tmp_path / "model.gguf")
    (tmp_path / "mmproj-f16.gguf").write_bytes(b"projector")
    runner = LLMRunner(Tools(models_dir=tmp_path.parent), device)
    assert [path.name for path in runner.weights(Model(NAME, tmp_path))] == ["model.gguf", "mmproj-f16.gguf"]
