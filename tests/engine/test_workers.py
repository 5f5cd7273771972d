"""Work side by side: every piece once, errors come through, and nothing goes on that nobody waits for."""

import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import steerlib.engine.workers as module
from steerlib.engine.workers import _other_threads_sleep, side_by_side

linux = pytest.mark.skipif(sys.platform != "linux", reason="workers are threads there")


def until(condition, seconds=60.0):
    """Whether the condition comes true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def until_stopped(tick, note: Path):
    """A piece without end, which notes when it begins and when it is told to stop."""
    note.write_text("begun")
    try:
        while True:
            tick(0.5)
            time.sleep(0.01)
    except InterruptedError:
        note.write_text("stopped")
        raise


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_piece_is_done_once(workers):
    made = list(
        side_by_side(lambda number, tick: (number, "x" * number), [1] * 9, workers=workers, label=None)
    )
    assert sorted(made) == [(number, "x" * number) for number in range(9)]


def test_each_worker_computes_on_one_thread():
    asked = torch.get_num_threads()
    assert set(
        side_by_side(lambda number, tick: torch.get_num_threads(), [1] * 4, workers=2, label=None)
    ) == {1}
    assert torch.get_num_threads() == asked


@linux
def test_two_workers_are_two_processes_that_share_what_was_there():
    there = {"big": torch.arange(3)}

    def where(number, tick):
        time.sleep(0.2)
        return os.getpid(), there["big"].sum().item()

    pids, sums = zip(*side_by_side(where, [1] * 4, workers=2, label=None), strict=True)
    assert len(set(pids)) == 2 and os.getpid() not in pids
    assert set(sums) == {3}


def squares():
    return sorted(side_by_side(lambda number, tick: number**2, [1] * 3, workers=2, label=None))


def test_a_process_that_may_have_no_children_uses_threads():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(squares) == [0, 1, 4]


@linux
def test_workers_do_not_inherit_a_lock_of_a_thread_that_ends():
    program = (
        "import torch; from steerlib.engine.workers import side_by_side; square = torch.randn(300, 300)\n"
        "for _ in range(40):\n"
        "    for threads in (6, 2):  # of the six, four end soon after\n"
        "        torch.set_num_threads(threads); square @ square\n"
        "    list(side_by_side(lambda number, tick: float((square @ square)[0, 0]), [1, 1], workers=2, label=None))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)  # else it hangs


@linux
def test_workers_are_threads_beside_a_thread_that_does_not_rest(monkeypatch):
    busy = threading.Thread(target=hashlib.pbkdf2_hmac, args=("sha256", b"", b"", 10_000_000))  # seconds
    assert _other_threads_sleep()
    monkeypatch.setattr(_other_threads_sleep, "__defaults__", (0.1,))
    busy.start()
    assert not _other_threads_sleep()
    assert set(side_by_side(lambda number, tick: os.getpid(), [1, 1], workers=2, label=None)) == {os.getpid()}
    assert busy.is_alive()
    busy.join()


def test_workers_are_threads_where_the_system_does_not_tell_its_threads(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_THREADS", tmp_path / "none")
    assert set(side_by_side(lambda number, tick: os.getpid(), [1, 1], workers=2, label=None)) == {os.getpid()}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_one_piece_is_raised_and_ends_the_others(tmp_path, workers):
    other = tmp_path / "other"

    def work(number, tick):
        if number == 1:
            until_stopped(tick, other)
        if workers > 1:
            until(other.is_file)
        raise FloatingPointError("the logits are not numbers")

    with pytest.raises(FloatingPointError, match="the logits are not numbers"):
        list(side_by_side(work, [1, 1], workers=workers, label=None))
    assert workers == 1 or other.read_text() == "stopped"


def test_who_stops_listening_stops_the_work(tmp_path):
    other = tmp_path / "other"

    def work(number, tick):
        return until_stopped(tick, other) if number else until(other.is_file)

    results = side_by_side(work, [1, 1, 1], workers=2, label=None)
    assert next(results)
    results.close()
    assert other.read_text() == "stopped"


@linux
def test_a_worker_that_the_system_ends_is_reported():
    def work(number, tick):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(MemoryError, match="memory ran out: ask for a smaller batch_size"):
        list(side_by_side(work, [1, 1], workers=2, label=None))


@linux
def test_workers_end_with_their_parent(tmp_path):
    program = (
        "import os, sys, time; from pathlib import Path; from steerlib.engine.workers import side_by_side\n"
        "def work(number, tick):\n"
        "    Path(sys.argv[1], str(os.getpid())).touch(); time.sleep(600)\n"
        "list(side_by_side(work, [1, 1], workers=2, label=None))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    assert until(lambda: len(list(tmp_path.iterdir())) == 2)
    workers = [Path("/proc") / each.name for each in tmp_path.iterdir()]
    assert all(each.exists() for each in workers)
    process.kill()
    process.wait()
    assert until(lambda: not any(map(is_running, workers)))


def is_running(process: Path) -> bool:
    """Whether there is such a process, and not only its exit code for nobody to read."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_progress_bar_counts_units_of_finished_pieces(capsys):
    list(side_by_side(lambda number, tick: tick(1.0), [30, 12], workers=2, label="making"))
    shown = capsys.readouterr().err
    assert "making" in shown and "42/42 clips" in shown
