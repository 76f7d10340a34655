"""The demo's model jobs: a language model, and a model of the client's own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import demo_page as page
from aitbc import AITBCClient
from demo_page import Exhibit
from demo_work import FOLDER, Work, expect, kilobytes, program

QUESTION = "Name the capital of France."
ANSWER = "Paris"
MAX_TOKENS = 32

SKY, SUN = "0x2a1a5e", "0xff7b2e"
LEAST_CONFIDENCE = 0.5


class Answer(Work):
    """Asks a language model a question and prints the answer while it is generated."""

    service = "llm_inference"
    title = "llm_inference, SmolLM2 135M"
    name = "answer"

    def submit(self, client: AITBCClient) -> None:
        """See `Work.submit`. Prints the answer as it is generated, to its end."""
        messages = [{"role": "user", "content": QUESTION}]
        with client.services.stream(
            messages=messages, model="smollm2-135m-instruct", temperature=0, max_tokens=MAX_TOKENS
        ) as text:
            self.job_id = text.job.job_id
            print(f"  {QUESTION:<32} ", end="", flush=True)
            for piece in text:
                print(piece, end="", flush=True)
            print()

    def check(self) -> tuple[str, str]:
        """Check that the answer names the capital."""
        text = self.results["text"]
        expect(ANSWER in text, f"the answer is {text!r}, without {ANSWER!r}.")
        usage = self.results["usage"]
        return "answer", f"names {ANSWER}; {usage['prompt_tokens']} + {usage['completion_tokens']} tokens"

    def exhibit(self) -> Exhibit:
        """See `Work.exhibit`."""
        return Exhibit(
            "A question, answered",
            page.text(QUESTION),
            page.quote(self.results["text"].strip()),
            f'$ aitbc chat "{QUESTION}" --model smollm2-135m-instruct --temperature 0 --max-tokens {MAX_TOKENS}',
        )


class Vectors(Work):
    """Embeds three sentences, of which two are about the weather."""

    service = "text_embedding"
    title = "text_embedding, MiniLM"
    name = "vectors"
    texts = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")

    def submit(self, client: AITBCClient) -> None:
        """See `Work.submit`."""
        self.job_id = client.services.embed(self.texts, model="all-minilm-l6-v2").job_id

    def check(self) -> tuple[str, str]:
        """Check that the sentences about the weather are nearest."""
        lovely, sunny, stadium = self.results["embeddings"]
        alike, unlike = sumprod(lovely, sunny), sumprod(lovely, stadium)
        expect(alike > 2 * unlike, f"the similarities are {alike:.2f} and {unlike:.2f}.")
        return (
            "vectors",
            f"{len(lovely)} numbers; similarity {alike:.2f} of two alike, {unlike:.2f} of two unlike",
        )

    def exhibit(self) -> Exhibit:
        """See `Work.exhibit`."""
        first, second, third = self.texts
        lovely, sunny, stadium = self.results["embeddings"]
        return Exhibit(
            "Three sentences, compared by meaning",
            page.text(f"How near to “{first}” is each of the others?"),
            page.bars([(second, sumprod(lovely, sunny)), (third, sumprod(lovely, stadium))]),
            f'$ aitbc embed "{first}" "{second}" "{third}" --model all-minilm-l6-v2',
        )


def sumprod(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the scalar product."""
    return sum(first * second for first, second in zip(one, other, strict=True))


class Prediction(Work):
    """Classifies an image with the client's own model."""

    service = "ai_inference"
    title = "ai_inference, a model of our own"
    name = "prediction"
    picture = FOLDER / "sunset.jpeg"
    model = FOLDER / "model.py"

    def prepare(self) -> tuple[str, str]:
        """See `Work.prepare`."""
        shutil.copyfile(Path(__file__).with_name("demo_classifier.py"), self.model)
        gradient = f"gradients=size=320x240:c0={SKY}:c1={SUN}:x0=0:y0=0:x1=0:y1=240:seed=1"
        program("ffmpeg", "-v", "error", "-f", "lavfi", "-i", gradient, "-frames:v", "1", str(self.picture))
        return self.picture.name, f"an evening sky, {kilobytes(self.picture)}"

    def submit(self, client: AITBCClient) -> None:
        """See `Work.submit`. Both files are uploaded to the job."""
        self.job_id = client.jobs.create(
            {
                "name": "image-classification",
                "type": "ai-inference",
                "model": {"type": "python", "entrypoint": "model.py", "requirements": ["numpy", "pillow"]},
                "input": {"type": "image", "format": "jpeg"},
                "output": {"type": "json"},
                "resources": {"cpu": "1000m", "memory": "2Gi"},
                "pricing": {"max_cost": "0.10"},
            },
            files={"model.py": self.model, "input.jpeg": self.picture},
        ).job_id

    def check(self) -> tuple[str, str]:
        """Check that the model has recognised the image."""
        prediction, confidence = self.results["prediction"], self.results["confidence"]
        expect(prediction == "sunset", f"the prediction is {prediction!r}, not 'sunset'.")
        expect(confidence > LEAST_CONFIDENCE, f"the confidence is only {confidence}.")
        return "prediction", f"{prediction}, confidence {confidence:.2f}"

    def exhibit(self) -> Exhibit:
        """See `Work.exhibit`."""
        return Exhibit(
            "A picture, recognised by a program of one's own",
            page.text(
                "Thirty lines of Python with numpy and Pillow, which the client sent along. What is this?"
            ),
            page.image(self.picture, "An evening sky", kind="low")
            + page.bars([(self.results["prediction"], self.results["confidence"])]),
            f"$ aitbc run model.py --input {self.picture.name} --requirements numpy,pillow",
        )
