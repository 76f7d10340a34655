"""The HTTP interface: one file per resource, each exports `router`."""

from agent.coordinator.routes import admin, artifacts, health, jobs, miner_session, miners, receipts, services

ROUTERS = (
    health.router,
    jobs.router,
    services.router,
    artifacts.router,
    receipts.router,
    miners.router,
    miner_session.router,
    admin.router,
)
