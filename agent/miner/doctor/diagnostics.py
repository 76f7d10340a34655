"""Every kind of diagnostic: how bad it is, how it is said, and what to do. docs/reference/doctor.md is made from this table.

Words in braces are filled in where something is found, and stand in capitals in the documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """The outcome of one check. `id` is a kind's, or the check's own when all is well; then, and only then, `remedy` is None."""

    id: str
    severity: Severity
    message: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be found. A fault would stop work, or endanger what must not be lost; a warning costs earnings or comfort."""

    severity: Literal["warning", "fault"]
    message: str
    remedy: str
    guide: str | None = None
    """For the documentation, in place of a remedy that consists of what was found."""


def ok(check: str, message: str) -> Diagnostic:
    """A check that found nothing wrong."""
    return Diagnostic(check, "ok", message)


def found(kind_id: str, **words: object) -> Diagnostic:
    """A diagnostic of a kind of the table, with its words filled in."""
    kind = KINDS[kind_id]
    return Diagnostic(kind_id, kind.severity, kind.message.format(**words), kind.remedy.format(**words))


KINDS: Final[Mapping[str, Kind]] = {
    # --- Settings and files
    "configuration_wrong": Kind(
        "fault", "A setting is wrong. {fault}", "Correct it, then look again: aitbc-agent config check"
    ),
    "catalogue_wrong": Kind(
        "fault",
        "The owner's catalogue of models is wrong. {fault}",
        "Correct the file, then look again: aitbc-agent models list",
    ),
    "data_directory_unwritable": Kind(
        "fault",
        "{directory} cannot be written ({cause}).",
        "Give it to this user (as root: chown {user} {directory}), or choose another with --data-dir.",
    ),
    "data_directory_open": Kind(
        "warning", "Other users may look into {directory} (mode {mode}).", "Run: chmod 700 {directory}"
    ),
    "data_directory_temporary": Kind(
        "warning",
        "{directory} is on a {file_system} that does not last: the miner's identity and unsent results would be lost.",
        "Choose a directory on a disk with --data-dir; in a container, mount a volume there.",
    ),
    "data_directory_on_network": Kind(
        "fault",
        "{directory} is on a network's file system ({file_system}), on which the databases can be damaged.",
        "Choose a directory on a disk of this machine with --data-dir.",
    ),
    "data_directory_in_use": Kind(
        "warning",
        "Another agent ({holder}) holds {directory}, and does not say that it is ready.",
        "Wait until it is, or end it (kill {pid}); a second agent needs a --data-dir of its own.",
    ),
    "secrets_readable": Kind(
        "fault", "Other users may read these secrets: {files}.", "Run: chmod 600 {files}"
    ),
    "disk_full": Kind(
        "fault",
        "{free} are free for {use} in {directory}, too little to work with.",
        "Make room (du -xh {directory} | sort -h | tail), or move it (setting {setting}); {wanted} are a good start.",
    ),
    "disk_low": Kind(
        "warning",
        "{free} are free for {use} in {directory}.",
        "Make room (du -xh {directory} | sort -h | tail), or move it (setting {setting}); {wanted} are a good start.",
    ),
    "models_unwritable": Kind(
        "warning",
        "No models can be fetched into {directory} ({cause}).",
        "Give it to this user (as root: chown {user} {directory}), or choose another with the setting models_dir.",
    ),
    "models_missing": Kind(
        "warning",
        "There are no models in {directory}, and none may be downloaded.",
        "Fetch some (aitbc-agent models pull NAME), or set runners.model_download to true.",
    ),
    # --- The machine
    "memory_low": Kind(
        "warning",
        "{processor}, {memory} of memory for this process.",
        "Offer small models only, or raise the memory limit of the container or service.",
    ),
    "descriptors_low": Kind(
        "warning",
        "This process may have {limit} files open at most, which is room for few connections to a coordinator.",
        "Raise the hard limit: LimitNOFILE= in a unit, --ulimit nofile= of a container, /etc/security/limits.conf for a login.",
    ),
    "sqlite_wal_reset": Kind(
        "warning",
        "SQLite {version} can damage a database when several connections checkpoint at once. The agent never lets "
        "them, so this concerns only other programs.",
        "Open the agent's databases with other programs only while it is stopped, or update SQLite to 3.51.3.",
    ),
    "driver_missing": Kind(
        "warning",
        "There is an NVIDIA card ({card}) without a driver, so jobs run on the processor.",
        "Install the driver (Debian: apt-get install nvidia-driver); in a container, start it with the GPUs (--gpus all).",
    ),
    "gpu_unusable": Kind(
        "warning",
        "No GPU can be used, or not all; jobs run on what is left.",
        "{reason}",
        "It follows the driver's state: load the driver (modprobe nvidia), restart the machine after an update, let this user "
        "open /dev/nvidia*, check the card's power and slot, or correct CUDA_VISIBLE_DEVICES.",
    ),
    "driver_old": Kind(
        "warning",
        "NVIDIA's driver {driver} is too old for CUDA {version}, so the engines fall back to the processor or fail.",
        "Install driver {wanted} or newer (Debian: apt-get install nvidia-driver), then restart the machine.",
    ),
    "torch_without_cuda": Kind(
        "warning",
        "torch {version} is a build without CUDA, so language models, images and speech run on the processor beside an idle card.",
        "Install the usual build: {pip} install --force-reinstall torch",
    ),
    # --- Programs
    "ffmpeg_missing": Kind(
        "warning",
        "{program} was not found.",
        "Install FFmpeg (Debian: apt-get install ffmpeg), or set runners.{setting} to the program's path.",
    ),
    "nvenc_unusable": Kind(
        "warning",
        "FFmpeg lists NVENC, but encoding one frame with it failed: videos are encoded on the processor.",
        "See why: {program} -f lavfi -i color=black:s=256x256 -frames:v 1 -c:v h264_nvenc -f null - ; most often "
        "the driver lacks libnvidia-encode (Debian: apt-get install libnvidia-encode1), or is older than FFmpeg needs.",
    ),
    "blender_without_kernels": Kind(
        "warning",
        "Blender does not use the card. {reason}",
        "Unpack the build from blender.org, and set runners.blender to the path of its program; or repair the driver.",
    ),
    "sandbox_missing": Kind(
        "fault",
        "Programs that read strangers' files cannot be isolated: {program} was not found.",
        "Install it (Debian: apt-get install bubblewrap), or set runners.bubblewrap to its path.",
    ),
    "sandbox_forbidden": Kind(
        "fault",
        "Programs that read strangers' files cannot be isolated.",
        "{reason}",
        "Allow user namespaces (as root: sysctl kernel.unprivileged_userns_clone=1, or an AppArmor profile for bwrap); in a "
        "container, see [containers.md](../how-to/containers.md).",
    ),
    "sandbox_weaker": Kind(
        "warning",
        "bubblewrap does not work here. Programs that read strangers' files are isolated with Landlock, which hides less; Python models "
        "run in it only with runners.python_models_in_landlock.",
        "{reason}",
        "Let bubblewrap work ([sandbox.md](../explanation/sandbox.md)), or accept it: set runners.sandbox to landlock.",
    ),
    "sandbox_off": Kind(
        "warning",
        "The sandbox is switched off: programs that read strangers' files see this user's files.",
        "Set runners.sandbox to auto, unless the whole agent is isolated.",
    ),
    "service_unavailable": Kind(
        "warning",
        "{service} is not offered.",
        "{reasons}",
        "Its runner says what it lacks, with the command: a program, an extra (pip install 'aitbc-agent[llm]'), the sandbox, "
        "memory, or a card.",
    ),
    "no_service": Kind(
        "fault",
        "This machine offers no service at all, so it cannot earn.",
        "Repair at least one of the services that are not offered.",
    ),
    # --- The network
    "port_taken": Kind(
        "fault",
        "The coordinator cannot listen on {host} port {port}: another program listens there.",
        "Stop that program (ss -ltnp 'sport = :{port}' names it), or choose another port with --port (0 takes a free one).",
    ),
    "address_unusable": Kind(
        "fault",
        "The coordinator cannot listen on {host} port {port}: {cause}.",
        "Correct coordinator.host (127.0.0.1 is this machine alone), or coordinator.port.",
    ),
    "coordinator_unknown": Kind(
        "fault",
        "The name in {url} cannot be resolved ({cause}).",
        "Check the spelling of miner.coordinator, and this machine's name service (getent hosts {host}).",
    ),
    "coordinator_refuses": Kind(
        "fault",
        "Nothing listens at {url}: the connection is refused.",
        "Check the port in miner.coordinator; else start the coordinator, or let its firewall pass this machine.",
    ),
    "coordinator_silent": Kind(
        "fault",
        "{url} does not answer within {seconds} s.",
        "Try again; if it lasts, see what stands between (curl -v {url}/v1/health), often a firewall.",
    ),
    "coordinator_certificate": Kind(
        "fault",
        "The connection to {url} is not safe: {cause}.",
        "Check the address and this machine's clock; a private certificate authority is named with SSL_CERT_FILE.",
    ),
    "coordinator_unreachable": Kind(
        "fault",
        "{url} cannot be reached ({cause}).",
        "Check miner.coordinator and this machine's network (curl -v {url}/v1/health).",
    ),
    "coordinator_wrong": Kind(
        "fault",
        "{url} answers {answer} instead of its health.",
        "Check that miner.coordinator is the address of a coordinator, with its path if it has one.",
    ),
    "coordinator_degraded": Kind(
        "warning",
        "{url} answers, but says of itself that these do not work: {parts}.",
        "Tell its operator; on the coordinator's machine: aitbc-agent fsck",
    ),
    "clock_wrong": Kind(
        "fault",
        "This machine's clock is {skew} s {direction} the coordinator's: leases are misjudged.",
        "Synchronise it (as root: timedatectl set-ntp true); if it is right, tell the coordinator's operator.",
    ),
    "clock_inexact": Kind(
        "warning",
        "This machine's clock is {skew} s {direction} the coordinator's.",
        "Synchronise it (as root: timedatectl set-ntp true); if it is right, tell the coordinator's operator.",
    ),
    "enrolment_refused": Kind(
        "fault",
        "{url} would not take this miner. {reason}",
        "Make a new token on the coordinator's machine (aitbc-agent enroll), and start with --enroll TOKEN.",
    ),
    # --- The doctor's own
    "check_slow": Kind(
        "warning", "The check '{check}' did not end within {seconds} s.", "Try again on a calmer machine."
    ),
    "check_broken": Kind(
        "fault",
        "The check '{check}' failed ({error}).",
        "Please report this with the output of: aitbc-agent doctor --json",
    ),
}
