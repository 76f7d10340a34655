"""The form of a speech job."""

from __future__ import annotations

from runners.forms import FormField, ServiceForm
from runners.speech.kokoro import VOICES

FORM = ServiceForm(
    first={
        "input": FormField("Text", "What is said, up to 100,000 characters.", control="text"),
        "model": FormField("Model", "Its name often says which language it speaks."),
        "voice": FormField(
            "Voice",
            "One of the model's. These are Kokoro's; their second letter is f for a woman, m for a man.",
            empty="The model's first",
            suggestions=VOICES,
        ),
        "output_format": FormField(
            "File",
            "mp3 plays everywhere; flac and wav lose nothing.",
            choices={
                "mp3": "MP3",
                "opus": "Opus",
                "aac": "AAC",
                "flac": "FLAC",
                "wav": "WAV",
                "pcm": "Samples without a header",
            },
        ),
    },
    more={
        "Details": {
            "speed": FormField("Speed", "1 is the voice's own pace, 2 is twice as fast."),
            "language": FormField("Language of the text", "Such as en-gb or es.", empty="The voice's own"),
            "stream": FormField("Stream", "Publishes the sound while it is made.", hidden=True),
        }
    },
)
