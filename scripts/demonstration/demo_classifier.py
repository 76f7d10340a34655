"""The demo's own Python model, which a client submits: classifies an image by its colours.

It runs on the miner, in the sandbox, with the packages that its job requires. The miner calls only `predict`.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

CLASSES = ("sunset", "forest", "sea")

# The distribution of colours over the colour circle in a typical image of each class, from red over yellow, green,
# cyan, blue and violet back to red.
CENTROIDS = np.array(
    [
        [0.50, 0.10, 0.00, 0.00, 0.00, 0.10, 0.15, 0.15],
        [0.05, 0.35, 0.45, 0.15, 0.00, 0.00, 0.00, 0.00],
        [0.00, 0.05, 0.00, 0.10, 0.55, 0.30, 0.00, 0.00],
    ]
)
SHARPNESS = 8.0


def predict(input: str) -> dict[str, object]:  # noqa: A002 - the name that the service gives it
    """Return the class of the image in the file `input`, and the confidence (0 to 1)."""
    with Image.open(input) as picture:
        hue, saturation, _ = np.moveaxis(np.asarray(picture.convert("HSV").resize((64, 64))), -1, 0)
    histogram, _ = np.histogram(
        hue, bins=CENTROIDS.shape[1], range=(0, 256), weights=saturation.astype(float)
    )
    distances = np.linalg.norm(CENTROIDS - histogram / max(histogram.sum(), 1.0), axis=1)
    likelihoods = np.exp(-SHARPNESS * distances)
    best = int(np.argmax(likelihoods))
    return {
        "prediction": CLASSES[best],
        "confidence": round(float(likelihoods[best] / likelihoods.sum()), 3),
    }
