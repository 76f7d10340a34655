"""The HTTP interface: one file per resource, each exports `router`."""

from agent.coordinator.routes import (
    admin,
    artifacts,
    health,
    jobs,
    marketplace,
    miner_session,
    miner_stats,
    miners,
    receipts,
    registry,
    services,
    wallet,
)

ROUTERS = (
    health.router,
    jobs.router,
    services.router,
    registry.router,
    artifacts.router,
    receipts.router,
    wallet.router,
    marketplace.router,
    miner_stats.router,
    miners.router,
    miner_session.router,
    admin.router,
)
