"""The HTTP interface: one module per resource, each with a `router` whose paths begin with the API's version."""

import warnings

from pydantic.warnings import UnsupportedFieldAttributeWarning

from agent.coordinator.routes import (
    artifacts,
    health,
    jobs,
    miner_session,
    miners,
)

# The framework ignores this warning about its own fields where it builds them, but they are built later: at their first use.
warnings.filterwarnings("ignore", category=UnsupportedFieldAttributeWarning)

# Routers are tried in this order, so the most used come first.
ROUTERS = (
    jobs.router,
    artifacts.router,
    health.router,
    miners.router,
    miner_session.router,
)
