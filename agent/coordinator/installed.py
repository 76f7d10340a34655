"""The features of the coordinator as they declare themselves. What the kernel must know of them, it learns from here."""

from __future__ import annotations

from typing import Final

from agent import features
from agent.coordinator import hooks
from agent.coordinator.blobs.choice import open_directory
from agent.coordinator.blobs.store import BlobStore
from agent.coordinator.cluster.cluster import Alone, Cluster, Installation
from agent.coordinator.feature import Feature
from agent.coordinator.metrics import METRICS as KERNEL_METRICS
from agent.settings import Settings

FEATURES: Final[tuple[Feature, ...]] = tuple(module.FEATURE for module in features.modules("feature"))
"""The features, in the order of the list."""

METRICS: Final = (*KERNEL_METRICS, *(metric for feature in FEATURES for metric in feature.metrics))
"""All metrics of the coordinator."""

EXAMINERS: Final = tuple(feature.examine for feature in FEATURES if feature.examine is not None)
"""What `aitbc-agent fsck` examines of the features."""

for number, feature in enumerate(FEATURES):
    early = [other.name for other in FEATURES[number:] if other.name in feature.after]
    if early:
        raise ValueError(f"{feature.name} must come after {', '.join(early)} in the list of features")

hooks.install(feature.hooks for feature in FEATURES)


def open_blobs(settings: Settings) -> BlobStore:
    """Return the store of artifacts that the settings name: that of a feature, or a directory. Raises `ConfigurationError`."""
    for feature in FEATURES:
        if feature.open_blobs is not None and (blobs := feature.open_blobs(settings)) is not None:
            return blobs
    return open_directory(settings)


def open_cluster(installation: Installation) -> Cluster:
    """Return the cluster to which this coordinator belongs. Raises `ConfigurationError` if it differs from the others."""
    for feature in FEATURES:
        if feature.open_cluster is not None and (cluster := feature.open_cluster(installation)) is not None:
            return cluster
    return Alone()
