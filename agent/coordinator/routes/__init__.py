"""The HTTP interface: one file per resource, each exports `router`."""

from agent.coordinator.routes import (
    admin,
    artifacts,
    health,
    jobs,
    keys,
    log,
    machines,
    marketplace,
    metrics,
    miner_session,
    miner_stats,
    miners,
    openai,
    receipts,
    registry,
    services,
    sessions,
    streams,
    uploads,
    wallet,
    webhooks,
)

# They are tried in this order, so those that are called most often come first.
ROUTERS = (
    jobs.router,
    receipts.router,
    services.router,
    artifacts.router,
    health.router,
    registry.router,
    uploads.router,
    log.router,
    wallet.router,
    webhooks.router,
    marketplace.router,
    miner_stats.router,
    miners.router,
    miner_session.router,
    machines.router,
    keys.router,
    sessions.router,
    openai.router,
    admin.router,
)

ROOT_ROUTERS = (streams.router,)
"""What answers without a version too: `/ws` is what the reference calls it."""

OPERATORS_ROUTERS = (metrics.router,)
"""What answers without a version only, and is not part of the API."""
