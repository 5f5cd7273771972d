"""Stores that others wrote, damaged or are writing to just now."""

import json
import os
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steerlib.sweeps import store as store_module
from steerlib.sweeps.export import save_table
from steerlib.sweeps.store import Store, merge, row_key

A, B, C = (row_key({"row": name}) for name in "abc")


def rows(*keys):
    return pd.DataFrame({"key": keys, "bpm": 1.0})


def tones(count):
    return np.tile(0.3 * np.sin(np.arange(8000) / 5, dtype=np.float32), (count, 1))


@pytest.fixture
def store(tmp_path):
    """Rows A and B with clips in one part, C without in another."""
    store = Store(tmp_path / "store")
    store.append(rows(A, B), tones(2), sample_rate=16000, audio_format="flac")
    store.append(rows(C))
    return store


def write_part(store, table, *, about=None, name="odd"):
    about = {"format": "steerlib.Store", "version": 1} if about is None else about
    table = table.replace_schema_metadata({"steerlib.Store": json.dumps(about)})
    pq.write_table(table, store.folder / "parts" / f"{name}.parquet")


# --- parts --------------------------------------------------------------------------------------------------

GOOD = {
    "key": [row_key({"row": "d"})],
    "clip": pa.array([None], pa.string()),
    "clip_bytes": [0],
    "bpm": [2.0],
}
PARTS = {
    "no columns": ({}, None),
    "no key": ({key: value for key, value in GOOD.items() if key != "key"}, None),
    "a key that is a list": (GOOD | {"key": [["a"]]}, None),
    "a key that is null": (GOOD | {"key": pa.array([None], pa.string())}, None),
    "a clip that is a mapping": (GOOD | {"clip": [{"a": 1}]}, None),
    "sizes that are words": (GOOD | {"clip_bytes": ["many"]}, None),
    "a metric that is a list": (GOOD | {"bpm": [[2.0]]}, None),
    "a metric that is a word": (GOOD | {"bpm": ["fast"]}, None),
    "a metric that is a mapping": (GOOD | {"bpm": [{"a": 1}]}, None),
    "about that is a list": (GOOD, [1]),
    "about that is a number": (GOOD, 3),
    "about that is null": (GOOD, None),
    "a version that is a list": (GOOD, {"version": [1]}),
    "another version": (GOOD, {"version": 2}),
}


@pytest.mark.parametrize(("columns", "about"), PARTS.values(), ids=PARTS)
def test_an_odd_part_is_named_and_the_others_are_read(store, columns, about):
    if about is None and columns is GOOD:
        about = json.loads("null") or {"version": None}
    store.append(rows(row_key({"row": "e"})))
    write_part(store, pa.table(columns), about=about)
    with pytest.warns(UserWarning, match=r"odd\.parquet"):
        assert len(store.read()) == 4


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 100, b"text", os.urandom(2000), b"\0" * 5000])
def test_a_part_that_is_no_parquet_is_named_and_the_others_are_read(store, content):
    (store.folder / "parts" / "odd.parquet").write_bytes(content)
    with pytest.warns(UserWarning, match=r"odd\.parquet"):
        assert len(store.read()) == 3


def test_a_part_of_an_earlier_steerlib_without_hashes_is_read(store):
    old = pq.read_table(
        next(path for path in (store.folder / "parts").iterdir() if len(pq.read_table(path)) == 2)
    )
    for path in (store.folder / "parts").iterdir():
        path.unlink()
    pq.write_table(old.drop_columns("clip_sha256"), store.folder / "parts" / "old.parquet")
    store.append(rows(C))
    assert set(store.read()["key"]) == {A, B, C}


# --- clips --------------------------------------------------------------------------------------------------


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def dangle(path):
    path.unlink()
    path.symlink_to("nowhere")


def folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [zeros, dangle, folder, os.unlink], ids=lambda each: each.__name__)
def test_a_clip_that_is_not_the_one_written_is_left_out(store, damage):
    damage(store.folder / "clips" / f"{A}.flac")
    with pytest.warns(UserWarning, match=f"missing or damaged: .*{A}"):
        assert set(store.read()["key"]) == {B, C}


def test_a_link_to_nowhere_among_the_clips_hurts_nobody(store):
    (store.folder / "clips" / "stray.mp3").symlink_to("nowhere")
    assert len(store.read()) == 3


@pytest.mark.parametrize(
    ("key", "clip"),
    [
        (A, "../../escape.flac"),
        (A, "/tmp/escape.flac"),
        (A, f"clips/../../{A}.flac"),
        (A, f"clips/{B}.flac"),
        (A, f"clips/{A}.exe"),
        ("../../escape", "clips/../../escape.flac"),
        ("x/y", "clips/x/y.flac"),
    ],
)
def test_a_clip_outside_the_store_is_never_read_or_copied(store, tmp_path, key, clip):
    other = Store(tmp_path / "deep" / "er" / "other")
    target = other.folder / clip
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.write_bytes(b"secret")
    write_part(other, pa.table({"key": [key], "clip": [clip], "clip_bytes": [6]}))
    with pytest.warns(UserWarning, match="missing or damaged"):
        assert len(merge(tmp_path / "a" / "b" / "all", [other.folder])) == 0
    assert not [
        path for path in (tmp_path / "a").rglob("*") if path.is_file() and path.name.startswith(("esc", A))
    ]


