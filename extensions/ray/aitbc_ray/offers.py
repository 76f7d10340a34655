"""What all nodes of a cluster can do together, as one machine's capabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from agent.miner.machine.capabilities import Capabilities, ServiceOffer
from aitbc_ray.nodes import Node

Kind: TypeAlias = tuple[str, str]
"""The version and the sandbox that a receipt names; all nodes that serve a service have the same."""


def serving(node: Node, offer: ServiceOffer, *, gpus: bool) -> bool:
    """Whether a node serves what the cluster offers. In a cluster with GPUs, nodes without serve only what needs none."""
    nodes_offer = node.report.capabilities.services.get(offer.definition.service_id)
    suits = not gpus or bool(node.report.capabilities.gpus) or not accelerated(offer)
    return nodes_offer is not None and suits and _kind(nodes_offer) == _kind(offer)


def accelerated(offer: ServiceOffer) -> bool:
    """Whether a service uses a GPU where there is one. Its engine may find none, even on a node with GPUs."""
    return offer.kinds != {"cpu"}


def merged(nodes: Iterable[Node], slots: int | None) -> Capabilities:
    """Return the capabilities of the nodes together.

    Memory, cores and disk are those of the largest node, since a job runs on one. `slots` is the owner's; by default there is one
    for each GPU, or one for each node in a cluster without.
    """
    nodes = list(nodes)
    reports = [node.report.capabilities for node in nodes]
    gpus = tuple(
        replace(gpu, index=index)
        for index, gpu in enumerate(gpu for report in reports for gpu in report.gpus)
    )
    services: dict[str, ServiceOffer] = {}
    for service in dict.fromkeys(service for report in reports for service in report.services):
        able = [
            report.services[service]
            for report in reports
            if service in report.services
            and (not gpus or report.gpus or not accelerated(report.services[service]))
        ]
        if able:
            services[service] = _together(able)
    unavailable = {
        service: tuple(dict.fromkeys(reasons))
        for service, reasons in _reasons(nodes, services).items()
        if service not in services
    }
    hints = {service: _hints(nodes, offer, gpus=bool(gpus)) for service, offer in services.items()}
    return Capabilities(
        services=MappingProxyType(services),
        unavailable=MappingProxyType(unavailable),
        hints=MappingProxyType(hints),
        cpu_cores=max(report.cpu_cores for report in reports),
        memory=max(report.memory for report in reports),
        disk_free=max(report.disk_free for report in reports),
        gpus=gpus,
        gpu_reason=" ".join(
            f"{node.name}: {node.report.capabilities.gpu_reason}"
            for node in nodes
            if node.report.capabilities.gpu_reason
        )
        or None,
        devices=tuple(device for report in reports for device in report.devices),
        processor=reports[0].processor,
        slots=slots or len(gpus) or len(nodes),
        sandbox=next((report.sandbox for report in reports if report.sandbox), None),
        environments=frozenset[Path](),
    )


def _together(offers: list[ServiceOffer]) -> ServiceOffer:
    """Return the offers of one service as one: those of the version and sandbox that most nodes have."""
    # A receipt names one version and one sandbox, which must be true of every node.
    common_kind = Counter(map(_kind, offers)).most_common(1)[0][0]
    alike = [offer for offer in offers if _kind(offer) == common_kind]
    return replace(
        alike[0],
        models=tuple(dict.fromkeys(model for offer in alike for model in offer.models)),
        downloadable=any(offer.downloadable for offer in alike),
        # A job may run on any of them.
        concurrency=min(offer.concurrency for offer in alike),
        gpus=max(offer.gpus for offer in alike),
        versions=tuple(dict.fromkeys(version for offer in alike for version in offer.versions)),
        score=None,
    )


def _kind(offer: ServiceOffer) -> Kind:
    return offer.version, offer.sandbox


def _reasons(nodes: Iterable[Node], services: Mapping[str, ServiceOffer]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for node in nodes:
        for service, node_reasons in node.report.capabilities.unavailable.items():
            if service not in services:
                reasons.setdefault(service, []).extend(node_reasons)
    return reasons


def _hints(nodes: Iterable[Node], offer: ServiceOffer, *, gpus: bool) -> tuple[str, ...]:
    without = [node.name for node in nodes if not serving(node, offer, gpus=gpus)]
    return (f"These nodes do not serve it: {', '.join(without)}.",) if without else ()
