"""The features of the coordinator, in one list. What the kernel must know of them, it learns from here."""

from __future__ import annotations

from typing import Final

from agent.coordinator import hooks
from agent.coordinator.blobs.choice import open_directory
from agent.coordinator.blobs.store import BlobStore
from agent.coordinator.cluster.cluster import Alone, Cluster, Installation
from agent.coordinator.feature import Feature
from agent.coordinator.features.audits.feature import FEATURE as AUDITS
from agent.coordinator.features.browser.feature import FEATURE as BROWSER
from agent.coordinator.features.history.feature import FEATURE as HISTORY
from agent.coordinator.features.job_logs.feature import FEATURE as JOB_LOGS
from agent.coordinator.features.labels.feature import FEATURE as LABELS
from agent.coordinator.features.log.feature import FEATURE as LOG
from agent.coordinator.features.machines.feature import FEATURE as MACHINES
from agent.coordinator.features.market.feature import FEATURE as MARKET
from agent.coordinator.features.offers.feature import FEATURE as OFFERS
from agent.coordinator.features.openai.feature import FEATURE as OPENAI
from agent.coordinator.features.payouts.feature import FEATURE as PAYOUTS
from agent.coordinator.features.replicas.feature import FEATURE as REPLICAS
from agent.coordinator.features.reruns.feature import FEATURE as RERUNS
from agent.coordinator.features.s3.feature import FEATURE as S3
from agent.coordinator.features.sealing.feature import FEATURE as SEALING
from agent.coordinator.features.throttling.feature import FEATURE as THROTTLING
from agent.coordinator.features.tus.feature import FEATURE as TUS
from agent.coordinator.features.waits.feature import FEATURE as WAITS
from agent.coordinator.features.webhooks.feature import FEATURE as WEBHOOKS
from agent.coordinator.metrics import METRICS as KERNEL_METRICS
from agent.settings import Settings

FEATURES: Final[tuple[Feature, ...]] = (
    LABELS,
    JOB_LOGS,
    LOG,
    MARKET,
    RERUNS,
    OFFERS,
    SEALING,
    MACHINES,
    THROTTLING,
    WAITS,
    WEBHOOKS,
    HISTORY,
    PAYOUTS,
    OPENAI,
    TUS,
    S3,
    REPLICAS,
    BROWSER,
    AUDITS,
)
"""The features, in the order in which their hooks run and their routes are tried."""

METRICS: Final = (*KERNEL_METRICS, *(metric for feature in FEATURES for metric in feature.metrics))
"""All metrics of the coordinator."""

EXAMINERS: Final = tuple(feature.examine for feature in FEATURES if feature.examine is not None)
"""What `aitbc-agent fsck` examines of the features."""

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
