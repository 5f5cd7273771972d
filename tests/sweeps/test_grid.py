"""Sweeps: the right cells, each made once, whatever was killed, sharded, damaged or added since."""

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
import torch

from steerlib.activations import stream_norms
from steerlib.engine.generation import Run, generate, nll
from steerlib.engine.sampling import Sampling
from steerlib.measure import spectral_centroid
from steerlib.steering import Steering, SteeringMap, SteeringVector, kappa
from steerlib.sweeps import grid as module
from steerlib.sweeps.grid import BASELINE, Grid, cost, sweep
from steerlib.sweeps.store import Store, merge

QUIET = Run(progress=False)
PROMPTS = ["a fast rock song", "slow jazz"]
COLUMNS = [
    *["attribute", "strategy", "source_layer", "multiplier", "kappa"],
    *["steps", "branches", "site", "positions"],
    *["prompt_id", "prompt", "seed", "centroid", "nll", "clip", "key"],
]


def tiny_vectors():
    rng = np.random.default_rng(1)
    return {name: SteeringVector(rng.normal(size=(3, 32))) for name in ("tempo", "timbre")}


def tiny_grid(vectors=None, multipliers=(-0.5, 0.5), layers=(1,), **changes):
    """Two attributes at two multipliers, and a baseline: ten clips of two prompts."""
    return Grid(vectors or tiny_vectors(), multipliers, layers, **changes)


def options(folder):
    return {"store": folder, "seconds": 0.2, "metrics": ["centroid"], "run": QUIET}


@pytest.fixture
def run(tiny, tmp_path):
    def run(folder="store", prompts=PROMPTS, grid=None, **changes):
        return sweep(
            tiny, prompts, tiny_grid() if grid is None else grid, **options(tmp_path / folder) | changes
        )

    return run


@pytest.fixture
def made(monkeypatch):
    """Numbers of clips made by each call of the generator."""
    counts = []
    stream = module.stream

    def counting(model, rows, **settings):
        counts.append(len(rows))
        return stream(model, rows, **settings)

    monkeypatch.setattr(module, "stream", counting)
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
    table = run(grid=tiny_grid(layers=[0, 2], multipliers=[0, 0.5]))
    baseline = table[table["multiplier"] == 0]
    assert len(baseline) == 8 and baseline["key"].nunique() == 2 and baseline["clip"].nunique() == 2
    assert made == [2 + 8]


def test_rows_are_the_clips_that_generate_makes(run, tiny, tmp_path):
    table = run(keep="flac", seeds=[3, 4])
    row = table[(table["attribute"] == "timbre") & (table["multiplier"] == -0.5) & (table["seed"] == 4)].iloc[
        1
    ]
    steering = Steering(tiny_vectors()["timbre"], -0.5, source_layer=1)
    clip = generate(tiny, ["slow jazz"], seconds=0.2, seed=4, steering=steering, run=QUIET)
    audio, _ = soundfile.read(tmp_path / "store" / row["clip"])
    assert np.allclose(audio, clip.audio[0].clip(-1, 1), atol=2**-15)
    assert row["centroid"] == spectral_centroid(clip)[0]


def test_each_row_has_its_likelihood_and_the_strength_of_its_push(run, tiny):
    table = run()
    rows = table[(table["attribute"] == "timbre") & (table["multiplier"] == -0.5)]
    steering = Steering(tiny_vectors()["timbre"], -0.5, source_layer=1)
    clips = generate(tiny, PROMPTS, seconds=0.2, steering=steering, run=QUIET)
    assert np.allclose(rows["nll"], nll(tiny, clips), rtol=1e-6)
    assert np.allclose(rows["kappa"], kappa((steering,), stream_norms(tiny)))
    assert (table.loc[table["multiplier"] == 0, "kappa"] == 0).all()
    assert same(run(), table)


