"""Estimates: counts are exact, bounds hold, and what does not fit is refused with what would."""

import numpy as np
import pytest

from steerlib.engine import cost as cost_module
from steerlib.engine.clips import Row
from steerlib.engine.cost import Estimate, check_fit, estimate
from steerlib.engine.fit import DoesNotFit, Shape
from steerlib.engine.generation import Run, stream
from steerlib.engine.sampling import Sampling
from steerlib.steering import Steering, SteeringVector

PROMPTS = ["a fast rock song", "slow jazz"]


@pytest.fixture
def about(tiny, tmp_path):
    def about(function, **changes):
        settings = {
            "seconds": 0.4,
            "sampling": Sampling(),
            "batch_size": None,
            "audio_format": "mp3",
            "store": tmp_path,
        } | changes
        return function(tiny, **settings)

    return about


def rows():
    steering = Steering(SteeringVector(np.ones((3, 32))), 0.1)
    return [Row(prompt, seed, each) for each in ((), (steering,)) for prompt in PROMPTS for seed in range(3)]


def test_clips_and_tokens_are_counted_and_a_step_is_measured(about):
    cost = about(estimate, rows=rows(), clips=20, metrics={})
    assert (cost.clips, cost.missing, cost.tokens) == (20, 12, 12 * 10 * 2)
    assert cost.step_seconds > 0 and cost.prefix_seconds > 0 and cost.seconds > 9 * cost.step_seconds
    assert cost.disk_bytes > 0 and cost.memory_bytes > 0
    for words in ("20, of which 8 are in the store", "tokens  240 to make", "time", "memory", "disk"):
        assert words in str(cost)


def test_a_finished_sweep_costs_nothing(about):
    cost = about(estimate, rows=[], clips=20, metrics={})
    assert cost.missing == cost.tokens == cost.seconds == cost.disk_bytes == 0
    assert "nothing to make" in str(cost)


def test_tiles_are_those_of_the_engine(about, tiny):
    for batch_size in (None, 1, 5):
        cost = about(estimate, rows=rows(), clips=12, metrics={}, batch_size=batch_size)
        settings = {"seconds": 0.4, "sampling": Sampling(), "run": Run(batch_size, progress=False)}
        tiles = [indices for indices, _, _ in stream(tiny, rows(), **settings)]
        assert max(map(len, tiles)) == cost.tile


def test_more_clips_take_longer_and_more_disk_and_longer_clips_more_memory(about):
    few = about(estimate, rows=rows(), clips=12, metrics={})
    many = about(estimate, rows=rows() * 40, clips=480, metrics={})
    assert many.seconds > few.seconds and many.disk_bytes > 10 * few.disk_bytes
    short = about(check_fit, clips=12)[0]
    long = about(check_fit, clips=12, seconds=3.0)[0]
    assert long > short


def test_too_little_memory_is_refused_with_the_batch_that_fits(about, monkeypatch, tiny):
    shape = Shape.of(tiny, 0.4, Sampling())
    monkeypatch.setattr(cost_module, "memory_free", lambda device: shape.memory(64, 2) + 1)
    with pytest.raises(DoesNotFit, match="of memory at the peak.*batch_size=2 fits"):
        about(check_fit, clips=64)
    about(check_fit, clips=64, batch_size=2)
    monkeypatch.setattr(cost_module, "memory_free", lambda device: 1000)
    with pytest.raises(DoesNotFit, match="Not even batch_size=1 fits.*dtype='bfloat16'.*fewer seconds"):
        about(check_fit, clips=64)


def test_too_little_disk_is_refused_with_what_would_fit(about, monkeypatch):
    usage = cost_module.shutil.disk_usage("/")
    monkeypatch.setattr(
        cost_module.shutil, "disk_usage", lambda path: type(usage)(usage.total, usage.used, 100_000)
    )
    with pytest.raises(DoesNotFit, match=r"keep=None.*clips fit: cut the sweep into \d+ shards"):
        about(check_fit, clips=10_000)
    about(check_fit, clips=100, audio_format=None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.2, "4.2 s"), (61, "about 2 min"), (7200, "about 2 h 0 min"), (200_000, "about 2 d 7 h")],
)
def test_times_are_said_as_one_would_say_them(seconds, text):
    cost = Estimate(1, 1, 1, seconds, 0.1, 0.1, 3.0, 1, 1, 1, 1, 1, 1)
    assert f"time    {text} (" in str(cost) and "3.0 times as long" in str(cost)