def test_a_disk_that_fills_up_leaves_neither_row_nor_clip(store, monkeypatch):
    def full(path, content, **_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module, "write_whole", full)
    with pytest.raises(OSError, match="No space left"):
        store.append(rows(row_key({"row": "d"})), tones(1), sample_rate=16000)
    assert len(store.read()) == 3 and len(list((store.folder / "clips").iterdir())) == 2


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '"x"',
        "{}",
        '{"format": 1}',
        '{"format": "steerlib.Store", "version": "1"}',
        "[" * 9999,
    ],
)
def test_a_marker_that_is_none_is_named(store, content):
    (store.folder / "store.json").write_text(content)
    with pytest.raises(ValueError, match=r"store\.json"):
        Store(store.folder)


# --- readers and writers at once ----------------------------------------------------------------------------


def test_a_store_opens_while_others_write_to_it(store):
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            for part in ("parts", "clips"):
                path = store.folder / part / f".{number}.tmp"
                path.write_bytes(b"half")
                path.unlink(missing_ok=True)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(100):
            assert len(Store(store.folder).read()) == 3
    finally:
        stop.set()
        writer.join()


def test_a_row_that_one_claims_is_not_free_for_another(store):
    with store.claim([A, B]) as first, Store(store.folder).claim([B, C]) as second:
        assert first == {A, B} and second == {C}
        with store.claim([A, C]) as third:
            assert not third
    with store.claim([A, B, C]) as later:
        assert later == {A, B, C}
    assert {path.name for path in (store.folder / "claims").iterdir()} == {"lock"}


def test_the_claim_of_a_process_that_was_killed_is_free(store):
    program = (
        "import sys, time\n"
        "from steerlib.sweeps.store import Store\n"
        "with Store(sys.argv[1]).claim(sys.argv[2:]):\n"
        "    print('claimed', flush=True)\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(store.folder), A, B], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "claimed\n"
    with store.claim([A, C]) as free:
        assert free == {C}
    process.kill()
    process.wait()
    with store.claim([A, C]) as free:
        assert free == {A, C}


def test_a_failure_while_rows_are_claimed_frees_them(store):
    with pytest.raises(RuntimeError), store.claim([A]):
        raise RuntimeError
    with store.claim([A]) as free:
        assert free == {A}
    assert not list((store.folder / "claims").glob("*.json"))


def test_two_sweeps_into_one_store_make_each_clip_once(data, model_folder):
    program = (
        "import sys\n"
        "from steerlib.cli import main\n"
        "sys.exit(main(['sweep', 'experiment.yaml', '--quiet', '-p', 'seeds', '3']))\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    both = [subprocess.Popen([sys.executable, "-c", program], cwd=data, env=environment) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    store = data / "results" / "sweeps" / "tiny" / "store"
    keys = [key for part in (store / "parts").iterdir() for key in pq.read_table(part)["key"].to_pylist()]
    assert len(keys) == len(set(keys)) == 18
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(Store(store).read()) == 18


def test_a_sweep_waits_for_the_rows_of_another_and_then_finds_them(data, run):
    assert run("sweep", "experiment.yaml", "--quiet")[0] == 0
    store = Store(data / "results" / "sweeps" / "tiny" / "store")
    keys = store.read()["key"]
    for path in (store.folder / "parts").iterdir():
        path.rename(path.with_suffix(".hidden"))
    began = time.monotonic()

    def finish():
        with store.claim(keys):
            claimed.set()
            time.sleep(3)
            for path in (store.folder / "parts").iterdir():
                path.rename(path.with_suffix(".parquet"))

    claimed = threading.Event()
    other = threading.Thread(target=finish)
    other.start()
    claimed.wait()
    assert run("sweep", "experiment.yaml", "--quiet")[0] == 0
    other.join()
    assert time.monotonic() - began >= 3
    assert sum(len(pq.read_table(path)) for path in (store.folder / "parts").iterdir()) == len(keys)


def test_a_table_that_many_write_at_once_is_whole(tmp_path):
    tables = [pd.DataFrame({"key": [str(number)] * 50}) for number in range(4)]

    def write(table):
        for _ in range(10):
            for suffix in ("csv", "parquet"):
                save_table(table, tmp_path / f"t.{suffix}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, tables))
    for read, suffix in ((pd.read_csv, "csv"), (pd.read_parquet, "parquet")):
        found = read(tmp_path / f"t.{suffix}")
        assert len(found) == 50 and found["key"].nunique() == 1
    assert len(list(tmp_path.iterdir())) == 2
