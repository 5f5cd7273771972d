"""What fits: tiles of one size, memory that grows with what is asked for, and the largest batch there is room for."""

import pytest

from steerlib.engine import fit
from steerlib.engine.fit import Shape, as_size, lanes_of, largest_batch, memory_free
from steerlib.engine.sampling import Sampling


@pytest.fixture
def shape(tiny, monkeypatch):
    monkeypatch.setattr(fit.torch, "get_num_threads", lambda: 2)
    return Shape.of(tiny, 0.4, Sampling())


def test_sizes_are_those_of_the_model_and_of_what_is_asked_for(shape, tiny, tiny_cross):
    assert (shape.depth, shape.hidden, shape.codebooks, shape.vocabulary) == (3, 32, 2, 16)
    assert (shape.chroma, shape.text, shape.frames, shape.samples, shape.width) == (4, 12, 10, 6400, 4)
    assert (shape.branches, shape.clips) == (2, lanes_of(tiny) // 2)
    assert Shape.of(tiny, 0.4, Sampling(1.0)).clips == lanes_of(tiny)  # no unconditional branch
    assert Shape.of(tiny_cross, 0.4, Sampling()).chroma == 0


def test_tiles_have_one_size_and_each_worker_as_many(shape):
    for clips in (1, 2, 7, 64, 129, 1000):
        for batch_size in (None, 1, 5, 64):
            workers, size = shape.tiling(clips, batch_size)
            assert workers <= 2 and size <= shape.clips and workers * size <= max(batch_size or 128, 1)
            tiles = -(-clips // size)
            assert tiles * size < clips + size and (tiles % workers == 0 or tiles < clips)
    assert shape.tiling(129, None) == (2, 33)  # four tiles, and not two full ones and a third for one clip
    assert shape.tiling(1, None) == (1, 1)


def test_memory_grows_with_clips_at_once_and_seconds(shape, tiny):
    assert shape.memory(64, 2) < shape.memory(64, 8) < shape.memory(64, None)
    assert shape.memory(64, 2) < Shape.of(tiny, 3.0, Sampling()).memory(64, 2)
    assert shape.memory(1000, 8) == shape.memory(64, 8)  # and not with how many there are in all


def test_the_largest_batch_is_one_that_fits_or_none_if_all_do(shape, tiny, monkeypatch):
    settings = {"clips": 64, "seconds": 0.4, "sampling": Sampling()}
    for free, expected in ((None, None), (10**12, None), (shape.memory(64, 8), 8), (1000, 1)):
        monkeypatch.setattr(fit, "memory_free", lambda device, free=free: free)
        assert largest_batch(tiny, **settings) == expected
    assert largest_batch(tiny, **settings | {"clips": 0}) is None


def test_a_job_under_slurm_has_the_memory_that_it_asked_for(monkeypatch, tiny):
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1")
    assert memory_free(tiny.device) in (0, None)


@pytest.mark.parametrize(
    ("size", "text"), [(999, "999 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (3e12, "3 TB")]
)
def test_sizes_are_said_as_one_would_say_them(size, text):
    assert as_size(size) == text
