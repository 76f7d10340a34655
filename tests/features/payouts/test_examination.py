"""`aitbc-agent doctor` finds out why an adapter could not pay, and pays nothing. Extensions test their adapters so too."""

from __future__ import annotations

from agent.coordinator.features.payouts.adapters import installed
from agent.coordinator.features.payouts.checks import examine_adapters
from runners.extras import extra_command
from support.payouts.adapters import site


def test_an_adapter_that_can_pay_has_no_fault_and_others_name_what_is_missing(tmp_path):
    found = examine_adapters(site(tmp_path, adapters=["file", "http", "nobody"]))
    assert found["file"] is None
    assert "`payouts.http.url`" in found["http"]
    assert found["nobody"].startswith("No installed package provides the payout adapter nobody. Installed: ")
    assert "Install it" not in found["nobody"]


def test_the_extension_of_an_adapter_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(installed, "entry_points", lambda **_: ())
    found = examine_adapters(site(tmp_path, adapters=["evm"]))["evm"]
    assert found.endswith(f"Install it: {extra_command('payouts-evm')}.")
