"""What holds for whatever Hypothesis thinks of: stores, merging, shards, schedules and YAML.

25 examples of each, the same at every run; `make test-slow` takes 500 new ones of each.
"""

import math
import tempfile
import warnings
from contextlib import suppress
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steerlib import files
from steerlib.engine.generation import Run, generate
from steerlib.engine.sampling import Sampling
from steerlib.files import check_name, parse_yaml
from steerlib.prompts import Attribute, load_attribute, load_prompts
from steerlib.steering import Steering, SteeringVector
from steerlib.sweeps import store as store_module
from steerlib.sweeps.grid import _shard
from steerlib.sweeps.plans import _EXPECTED, SweepPlan, read_plans
from steerlib.sweeps.store import Store, merge, row_key

common = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("quick", max_examples=25, derandomize=True, **common)
settings.register_profile("thorough", max_examples=500, **common)
if settings.get_current_profile_name() != "thorough":
    settings.load_profile("quick")

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
FEW = settings(max_examples=max(2, settings().max_examples // 10))  # of what takes seconds


@pytest.fixture(autouse=True)
def no_flush(monkeypatch):
    """Nothing is cut off from its power here, and flushing to disk takes longer than all else."""
    monkeypatch.setattr(files, "_flush", lambda _: None)


# --- stores -------------------------------------------------------------------------------------------------

KEYS = [row_key({"row": number}) for number in range(8)]
chosen = st.lists(st.sampled_from(KEYS), unique=True, min_size=1, max_size=4)
parts = st.lists(st.tuples(chosen, st.booleans()), min_size=1, max_size=4)


def written(folder, parts):
    """A store with the parts: keys, and whether their rows have clips. A row's number follows from its key."""
    store = Store(folder)
    for keys, heard in parts:
        audio = np.stack([np.sin(np.arange(800) * value(key), dtype=np.float32) for key in keys])
        rows = pd.DataFrame({"key": keys, "bpm": [value(key) for key in keys]})
        store.append(rows, audio if heard else None, sample_rate=16000, audio_format="flac")
    return store


def value(key):
    return int(key[:6], 16) / 2**24


def holds(rows, keys):
    """Whether the rows are those of the keys, each once and with its number."""
    return list(rows["key"]) == sorted(keys) and list(rows.get("bpm", ())) == [
        value(key) for key in sorted(keys)
    ]


@given(parts)
def test_a_store_gives_every_row_once_whatever_was_appended_in_whatever_order(parts):
    with tempfile.TemporaryDirectory() as folder:
        rows = written(folder, parts).read()
        assert holds(rows, {key for keys, _ in parts for key in keys})
        assert holds(Store(folder).read(), rows["key"])


@given(parts, st.data())
def test_a_damaged_file_costs_its_own_rows_and_no_others(parts, data):
    with tempfile.TemporaryDirectory() as folder:
        store = written(folder, parts)
        files = [path for part in ("parts", "clips") for path in sorted((store.folder / part).glob("*.*"))]
        path = data.draw(st.sampled_from(files))
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        how = data.draw(st.sampled_from(("flip", "cut", "zeros", "remove")))
        hurt = {path.stem} if path.parent.name == "clips" else set(pq.read_table(path)["key"].to_pylist())
        heard = [set(keys) for keys, heard in parts if heard]
        safe = {key for keys, _ in parts for key in keys} - hurt
        if how == "flip":
            content[place] ^= data.draw(st.integers(1, 255))
        path.write_bytes({"cut": content[:place], "zeros": bytes(len(content))}.get(how, content))
        if how == "remove":
            path.unlink()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            rows = store.read()
        assert holds(rows, set(rows["key"])) and safe <= set(rows["key"]) <= safe | hurt
        if path.parent.name == "clips" and hurt <= set().union(*heard):
            assert any(path.stem in str(each.message) for each in said)
            assert not rows["clip"].eq(f"clips/{path.name}").any()


@given(json, json)
def test_a_key_tells_settings_apart_and_not_their_order(one, other):
    def key(content):
        with suppress(ValueError):
            return row_key({"a": content, "b": 1})
        return None

    shuffled = dict(reversed(one.items())) if isinstance(one, dict) else one
    assert key(one) == key(shuffled)
    if key(one) is not None and repr(one) != repr(other) and one != other:
        assert key(one) != key(other)
    if key(one) is None:
        assert not_finite(one)


def not_finite(content):
    if isinstance(content, dict | list):
        return any(map(not_finite, content.values() if isinstance(content, dict) else content))
    return isinstance(content, float) and not math.isfinite(content)


# --- merging and shards -------------------------------------------------------------------------------------


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


@given(st.lists(parts, min_size=1, max_size=3), parts, st.randoms())
def test_a_merge_is_the_union_whatever_the_order_and_leaves_its_sources_alone(sources, own, random):
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        stores = [written(top / str(number), parts).folder for number, parts in enumerate(sources)]
        written(top / "all", own)
        before = [content(store) for store in stores]
        union = {key for parts in [*sources, own] for keys, _ in parts for key in keys}
        assert holds(merge(top / "all", stores), union)
        after = content(top / "all")
        random.shuffle(stores)
        assert holds(merge(top / "all", stores), union)
        assert content(top / "all") == after  # nothing is copied twice
        assert sorted(map(len, before)) == sorted(len(content(store)) for store in stores)
        assert all(content(top / str(number)) == each for number, each in enumerate(before))


@given(st.lists(parts, min_size=1, max_size=3), st.integers(0, 30))
def test_a_merge_that_dies_at_any_write_is_whole_after_the_next(sources, writes):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        top = Path(folder)
        stores = [written(top / str(number), parts).folder for number, parts in enumerate(sources)]
        union = {key for parts in sources for keys, _ in parts for key in keys}
        write, count = store_module.write_whole, 0

        def dying(*arguments, **options):
            nonlocal count
            count += 1
            if count > writes:
                raise OSError("died")
            write(*arguments, **options)

        patch.setattr(store_module, "write_whole", dying)
        with suppress(OSError):
            merge(top / "all", stores)
        patch.undo()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert holds(merge(top / "all", stores), union)


@given(st.integers(0, 50), st.integers(1, 60))
def test_shards_share_the_rows_without_rest_or_overlap(rows, count):
    table = pd.DataFrame({"row": range(rows)})
    shards = [_shard(table, f"{number}/{count}") for number in range(1, count + 1)]
    assert list(pd.concat(shards)["row"]) == list(range(rows))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


# --- schedules ----------------------------------------------------------------------------------------------

FRAMES = 8
schedules = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, -1.0]), min_size=1, max_size=FRAMES + 2).map(tuple)


