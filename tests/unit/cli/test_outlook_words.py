"""The lines about what a machine like this earns."""

from __future__ import annotations

from typing import Any

from agent.cli.terminal.outlook import in_one_line, lines

OUTLOOK: dict[str, Any] = {
    "hardware": "NVIDIA GeForce RTX 4090", "days": 7, "machines": 3, "online_hours": 400.0, "jobs": 210, "missing": None,
    "per_hour": {"low": "0.1", "typical": "0.15", "high": "0.2"}, "per_day": {"low": "2.4", "typical": "3.6", "high": "4.8"},
}  # fmt: skip


def energy(net: str | None, kwh: float = 1.5) -> dict[str, Any]:
    return {"month": {"earned": "10", "net": net, "kwh": kwh}}


def test_earnings_before_and_after_electricity() -> None:
    assert in_one_line(OUTLOOK, energy("7.5")) == (
        "a machine like this earns 0.1 to 0.2 credits an hour online; after electricity 0.075 to 0.15 credits "
        "(210 paid jobs of 3 machines in 7 days)"
    )
    assert "after electricity" not in in_one_line(OUTLOOK, energy(None))
    # Nothing was measured, so nothing was taken off.
    assert "after electricity" not in in_one_line(OUTLOOK, energy("10", kwh=0))
    text = "\n".join(lines(OUTLOOK, energy("7.5")))
    assert "2.4 to 4.8 credits a day online, on average 3.6 credits" in text
    assert "after electricity: 0.075 to 0.15 credits an hour, 1.8 to 3.6 credits a day" in text


def test_a_loss_is_said_as_such() -> None:
    assert "after electricity \N{MINUS SIGN}0.1 to \N{MINUS SIGN}0.05 credits" in in_one_line(
        OUTLOOK, energy("-5")
    )


def test_what_is_missing_is_said() -> None:
    unknown = {**OUTLOOK, "missing": "Not enough jobs yet to say.", "per_hour": None, "per_day": None}
    assert in_one_line(unknown, None) == "a machine like this: Not enough jobs yet to say."
    assert list(lines(unknown, None))[1] == "  Not enough jobs yet to say."
