"""Names of languages, as clients write them, and their ISO 639 codes."""

from __future__ import annotations

from typing import Any, Final

from runners.whisper.request import LANGUAGES

_NAMES: Final = (
    "afrikaans:af albanian:sq amharic:am arabic:ar armenian:hy assamese:as azerbaijani:az bashkir:ba basque:eu "
    "belarusian:be bengali:bn bosnian:bs breton:br bulgarian:bg burmese:my cantonese:yue castilian:es catalan:ca "
    "chinese:zh croatian:hr czech:cs danish:da dutch:nl english:en estonian:et faroese:fo farsi:fa finnish:fi "
    "flemish:nl french:fr galician:gl georgian:ka german:de greek:el gujarati:gu haitian:ht hausa:ha hawaiian:haw "
    "hebrew:he hindi:hi hungarian:hu icelandic:is indonesian:id italian:it japanese:ja javanese:jw kannada:kn "
    "kazakh:kk khmer:km korean:ko lao:lo latin:la latvian:lv lingala:ln lithuanian:lt luxembourgish:lb "
    "macedonian:mk malagasy:mg malay:ms malayalam:ml maltese:mt mandarin:zh maori:mi marathi:mr mongolian:mn "
    "myanmar:my nepali:ne norwegian:no nynorsk:nn occitan:oc pashto:ps persian:fa polish:pl portuguese:pt "
    "punjabi:pa romanian:ro russian:ru sanskrit:sa serbian:sr shona:sn sindhi:sd sinhala:si slovak:sk "
    "slovenian:sl somali:so spanish:es sundanese:su swahili:sw swedish:sv tagalog:tl tajik:tg tamil:ta tatar:tt "
    "telugu:te thai:th tibetan:bo turkish:tr turkmen:tk ukrainian:uk urdu:ur uzbek:uz vietnamese:vi welsh:cy "
    "yiddish:yi yoruba:yo"
)
_CODES: Final = dict(pair.split(":") for pair in _NAMES.split())
_OTHER_CODES: Final = {"nb": "no", "jv": "jw", "iw": "he", "in": "id", "fil": "tl", "cmn": "zh"}
"""Codes of the same languages that Whisper does not know."""


def code_of(language: Any) -> Any:
    """Return the code of a language: en for "English", "EN" and "en-US". Return any other value unchanged."""
    if not isinstance(language, str):
        return language
    folded = language.strip().casefold()
    # A region does not change how speech is recognised.
    subtag = folded.replace("_", "-").partition("-")[0]
    code = _CODES.get(folded) or _OTHER_CODES.get(subtag, subtag)
    return code if code in LANGUAGES else language