@pytest.mark.parametrize(
    ("strategy", "layers", "settings"),
    [
        ("one_to_all", [2], {"source_layer": 2}),
        ("all_to_all", None, {}),
        ("one_to_one", [2], {"source_layer": 2, "layers": (2,)}),
    ],
)
def test_strategies_are_those_of_steering(run, tiny, strategy, layers, settings):
    table = run(grid=tiny_grid(None, [0.5], layers, strategy=strategy, site="attention"))
    steering = Steering(tiny_vectors()["tempo"], 0.5, site="attention", **settings)
    clips = generate(tiny, PROMPTS, seconds=0.2, steering=steering, run=QUIET)
    made = table[(table["attribute"] == "tempo") & (table["multiplier"] == 0.5)]
    assert np.array_equal(made["centroid"], [spectral_centroid(clip)[0] for clip in clips])
    assert made["source_layer"].isna().all() == (layers is None)


def test_audio_is_kept_only_if_asked_for(run, tmp_path):
    assert run(keep=None)["clip"].isna().all()
    assert list((tmp_path / "store" / "clips").iterdir()) == []


@pytest.fixture
def costs(tiny, tmp_path):
    """What `run` with the same arguments would cost."""

    def costs(grid=None, **changes):
        return cost(
            tiny, PROMPTS, tiny_grid() if grid is None else grid, **options(tmp_path / "store") | changes
        )

    return costs


def test_a_cost_counts_what_is_missing_and_makes_nothing(run, costs, made, tmp_path):
    run(grid=tiny_grid(multipliers=[0.5]))
    parts = list((tmp_path / "store" / "parts").iterdir())
    found = costs()
    assert (found.clips, found.missing, found.tokens) == (10, 4, 4 * 5 * 2)
    assert found.seconds > 0 and found.disk_bytes > 0
    assert made == [6] and list((tmp_path / "store" / "parts").iterdir()) == parts


def test_the_cost_of_a_finished_sweep_is_nothing(run, costs, made):
    run()
    found = costs()
    assert (found.clips, found.missing, found.tokens, found.seconds, found.disk_bytes) == (10, 0, 0, 0, 0)
    assert "10, of which 10 are in the store" in str(found) and "nothing to make" in str(found)
    assert costs(seeds=[0, 1]).missing == 10
    assert made == [10]


def test_the_cost_of_a_shard_is_that_of_its_part(costs):
    counts = [costs(run=Run(progress=False, shard=f"{number}/3")).missing for number in (1, 2, 3)]
    assert counts == [3, 3, 4]


# --- grids --------------------------------------------------------------------------------------------------


def test_layers_and_multipliers_of_each_vector_give_the_rows_of_a_sweep_for_each(run, made):
    layers, multipliers = {"tempo": 0, "timbre": [2, 1]}, {"tempo": [0.5], "timbre": [-1, 1, 2]}
    apart = [
        run(grid=tiny_grid({name: vector}, multipliers[name], [0] if name == "tempo" else [2, 1]))
        for name, vector in tiny_vectors().items()
    ]
    together = run(grid=tiny_grid(None, multipliers, layers))
    assert same(together, pd.concat(apart, ignore_index=True))
    assert len(together) == 2 * 2 + 2 * 2 * 4 and made == [4, 12]  # and none for both together
    read = layers | {"tempo": np.int64(0)}  # as a number comes out of a table
    assert same(run(grid=tiny_grid(None, multipliers, read)), together)


def test_several_grids_are_one_sweep(run, made):
    first, second = tiny_grid(), tiny_grid(None, [0.5], None, strategy="all_to_all", steps="first")
    together = run("together", grid={"a": first, "b": second})
    assert made == [2 + 8 + 4]
    assert together.pop("setting").tolist() == ["a"] * 12 + ["b"] * 8
    assert same(together, pd.concat([run(grid=first), run(grid=second)], ignore_index=True))
    assert together["strategy"].tolist() == ["one_to_all"] * 12 + ["all_to_all"] * 8
    assert together["steps"].tolist() == ["all"] * 12 + ["first"] * 8
    assert together["source_layer"].isna().tolist() == [False] * 12 + [True] * 8
    baseline = together[together["multiplier"] == 0]
    assert len(baseline) == 8 and baseline["key"].nunique() == 2


