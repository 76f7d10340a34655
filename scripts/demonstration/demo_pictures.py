"""The demo's image jobs: one from a prompt, one from a scene."""

from __future__ import annotations

from pathlib import Path

import demo_page as page
from aitbc import AITBCClient
from demo_page import Exhibit
from demo_work import FOLDER, ROOT, Work, check_picture, expect, kilobytes, program

PROMPT = "A beautiful sunset over mountains"
PICTURE_SIZE = "64x64"
STEPS = 4
SEED = 7

RENDER_WIDTH = 480
RENDER_HEIGHT = 270
SAMPLES = 20


class Picture(Work):
    """Generates an image from a prompt. It is noise, since no trained model is available without a download."""

    service = "image_generation"
    title = "image_generation, untrained"
    name = "picture"

    def submit(self, client: AITBCClient) -> None:
        """See `Work.submit`."""
        self.job_id = client.services.generate(
            PROMPT,
            model="untrained-diffusion",
            size=PICTURE_SIZE,
            steps=STEPS,
            seed=SEED,
        ).job_id

    def check(self) -> tuple[str, str]:
        """Check for one image of the requested size and seed."""
        (image,) = self.results["images"]
        expect(image["seed"] == SEED, f"the image's seed is {image['seed']}, not {SEED}.")
        words = check_picture(self.file(image), PICTURE_SIZE)
        return "image", f"{words} (noise: the model is untrained)"

    def exhibit(self) -> Exhibit:
        """See `Work.exhibit`."""
        (image,) = self.results["images"]
        return Exhibit(
            "An image from an untrained model: noise",
            page.text(
                f"“{PROMPT}”. No trained model is part of the demo, because a useful one is a download of gigabytes. This one has "
                "random weights: it shows the way of an image through the system, and nothing else."
            ),
            page.image(self.file(image), "Coloured noise", kind="pixels"),
            f'$ aitbc imagine "{PROMPT}" --model untrained-diffusion --size {PICTURE_SIZE} --steps {STEPS} --seed {SEED}',
        )


class Render(Work):
    """Creates a scene with Blender and has Blender render it on the miner."""

    service = "blender_rendering"
    title = f"blender_rendering, {RENDER_WIDTH}x{RENDER_HEIGHT}"
    name = "render"
    scene = FOLDER / "scene.blend"

    def prepare(self) -> tuple[str, str]:
        """See `Work.prepare`."""
        script = Path(__file__).with_name("demo_scene.py")
        options = ("--background", "--factory-startup", "--python-exit-code", "1")
        program("blender", *options, "--python", str(script), "--", str(self.scene))
        expect(self.scene.exists(), f"Blender did not write {self.scene.relative_to(ROOT)}.")
        return self.scene.name, f"some coloured bodies under a lamp, {kilobytes(self.scene)}"

    def submit(self, client: AITBCClient) -> None:
        """See `Work.submit`."""
        self.job_id = client.services.render(
            self.scene,
            engine="cycles",
            resolution_x=RENDER_WIDTH,
            resolution_y=RENDER_HEIGHT,
            samples=SAMPLES,
        ).job_id

    def check(self) -> tuple[str, str]:
        """Check for one image of the requested size."""
        (frame,) = self.results["frames"]
        return "render", check_picture(self.file(frame), f"{RENDER_WIDTH}x{RENDER_HEIGHT}")

    def exhibit(self) -> Exhibit:
        """See `Work.exhibit`."""
        (frame,) = self.results["frames"]
        size = f"{RENDER_WIDTH}x{RENDER_HEIGHT}"
        return Exhibit(
            "A scene, rendered",
            page.text(
                f"Blender's Cycles traces {SAMPLES} rays for each pixel of a {size} picture, in the sandbox."
            ),
            page.image(
                self.file(frame),
                "A red sphere, a golden cube, a green cone and a blue ring under a soft lamp",
            ),
            f"$ aitbc render {self.scene.name} --engine cycles --resolution {size} --samples {SAMPLES}",
            wide=True,
        )
