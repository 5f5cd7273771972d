"""Sweeps: the right cells, each made once, whatever was killed, sharded, damaged or added since."""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
import pytest
import soundfile

from steerlib.engine.generation import generate
from steerlib.measure import spectral_centroid
from steerlib.steering import Steering, SteeringVector
from steerlib.sweeps.grid import sweep
from steerlib.sweeps.store import Store, merge

sweep_module = importlib.import_module("steerlib.sweeps.grid")  # steerlib.sweeps.grid is the function
PROMPTS = ["a fast rock song", "slow jazz"]
COLUMNS = [
    *["attribute", "strategy", "source_layer", "multiplier", "steps", "branches", "site"],
    *["prompt_id", "prompt", "seed", "centroid", "clip", "key"],
]


def tiny_vectors():
    rng = np.random.default_rng(1)
    return {name: SteeringVector(rng.normal(size=(3, 32))) for name in ("tempo", "timbre")}


def options(folder):
    """Ten clips: a baseline, and two attributes at two multipliers, of two prompts."""
    settings = {"source_layers": [1], "multipliers": [-0.5, 0.5], "seconds": 0.2, "metrics": ["centroid"]}
    return settings | {"store": folder, "progress": False}


@pytest.fixture
def run(tiny_model, tiny_processor, tmp_path):
    def run(folder="store", vectors=None, prompts=PROMPTS, **changes):
        settings = options(tmp_path / folder) | changes
        return sweep(tiny_model, tiny_processor, prompts, vectors or tiny_vectors(), **settings)

    return run


@pytest.fixture
def made(monkeypatch):
    """Numbers of clips made by each call of the generator."""
    counts = []
    stream = sweep_module.stream

    def counting(model, processor, rows, **settings):
        counts.append(len(rows))
        return stream(model, processor, rows, **settings)

    monkeypatch.setattr(sweep_module, "stream", counting)
    return counts


def same(left, right):
    pd.testing.assert_frame_equal(left.drop(columns="clip"), right.drop(columns="clip"))
    return True


# --- the table ----------------------------------------------------------------------------------------------


def test_a_sweep_has_one_row_per_cell_in_the_order_of_its_arguments(run, made):
    table = run()
    assert table.columns.tolist() == COLUMNS
    assert table["attribute"].tolist() == ["tempo"] * 6 + ["timbre"] * 6
    assert table["multiplier"].tolist() == [-0.5, -0.5, 0, 0, 0.5, 0.5] * 2
    assert table["prompt_id"].tolist() == [0, 1] * 6
    assert table["centroid"].between(0, 8000).all()
    assert table["source_layer"].dtype == "Int64" and (table["source_layer"] == 1).all()
    assert made == [10]


def test_the_baseline_is_made_once_and_shared_by_attributes_and_layers(run, made):
    table = run(source_layers=[0, 2], multipliers=[0, 0.5])
    baseline = table[table["multiplier"] == 0]
    assert len(baseline) == 8 and baseline["key"].nunique() == 2 and baseline["clip"].nunique() == 2
    assert made == [2 + 8]


def test_rows_are_the_clips_that_generate_makes(run, tiny_model, tiny_processor, tmp_path):
    table = run(keep_audio="flac", seeds=[3, 4])
    row = table[(table["attribute"] == "timbre") & (table["multiplier"] == -0.5) & (table["seed"] == 4)].iloc[
        1
    ]
    steering = Steering(tiny_vectors()["timbre"], -0.5, source_layer=1)
    clip = generate(
        tiny_model, tiny_processor, ["slow jazz"], seconds=0.2, seed=4, steering=steering, progress=False
    )
    audio, _ = soundfile.read(tmp_path / "store" / row["clip"])
    assert np.allclose(audio, clip.audio[0].clip(-1, 1), atol=2**-15)
    assert row["centroid"] == spectral_centroid(clip)[0]


