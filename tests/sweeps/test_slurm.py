"""A sweep in shards on a real Slurm of one node, started in a folder of its own: `make test-slurm`.

Needs Debian's slurmctld, slurmd, slurm-client and munge, and no configuration of them.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from getpass import getuser
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from test_workflow import ROOT, SHARDS, experiment, one_thread, rows_stored, snakemake, wait_for  # noqa: F401

from steerlib.cli import main

os.environ["PATH"] += ":/usr/sbin"
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
LACKING = [name for name in NEEDED if not shutil.which(name)]
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        bool(LACKING), reason=f"no Slurm here ({', '.join(LACKING)}): apt-get install slurmctld slurmd "
        "slurm-client munge",
    ),
]  # fmt: skip
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
MinJobAge=86400
ReturnToService=2
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=64000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """munged, slurmctld and slurmd of this test, on 127.0.0.1; stopped by their process ids."""
    folder = tmp_path / "slurm"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    host = socket.gethostname().split(".")[0]
    text = CONFIGURATION.format(folder=folder, host=host, ports=free_ports(2), user=getuser())
    (folder / "slurm.conf").write_text(text, encoding="utf-8")
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    # Snakemake takes that out of a job's environment; where the file is /etc/slurm/slurm.conf nobody misses it.
    (folder / "bin").mkdir()
    for name in ("srun", *NEEDED[3:]):
        client = f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which(name)} "$@"\n'
        (folder / "bin" / name).write_text(client, encoding="utf-8")
        (folder / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    names = ("key", "socket", "pid", "log", "seed")
    munge = [f"--{name}{'-file' if name not in ('socket',) else ''}={folder}/munge.{name}" for name in names]
    commands = [["munged", "--foreground", "--force", *munge], ["slurmctld", "-D"], ["slurmd", "-D"]]
    started = []
    try:
        for command in commands:
            with open(folder / f"{command[0]}.out", "wb") as log:
                started.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
            time.sleep(2)
        assert wait_for(lambda: "idle" in told("sinfo", "--noheader", "-o", "%T"), started[-1], 120), (
            "\n".join(path.read_text(errors="replace") for path in folder.glob("*.[lo][ou][gt]"))
        )
        yield folder
        subprocess.run(["scancel", "--user", getuser()], check=False, timeout=60)
        time.sleep(1)
    finally:
        for process in reversed(started):
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def told(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


def shard_jobs():
    """Slurm's numbers of the shards that run."""
    jobs = json_of("squeue", "--states=RUNNING", "--noheader", "-o", '{"id": %i, "about": "%k"},')
    return [job["id"] for job in jobs if "sweep_shard" in job["about"]]


def json_of(*command):
    return json.loads(f"[{told(*command).strip().rstrip(',')}]")


def processes_of(job):
    """Processes of a job that sweep, and that are steerlib's."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0")
            if b"--shard" in words and f"SLURM_JOB_ID={job}".encode() in (
                path / "environ"
            ).read_bytes().split(b"\0"):
                found.append(int(path.name))
    return found


def test_a_sweep_on_slurm_with_jobs_cancelled_and_killed_gives_the_unsharded_table_and_clips(
    slurm, experiment, tmp_path, request  # noqa: F811
):  # fmt: skip
    folder = tmp_path / "cluster"
    environment = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"
    request.getfixturevalue("monkeypatch").setenv("PYTHONPATH", environment)
    graph = snakemake(
        experiment, folder, "--profile", ROOT / "workflow" / "profiles" / "slurm", "--latency-wait", "10",
        "--slurm-init-seconds-before-status-checks", "5", "--slurm-status-command", "squeue",
    )  # fmt: skip

    def log():
        return (folder / "snakemake.log").read_text()

    assert wait_for(lambda: rows_stored(folder) >= 2 and shard_jobs(), graph), log()
    subprocess.run(["scancel", str(shard_jobs()[0])], check=True)  # one job is cancelled, and sent again
    before = rows_stored(folder)

    def kill_one():
        """kill -9 of the sweep in a job; Snakemake begins it again, in the same job or a new one."""
        processes = [process for job in shard_jobs() for process in processes_of(job)]
        if rows_stored(folder) < before + 2 or not processes:
            return False
        os.kill(processes[0], signal.SIGKILL)
        return True

    assert wait_for(kill_one, graph), log()
    assert graph.wait(timeout=3000) == 0, log()
    states = told("scontrol", "show", "jobs", "--oneliner")
    assert "JobState=CANCELLED" in states
    assert states.count("JobState=COMPLETED") == SHARDS + 2  # and the vectors, and the table

    one_thread(request)  # as a job has: the last bits of a vector depend on it
    assert main(["sweep", str(experiment), "--output", str(tmp_path / "whole"), "--quiet"]) == 0
    whole, sharded = tmp_path / "whole" / "tiny", folder / "results" / "sweeps" / "tiny"
    names = [
        "table.parquet",
        "table.csv",
        *(f"store/clips/{path.name}" for path in (whole / "store/clips").iterdir()),
    ]
    assert len(names) == 42 and len(list((sharded / "store/clips").iterdir())) == 40
    for name in names:
        assert (whole / name).read_bytes() == (sharded / name).read_bytes()
    stored = [
        key for part in sharded.glob("shards/*/parts/*") for key in pq.read_table(part)["key"].to_pylist()
    ]
    assert len(stored) == len(set(stored)) == 40
    version = told("sinfo", "--version").strip()
    print(
        f"{version}, {SHARDS} shards: {len(states.splitlines())} jobs, one cancelled, one killed; 40 clips, 0 lost"
    )
