"""The form of a transcription job."""

from __future__ import annotations

from runners.forms import FormField, ServiceForm

LANGUAGE_NAMES = {
    "en": "English", "de": "German", "es": "Spanish", "fr": "French", "it": "Italian", "pt": "Portuguese", "nl": "Dutch",
    "af": "Afrikaans", "sq": "Albanian", "am": "Amharic", "ar": "Arabic", "hy": "Armenian", "as": "Assamese",
    "az": "Azerbaijani", "ba": "Bashkir", "eu": "Basque", "be": "Belarusian", "bn": "Bengali", "bs": "Bosnian",
    "br": "Breton", "bg": "Bulgarian", "my": "Burmese", "yue": "Cantonese", "ca": "Catalan", "zh": "Chinese",
    "hr": "Croatian", "cs": "Czech", "da": "Danish", "et": "Estonian", "fo": "Faroese", "fi": "Finnish",
    "gl": "Galician", "ka": "Georgian", "el": "Greek", "gu": "Gujarati", "ht": "Haitian Creole", "ha": "Hausa",
    "haw": "Hawaiian", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian", "is": "Icelandic", "id": "Indonesian",
    "ja": "Japanese", "jw": "Javanese", "kn": "Kannada", "kk": "Kazakh", "km": "Khmer", "ko": "Korean", "lo": "Lao",
    "la": "Latin", "lv": "Latvian", "ln": "Lingala", "lt": "Lithuanian", "lb": "Luxembourgish", "mk": "Macedonian",
    "mg": "Malagasy", "ms": "Malay", "ml": "Malayalam", "mt": "Maltese", "mi": "Maori", "mr": "Marathi",
    "mn": "Mongolian", "ne": "Nepali", "no": "Norwegian", "nn": "Norwegian Nynorsk", "oc": "Occitan", "ps": "Pashto",
    "fa": "Persian", "pl": "Polish", "pa": "Punjabi", "ro": "Romanian", "ru": "Russian", "sa": "Sanskrit",
    "sr": "Serbian", "sn": "Shona", "sd": "Sindhi", "si": "Sinhala", "sk": "Slovak", "sl": "Slovenian", "so": "Somali",
    "su": "Sundanese", "sw": "Swahili", "sv": "Swedish", "tl": "Tagalog", "tg": "Tajik", "ta": "Tamil", "tt": "Tatar",
    "te": "Telugu", "th": "Thai", "bo": "Tibetan", "tr": "Turkish", "tk": "Turkmen", "uk": "Ukrainian", "ur": "Urdu",
    "uz": "Uzbek", "vi": "Vietnamese", "cy": "Welsh", "yi": "Yiddish", "yo": "Yoruba",
}  # fmt: skip
"""Whisper's languages by code: the most frequent ones first, then by name."""

FORM = ServiceForm(
    first={
        "audio_url": FormField(
            "Recording", "Speech in any usual audio or video format.", accept="audio/*,video/*"
        ),
        "language": FormField(
            "Spoken language",
            "Naming it saves a few seconds, and mistakes in short recordings.",
            empty="Detect it",
            choices=LANGUAGE_NAMES,
        ),
        "task": FormField(
            "Write it down",
            "Whisper translates into English only.",
            choices={"transcribe": "In the spoken language", "translate": "In English"},
        ),
        "model": FormField(
            "Model",
            "From tiny to large, models make fewer mistakes and take longer. Those that end in .en know only English.",
        ),
        "output_formats": FormField(
            "Files to download",
            "You can read and copy the text on the job's page in any case.",
            choices={
                "txt": "Text (.txt)",
                "srt": "Subtitles for players (.srt)",
                "vtt": "Subtitles for web pages (.vtt)",
                "json": "Text and times for programs (.json)",
            },
        ),
    },
    more={
        "Details": {
            "word_timestamps": FormField(
                "Time of each word", "Without it, you get the times of sentences and longer passages."
            ),
            "initial_prompt": FormField(
                "Names and terms",
                "Spell the ones that occur in the recording, so that the model writes them right.",
            ),
            "temperature": FormField(
                "Freedom",
                "0 always takes the likeliest words. Up to 1 lets the text vary, which can end a repetition.",
            ),
            "engine": FormField(
                "Program",
                "All run the same kind of model, at different speeds. Leave it open unless you compare them.",
                empty="The fastest that the machine has",
                choices={
                    "faster-whisper": "faster-whisper",
                    "openai-whisper": "OpenAI's Whisper",
                    "onnx-asr": "NVIDIA's Parakeet models",
                },
            ),
        }
    },
)
