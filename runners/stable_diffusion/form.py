"""The form of an image job."""

from __future__ import annotations

from runners.forms import FormField, ServiceForm

PICTURES = "image/png,image/jpeg,image/webp"

FORM = ServiceForm(
    first={
        "prompt": FormField(
            "Prompt",
            "What the picture shows, in which style and light. Most models understand English best.",
        ),
        "model": FormField("Model", "Each has its own style, speed and usual size."),
        "size": FormField(
            "Size",
            "Width x height in pixels, both multiples of 8 from 64 to 2048. Larger pictures cost more.",
            empty="The model's own size",
            suggestions=("512x512", "768x768", "1024x1024", "1280x720", "1344x768", "768x1344"),
        ),
        "num_images": FormField(
            "Number of pictures", "Up to 8 variations of the prompt. Each costs the same."
        ),
        "steps": FormField(
            "Steps",
            "More steps add detail, time and cost. Most models look finished at 20 to 30, fast ones at 4 to 8.",
            empty="As many as the model needs",
        ),
    },
    more={
        "Look": {
            "negative_prompt": FormField(
                "Avoid", "What should not appear, for example “text, watermark”. Not all models can do this."
            ),
            "guidance": FormField(
                "Guidance",
                "How strictly the picture follows the prompt, up to 30. Around 7 is usual; much more looks harsh.",
                empty="The model's usual value",
            ),
            "seed": FormField(
                "Seed",
                "The same number repeats the same picture. With several pictures, each takes the next number.",
                empty="Random",
            ),
            "scheduler": FormField(
                "Sampler",
                "The method that turns noise into the picture. It changes small details, and how many steps are needed.",
                empty="The model's usual one",
                choices={
                    "ddim": "DDIM",
                    "pndm": "PNDM",
                    "euler": "Euler",
                    "euler_a": "Euler ancestral",
                    "dpmpp_2m": "DPM++ 2M",
                    "dpmpp_2m_karras": "DPM++ 2M Karras",
                    "dpmpp_2m_sde": "DPM++ 2M SDE",
                    "dpmpp_2m_sde_karras": "DPM++ 2M SDE Karras",
                    "unipc": "UniPC",
                    "lcm": "LCM (for LCM models)",
                },
            ),
            "loras": FormField(
                "Added styles (LoRAs)",
                'Up to 4, as JSON with names and strengths: [{"name": "lcm-lora", "scale": 0.8}].',
                empty="None",
            ),
        },
        "Start from a picture": {
            "image_url": FormField(
                "Picture to change", "The results are variations of it: PNG, JPEG or WebP.", accept=PICTURES
            ),
            "strength": FormField(
                "How much may change",
                "0.3 keeps most of your picture, 0.75 keeps its composition, 1 hardly uses it.",
                empty="0.75; with a mask 1",
            ),
            "mask_url": FormField(
                "Part to repaint",
                "A black and white picture of the same size. Only its white parts are painted again.",
                accept=PICTURES,
            ),
            "mask_region": FormField(
                "How that part is marked",
                "In white on black, or erased, as other programs do.",
                choices={"white": "In white", "transparent": "Transparent"},
            ),
        },
        "Follow a shape": {
            "control_url": FormField(
                "Picture to follow",
                "A drawing of edges, a depth map or a pose, whichever the ControlNet was made for.",
                accept=PICTURES,
            ),
            "control.name": FormField(
                "ControlNet", "The name of a model that makes pictures follow a shape."
            ),
            "control.scale": FormField(
                "Closeness to the shape", "Above 0, up to 2. At 1 the shape is clear and the rest is free."
            ),
        },
        "File and speed": {
            "output_format": FormField(
                "File format",
                "PNG keeps every pixel; the others are smaller.",
                choices={"png": "PNG", "jpeg": "JPEG", "webp": "WebP"},
            ),
            "quality": FormField("Quality (100 best, 1 smallest)", "For JPEG and WebP only.", empty="90"),
            "cache": FormField(
                "Skip steps that change little",
                "Faster, with slightly different pictures: 0.1 is moderate, up to 1 skips more. Not all models can do this.",
                empty="Skip none",
            ),
        },
    },
)
