"""Settings of the page of metrics."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Final

from agent.core.values.networks import NetworkSetting
from agent.sections import Section


class PrometheusSettings(Section):
    """Who may read the metrics. This setting is in the table `coordinator`."""

    metrics_readers: tuple[NetworkSetting, ...] = (ip_network("127.0.0.0/8"), ip_network("::1"))
    """Networks that may read `/metrics` without a key; an administrator's key may read it from anywhere. The default is this
    machine, since the metrics include business figures. Requests forwarded by a proxy do not count as local."""


SETTINGS: Final = {"coordinator.*": PrometheusSettings}