def test_the_baseline_alone_is_that_of_every_grid(run, made):
    alone = run(grid=BASELINE)
    assert made == [2] and alone["prompt"].tolist() == PROMPTS
    assert alone["attribute"].isna().all() and alone["source_layer"].isna().all()
    assert (alone["multiplier"] == 0).all() and alone["centroid"].notna().all()
    table = run()
    for _, rows in table[table["multiplier"] == 0].groupby("attribute"):
        assert rows["key"].tolist() == alone["key"].tolist()
        assert rows["centroid"].tolist() == alone["centroid"].tolist()
        assert rows["clip"].tolist() == alone["clip"].tolist()
    assert made == [2, 8]


def test_the_baseline_beside_a_grid_makes_no_clip_more(run, made):
    table = run(grid={"none": BASELINE, "some": tiny_grid()})
    assert made == [10] and len(table) == 2 + 12
    assert table["attribute"].isna().tolist() == [True] * 2 + [False] * 12
    assert same(table[2:].drop(columns="setting").reset_index(drop=True), run())


# --- resuming -----------------------------------------------------------------------------------------------


def test_a_finished_sweep_is_read_and_not_made_again(run, made):
    assert same(run(), run())
    assert made == [10]


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"grid": tiny_grid(multipliers=[-0.5, 0.5, 1])}, 4),
        ({"prompts": [*PROMPTS, "dark piano"]}, 5),
        ({"seeds": [0, 1]}, 10),
        ({"grid": tiny_grid(layers=[1, 2])}, 8),
        ({"grid": tiny_grid(tiny_vectors() | {"tempo": tiny_vectors()["tempo"] * 2})}, 4),
        ({"grid": tiny_grid(steps="first")}, 8),
        ({"seconds": 0.24}, 10),
        ({"sampling": Sampling(temperature=0.9)}, 10),
    ],
    ids=["multipliers", "prompts", "seeds", "layers", "vectors", "steps", "seconds", "temperature"],
)
def test_a_changed_setting_makes_just_the_rows_that_it_changes(run, made, changes, count):
    run()
    table = run(**changes)
    assert made == [10, count]
    assert table["centroid"].notna().all()


def test_changed_weights_make_every_row_again(run, made, tiny):
    run()
    weight = tiny.network.decoder.lm_heads[0].weight
    kept = weight[3, 5].item()
    try:
        weight[3, 5] = kept + 1
        run()
    finally:
        weight[3, 5] = kept
    assert made == [10, 10]


def test_positions_make_other_clips_and_all_positions_keep_the_keys_that_rows_have(run):
    keys = {each: run(grid=tiny_grid(positions=each))["key"].tolist() for each in ("all", "prefix", "audio")}
    assert run()["key"].tolist() == keys["all"]
    assert len({key for each in keys.values() for key in each}) == 3 * 8 + 2, "the baselines are the same"
    assert module._content(Steering(tiny_vectors()["tempo"])).keys() == {
        *("deltas", "steps", "branches", "site", "preserve_norm")
    }


def test_half_precision_makes_other_rows_and_the_default_keeps_the_keys_that_rows_have(run):
    keys = [set(run(sampling=each)["key"]) for each in (Sampling(), Sampling(exact=True), Sampling(exact=False))]
    assert keys[0] == keys[1] and not keys[0] & keys[2]


def test_maps_make_other_clips_than_vectors_and_than_each_other(run):
    shift, none = torch.randn(2, 2, 3, 32, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 3, 32)
    origin = torch.zeros(3, 32)
    maps = [
        SteeringMap(shift[0], none, none, none, origin),
        SteeringMap(shift[0], shift[1], none, none, origin),  # the same push at the origin
    ]
    vector = SteeringVector(shift[0, 0])
    contents = [module._content(Steering(each, 0.5)) for each in (*maps, vector)]
    assert contents[0]["deltas"] == contents[1]["deltas"] == contents[2]["deltas"]
    assert len({str(each) for each in contents}) == 3
    rows = run(grid=Grid({"tempo": maps[1]}, [0.5], [1]))
    assert rows["kappa"].max() > 0 and rows["key"].nunique() == len(rows)


