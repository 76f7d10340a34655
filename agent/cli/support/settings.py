"""Settings of the support bundle."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agent.core.values.quantities import Bytes
from agent.sections import Section


class SupportSettings(Section):
    """What `aitbc-agent support-bundle` collects, at most."""

    max_seconds: Annotated[float, Field(gt=0, le=3600)] = 180.0
    """Time for all parts together. One that takes longer is left out, and the bundle says so; on a busy machine the doctor needs a minute or more."""
    max_size: Annotated[Bytes, Field(ge=2**16)] = Bytes("20Mi")
    """Size of all files in the bundle before compression, of which text takes about a tenth. What is left out is named in it."""
    max_log: Annotated[Bytes, Field(ge=2**10)] = Bytes("2Mi")
    """Size of each log in the bundle, counted from its end."""
    failures: Annotated[int, Field(ge=0, le=10_000)] = 50
    """Number of the latest failed runs to list."""
