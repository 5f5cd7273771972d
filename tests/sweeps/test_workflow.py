"""Sweeps cut into shards by Snakemake: jobs and the whole graph are killed midway, and nothing shows it."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from steerlib.cli import main

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
SHARDS = 3


@pytest.fixture
def experiment(tmp_path, tiny):
    """40 clips of the tiny model, in three shards."""
    for part in tiny:
        part.save_pretrained(tmp_path / "tiny")
    attribute = {"attribute": "tempo", "positive": "fast", "negative": "slow", "metric": "bpm", "unit": "BPM"}
    pairs = [["a fast rock song", "a slow rock song"]]
    prompts = {"name": "two", "description": "two prompts", "prompts": ["a rock song", "dark piano"]}
    sweep = {
        "model": str(tmp_path / "tiny"), "attributes": [str(tmp_path / "tempo.yaml")], "seeds": 4,
        "prompts": str(tmp_path / "list.yaml"), "layers": [0, 2], "multipliers": [-0.5, 0.5],
        "metrics": ["centroid"], "seconds": 1.0, "shards": SHARDS, "batch_size": 2,
    }  # fmt: skip
    files = {
        "tempo": attribute | {"pairs": pairs},
        "list": prompts,
        "experiment": {"sweeps": {"tiny": sweep}},
    }
    for name, content in files.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return tmp_path / "experiment.yaml"


def snakemake(experiment, folder, *options):
    command = [
        Path(sys.executable).parent / "snakemake",
        "-s",
        ROOT / "workflow" / "sweep.smk",
        "--cores",
        "2",
    ]
    command += [
        "--directory",
        folder,
        "--config",
        f"sweeps={experiment}",
        "--rerun-incomplete",
        "--nolock",
        *options,
    ]
    folder.mkdir(exist_ok=True)
    log = open(folder / "snakemake.log", "a")  # noqa: SIM115  (the process keeps it)
    return subprocess.Popen([str(each) for each in command], stdout=log, stderr=log, start_new_session=True)


def rows_stored(folder):
    return len(list(folder.glob("results/sweeps/tiny/shards/*/parts/*.parquet")))


def wait_for(condition, process, seconds=900):
    """Whether the condition came true while the process was running."""
    deadline = time.time() + seconds
    while time.time() < deadline and process.poll() is None:
        if condition():
            return True
        time.sleep(0.01)
    return False


def one_thread(request):
    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    torch.set_num_threads(1)


def shard_jobs(folder):
    """Processes of shards that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
            if "--shard" in words and "steerlib" in words and os.readlink(process / "cwd") == str(folder):
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the jobs through /proc")
def test_a_sharded_graph_with_jobs_and_itself_killed_gives_the_unsharded_table_and_clips(
    experiment, tmp_path, request
):
    folder = tmp_path / "cluster"
    graph = snakemake(experiment, folder)
    assert wait_for(lambda: rows_stored(folder) >= 2, graph), (folder / "snakemake.log").read_text()
    killed = shard_jobs(folder)
    assert killed
    os.kill(killed[0], signal.SIGKILL)  # one job dies, and is tried again
    before = rows_stored(folder)
    assert wait_for(lambda: rows_stored(folder) >= before + 2, graph), (folder / "snakemake.log").read_text()
    os.killpg(graph.pid, signal.SIGKILL)  # then everything dies
    graph.wait()
    for job in shard_jobs(folder):
        os.kill(job, signal.SIGKILL)
    assert not (folder / "results/sweeps/tiny/table.parquet").exists()
    resumed = snakemake(experiment, folder)
    assert resumed.wait(timeout=1800) == 0, (folder / "snakemake.log").read_text()

    one_thread(request)  # as a job has: the last bits of a vector depend on it
    assert main(["sweep", str(experiment), "--output", str(tmp_path / "whole"), "--quiet"]) == 0
    whole, sharded = tmp_path / "whole" / "tiny", folder / "results" / "sweeps" / "tiny"
    for name in ("table.parquet", "table.csv"):
        assert (whole / name).read_bytes() == (sharded / name).read_bytes()
    clips = sorted(path.name for path in (whole / "store" / "clips").iterdir())
    assert clips == sorted(path.name for path in (sharded / "store" / "clips").iterdir()) and len(clips) == 40
    for clip in clips:
        assert (whole / "store/clips" / clip).read_bytes() == (sharded / "store/clips" / clip).read_bytes()
    shards = [pd.read_parquet(part) for part in sharded.glob("shards/*/parts/*.parquet")]
    assert sum(map(len, shards)) < 40 * 1.5  # the dead jobs' rows were kept


def test_the_slurm_profile_has_options_and_resources_that_snakemake_knows(experiment, tmp_path):
    """Without its executor, which needs a plugin and a cluster."""
    options = ["--profile", ROOT / "workflow" / "profiles" / "slurm", "--executor", "local", "--dry-run"]
    graph = snakemake(experiment, tmp_path / "cluster", *options)
    assert graph.wait(timeout=600) == 0, (tmp_path / "cluster" / "snakemake.log").read_text()
    log = (tmp_path / "cluster" / "snakemake.log").read_text()
    assert log.count("rule sweep_shard:") == SHARDS and "mem_mb=8000" in log and "runtime=240" in log
