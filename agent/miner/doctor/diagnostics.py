"""Every kind of diagnostic: its severity, message and remedy. docs/reference/doctor.md is generated from this table.

Words in braces are filled in by the check, and are in capitals in the documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agent.diagnostics import Diagnostic, DiagnosticKind, problem
from runners.engine_server import shared_memory


def found(kind_id: str, **words: object) -> Diagnostic:
    """Return a diagnostic of a kind in the table, with its words filled in."""
    return problem(KINDS, kind_id, **words)


KINDS: Final[Mapping[str, DiagnosticKind]] = {
    # --- Settings and files
    "configuration_wrong": DiagnosticKind(
        "fault", "A setting is wrong. {fault}", "Correct it, then check again: aitbc-agent config check"
    ),
    "catalogue_wrong": DiagnosticKind(
        "fault",
        "Your own catalogue of models is wrong. {fault}",
        "Correct the file, then check again: aitbc-agent models list",
    ),
    "data_directory_unwritable": DiagnosticKind(
        "fault",
        "{directory} cannot be written ({cause}).",
        "Make this user its owner (as root: chown {user} {directory}), or choose another with --data-dir.",
    ),
    "owner_unknown": DiagnosticKind(
        "warning",
        "miner.pause.idle_minutes is set, but neither a desktop nor logind nor a terminal says whether somebody uses this machine: it never pauses.",
        "Run the agent as a service of the desktop's user (aitbc-agent service install --user), or set miner.pause.schedule.",
    ),
    "sealing_unavailable": DiagnosticKind(
        "warning",
        "This miner accepts no sealed jobs. {reason}",
        "Mount a tmpfs and name it in miner.sealing.directory, or set miner.sealing.enabled = false.",
    ),
    "sealing_swap": DiagnosticKind(
        "warning",
        "The kernel may write the decrypted data of sealed jobs to swap ({areas}).",
        "Turn swap off (as root: swapoff -a), or encrypt it with a key that is new at each start.",
    ),
    "data_directory_open": DiagnosticKind(
        "warning", "Other users may read {directory} (mode {mode}).", "Run: chmod 700 {directory}"
    ),
    "data_directory_temporary": DiagnosticKind(
        "warning",
        "{directory} is on a temporary file system ({file_system}): the miner's identity and unsent results would be lost.",
        "Choose a directory on a disk with --data-dir; in a container, mount a volume there.",
    ),
    "data_directory_on_network": DiagnosticKind(
        "fault",
        "{directory} is on a network file system ({file_system}), which can damage the databases.",
        "Choose a directory on a disk of this machine with --data-dir.",
    ),
    "data_directory_in_use": DiagnosticKind(
        "warning",
        "Another agent ({holder}) uses {directory}, and is not ready yet.",
        "Wait until it is ready, or end it (kill {pid}). A second agent needs its own --data-dir.",
    ),
    "secrets_readable": DiagnosticKind(
        "fault", "Other users may read these secrets: {files}.", "Run: chmod 600 {files}"
    ),
    "disk_full": DiagnosticKind(
        "fault",
        "{free} are free for {use} in {directory}, which is too little to work.",
        "Free space (du -xh {directory} | sort -h | tail), or move it (setting {setting}). {recommended} are recommended.",
    ),
    "disk_low": DiagnosticKind(
        "warning",
        "{free} are free for {use} in {directory}.",
        "Free space (du -xh {directory} | sort -h | tail), or move it (setting {setting}). {recommended} are recommended.",
    ),
    "models_unwritable": DiagnosticKind(
        "warning",
        "No models can be fetched into {directory} ({cause}).",
        "Make this user its owner (as root: chown {user} {directory}), or choose another with the setting models_dir.",
    ),
    "models_missing": DiagnosticKind(
        "warning",
        "There are no models in {directory}, and downloads are switched off.",
        "Fetch some (aitbc-agent models pull NAME), or set runners.model_download to true.",
    ),
    # --- The machine
    "memory_low": DiagnosticKind(
        "warning",
        "{processor}, only {memory} of memory for this process.",
        "Offer small models only, or raise the memory limit of the container or service.",
    ),
    "descriptors_low": DiagnosticKind(
        "warning",
        "This process may have at most {limit} files open, which allows few connections to a coordinator.",
        "Raise the hard limit: LimitNOFILE= in a unit, --ulimit nofile= of a container, /etc/security/limits.conf for a login.",
    ),
    "shared_memory_small": DiagnosticKind(
        "warning",
        "vLLM cannot spread a model over several GPUs, nor run on the processor: {lack}",
        shared_memory.REMEDY + ".",
    ),
    "uvm_missing": DiagnosticKind(
        "warning",
        "CUDA cannot start: there is no /dev/nvidia-uvm, which nothing has created since the driver was loaded.",
        "Run `sudo nvidia-modprobe -c0 -u`; the system service does so at each start. For a container, run it on the machine, then "
        "start the container again with the GPUs (--gpus all).",
    ),
    "driver_missing": DiagnosticKind(
        "warning",
        "There is an NVIDIA GPU ({card}) without a driver, so jobs run on the CPU.",
        "Install the driver (Debian: apt-get install nvidia-driver); in a container, start it with the GPUs (--gpus all).",
    ),
    "gpu_unusable": DiagnosticKind(
        "warning",
        "Not all GPUs can be used. Jobs run on the remaining devices.",
        "{reason}",
        "Depends on the driver's state: load the driver (modprobe nvidia), restart the machine after an update, let this user "
        "open /dev/nvidia*, check the card's power and slot, or correct CUDA_VISIBLE_DEVICES.",
    ),
    "gpu_faulty": DiagnosticKind(
        "warning",
        "{card} is faulty and accepts no jobs: {fault}.",
        "Do what the message says. If the fault returns, have the card replaced. `miner.pause.faulty = false` uses it nevertheless.",
    ),
    "gpu_slowed": DiagnosticKind(
        "warning",
        "{card} is slowed down by its hardware, which protects it from heat or from a weak power supply.",
        "Check the card's fans and dust, the air flow, and its power cables.",
    ),
    "selftest_failed": DiagnosticKind(
        "warning",
        "The self-test {age} ago failed. {problems}",
        "Fix it, then test again: aitbc-agent selftest",
    ),
    "gpu_exclusive": DiagnosticKind(
        "warning",
        "{card} is in the compute mode EXCLUSIVE_PROCESS: it has one model at a time, and is paused while another program computes there.",
        "Run `nvidia-smi -c DEFAULT` as root, so that several models and programs can use the card together.",
    ),
    "driver_old": DiagnosticKind(
        "warning",
        "NVIDIA's driver {driver} is too old for CUDA {version}, so the engines fall back to the CPU or fail.",
        "Install driver {required} or newer (Debian: apt-get install nvidia-driver), then restart the machine.",
    ),
    "cuda_fails": DiagnosticKind(
        "warning",
        "NVIDIA's management library lists a card, but CUDA does not start: {words}.",
        "{remedy}",
        "Depends on the error. 100: let the container or this user use /dev/nvidia*. 304: the sandbox or the container keeps a file of the "
        "driver from it. 803: restart the machine after an update of the driver. 999: load nvidia-uvm (as root: nvidia-modprobe -c0 -u), or reload it after a suspend.",
    ),
    "torch_without_cuda": DiagnosticKind(
        "warning",
        "torch {version} is a build without CUDA, so language models, images and speech run on the CPU although there is a GPU.",
        "Install the default build: {command}",
    ),
    # --- Programs
    "ffmpeg_missing": DiagnosticKind(
        "warning",
        "{program} was not found.",
        "Install FFmpeg (Debian: apt-get install ffmpeg), or set runners.{setting} to the program's path.",
    ),
    "nvenc_unusable": DiagnosticKind(
        "warning",
        "FFmpeg lists NVENC, but encoding one frame with it failed: videos are encoded on the CPU.",
        "For the reason, run {program} -f lavfi -i color=black:s=256x256 -frames:v 1 -c:v h264_nvenc -f null - . Most often "
        "the driver lacks libnvidia-encode (Debian: apt-get install libnvidia-encode1; in a container, set "
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video,graphics), or is older than FFmpeg needs.",
    ),
    "blender_without_kernels": DiagnosticKind(
        "warning",
        "Blender does not use the GPU. {reason}",
        "Run aitbc-agent engines install bpy, or set runners.blender to the path of Blender's own build, or repair the driver.",
    ),
    "sandbox_missing": DiagnosticKind(
        "fault",
        "Programs that read untrusted files cannot be isolated: {program} was not found.",
        "Install it (Debian: apt-get install bubblewrap), or set runners.bubblewrap to its path.",
    ),
    "sandbox_forbidden": DiagnosticKind(
        "fault",
        "Programs that read untrusted files cannot be isolated.",
        "{reason}",
        "Allow user namespaces (as root: sysctl kernel.unprivileged_userns_clone=1, or an AppArmor profile for bwrap); in a "
        "container, see [containers.md](../how-to/containers.md).",
    ),
    "sandbox_weaker": DiagnosticKind(
        "warning",
        "bubblewrap does not work here. Programs that read untrusted files are isolated with Landlock, which hides less. Python models "
        "run in it only with runners.python_models_in_landlock.",
        "{reason}",
        "Make bubblewrap work ([sandbox.md](../explanation/sandbox.md)), or accept this: set runners.sandbox to landlock.",
    ),
    "sandbox_off": DiagnosticKind(
        "warning",
        "The sandbox is switched off: programs that read untrusted files can access this user's files.",
        "Set runners.sandbox to auto, unless the whole agent is isolated.",
    ),
    "service_unavailable": DiagnosticKind(
        "warning",
        "{service} is not offered.",
        "{reasons}",
        "Its runner names what is missing, with a command: a program, Python packages, the sandbox, "
        "memory, or a GPU.",
    ),
    "price_unknown": DiagnosticKind(
        "warning",
        "A price is set for {service}, which is no service.",
        "{advice}",
        "Write the service's name as `aitbc-agent status` does: miner.prices.SERVICE.",
    ),
    "engines_wrong": DiagnosticKind(
        "fault",
        "Your own catalogue of engines is wrong. {fault}",
        "Correct the file, then check again: aitbc-agent engines list",
    ),
    "engine_partial": DiagnosticKind(
        "warning",
        "The installation of the engine {engine} was interrupted.",
        "Continue it (aitbc-agent engines install {engine}), or delete what has arrived (aitbc-agent engines remove {engine}).",
    ),
    "engine_without_python": DiagnosticKind(
        "warning",
        "The engine {engine} is not used: the Python that it was installed with is no longer on this machine.",
        "Install it again: aitbc-agent engines install {engine}",
    ),
    "engine_without_compiler": DiagnosticKind(
        "warning",
        "The engine {engine} compiles code when it runs, and this machine lacks {what}.",
        "{remedy}",
        "Install gcc, and the headers of the C library and of Python (Debian: sudo apt-get install gcc g++ libc6-dev python3-dev); build the "
        "image with --build-arg COMPILER=yes.",
    ),
    "directory_noexec": DiagnosticKind(
        "warning",
        "{directory} is mounted noexec, so {use} cannot be loaded from it.",
        "Mount it without noexec (sudo mount -o remount,exec), or choose another directory with the setting {setting}.",
    ),
    "engine_unsuitable": DiagnosticKind(
        "warning",
        "The engine {engine} cannot use a card of this machine. {reason}",
        "Do what the message says, then install the engine again: aitbc-agent engines install {engine}",
    ),
    "engine_of_another_version": DiagnosticKind(
        "warning",
        "The engine {engine} has other versions of its packages than this agent was tested with.",
        "Upgrade it: aitbc-agent engines install {engine}",
    ),
    "no_service": DiagnosticKind(
        "fault",
        "This machine offers no service, so it cannot earn.",
        "Repair at least one of the services that are not offered.",
    ),
    # --- Windows
    "wsl_first": DiagnosticKind(
        "fault",
        "This is WSL 1 ({release}), in which neither the sandbox nor cards work.",
        "In PowerShell: wsl --set-version DISTRIBUTION 2 (wsl --list shows its name).",
    ),
    "wsl_no_card": DiagnosticKind(
        "warning",
        "Windows passes no NVIDIA card on to WSL: {missing} is missing.",
        "Install NVIDIA's driver in Windows, none in Linux; then in PowerShell: wsl --update, wsl --shutdown. Without a card, ignore this.",
    ),
    "wsl_linux_driver": DiagnosticKind(
        "fault",
        "A driver for Linux is installed in WSL ({path}), which hides that of Windows.",
        "Remove it (Debian: sudo apt purge '^nvidia-.*' '^libcuda1.*'); Windows' driver is in /usr/lib/wsl/lib.",
    ),
    "wsl_no_systemd": DiagnosticKind(
        "warning",
        "systemd is off in WSL, so the agent cannot run as a service.",
        "Add the lines [boot] and systemd=true to /etc/wsl.conf; then in PowerShell: wsl --shutdown.",
    ),
    "wsl_restart": DiagnosticKind(
        "warning",
        "/etc/wsl.conf turns systemd on, and WSL has not been restarted since.",
        "In PowerShell: wsl --shutdown.",
    ),
    "wsl_memory": DiagnosticKind(
        "warning",
        "WSL has only {memory} of memory ({limit}).",
        "Set memory below [wsl2] in .wslconfig in your Windows user's directory; then in PowerShell: wsl --shutdown.",
    ),
    "wsl_windows_disk": DiagnosticKind(
        "warning",
        "{directory} is on a disk of Windows, which is slow from Linux and cannot protect keys.",
        "Move it to Linux's own disk, below your home directory (setting {setting}).",
    ),
    # --- The network
    "artifacts_unusable": DiagnosticKind(
        "fault",
        "The store of files cannot be used. {fault}",
        "Correct it, then check again: aitbc-agent doctor",
    ),
    "port_taken": DiagnosticKind(
        "fault",
        "The coordinator cannot listen on {host} port {port}: another program listens there.",
        "Stop that program (ss -ltnp 'sport = :{port}' names it), or choose another port with --port (0 picks a free one).",
    ),
    "address_unusable": DiagnosticKind(
        "fault",
        "The coordinator cannot listen on {host} port {port}: {cause}.",
        "Correct coordinator.host (127.0.0.1 is this machine only), or coordinator.port.",
    ),
    "coordinator_unknown": DiagnosticKind(
        "fault",
        "The name in {url} cannot be resolved ({cause}).",
        "Check the spelling of miner.coordinator, and this machine's name service (getent hosts {host}).",
    ),
    "coordinator_refuses": DiagnosticKind(
        "fault",
        "Nothing listens at {url}: the connection is refused.",
        "Check the port in miner.coordinator, start the coordinator, or allow this machine in its firewall.",
    ),
    "coordinator_silent": DiagnosticKind(
        "fault",
        "{url} does not answer within {seconds} s.",
        "Try again. If it lasts, check the network in between (curl -v {url}/v1/health), often a firewall.",
    ),
    "coordinator_certificate": DiagnosticKind(
        "fault",
        "The connection to {url} is not safe: {cause}.",
        "Check the address and this machine's clock. Set SSL_CERT_FILE for a private certificate authority.",
    ),
    "coordinator_unreachable": DiagnosticKind(
        "fault",
        "{url} cannot be reached ({cause}).",
        "Check miner.coordinator and this machine's network (curl -v {url}/v1/health).",
    ),
    "coordinator_wrong": DiagnosticKind(
        "fault",
        "{url} answers {answer} instead of its health status.",
        "Check that miner.coordinator is the address of a coordinator, with its path if it has one.",
    ),
    "coordinator_degraded": DiagnosticKind(
        "warning",
        "{url} answers, but reports that these parts do not work: {parts}.",
        "Inform its operator, who can run on the coordinator's machine: aitbc-agent fsck",
    ),
    "coordinator_version": DiagnosticKind(
        "fault",
        "{url} refuses this agent. {problem}",
        "Update the side with the older version: docs/how-to/operate.md#upgrade.",
    ),
    "version_outdated": DiagnosticKind(
        "warning",
        "{advice}",
        "`aitbc-agent update` installs a newer version, or says how your installation gets it.",
    ),
    "coordinator_other": DiagnosticKind(
        "fault",
        "Another coordinator than the one to join answers at {url}: its log key is {key}, not {pinned}.",
        "Ask the operator. If the key was replaced on purpose, join with a new code (aitbc-agent join).",
    ),
    "clock_wrong": DiagnosticKind(
        "fault",
        "This machine's clock is {skew} s {direction} the coordinator's: leases are misjudged.",
        "Synchronise it (as root: timedatectl set-ntp true); if it is right, inform the coordinator's operator.",
    ),
    "clock_inexact": DiagnosticKind(
        "warning",
        "This machine's clock is {skew} s {direction} the coordinator's.",
        "Synchronise it (as root: timedatectl set-ntp true); if it is right, inform the coordinator's operator.",
    ),
    "enrolment_refused": DiagnosticKind(
        "fault",
        "{url} would refuse this miner. {reason}",
        "Ask its operator for a new code (aitbc-agent enroll prints one), and run: aitbc-agent join CODE",
    ),
    # --- The doctor's own
    "check_slow": DiagnosticKind(
        "warning",
        "The check '{check}' did not end within {seconds} s.",
        "Try again when the machine is less busy.",
    ),
    "check_broken": DiagnosticKind(
        "fault",
        "The check '{check}' failed ({error}).",
        "Please report this with the output of: aitbc-agent doctor --json",
    ),
}
