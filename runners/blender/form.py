"""The form of a rendering job."""

from __future__ import annotations

from runners.forms import FormField, ServiceForm

_OF_THE_FILE = "As in the file"

FORM = ServiceForm(
    first={
        "blend_file_url": FormField(
            "Blend file",
            "Pack textures into it first (File, External Data, Pack Resources). Scripts inside are not run.",
            accept=".blend",
        ),
        "frames": FormField(
            "Frames",
            "One as 5, several as 1-24 or 1,5,9-12; up to 1,000.",
            empty="The file's current frame",
            control="text",
        ),
        "resolution_x": FormField("Width", "From 16 to 16,384.", empty=_OF_THE_FILE, unit="pixels"),
        "resolution_y": FormField("Height", "As the width.", empty=_OF_THE_FILE, unit="pixels"),
        "samples": FormField(
            "Samples",
            "Rays for each pixel: more give less noise, and cost more. 128 is usual with denoising.",
            empty=_OF_THE_FILE,
        ),
    },
    more={
        "Renderer": {
            "engine": FormField(
                "Engine",
                "Cycles traces light and looks real; EEVEE is fast and needs a graphics card.",
                empty=_OF_THE_FILE,
                choices={"cycles": "Cycles", "eevee": "EEVEE"},
            ),
            "device": FormField(
                "Compute on",
                "A graphics card is usually much faster.",
                choices={"auto": "The fastest device", "gpu": "A graphics card", "cpu": "The processor"},
            ),
            "denoise": FormField("Remove noise", "Cycles only. Smooths what few samples leave behind."),
            "noise_threshold": FormField(
                "Stop at this noise",
                "Cycles leaves a pixel once its noise is below, from 0 (never) to 1; 0.01 is usual. The price stays the same.",
                empty=_OF_THE_FILE,
            ),
            "seed": FormField(
                "Noise pattern",
                "Cycles only. Another number gives the same picture with other noise.",
                empty=_OF_THE_FILE,
            ),
        },
        "Scene": {
            "scene": FormField("Scene", "A scene's name in Blender.", empty="The active one"),
            "camera": FormField("Camera", "The name of a camera in that scene.", empty="The scene's camera"),
            "frame": FormField("Frame", "A single frame number.", instead="frames"),
        },
        "Files": {
            "output_format": FormField(
                "File format",
                "PNG keeps every pixel, JPEG is small, EXR has the full range of light for compositing.",
                choices={"png": "PNG", "jpeg": "JPEG", "exr": "OpenEXR"},
            ),
            "color_depth": FormField(
                "Colour depth",
                "More bits leave more freedom for later changes.",
                empty="8 bits; in an EXR 16",
                choices={"8": "8 bits", "16": "16 bits", "32": "32 bits (EXR)"},
            ),
            "quality": FormField("JPEG quality (100 best, 1 smallest)", "Other formats ignore it."),
            "transparent": FormField("Transparent background", "Instead of the sky; not in a JPEG."),
            "video": FormField("Also make a video", "An MP4 of all frames."),
            "fps": FormField("Frames per second of the video", "From 1 to 240.", empty=_OF_THE_FILE),
        },
    },
)
