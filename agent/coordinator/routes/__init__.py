"""The HTTP interface: one file per resource, each exports `router`."""

from agent.coordinator.routes import (
    admin,
    artifacts,
    health,
    jobs,
    miner_session,
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
    miners.router,
    miner_session.router,
    admin.router,
)