def test_a_sweep_that_broke_off_goes_on_to_the_same_table(run, made, monkeypatch):
    whole = run("whole")
    metric = module.METRICS["centroid"]
    calls = multiprocessing.Value("i")  # all workers count here

    def breaking(clips):
        with calls:
            calls.value += 1
            if calls.value > 6:
                raise KeyboardInterrupt
        return metric(clips)

    monkeypatch.setitem(module.METRICS, "centroid", breaking)
    with pytest.raises(KeyboardInterrupt):
        run("broken", run=Run(batch_size=2, progress=False))
    monkeypatch.setitem(module.METRICS, "centroid", metric)
    assert same(run("broken"), whole)
    assert made[:2] == [10, 10] and 0 < made[2] < 10


def test_kill_9_loses_and_doubles_no_row(run, made, tiny, tmp_path):
    whole = run("whole", seeds=range(8))
    for part in tiny:
        part.save_pretrained(tmp_path / "model")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import test_grid; from steerlib import Run, load_model, sweep\n"
        "model = load_model(sys.argv[2] + '/model')\n"
        "settings = test_grid.options(sys.argv[2] + '/killed') | {'seeds': range(8), 'run': Run(4, progress=False)}\n"
        "sweep(model, test_grid.PROMPTS, test_grid.tiny_grid(), **settings)\n"
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
    whole = run(run=Run(5, progress=False))
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
    shards = [run(f"shard{number}", run=Run(progress=False, shard=f"{number}/3")) for number in (1, 2, 3)]
    merge(tmp_path / "merged", [tmp_path / f"shard{number}" for number in (1, 2, 3)])
    assert same(run("merged"), whole)
    assert sum(made) == 20 and {key for shard in shards for key in shard["key"]} == set(whole["key"])


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": []}, "prompts is empty"),
        ({"prompts": ["slow jazz", "slow jazz"]}, "more than once"),
        ({"grid": tiny_grid(multipliers=[])}, "multipliers is empty"),
        ({"grid": tiny_grid(multipliers=[1, 1.0])}, "more than once"),
        ({"grid": tiny_grid(multipliers=[float("nan")])}, "finite"),
        ({"grid": tiny_grid(layers=[3])}, "layers are 0 to 2"),
        ({"grid": tiny_grid(layers=None)}, "needs layers"),
        ({"grid": tiny_grid(strategy="all_to_all")}, "leave layers None"),
        ({"grid": tiny_grid(strategy="some")}, "strategy must be one of"),
        ({"grid": tiny_grid(steps="last")}, "steps must be one of"),
        ({"grid": tiny_grid(positions="text")}, "positions must be one of"),
        ({"metrics": ["sparkle"]}, "unknown metrics 'sparkle'"),
        (
            {"grid": tiny_grid({"tempo": SteeringVector(np.ones((4, 32)))})},
            r"'tempo' has shape \(4, 32\), but the model needs .* \(3, 32\)",
        ),
        ({"keep": "ogg"}, "keep must be"),
        ({"run": Run(shard="0/4")}, "the first of 4 shards is '1/4'"),
        ({"run": Run(shard="half")}, "look like '3/16'"),
        ({"grid": Grid({}, [1], [1])}, "there are no vectors"),
        (
            {"grid": tiny_grid(layers={"tempo": 1})},
            "layers has nothing for the vector 'timbre': it has tempo",
        ),
        ({"grid": {}}, "there is no grid"),
        ({"seconds": 1000}, "ask for at most"),
    ],
)
def test_nonsense_is_refused_before_anything_is_made(run, made, changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(**changes)
    assert not list(tmp_path.glob("store/parts/*"))


def test_a_sweep_inside_a_steering_context_is_refused(run, tiny):
    with tiny_vectors()["tempo"].apply(tiny), pytest.raises(ValueError, match="no baseline"):
        run()


def test_a_metric_that_cannot_run_is_missed_before_anything_is_made(run, made, monkeypatch, tmp_path):
    def unable(clips):
        raise FileNotFoundError("no checkpoint")

    monkeypatch.setitem(module.METRICS, "centroid", unable)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        run()
    assert not list(tmp_path.glob("store/clips/*"))
