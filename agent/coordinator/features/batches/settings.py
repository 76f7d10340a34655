"""Settings of files and batches."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.core.values.quantities import Bytes
from agent.sections import Section


class BatchSettings(Section):
    """How many files and batches an account may have, and what their jobs cost. These settings are in the table `coordinator`."""

    batch_price: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of a miner's price that jobs of batches cost. A miner may ask for more (`miner.batch_price`), up to all of its price, and one of
    a version before 0.3 does."""
    batch_jobs: Annotated[int, Field(ge=1, le=1000)] = 32
    """Lines of a batch that are jobs at the same time. Each holds its maximum cost."""
    max_batches: Annotated[int, Field(ge=1)] = 50
    """Unfinished batches of an account."""
    max_batch_lines: Annotated[int, Field(ge=1)] = 50_000
    """Lines of a batch."""
    max_batch_file: Bytes = Bytes("200Mi")
    """Size of the file of a batch. `max_artifact` and the account's quota apply as well."""
    max_files: Annotated[int, Field(ge=1)] = 10_000
    """Files of an account at `/v1/files`."""


SETTINGS: Final = {"coordinator.*": BatchSettings}
