"""`aitbc-agent doctor` finds out why the adapter could not pay, and pays nothing."""

from __future__ import annotations

from agent.coordinator.features.payouts.checks import examine_adapters
from lightning_node import LightningNode
from support.payouts.adapters import site


def test_an_adapter_that_can_pay_has_no_fault(tmp_path):
    with LightningNode(tmp_path / "rpc").running() as node:
        sections = {
            "adapters": ["file", "lightning"],
            "lightning": {"socket": str(node.path), "network": "regtest"},
        }
        assert examine_adapters(site(tmp_path, **sections)) == {"file": None, "lightning": None}
    assert node.calls == ["getinfo"]


def test_a_missing_node_is_named(tmp_path):
    sections = {"adapters": ["lightning"], "lightning": {"socket": str(tmp_path / "none")}}
    assert "did not answer" in examine_adapters(site(tmp_path, **sections))["lightning"]
