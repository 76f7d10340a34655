"""Payouts as files: complete, private, and harmless in a spreadsheet."""

from __future__ import annotations

import asyncio
import csv
import json
import stat

import pytest

from agent.coordinator.features.payouts.adapter import AddressRefused
from agent.coordinator.features.payouts.adapters.file import FileAdapter
from agent.core.values.spreadsheets import harmless
from aitbc.canonical import sha256_hex
from support.payouts.adapters import batch, payment, site, stored

BATCH = batch("file", "EUR")
IBAN = "DE89370400440532013000"


def send(adapter, *payments):
    (new,) = asyncio.run(adapter.prepare(BATCH, payments, {})).transfers
    transfer = stored(new, BATCH, payments)
    asyncio.run(adapter.send(transfer))
    return transfer


def test_a_batch_is_written_as_json_and_csv_for_its_owner_only(tmp_path):
    adapter = FileAdapter(site(tmp_path))
    transfer = send(adapter, payment(1, IBAN, "12.50"), payment(2, "GB82WEST12345698765432", "0.01"))
    text, table = (tmp_path / "payouts" / f"{transfer.reference}.{kind}" for kind in ("json", "csv"))
    written = json.loads(text.read_bytes())
    assert (written["batch_id"], written["total"], len(written["payments"])) == ("batch_1", "12.51", 2)
    assert written["manifest_sha256"] == sha256_hex(BATCH.leaf)
    rows = list(csv.DictReader(table.open(newline="")))
    assert rows == written["payments"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (text, table)} == {0o600}


def test_sending_again_and_polling_restore_the_same_files(tmp_path):
    adapter = FileAdapter(site(tmp_path, file={"directory": str(tmp_path / "bank")}))
    transfer = send(adapter, payment(1, IBAN, "1"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "bank").iterdir()}
    asyncio.run(adapter.send(transfer))
    for path in (tmp_path / "bank").iterdir():
        path.unlink()
    assert asyncio.run(adapter.poll(transfer)).reports == (), "only an administrator knows the outcome"
    assert {path.name: path.read_bytes() for path in (tmp_path / "bank").iterdir()} == before


def test_no_cell_is_a_formula(tmp_path):
    adapter = FileAdapter(site(tmp_path, file={"address": "text"}))
    evil = adapter.check_address('=HYPERLINK("http://x.example","Pay")', "EUR")
    transfer = send(adapter, payment(1, evil, "1"))
    (row,) = csv.DictReader((tmp_path / "payouts" / f"{transfer.reference}.csv").open(newline=""))
    assert row["address"] == f"'{evil}"
    for start in "=+-@\t\r":
        assert harmless(f"{start}1") == f"'{start}1"
    assert harmless("1-2") == "1-2"


def test_ibans_are_checked(tmp_path):
    adapter = FileAdapter(site(tmp_path))
    assert adapter.check_address(" de89 3704 0044 0532 0130 00", "EUR") == IBAN
    for wrong in (IBAN[:-1] + "1", IBAN[:-1], "DE98" + IBAN[4:], "", "ACCOUNT 7", IBAN.replace("37", "73")):
        with pytest.raises(AddressRefused):
            adapter.check_address(wrong, "EUR")


def test_free_text_is_one_short_line(tmp_path):
    adapter = FileAdapter(site(tmp_path, file={"address": "text"}))
    assert adapter.check_address("  Ada  Lovelace, account 7 ", "EUR") == "Ada Lovelace, account 7"
    for wrong in ("", " ", "x" * 141, "a\x1bb"):
        with pytest.raises(AddressRefused):
            adapter.check_address(wrong, "EUR")