@pytest.fixture(scope="session")
def tokens(tiny):
    """Tokens (codebooks, frames) of a clip under schedules, one steering for each, all in one batch."""
    random = torch.Generator().manual_seed(0)
    vector = SteeringVector(torch.randn(tiny.depth, tiny.width, generator=random))

    def tokens(*schedules):
        steerings = [() if each is None else (Steering(vector, 2.0, schedule=each),) for each in schedules]
        seconds = FRAMES / tiny.frame_rate
        run = Run(progress=False)
        sampling = Sampling(do_sample=True)
        prompts = ["a rock song"] * len(schedules)
        made = generate(
            tiny, prompts, seconds=seconds, seed=3, steering=steerings, sampling=sampling, run=run
        )
        return [each.tolist() for each in np.asarray(made.tokens)]

    return tokens


def full(schedule):
    """The factor of every frame: the last one goes on."""
    return (*schedule, *[schedule[-1]] * FRAMES)[:FRAMES]


@FEW
@given(st.lists(schedules, min_size=6, max_size=12))
def test_tokens_depend_on_the_factors_so_far_and_on_nothing_to_come(tokens, schedules):
    for (one, first), (other, second) in combinations(zip(schedules, tokens(*schedules), strict=True), 2):
        same = next((n for n in range(FRAMES) if full(one)[n] != full(other)[n]), FRAMES)
        for codebook in range(len(first)):  # codebook k of a frame is chosen k steps after its first
            assert first[codebook][: max(0, same - codebook)] == second[codebook][: max(0, same - codebook)]


