"""International bank account numbers (ISO 13616), whose check digits catch every mistyped character."""

from __future__ import annotations

import re
from typing import Final

_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", re.ASCII)
_SEPARATORS: Final = re.compile(r"[ \u00a0-]")


def parse_iban(text: str) -> str:
    """Return an IBAN without separators, in capitals. Raises `ValueError` if its form or check digits (ISO 7064, MOD 97-10) are wrong.

    The length and the format of each country's numbers are not checked: the bank knows them.
    """
    iban = _SEPARATORS.sub("", text).upper()
    if _IBAN.fullmatch(iban) is None:
        raise ValueError("an IBAN has two letters, two check digits and 11 to 30 letters or digits")
    # Letters count as two digits from 10 on, and the country and the check digits come last.
    digits = "".join(str(int(character, 36)) for character in iban[4:] + iban[:4])
    if int(digits) % 97 != 1:
        raise ValueError("its check digits are wrong; a character is mistyped or missing")
    return iban
