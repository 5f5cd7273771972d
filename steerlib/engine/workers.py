"""Pieces of long work side by side, a core each, under one progress bar.

On Linux each worker is a fork: it has all that was loaded before, and shares its memory. Threads take turns at the
GIL, which costs about 12 % with two workers and most of the time with many. Elsewhere, on a graphics card, which one
process feeds, and beside busy threads of the caller, workers are threads.
"""

import mmap
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from tqdm.auto import tqdm

__all__ = ["side_by_side"]

Result = TypeVar("Result")

if hasattr(os, "register_at_fork"):
    # OpenMP's threads do not survive a fork: a product in a child that asks for them would wait for ever.
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))

_THREADS = Path("/proc/self/task")  # of this process, where Linux tells


def side_by_side(
    work: Callable[[int, Callable[[float], None]], Result],
    sizes: Sequence[int],
    *,
    workers: int,
    label: str | None,
    unit: str = "clips",
) -> Iterator[Result]:
    """Do pieces of work, and yield what they return in the order in which they are done.

    Parameters
    ----------
    work : callable
        Called with the number of a piece and a function ``tick``, to call now and then with the share that is done;
        `tick` raises InterruptedError once the rest is no longer wanted. It runs with one torch thread; what it
        returns must be picklable.
    sizes : sequence of int
        Size of each piece, in units of the progress bar.
    workers : int
    label : str or None
        Text of the progress bar; None for no bar.
    unit : str
        What sizes count.

    Raises
    ------
    MemoryError
        If the system ended a worker.

    Examples
    --------
    >>> sorted(side_by_side(lambda number, tick: number**2, [1, 1, 1], workers=2, label=None))
    [0, 1, 4]
    """
    shared = np.frombuffer(mmap.mmap(-1, 8 * (len(sizes) + 1)))  # a share of each piece, and whether to stop

    def run(number: int) -> Result:
        def tick(share: float) -> None:
            shared[number] = share
            if shared[-1]:
                raise InterruptedError("the rest is not wanted any more")

        return work(number, tick)

    waiting = iter(range(len(sizes)))
    layout = "{l_bar}{bar}| {n:.0f}/{total} " + unit + " [{elapsed}<{remaining}]"
    bar = tqdm(
        total=sum(sizes), desc=label, bar_format=layout, disable=label is None
    )  # it may begin a thread
    pool, call = _pool(run, workers)
    running: set[Future[Result]] = set()
    try:
        running |= {pool.submit(call, number) for number in islice(waiting, workers)}
        while running:
            finished, running = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            results = [future.result() for future in finished]
            running |= {pool.submit(call, number) for number in islice(waiting, len(results))}
            bar.update(float(shared[:-1] @ sizes) - bar.n)
            yield from results
    except BrokenProcessPool as error:
        raise MemoryError(
            "the system ended a worker process, most likely because memory ran out: ask for a smaller batch_size. What "
            "was stored stays"
        ) from error
    finally:
        shared[-1] = 1
        pool.shutdown(cancel_futures=True)
        bar.close()


def _pool(run: Callable[[int], Result], workers: int) -> tuple[Executor, Callable[[int], Result]]:
    """Workers, and what to submit to them."""
    may_fork = _THREADS.is_dir() and not multiprocessing.current_process().daemon
    if workers > 1 and may_fork and not torch.cuda.is_initialized() and _other_threads_sleep():
        fork = multiprocessing.get_context("fork")
        return ProcessPoolExecutor(workers, fork, initializer=_begin, initargs=(run, os.getpid())), _run
    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)), run


def _other_threads_sleep(patience: float = 2.0) -> bool:
    """Whether all other threads of this process fall asleep within so many seconds.

    A fork has one thread, and locks that others held stay locked in it. A thread that torch lets end (whenever it
    needs fewer than before) holds a lock of MKL for a moment: forking at that moment hung one run in three.
    """
    own = str(threading.get_native_id())
    give_up = time.monotonic() + patience
    while True:
        states = set()
        for thread in _THREADS.iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                if thread.name != own:
                    states.add((thread / "stat").read_text().rpartition(")")[2].split()[0])
        if states <= {"S"}:
            return True
        if time.monotonic() > give_up:
            return False
        time.sleep(0.001)


_task: Callable[[int], Any]  # of a worker process


def _begin(run: Callable[[int], Any], parent: int) -> None:
    global _task
    _task = run
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends when the parent says so
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _run(number: int) -> Any:
    return _task(number)