@pytest.mark.parametrize(
    ("strategy", "layers", "settings"),
    [
        ("one_to_all", [2], {"source_layer": 2}),
        ("all_to_all", None, {}),
        ("one_to_one", [2], {"source_layer": 2, "layers": (2,)}),
    ],
)
def test_strategies_are_those_of_steering(run, tiny_model, tiny_processor, strategy, layers, settings):
    table = run(strategy=strategy, source_layers=layers, multipliers=[0.5], site="attention")
    steering = Steering(tiny_vectors()["tempo"], 0.5, site="attention", **settings)
    clips = generate(tiny_model, tiny_processor, PROMPTS, seconds=0.2, steering=steering, progress=False)
    made = table[(table["attribute"] == "tempo") & (table["multiplier"] == 0.5)]
    assert np.array_equal(made["centroid"], [spectral_centroid(clip)[0] for clip in clips])
    assert made["source_layer"].isna().all() == (layers is None)


def test_audio_is_kept_only_if_asked_for(run, tmp_path):
    assert run(keep_audio=False)["clip"].isna().all()
    assert list((tmp_path / "store" / "clips").iterdir()) == []


def test_a_dry_run_counts_and_makes_nothing(run, made):
    run(multipliers=[0.5])
    table = run(dry_run=True)
    assert table["centroid"].isna().sum() == 4 and table["centroid"].notna().sum() == 8
    assert table.attrs.items() >= {"clips": 10, "missing": 4, "tokens": 4 * 5 * 2}.items()
    assert made == [6]


# --- resuming -----------------------------------------------------------------------------------------------


def test_a_finished_sweep_is_read_and_not_made_again(run, made):
    assert same(run(), run())
    assert made == [10]


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"multipliers": [-0.5, 0.5, 1]}, 4),
        ({"prompts": [*PROMPTS, "dark piano"]}, 5),
        ({"seeds": [0, 1]}, 10),
        ({"source_layers": [1, 2]}, 8),
        ({"vectors": tiny_vectors() | {"tempo": tiny_vectors()["tempo"] * 2}}, 4),
        ({"steps": "first"}, 8),
        ({"seconds": 0.24}, 10),
        ({"temperature": 0.9}, 10),
    ],
    ids=str,
)
def test_a_changed_setting_makes_just_the_rows_that_it_changes(run, made, changes, count):
    run()
    table = run(**changes)
    assert made == [10, count]
    assert table["centroid"].notna().all()


def test_changed_weights_make_every_row_again(run, made, tiny_model):
    run()
    weight = tiny_model.decoder.lm_heads[0].weight
    kept = weight[3, 5].item()
    try:
        weight[3, 5] = kept + 1
        run()
    finally:
        weight[3, 5] = kept
    assert made == [10, 10]


def test_a_sweep_that_broke_off_goes_on_to_the_same_table(run, made, monkeypatch):
    whole = run("whole")
    metric = sweep_module.METRICS["centroid"]
    calls = multiprocessing.Value("i")  # all workers count here

    def breaking(clips):
        with calls:
            calls.value += 1
            if calls.value > 6:
                raise KeyboardInterrupt
        return metric(clips)

    monkeypatch.setitem(sweep_module.METRICS, "centroid", breaking)
    with pytest.raises(KeyboardInterrupt):
        run("broken", batch_size=2)
    monkeypatch.setitem(sweep_module.METRICS, "centroid", metric)
    assert same(run("broken"), whole)
    assert made[:2] == [10, 10] and 0 < made[2] < 10


