"""Client of the AITBC network: jobs, artifacts, and receipts that verify offline.

from aitbc import AITBCClient

with AITBCClient() as client:
    job = client.services.transcribe("speech.wav", model="tiny.en")
    client.jobs.wait(job.job_id)
    print(client.jobs.get_results(job.job_id).results["text"])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aitbc._public import *  # noqa: F403 - the names are listed there


def __getattr__(name: str) -> Any:
    """Return a name of the package. The first one imports the client; modules such as `aitbc.errors` need none of it."""
    public = import_module("aitbc._public")
    try:
        return globals()[name] if name in globals() else getattr(public, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name) from None


def __dir__() -> list[str]:
    return sorted({*globals(), *import_module("aitbc._public").__all__})
