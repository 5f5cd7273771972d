"""Sweeps that are killed again and again, at moments and in ways chosen at random: no row is lost, none made twice.

A tenth of the kills at each run of the tests, all of them in `make test-slow`.
"""

import multiprocessing
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pytest
import torch

from steerlib.cli import main

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds workers through /proc")
AT_ONCE = 2
EACH = 5  # kills, before a round of jobs may end
SHARDS = [("--shard", f"{number}/3") for number in (1, 2, 3)]
ROUNDS = {"one sweep": [[()]], "two sweeps": [[(), ()]], "shards": [[("--vectors",)], SHARDS, [("--merge",)]]}


def work(folder, options):
    """`steerlib sweep` in a process that has all imported, and its own group."""
    os.setsid()
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(2)
    words = ["sweep", "experiment.yaml", "--quiet", "-p", "seeds", "4", "-p", "batch_size", "2"]
    sys.exit(main([*words, "--output", str(folder), *options]))


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["steerlib.cli"])
    first = context.Process(target=int)  # the others need not wait for what they import
    first.start()
    first.join()
    return context


@pytest.fixture
def start(data, monkeypatch, processes):
    monkeypatch.chdir(data)

    def start(folder, options=()):
        folder.mkdir(exist_ok=True)
        process = processes.Process(target=work, args=(folder, options))
        process.start()
        return process

    return start


def group(leader):
    """Processes of a group that are alive."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, number = path.read_text().rpartition(")")[2].split()[:3]
            if int(number) == leader and state not in "ZX":
                found.append(int(path.parent.name))
    return found


def wait_for_a_moment(random, folder, usual):
    """Some time, a part more, or a file that is half written."""
    until = time.monotonic() + random.uniform(0, usual / 3)
    how = random.choice(("time", "part", "half"))
    parts = len(list(folder.rglob("*.parquet")))
    while time.monotonic() < until:
        if how == "part" and len(list(folder.rglob("*.parquet"))) > parts:
            return
        if how == "half" and any(folder.rglob(".*.tmp")):
            return
        time.sleep(0.001)


def kill(random, process):
    """Everything, the parent, a worker, or the parent politely; the rest must end by itself. Says whether it hit."""
    members = group(process.pid)
    workers = [each for each in members if each != process.pid]
    if process.pid not in members:  # not begun, or done
        return False
    how = random.choice(("all", "parent", "worker", "terminate"))
    with suppress(ProcessLookupError):
        if how == "all":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            target = random.choice(workers) if how == "worker" and workers else process.pid
            os.kill(target, signal.SIGTERM if how == "terminate" else signal.SIGKILL)
    process.join(60)
    assert process.exitcode is not None, "it hangs"
    until = time.monotonic() + 30
    while group(process.pid):
        assert time.monotonic() < until, "workers outlive their parent"
        time.sleep(0.02)
    return process.exitcode != 0


def carry_out(random, start, folder, jobs, usual, kills):
    """Do jobs, two at once, and kill up to so many; a job that died is done again. Says how many were killed."""
    todo, running, killed = list(jobs), {}, 0
    while todo or running:
        while todo and len(running) < AT_ONCE:
            job = todo.pop(0)
            running[start(folder, job)] = job
        process = random.choice(list(running))
        if killed < kills:
            wait_for_a_moment(random, folder, usual)
            hit = kill(random, process)
        else:
            process.join(600)
            hit = False
        killed += hit
        if process.exitcode is not None:
            job = running.pop(process)
            assert hit or process.exitcode == 0, (folder / "log").read_text()
            todo += [job] * hit
    return killed


def stored(folder):
    """Keys of all rows in the stores of shards, or in the one store."""
    stores = [path for path in folder.glob("tiny/shards/*") if path.is_dir()] or [folder / "tiny" / "store"]
    parts = [part for store in stores for part in (store / "parts").glob("*.parquet")]
    return sorted(key for part in parts for key in pq.read_table(part)["key"].to_pylist())


def results(folder):
    """Table and clips, byte for byte."""
    files = [*(folder / "tiny").glob("table.*"), *(folder / "tiny" / "store" / "clips").glob("*.mp3")]
    return {path.name: path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("kinds", "kills"),
    [
        (["one sweep", "two sweeps"], 4),
        (["shards"], 2),
        pytest.param(["one sweep", "two sweeps"], 100, marks=pytest.mark.slow),
        pytest.param(["shards"], 20, marks=pytest.mark.slow),
    ],
    ids=lambda each: str(each) if isinstance(each, int) else each[-1],
)
def test_sweeps_that_are_killed_lose_no_row_and_make_none_twice(start, tmp_path, kinds, kills):
    seed = int(time.time())
    random = Random(seed)
    began = time.monotonic()
    whole = start(tmp_path / "whole")
    whole.join(600)
    assert whole.exitcode == 0, (tmp_path / "whole" / "log").read_text()
    usual = min(time.monotonic() - began, 20.0)
    keys, expected = stored(tmp_path / "whole"), results(tmp_path / "whole")
    assert len(keys) == len(set(keys)) == 24 and len(expected) == 26
    rounds = killed = 0
    while killed < kills:
        folder = tmp_path / f"round {rounds}"
        for jobs in ROUNDS[kinds[rounds % len(kinds)]]:
            killed += carry_out(random, start, folder, jobs, usual, min(kills - killed, EACH))
        assert stored(folder) == keys, f"rows lost or made twice (seed {seed})"
        assert results(folder) == expected, f"other results (seed {seed})"
        rounds += 1
    print(
        f"{killed} kills in {rounds} rounds of {' or '.join(kinds)}: {len(keys)} rows each, 0 lost, 0 made twice"
    )
