"""`aitbc-agent doctor` finds out why the adapter could not pay, and pays nothing."""

from __future__ import annotations

import pytest

from agent.coordinator.features.payouts.checks import examine_adapters
from evm_chain import CHAIN_ID, KEY, EvmChain
from support.payouts.adapters import site


def evm(url, directory, **settings):
    key = directory / "evm.key"
    key.touch(0o600)
    key.write_text(KEY)
    return {"rpc_url": url, "chain_id": CHAIN_ID, "allow_http": True, "allow_private": True, **settings}


def test_an_adapter_that_can_pay_has_no_fault(tmp_path):
    chain = EvmChain()
    with chain.served() as url:
        sections = {"adapters": ["file", "evm"], "evm": evm(url, tmp_path, token=chain.token)}
        assert examine_adapters(site(tmp_path, **sections)) == {"file": None, "evm": None}
    assert chain.waiting == {}


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
    sections = {"adapters": ["evm", "http"], "evm": values}
    found = examine_adapters(site(tmp_path, **sections))
    assert found["evm"] == "127.0.0.1 could not be reached (ConnectError)."
    assert "`payouts.http.url`" in found["http"]
    (tmp_path / "evm.key").chmod(0o644)
    assert "chmod 600" in examine_adapters(site(tmp_path, **sections))["evm"]
