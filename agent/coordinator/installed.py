"""The features of the coordinator as they declare themselves. What the kernel must know of them, it learns from here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Final, ParamSpec, TypeVar

from agent import features
from agent.coordinator import hooks, metrics, routes
from agent.coordinator.blobs.directory import open_directory
from agent.coordinator.blobs.store import BlobStore
from agent.coordinator.cluster import Alone, Cluster, Installation
from agent.coordinator.feature import Feature
from agent.coordinator.store.database import Connection, Database
from agent.coordinator.store.sqlite.database import open_file, reading, sqlite_path
from agent.metrics import Meter
from agent.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

FEATURES: Final[tuple[Feature, ...]] = tuple(module.FEATURE for module in features.modules("feature"))
"""The features, in the order of the list."""

ROUTERS: Final = (*routes.ROUTERS, *(router for feature in FEATURES for router in feature.routers))
"""The routers of the API, in the order in which they are tried."""

METRICS: Final = (*metrics.METRICS, *(metric for feature in FEATURES for metric in feature.metrics))
"""All metrics of the coordinator."""

EXAMINERS: Final = tuple(feature.examine for feature in FEATURES if feature.examine is not None)
"""What `aitbc-agent fsck` examines of the features."""

# At import, so that a wrong order ends every start, instead of calling the hooks in the wrong order until somebody notices.
for number, feature in enumerate(FEATURES):
    early = [
        feature_behind.name for feature_behind in FEATURES[number:] if feature_behind.name in feature.after
    ]
    if early:
        raise ValueError(f"{feature.name} must come after {', '.join(early)} in the list of features")

# Here and not in the application: commands that work on a stopped coordinator's database need the hooks too.
hooks.install(feature.hooks for feature in FEATURES)


def check_database(settings: Settings) -> None:
    """Raise `ConfigurationError` if the database of the settings is no longer in use."""
    for feature in FEATURES:
        if feature.check_database is not None:
            feature.check_database(settings)


def open_database(settings: Settings, meter: Meter) -> Database:
    """Open the database that the settings name, and create or upgrade its schema. Raises `ConfigurationError`."""
    check_database(settings)
    opened = _first((feature.open_database for feature in FEATURES), settings, meter)
    return opened or open_file(settings.database, settings.data_dir, meter)


def read_database(settings: Settings) -> AbstractContextManager[Connection]:
    """Read one snapshot of the database, which another process may be using. Raises `ConfigurationError` on entry."""
    snapshot = _first((feature.read_database for feature in FEATURES), settings)
    return snapshot or reading(sqlite_path(settings.database.url, settings.data_dir))


def open_blobs(settings: Settings) -> BlobStore:
    """Return the store of artifacts that the settings name. Raises `ConfigurationError`."""
    return _first((feature.open_blobs for feature in FEATURES), settings) or open_directory(settings)


def open_cluster(installation: Installation) -> Cluster:
    """Return the cluster to which this coordinator belongs. Raises `ConfigurationError` if it differs from the others."""
    return _first((feature.open_cluster for feature in FEATURES), installation) or Alone()


def _first(
    openers: Iterable[Callable[P, T | None] | None], *arguments: P.args, **names: P.kwargs
) -> T | None:
    """Return what the first feature opens, or None."""
    for opener in openers:
        if opener is not None and (opened := opener(*arguments, **names)) is not None:
            return opened
    return None
