"""The bodies with which clients submit jobs: the options of any job, and a whole job."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from agent.coordinator import job_fields
from agent.core.jobs import JobState
from agent.core.values.quantities import Money, Quantity, parse_quantity


class _Body(BaseModel, defer_build=True):
    # Strict, so that values which the published schema refuses are refused, such as "5" for a number.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Resources(_Body):
    """The resources that the run may use, as Kubernetes quantities."""

    cpu: Quantity | None = Field(default=None, description="Cores", examples=["1000m"])
    memory: Quantity | None = Field(default=None, description="Main memory, bytes", examples=["2Gi"])
    gpu: Quantity | None = Field(default=None, description="GPUs, a whole number", examples=["1"])

    @field_validator("gpu")
    @classmethod
    def _whole(cls, value: str | None) -> str | None:
        if value is not None and parse_quantity(value) % 1:
            raise ValueError("gpu is a whole number of GPUs")
        return value


class Pricing(_Body):
    """The maximum that the client pays, a decimal string."""

    max_cost: Money | None = Field(
        default=None,
        description="Maximum cost, held in escrow until the job ends. Null: the coordinator's default (1.00)",
        examples=["0.10"],
    )


class _Options(_Body):
    miner_options: ClassVar[tuple[str, ...]] = ("miner_id",)
    """The options that determine the job's miner. A feature that adds one declares them again."""

    name: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="The job's name in lists. Null: derived from its file or prompt"
    )
    resources: Resources = Resources()
    pricing: Pricing = Pricing()
    priority: Annotated[int, Field(ge=0, le=9)] = Field(default=0, description="9 is the most urgent")
    timeout_seconds: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Maximum duration of one run. Null: the coordinator's default (3600)"
    )
    max_attempts: Annotated[int, Field(ge=1, le=10)] | None = Field(
        default=None,
        description="Maximum number of runs, if runs fail through machine faults. Null: the coordinator's default (3)",
    )
    miner_id: Annotated[str, Field(pattern=r"^miner_[a-z2-7]{1,64}$")] | None = Field(
        default=None,
        description="The only miner that may run it. No other miner sees the job to audit it, unless `audited` is true",
        examples=["miner_aebagbafaydqqcikbmga2dqp"],
    )
    min_reputation: Annotated[float, Field(ge=0, le=5)] | None = Field(
        default=None,
        description="Only miners with at least this reputation may run it, or audit it",
        examples=[4.2],
    )
    wait: bool = Field(
        default=False,
        description="Accept the job even if no known miner can run it, and wait for one. False: it is refused with `CANNOT_RUN`",
    )

    @property
    def chosen(self) -> list[str]:
        """The options among `miner_options` that are given."""
        return [name for name in self.miner_options if getattr(self, name) is not None]

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if len(self.chosen) > 1:
            raise ValueError(f"give one of {' and '.join(self.chosen)}, not both: each determines the miner")
        return self


class JobOptions(job_fields.OptionFields, _Options):
    """The options of any job, independent of its service."""


class JobRequest(job_fields.Input, JobOptions):
    """A new job. `type` is a service id; hyphens and underscores are the same.

    Services take their input from `parameters`; Python models take it from `model`, `input` and `output` as well.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "image-classification",
                    "type": "ai-inference",
                    "model": {"type": "python", "entrypoint": "model.py", "requirements": ["numpy", "torch"]},
                    "input": {"type": "image", "format": "jpeg"},
                    "output": {"type": "json"},
                    "resources": {"cpu": "1000m", "memory": "2Gi", "gpu": "1"},
                    "pricing": {"max_cost": "0.10"},
                }
            ]
        }
    )

    type: Annotated[str, Field(max_length=64, description="A service's id", examples=["ai-inference"])]
    parameters: dict[str, Any] = Field(
        default={}, description="The service's input; its schema is in the registry"
    )
    model: dict[str, Any] | None = Field(default=None, description="For a Python model: its program")
    input: dict[str, Any] | None = Field(default=None, description="For a Python model: its input file")
    output: dict[str, Any] | None = Field(
        default=None, description="For a Python model: the form of its results"
    )


class _Filters(BaseModel, defer_build=True):
    status: JobState | None = Field(default=None, description="Only jobs in this state")
    type: str | None = Field(default=None, description="Only jobs of this service", examples=["ai-inference"])
    name: str | None = Field(default=None, description="Only jobs of this name", examples=["interview.mp3"])
    miner_id: str | None = Field(
        default=None, description="Only jobs that this miner runs or ran last", examples=["miner_1234567890"]
    )
    account_id: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="Only jobs of this account; for administrators"
    )
    limit: int = Field(default=50, ge=1, le=500, description="Maximum number of results")
    offset: int = Field(default=0, ge=0, le=2**31, description="Number of jobs to skip")


class JobFilters(job_fields.FilterFields, _Filters):
    """Which jobs a list shows: those to which all filters apply."""
