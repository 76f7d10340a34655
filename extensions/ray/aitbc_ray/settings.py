"""Settings of the executor `ray`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agent.core.values.quantities import Bytes
from agent.sections import Section


class RaySettings(Section):
    """A Ray cluster whose nodes do the work, for `executor = "ray"`, which `aitbc-agent[ray]` installs. The agent runs on one of its nodes."""

    address: Annotated[str | None, Field(examples=["10.0.0.1:6379"])] = None
    """Address of the cluster's head. None: the cluster to which Ray on this machine belongs."""
    directory: str = "~/.cache/aitbc/ray"
    """Directory on every node for the files of running jobs and for caches. "~" and variables such as $HOME are those of the node."""
    models_dir: str = "~/.cache/aitbc/models"
    """Directory on every node for models, which each node downloads for itself. "~" and variables as above."""
    cpus: Annotated[float, Field(ge=0, le=1024)] = 1
    """Processors that a runner reserves of Ray."""
    gpus: Annotated[float, Field(gt=0, le=1)] = 1
    """Share of a GPU that a runner reserves of Ray, where its node has GPUs; 0.5 lets two share one. A runner with a share may use the same share of
    the GPU's memory. A job that requests several GPUs reserves them whole."""
    memory: Bytes = Bytes("1Gi")
    """Main memory that a runner reserves of Ray, in addition to what the catalogue states for its model."""
    connect_seconds: Annotated[float, Field(gt=0)] = 60
    """How long the start waits for the cluster to answer."""
    start_seconds: Annotated[float, Field(gt=0)] = 30
    """How long Ray may take to start a runner on a node that has its resources, before another node is tried."""
    lost_seconds: Annotated[float, Field(ge=3)] = 15
    """A node that is silent for this long counts as lost: its jobs fail with NODE_LOST and are tried again."""
