"""What routes of lists of items read from their addresses."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query

After = Annotated[str | None, Query(max_length=200, description="Continue after the item of this id")]
Order = Annotated[Literal["asc", "desc"], Query(description="By their position, oldest or newest first")]
PageSize = Annotated[int, Query(ge=1, le=100, description="Maximum number of items")]
