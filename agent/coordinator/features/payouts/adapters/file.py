"""Writes each batch as a CSV and a JSON file, which somebody takes to a bank or a payment processor."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

from agent.atomic_file import replace_file
from agent.coordinator.features.payouts.adapter import (
    AddressRefused,
    Answer,
    BatchInfo,
    NewTransfer,
    Payment,
    Prepared,
    Site,
    Transfer,
    WithoutHandIns,
)
from agent.core.values.spreadsheets import harmless
from agent.fault_points import reach
from aitbc.canonical import canonical_json, sha256_hex

_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", re.ASCII)
_SEPARATORS: Final = re.compile(r"[ \u00a0-]")
COLUMNS: Final = ("payout_id", "miner_id", "address", "amount", "currency")
MAX_TEXT: Final = 140
"""As much as the remittance text of a bank transfer."""


class FileAdapter(WithoutHandIns):
    """Writes `BATCH.json` and `BATCH.csv`. An administrator reports the outcome of the payments."""

    name = "file"
    by_hand = True

    def __init__(self, site: Site) -> None:
        self._settings = site.settings.file
        self._directory = self._settings.directory or site.directory / "payouts"
        self.currencies: Mapping[str, int] = {self._settings.currency: self._settings.decimals}

    def check_address(self, address: str, currency: str) -> str:  # noqa: ARG002 - the same for all currencies
        """Return the IBAN, or the text, in its normal form. Raises `AddressRefused`."""
        if self._settings.address == "iban":
            try:
                return parse_iban(address)
            except ValueError as error:
                raise AddressRefused(
                    f"{address!r} is not an IBAN: {error}. A valid one is DE89 3704 0044 0532 0130 00."
                ) from None
        text = " ".join(address.split())
        if not text or len(text) > MAX_TEXT or not text.isprintable():
            raise AddressRefused(f"An address is 1 to {MAX_TEXT} printable characters on one line.")
        return text

    async def prepare(
        self,
        batch: BatchInfo,
        payments: Sequence[Payment],
        nonces: Mapping[str, int],  # noqa: ARG002 - files have no nonces
    ) -> Prepared:
        """Return one transfer with all payments, whose content is the JSON file."""
        content = document(batch, payments)
        # The content's hash in the name: a batch that is prepared twice with different payments does not overwrite its first file.
        name = f"{batch.batch_id}-{sha256_hex(content)[:8]}"
        return Prepared((NewTransfer(tuple(payment.payout_id for payment in payments), content, name),))

    async def send(self, transfer: Transfer) -> Answer:
        """Write both files, each atomically. The same content has the same name, so a repetition changes nothing."""
        digest = sha256_hex(transfer.content)
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path, content in self._files(transfer):
            replace_file(path, content, 0o600)
            # Tests stop the process here, between the two files.
            reach("payout.file_written", path.suffix[1:])
        return Answer(state={"sha256": digest, "directory": str(self._directory)})

    async def poll(self, transfer: Transfer) -> Answer:
        """Write the files again if somebody has deleted them before the payments were reported."""
        for path, content in self._files(transfer):
            if not path.exists():
                replace_file(path, content, 0o600)
        return Answer()

    async def examine(self) -> None:
        """Check that the directory can be written. Raises `OSError`."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=self._directory):
            pass

    async def close(self) -> None:
        """Do nothing: there are no connections."""

    def _files(self, transfer: Transfer) -> tuple[tuple[Path, bytes], ...]:
        base = self._directory / transfer.reference
        return (
            (base.with_name(f"{base.name}.json"), transfer.content),
            (base.with_name(f"{base.name}.csv"), table(transfer.content)),
        )


def document(batch: BatchInfo, payments: Sequence[Payment]) -> bytes:
    """Return the JSON file of a batch: its payments, their sum, and the digest of the manifest in the log."""
    return canonical_json(
        {
            "batch_id": batch.batch_id,
            "currency": batch.currency,
            "manifest_sha256": sha256_hex(batch.leaf),
            "payments": [
                {
                    "payout_id": payment.payout_id,
                    "miner_id": payment.miner_id,
                    "address": payment.address,
                    "amount": f"{payment.amount:f}",
                    "currency": batch.currency,
                }
                for payment in payments
            ],
            "total": f"{sum((payment.amount for payment in payments), Decimal(0)):f}",
        }
    )


def table(content: bytes) -> bytes:
    """Return the payments of a JSON file as CSV (RFC 4180) that no spreadsheet runs as formulas."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_MINIMAL)
    writer.writerow(COLUMNS)
    for payment in json.loads(content)["payments"]:
        # Addresses come from miners' owners, and the file is opened on an administrator's machine.
        writer.writerow([harmless(payment[column]) for column in COLUMNS])
    return text.getvalue().encode()


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