@FEW
@given(st.integers(1, FRAMES + 2), schedules)
def test_a_schedule_of_ones_or_zeros_or_longer_than_it_need_be_changes_nothing(tokens, length, schedule):
    longer = (*full(schedule), *[schedule[-1]] * 5, 7.0)
    made = tokens((1.0,), (1.0,) * length, None, (0.0,) * length, schedule, longer)
    assert made[::2] == made[1::2]


@given(st.lists(st.floats(), max_size=6).map(tuple), st.integers(0, 20))
def test_a_schedule_is_refused_or_gives_each_frame_its_factor(schedule, frame):
    vector = SteeringVector([[1.0]])
    if not schedule or not all(map(math.isfinite, schedule)):
        with pytest.raises(ValueError, match="a schedule needs"):
            Steering(vector, 0.5, schedule=schedule)
    else:
        factor = schedule[min(frame, len(schedule) - 1)]
        with suppress(OverflowError):
            assert Steering(vector, 0.5, schedule=schedule).at(frame).multiplier == 0.5 * factor


# --- YAML ---------------------------------------------------------------------------------------------------

readable = st.characters(
    exclude_categories=("Cs", "Cc"), exclude_characters="\x85\u2028\u2029\ufeff\ufffe\uffff"
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(readable),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(readable), inner, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_what_was_written_as_yaml_is_read_as_it_was(content):
    assert parse_yaml(yaml.safe_dump(content, allow_unicode=True), "it") == content


signs = st.lists(st.sampled_from([*"[]{}:,-?&*!|>#%@'\"\n\t ab01.~<", "\n  ", ": ", "- ", "<<", "&a", "*a"]))


@given(st.text() | signs.map("".join))
def test_any_text_is_read_or_refused_by_its_name(text):
    with suppress(ValueError):
        parse_yaml(text, "it")
        return
    with pytest.raises(ValueError, match="^it is not valid YAML"):
        parse_yaml(text, "it")


@given(st.dictionaries(st.sampled_from(list(_EXPECTED)), json, max_size=6), json, json)
def test_any_settings_make_a_plan_or_are_refused_by_the_name_of_the_sweep(changes, attributes, multipliers):
    whole = {"attributes": attributes, "multipliers": multipliers} | changes
    for given_ in (changes, whole, {"attributes": ["tempo"], "multipliers": [0.1]} | changes):
        try:
            plan = SweepPlan.of("mine", given_)
        except ValueError as error:
            assert "sweep 'mine'" in str(error) and len(str(error)) < 1000
        else:
            assert plan.changed({}) == plan


@given(json)
def test_any_file_of_prompts_or_sweeps_is_taken_or_refused_by_its_name(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "odd.yaml"
        pairs = {"attribute": "a", "positive": "p", "negative": "n", "metric": "bpm", "unit": "BPM"}
        for shape in (
            content,
            {"sweeps": content},
            {"sweeps": {"mine": content}},
            pairs | {"pairs": content},
            {"name": "n", "description": "d", "prompts": content},
        ):
            path.write_text(yaml.safe_dump(shape), encoding="utf-8")
            for load in (read_plans, load_attribute, load_prompts):
                try:
                    loaded = load(path)
                except ValueError as error:
                    assert "odd.yaml" in str(error)
                else:
                    assert isinstance(loaded, Attribute | tuple | dict) and loaded


@given(st.text(max_size=120))
def test_a_name_that_is_taken_stays_in_its_folder(name):
    with suppress(ValueError):
        folder = Path("/somewhere/below")
        assert (folder / check_name(name, "it")).resolve().parent == folder
        assert name.isprintable()


@given(st.lists(st.integers(0, FRAMES), min_size=2, max_size=5, unique=True).map(sorted))
def test_a_schedule_of_steps_is_that_of_its_pieces(edges):
    pieces = [(float(number),) * (end - begin) for number, (begin, end) in enumerate(pairwise(edges))]
    schedule = sum(pieces, ())
    steering = Steering(SteeringVector([[1.0]]), schedule=schedule)
    assert [steering.at(frame).multiplier for frame in range(len(schedule))] == list(schedule)
