"""`aitbc-agent doctor` finds out why an adapter could not pay, and pays nothing."""

from __future__ import annotations

import pytest

from agent.coordinator.features.payouts.examination import examine_adapters
from support.payouts.adapters import site
from support.servers.evm_chain import CHAIN_ID, KEY, EvmChain
from support.servers.lightning_node import LightningNode


def evm(url, directory, **settings):
    key = directory / "evm.key"
    key.touch(0o600)
    key.write_text(KEY)
    return {"rpc_url": url, "chain_id": CHAIN_ID, "allow_http": True, "allow_private": True, **settings}


def test_adapters_that_can_pay_have_no_fault(tmp_path):
    chain = EvmChain()
    with chain.served() as url, LightningNode(tmp_path / "rpc").running() as node:
        sections = {
            "adapters": ["file", "evm", "lightning"],
            "evm": evm(url, tmp_path, token=chain.token),
            "lightning": {"socket": str(node.path), "network": "regtest"},
        }
        assert examine_adapters(site(tmp_path, **sections)) == {"file": None, "evm": None, "lightning": None}
    assert chain.waiting == {}
    assert node.calls == ["getinfo"]


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"chain_id": 1}, "`payouts.evm.chain_id` is 1."),
        ({"decimals": 6}, "the token has 18 decimals, but `payouts.evm.decimals` is 6."),
        ({"allow_private": False}, "If that is your own service, set `payouts.evm.allow_private`."),
    ],
)
def test_a_wrong_chain_token_or_address_is_named(tmp_path, settings, fault):
    chain = EvmChain()
    with chain.served() as url:
        sections = {"adapters": ["evm"], "evm": evm(url, tmp_path, token=chain.token, **settings)}
        found = examine_adapters(site(tmp_path, **sections))["evm"]
    assert found.endswith(fault)


def test_readable_keys_and_missing_nodes_are_named(tmp_path):
    with EvmChain().served() as url:
        values = evm(url, tmp_path)  # its port is closed after this
    sections = {
        "adapters": ["evm", "lightning", "http"],
        "evm": values,
        "lightning": {"socket": str(tmp_path / "none")},
    }
    found = examine_adapters(site(tmp_path, **sections))
    assert found["evm"] == "127.0.0.1 could not be reached (ConnectError)."
    assert "did not answer" in found["lightning"]
    assert "`payouts.http.url`" in found["http"]
    (tmp_path / "evm.key").chmod(0o644)
    assert "chmod 600" in examine_adapters(site(tmp_path, **sections))["evm"]