def test_kill_9_loses_and_doubles_no_row(run, made, tiny_model, tiny_processor, tmp_path):
    whole = run("whole", seeds=range(8))
    tiny_model.save_pretrained(tmp_path / "model")
    tiny_processor.save_pretrained(tmp_path / "model")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import test_sweep; from steerlib.model import load_model; from steerlib.sweep import sweep\n"
        "model, processor = load_model(sys.argv[2] + '/model')\n"
        "settings = test_sweep.options(sys.argv[2] + '/killed') | {'seeds': range(8), 'batch_size': 4}\n"
        "sweep(model, processor, test_sweep.PROMPTS, test_sweep.tiny_vectors(), **settings)\n"
    )
    folder = tmp_path / "killed"
    here = os.path.dirname(__file__)
    process = subprocess.Popen([sys.executable, "-c", program, here, str(tmp_path)])
    deadline = time.time() + 600
    while len(list(folder.glob("parts/*.parquet"))) < 3 and process.poll() is None and time.time() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = len(Store(folder).read())
    assert 0 < done < 80
    assert same(run("killed", seeds=range(8)), whole)
    assert made == [80, 80 - done]
    assert Store(folder).read()["key"].is_unique


def test_rows_of_a_damaged_part_are_made_again(run, made, tmp_path):
    whole = run(batch_size=5)
    part = sorted((tmp_path / "store" / "parts").glob("*.parquet"))[0]
    lost = len(pd.read_parquet(part))
    part.write_bytes(part.read_bytes()[:200])
    with pytest.warns(UserWarning, match=part.name):
        assert same(run(), whole)
    assert made == [10, lost]


def test_a_lost_clip_is_made_again(run, made, tmp_path):
    whole = run()
    (tmp_path / "store" / whole["clip"][0]).unlink()
    with pytest.warns(UserWarning, match="missing or damaged"):
        again = run()
    assert (tmp_path / "store" / again["clip"][0]).is_file() and same(again, whole) and made == [10, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(run(), whole)


def test_shards_merge_into_the_unsharded_sweep(run, made, tmp_path):
    whole = run("whole")
    shards = [run(f"shard{number}", shard=f"{number}/3") for number in (1, 2, 3)]
    merge(tmp_path / "merged", [tmp_path / f"shard{number}" for number in (1, 2, 3)])
    assert same(run("merged"), whole)
    assert sum(made) == 20 and {key for shard in shards for key in shard["key"]} == set(whole["key"])


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": []}, "prompts is empty"),
        ({"prompts": ["slow jazz", "slow jazz"]}, "more than once"),
        ({"multipliers": []}, "multipliers is empty"),
        ({"multipliers": [1, 1.0]}, "more than once"),
        ({"multipliers": [float("nan")]}, "finite"),
        ({"source_layers": [3]}, "layers are 0 to 2"),
        ({"source_layers": None}, "needs source_layers"),
        ({"strategy": "all_to_all"}, "leave source_layers None"),
        ({"strategy": "some"}, "strategy must be one of"),
        ({"steps": "last"}, "steps must be one of"),
        ({"metrics": ["loudness"]}, "unknown metrics 'loudness'"),
        (
            {"vectors": {"tempo": SteeringVector(np.ones((4, 32)))}},
            "'tempo' has 4 layers, but the model has 3",
        ),
        ({"keep_audio": "ogg"}, "keep_audio must be"),
        ({"shard": "0/4"}, "the first of 4 shards is '1/4'"),
        ({"shard": "half"}, "look like '3/16'"),
        ({"seconds": 1000}, "ask for at most"),
    ],
)
def test_nonsense_is_refused_before_anything_is_made(run, made, changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(**changes)
    assert not list(tmp_path.glob("store/parts/*"))


def test_a_sweep_inside_a_steering_context_is_refused(run, tiny_model):
    with tiny_vectors()["tempo"].apply(tiny_model), pytest.raises(ValueError, match="no baseline"):
        run()


def test_a_metric_that_cannot_run_is_missed_before_anything_is_made(run, made, monkeypatch, tmp_path):
    def unable(clips):
        raise FileNotFoundError("no checkpoint")

    monkeypatch.setitem(sweep_module.METRICS, "centroid", unable)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        run()
    assert not list(tmp_path.glob("store/clips/*"))
