"""The HTTP interface: one file per resource, each exports `router`."""

from agent.coordinator.routes import (
    admin,
    artifacts,
    health,
    jobs,
    log,
    marketplace,
    miner_session,
    miner_stats,
    miners,
    openai,
    receipts,
    registry,
    services,
    streams,
    uploads,
    wallet,
    webhooks,
)

ROUTERS = (
    health.router,
    jobs.router,
    services.router,
    registry.router,
    artifacts.router,
    uploads.router,
    receipts.router,
    log.router,
    wallet.router,
    webhooks.router,
    marketplace.router,
    miner_stats.router,
    miners.router,
    miner_session.router,
    openai.router,
    admin.router,
)

ROOT_ROUTERS = (streams.router,)
"""What answers without a version too: `/ws` is what the reference calls it."""
