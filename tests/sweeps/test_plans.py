"""Sweeps as data: what a file says becomes the arguments of a sweep, or is refused by name."""

import pytest
import torch
import yaml

from steerlib.engine.generation import Run
from steerlib.engine.sampling import Sampling
from steerlib.steering import SteeringVector
from steerlib.sweeps.grid import sweep
from steerlib.sweeps.plans import SweepPlan, read_plans

SETTINGS = {"attributes": ["tempo"], "multipliers": [-0.5, 0.5]}


@pytest.fixture
def vectors(rng):
    return {"tempo": SteeringVector(rng.normal(size=(3, 32)))}


@pytest.fixture
def write(tmp_path):
    def write(settings):
        path = tmp_path / "experiment.yaml"
        path.write_text(yaml.safe_dump({"sweeps": {"layers": settings}}), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"multiplier": [1]}, "unknown settings multiplier"),
        ({"layers": "some"}, "layers must be 'all', a list"),
        ({"shards": 0}, "shards must be a whole number from 1"),
        ({"attributes": "tempo"}, "attributes must be a list"),
        ({"source_layers": "all", "keep_audio": False}, "unknown settings keep_audio, source_layers"),
        ({"vectors": {}}, "unknown settings vectors"),
        ({"temperature": 0}, "temperature must be a positive number"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(write, change, message):
    with pytest.raises(ValueError, match=message):
        read_plans(write(SETTINGS | change))
    with pytest.raises(ValueError, match=message):
        SweepPlan.of("layers", SETTINGS).changed(change)


def test_a_plan_without_its_least_settings_is_refused(write):
    with pytest.raises(ValueError, match="'layers' lacks multipliers"):
        read_plans(write({"attributes": ["tempo"]}))


def test_a_plan_is_the_arguments_of_a_sweep(write, tiny, vectors):
    settings = SETTINGS | {
        "layers": [0, 2], "site": "attention", "guidance_scale": 2.0, "top_k": 5, "batch_size": 3, "seeds": [4, 7],
        "prompt_count": 2, "seconds": 0.2, "metrics": ["centroid"], "keep": None,
    }  # fmt: skip
    [plan] = read_plans(write(settings)).values()
    arguments = plan.arguments(tiny, vectors, shard="2/3", progress=False)
    grid = arguments.pop("grid")
    assert (grid.vectors, grid.multipliers, grid.layers, grid.site) == (
        vectors,
        (-0.5, 0.5),
        (0, 2),
        "attention",
    )
    assert arguments.pop("sampling") == Sampling(2.0, top_k=5)
    assert arguments.pop("run") == Run(3, progress=False, shard="2/3")
    assert len(arguments.pop("prompts")) == 2 and arguments.pop("seeds") == (4, 7)
    assert arguments == {"seconds": 0.2, "metrics": ("centroid",), "beats": None, "keep": None}
    assert plan.given == settings


def test_what_is_left_out_has_its_default(tiny, vectors):
    plan = SweepPlan.of("layers", SETTINGS | {"seeds": 3})
    arguments = plan.arguments(tiny, vectors)
    assert arguments["grid"].layers == (0, 1, 2) and list(arguments["seeds"]) == [0, 1, 2]
    assert (arguments["sampling"], arguments["run"], arguments["keep"]) == (Sampling(), Run(), "mp3")
    every = plan.changed({"strategy": "all_to_all"})
    assert every.arguments(tiny, vectors)["grid"].layers is None and every.seeds == 3


def test_a_plan_sweeps(tiny, vectors, tmp_path):
    settings = SETTINGS | {"prompt_count": 1, "seconds": 0.2, "metrics": ["centroid"], "keep": None}
    arguments = SweepPlan.of("layers", settings).arguments(tiny, vectors, progress=False)
    with pytest.warns(UserWarning, match="these words of the prompts"):
        table = sweep(tiny, store=tmp_path, **arguments)
    assert table["multiplier"].tolist() == [-0.5, 0, 0.5] * 3 and table["clip"].isna().all()


def test_stand_ins_are_not_written_and_differ(tiny, tmp_path):
    plan = SweepPlan.of("layers", SETTINGS | {"attributes": ["tempo", "timbre"]})
    one, two = plan.vectors(tiny, tmp_path / "vectors", stand_ins=True).values()
    assert not torch.equal(one.directions, two.directions) and not (tmp_path / "vectors").exists()
    assert one.directions.isfinite().all()
