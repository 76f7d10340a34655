"""What entries of the log mean, in sentences for the owner of a machine.

The log itself has names of events and fields, for programs. An event without a sentence here is shown with its fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from agent.cli.terminal.model_choice import model_choice
from agent.core.values.durations import format_duration
from agent.core.values.quantities import gibibytes

Entry = Mapping[str, Any]

_OF_THE_COORDINATOR: Final = frozenset(
    {
        "browser_signed_in", "browser_signed_out", "job_completed", "job_submitted", "lease_given", "leases_extended", "miner_connected", "miner_disconnected",
        "run_failed",
    }
)  # fmt: skip
_DETAILS: Final = frozenset(
    {
        "checkpoint_not_fetched", "checkpoint_not_uploaded", "checkpoint_refused", "checkpoints_too_large", "child_ended", "child_started", "client_left", "command_settled",
        "control_client_dropped", "direct_part_failed", "events_dropped", "leftover_removed", "miner_registered", "model_file_interrupted", "outbox_resumed", "panel_ended",
        "poll_failed", "resumed_by_hand", "runner_ended", "runner_started", "schema_created", "sealed_leftover_removed", "sealed_requests_dropped", "sealing_key_created", "statements_not_prepared",
        "stream_ended", "stream_reader_stuck", "stream_refused", "update_looked_for",
    }
)  # fmt: skip
"""Events that are of interest to developers only, or that a sentence about another event includes. The log as JSON has them."""
NO_DRIVER: Final = "No NVIDIA driver was found"
"""The beginning of the reason why a machine without a card has none."""
_LEVELS_SHOWN: Final = frozenset({"warning", "error", "critical"})
_FINISHED: Final = 200


class _Text(dict[str, Any]):
    """The fields of an entry as texts."""

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        return _words(value) if isinstance(value, (list, tuple)) else value


def is_of_the_coordinator(entry: Entry) -> bool:
    """Return whether this is a routine entry of the coordinator, where a miner beside it has its own about the same jobs."""
    return entry.get("event") in _OF_THE_COORDINATOR and entry.get("level") not in _LEVELS_SHOWN


def sentence(entry: Entry) -> str | None:
    """Return what an entry of the log means, or None if it is only for developers.

    Raises `LookupError` or `TypeError` for an event without a sentence, or of another version whose fields differ.
    """
    event = entry["event"]
    if event in _DETAILS and entry.get("level") not in _LEVELS_SHOWN:
        return None
    words = _SENTENCES[event]
    return words.format_map(_Text(entry)) if isinstance(words, str) else words(entry)


def _words(values: Any) -> str:
    return ", ".join(map(str, values))


def _gpus(gpus: list[str], reason: str | None) -> str:
    if gpus:
        return f"{len(gpus)} GPU{'' if len(gpus) == 1 else 's'} can be used.{f' {reason}' if reason else ''}"
    # What to install stands above the log of the panel, and in the doctor's report.
    more = f" {reason}" if reason and not reason.startswith(NO_DRIVER) else ""
    return f"No NVIDIA GPU can be used, so jobs run on the processor.{more}"


def _probed(services: list[str], unavailable: Mapping[str, Any]) -> str:
    offered = f"This machine offers {_words(services)}." if services else "This machine offers no service."
    if not unavailable:
        return offered
    return f"{offered} It does not offer {_words(unavailable)}: `aitbc-agent doctor` says why."


def _pauses(miner: str | None, gpus: Mapping[str, str | None]) -> str | None:
    if miner is not None and miner.startswith("by hand"):
        return None  # `paused_by_hand` has said so
    if miner is not None:
        return f"Accepting no jobs: {miner}"
    paused = {gpu: reason for gpu, reason in gpus.items() if reason is not None}
    if not paused:
        return "Accepting jobs."
    return " ".join(f"{gpu} accepts no jobs: {reason}" for gpu, reason in paused.items())


def _unavailable_models(models: Mapping[str, Mapping[str, str]]) -> str | None:
    names = sorted({name for of_service in models.values() for name in of_service})
    # Most are too large for the machine, which is no news.
    return f"{len(names)} models cannot be offered here: `aitbc-agent status` says why." if names else None


def _placement(entry: Entry) -> str | None:
    model = entry["model"] or entry["service"]
    match entry["what"]:
        case "placed":
            return f"Loading {model}."
        case "evicted" | "released":
            return f"Unloaded {model}: {entry['reason']}"
        case "waits":
            return f"A job for {model} waits: {entry['reason']}"
        case _:
            return f"{model} was not loaded: {entry['reason']}"


def _answered(entry: Entry) -> str | None:
    if entry["status"] == _FINISHED:
        # A failure has had its own entry.
        return f"{entry['job_id']} is done." if entry["kind"] == "result" else None
    if not entry["final"]:
        return f"The coordinator did not take the result of {entry['job_id']} yet ({entry['status']}); sending it again."
    return f"The coordinator refused the result of {entry['job_id']} ({entry['code'] or entry['status']})."


def _failed(entry: Entry) -> str:
    # Texts of engines may quote a prompt, so that the log has only a code instead.
    reason = f": {entry['error']}" if entry["error"] else f" ({entry['code']})."
    if entry["kind"] == "fail":
        return f"{entry['job_id']} cannot be done, because of what its client sent{reason}"
    return f"{entry['job_id']} failed on this machine; another one may do it{reason}"


_SENTENCES: Final[Mapping[str, str | Callable[[Entry], str | None]]] = {
    # --- The agent
    "starting": "The agent starts, version {version}.",
    "ready": "Ready for jobs.",
    "ended": lambda entry: f"The agent has ended: {entry['error']}" if entry.get("error") else "The agent has ended.",
    "miner_stopping": "Stopping.",
    "miner_stopped": "All jobs are finished or handed back.",
    "update_restart": "Restarting, to run another version.",
    "settings_changed": "Settings were changed: {settings}.",
    "metrics_served": "Metrics are at {url}.",
    "schema_upgraded": "The database was upgraded for this version.",
    # --- The connection
    "websocket_open": "Connected to {url}.",
    "websocket_closed": "The connection to {url} is lost; connecting again.",
    "websocket_refused": "{url} cannot be reached at the moment.",
    "heartbeat_failed": "The coordinator does not answer at the moment.",
    "session_expired": "The coordinator does not know this session any more; joining it again.",
    "coordinator_unreachable": "{url} cannot be reached ({error}). Next try in {retry_in} s.",
    "miner_excluded": lambda entry: f"{entry['url']} does not admit this machine: {entry['reason']}"
    if "url" in entry
    else f"{entry['miner_id']} is excluded.",
    "versions_differ": "{url} refuses this version of the agent: {reason}",
    "version_outdated": "{advice}",
    "clock_jumped": "The machine was asleep, or its clock was set; connecting again.",
    # --- The machine
    "gpus_changed": lambda entry: _gpus(entry["gpus"], entry["reason"]),
    "gpus_appeared": "The driver reports a GPU.",
    "gpus_not_responding": "The GPU's driver does not answer. If this lasts, restart the machine.",
    "machine_probed": lambda entry: _probed(entry["services"], entry["unavailable"]),
    "machine_changed": "GPUs or engines have changed: the agent looks at the machine again once its running jobs are done.",
    "models_changed": "The catalogue of models has changed.",
    "models_not_read": "The owner's models could not be read: {error}",
    "engines_changed": "Engines were installed or removed.",
    "engines_preferred": "Preferred engines: {engines}.",
    "selftest_ended": lambda entry: f"The self-test found: {' '.join(entry['problems'])}"
    if entry["problems"]
    else f"The self-test passed in {entry['seconds']} s.",
    "sealed_jobs_unavailable": "Sealed jobs are not accepted: {reason}",
    "power_limit_set": "{gpu} may take {watts} W.",
    "power_limit_restored": "{gpu} may take {watts} W again.",
    "power_limits_changed": lambda entry: " ".join(entry["problems"]) or "Power limits work again.",
    "disk_freed": "Deleted to free disk space: {removed}.",
    "downloads_hindered": "Downloads wait: {reason}",
    "downloads_resumed": "Downloads go on.",
    "notice_sent": "A notice was sent: {notice_event}.",
    "summary_sent": "The summary of {first} to {last} was sent.",
    "unprofitable_models_changed": lambda entry: f"Not worth their electricity at present: {_words(entry['models'])}."
    if entry["models"]
    else "All models are worth their electricity again.",
    # --- Pauses
    "paused_by_hand": lambda entry: "Paused by you." if entry["gpu"] is None else f"You paused {entry['gpu']}.",
    "pauses_changed": lambda entry: _pauses(entry["miner"], entry["gpus"]),
    "service_paused": "{service} accepts no jobs for {seconds:.0f} s: {cause}",
    # --- Models
    "model_fetching": lambda entry: f"Downloading {entry['model']} ({gibibytes(entry['size'])}).",
    "model_fetched": lambda entry: f"{entry['model']} was downloaded in {format_duration(entry['seconds'])}.",
    "model_not_fetched": "{model} could not be downloaded: {error}",
    "model_command_refused": "{model} was not downloaded as the dashboard asked: downloads are switched off, or it cannot be fetched.",
    "model_removal_refused": "{model} was not removed as the dashboard asked: its directory belongs to you.",
    "models_removed": "Deleted {models}, for {cause}.",
    "model_chosen": lambda entry: model_choice(
        entry["model"], entry["reason"], entry["removals"], only_shown=entry["only_shown"]
    ),
    "no_model_chosen": "No model is downloaded by choice: {reason}",
    "model_choice_failed": "Which models are needed could not be decided: {error}",
    "models_unavailable": lambda entry: _unavailable_models(entry["models"]),
    "placement": _placement,
    "model_circuit_open": "{model} is not loaded any more for a while: {cause}",
    "price_of_unknown_service": "A price is set for {service}, which is no service. {advice}",
    # --- Jobs
    "lease_accepted": "{job_id} begins ({service}).",
    "outbox_answered": _answered,
    "outbox_waiting": "{entries} finished jobs wait to be sent: {reason}",
    "lease_released": "{job_id} was handed back: {reason}",
    "job_dropped": "{job_id} was cancelled by its client or given to another machine.",
    "job_failed": _failed,
    # --- The coordinator
    "job_submitted": "{job_id} was submitted ({service}).",
    "lease_given": "{job_id} was given to {miner_id}.",
    "job_completed": "{job_id} was done by {miner_id}.",
    "run_failed": lambda entry: f"{entry['job_id']} failed on {entry['miner_id']} ({entry['code']}).",
    "miner_connected": "{miner_id} is connected.",
    "miner_disconnected": "{miner_id} is not connected any more.",
    "miner_included": "{miner_id} is admitted again.",
    "miner_removed": "{miner_id} was removed.",
    "browser_signed_in": "A browser has signed in to the dashboard.",
    "browser_signed_out": "A browser has signed out of the dashboard.",
    "leases_extended": "{count} running jobs go on after the restart.",
}  # fmt: skip
