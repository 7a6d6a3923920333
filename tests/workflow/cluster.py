"""A SLURM of one node on this machine, with daemons, keys and spool of its own: nothing of the system's is read or left changed."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

# No cgroups, which containers lack: processes are followed by their parents, and memory is what they hold together, looked at every second.
CONFIGURATION = """
ClusterName=petbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
KillWait=2
MinJobAge=7200
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=16000 Gres=gpu:dummy:2
PartitionName=short Nodes={host} Default=YES State=UP
PartitionName=accelerated Nodes={host} State=UP
"""
# Two device files that every machine has stand for GPUs.
DEVICES = {"nvidia0": "/dev/null", "nvidia1": "/dev/zero"}


@contextmanager
def slurm(folder: Path, given: Mapping[str, str] = os.environ) -> Iterator[dict[str, str]]:
    """Run the daemons; the environment, `given` and more, in which SLURM's commands and Snakemake find them."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    for name, device in DEVICES.items():
        (folder / name).symlink_to(device)
    host = socket.gethostname().split(".")[0]
    controller_port, node_port = _free_ports(2)
    configuration = folder / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(host=host, folder=folder, controller_port=controller_port, node_port=node_port))
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu Type=dummy File={folder}/nvidia[0-1]\n")
    environment = {**given, "SLURM_CONF": str(configuration), "PATH": f"{folder}/bin:{given['PATH']}"}
    # Snakemake's job step starts `srun` without any SLURM_ variable, so that it would look below /etc.
    (folder / "bin").mkdir()
    srun = folder / "bin/srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={configuration} exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    with ExitStack() as stack:

        def daemon(*command: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context(open(folder / f"{command[0]}.log", "wb"))
            path = shutil.which(command[0], path=os.environ.get("PATH", "") + ":/usr/sbin")
            assert path, f"{command[0]} is not installed; run tests/install_system_packages.sh as root"
            process = subprocess.Popen([path, *command[1:]], env=environment, stdout=log, stderr=log, start_new_session=True)
            stack.callback(_end, process)
            return process

        files = {"key": key, "socket": folder / "munge.socket", "pid": folder / "munged.pid", "seed": folder / "munged.seed"}
        daemon(
            "munged", "--foreground", "--force", *(f"--{kind}{'' if kind == 'socket' else '-file'}={path}" for kind, path in files.items())
        )
        _wait_for(files["socket"].exists, folder)
        daemon("slurmctld", "-D", "-i")
        daemon("slurmd", "-D", "-N", host)

        def idle() -> bool:
            shown = subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True)
            return "idle" in shown.stdout

        _wait_for(idle, folder)
        try:
            yield environment
        finally:
            subprocess.run(["scancel", "--user=root"], env=environment, check=False)
            _wait_for(lambda: not subprocess.run(["squeue", "-h"], env=environment, capture_output=True).stdout.strip(), folder)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for(ready, folder: Path, seconds: float = 120) -> None:
    for _ in range(int(seconds * 10)):
        if ready():
            return
        time.sleep(0.1)
    logs = "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in folder.glob("*.log"))
    raise AssertionError(f"SLURM did not start or end in {seconds} s\n{logs}")


def _free_ports(count: int) -> list[int]:
    opened = [socket.socket() for _ in range(count)]
    for one in opened:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in opened]
    for one in opened:
        one.close()
    return ports
