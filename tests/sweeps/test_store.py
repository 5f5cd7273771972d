"""The store: rows are whole or absent, damage is named and stays local, shards come together."""

import json
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
import pytest
import soundfile

from steerlib.sweeps.store import Store, merge, row_key


def rows(*names, value=1.0):
    return pd.DataFrame({"key": [row_key({"row": name}) for name in names], "name": names, "bpm": value})


def tone(count):
    return np.tile(0.3 * np.sin(np.arange(8000) / 5, dtype=np.float32), (count, 1))


@pytest.fixture
def store(tmp_path):
    """A store of four rows with clips in two parts."""
    store = Store(tmp_path / "store")
    store.append(rows("a", "b"), tone(2), sample_rate=16000)
    store.append(rows("c", "d"), tone(2), sample_rate=16000, audio_format="flac")
    return store


def parts(store):
    return sorted((store.folder / "parts").glob("*.parquet"))


def test_a_key_depends_on_every_setting_and_not_on_their_order():
    assert row_key({"a": 1, "b": [2.0, None]}) == row_key({"b": [2.0, None], "a": 1})
    assert row_key({"a": 1}) != row_key({"a": 2}) != row_key({"b": 2})
    with pytest.raises(ValueError):
        row_key({"a": float("nan")})


def test_rows_and_clips_come_back_as_they_were(store):
    table = Store(store.folder).read()
    assert sorted(table["name"]) == ["a", "b", "c", "d"] and table["key"].is_monotonic_increasing
    for row in table.itertuples():
        audio, rate = soundfile.read(store.folder / row.clip)
        assert rate == 16000 and abs(len(audio) - 8000) < 2000
        assert row.clip.endswith("mp3" if row.name in "ab" else "flac")


def test_rows_without_clips_and_with_other_columns_go_together(store):
    store.append(rows("e").assign(source_layer=pd.array([3], "Int64"), onset_rate=2.5))
    table = store.read().set_index("name")
    assert pd.isna(table["clip"]["e"]) and table.source_layer["e"] == 3
    assert pd.isna(table.source_layer["a"]) and table.source_layer.dtype == "Int64"


def test_an_empty_store_has_no_rows(tmp_path):
    assert len(Store(tmp_path / "new").read()) == 0


def test_a_row_that_was_made_twice_is_there_once(store):
    store.append(rows("a"))
    assert (store.read()["name"] == "a").sum() == 1


@pytest.mark.parametrize("damage", ["truncated", "bits flipped", "empty", "text"])
def test_a_damaged_part_is_named_and_the_rest_stays(store, damage):
    broken = parts(store)[0]
    content = broken.read_bytes()
    flipped = content[:60] + bytes(255 - byte for byte in content[60:90]) + content[90:]
    damaged = {"truncated": content[:500], "bits flipped": flipped, "empty": b"", "text": b"not a table"}
    broken.write_bytes(damaged[damage])
    with pytest.warns(UserWarning, match=broken.name):
        table = store.read()
    assert sorted(table["name"]) in (["a", "b"], ["c", "d"])


def test_a_part_of_another_version_is_named_and_left_out(store):
    import pyarrow.parquet as pq

    old = parts(store)[0]
    table = pq.read_table(old)
    about = json.loads(table.schema.metadata[b"steerlib.Store"]) | {"version": 0}
    old.unlink()
    pq.write_table(table.replace_schema_metadata({"steerlib.Store": json.dumps(about)}), old.with_stem("old"))
    with pytest.warns(UserWarning, match=r"old\.parquet.*version 0"):
        assert len(store.read()) == 2


@pytest.mark.parametrize("state", ["missing", "truncated"])
def test_a_row_whose_clip_is_gone_or_cut_is_left_out(store, state):
    clip = store.folder / store.read().set_index("name")["clip"]["b"]
    if state == "missing":
        clip.unlink()
    else:
        clip.write_bytes(clip.read_bytes()[:-10])
    with pytest.warns(UserWarning, match=clip.name):
        assert sorted(store.read()["name"]) == ["a", "c", "d"]


@pytest.mark.parametrize(
    "content",
    ['{"format": "steerlib.Store", "version": 99}', '{"format": "other", "version": 1}', "{", "[]"],
)
def test_a_store_of_another_version_is_refused_by_the_name_of_its_file(store, content):
    (store.folder / "store.json").write_text(content)
    with pytest.raises(ValueError, match=r"store\.json"):
        Store(store.folder)


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "thesis.tex").write_text("42")
    with pytest.raises(ValueError, match="not a result store"):
        Store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_nothing_half_written_stays_when_writing_fails(store):
    before = sorted(store.folder.rglob("*"))
    with pytest.raises(Exception, match="(?i)format|rate"):
        store.append(rows("e"), tone(1), sample_rate=-1)
    assert sorted(store.folder.rglob("*")) == before and len(store.read()) == 4


def test_shards_merge_into_what_one_store_would_hold(tmp_path, store):
    shards = [Store(tmp_path / name) for name in ("one", "two")]
    shards[0].append(rows("a", "b"), tone(2), sample_rate=16000)
    shards[1].append(rows("b", "c", "d"), tone(3), sample_rate=16000)
    merged = merge(tmp_path / "all", [shard.folder for shard in shards])
    assert merged["key"].tolist() == store.read()["key"].tolist()
    assert all((tmp_path / "all" / clip).is_file() for clip in merged["clip"])
    assert len(merge(tmp_path / "all", [shard.folder for shard in shards])) == 4
    assert len(shards[1].read()) == 3


def test_merging_a_store_that_is_not_there_is_refused_before_anything_is_copied(tmp_path, store):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        merge(tmp_path / "all", [store.folder, tmp_path / "nowhere"])
    assert not (tmp_path / "all").exists()


def test_what_a_killed_process_half_wrote_does_not_count_and_is_cleaned_up_later(store):
    import os

    rest = store.folder / "parts" / ".x.parquet.0000.tmp"
    rest.write_bytes(b"half")
    assert len(Store(store.folder).read()) == 4 and rest.exists()
    os.utime(rest, (time.time() - 7200,) * 2)
    Store(store.folder)
    assert not rest.exists()


def test_kill_9_at_any_moment_leaves_whole_rows(tmp_path):
    program = (
        "import sys, numpy as np, pandas as pd\n"
        "from steerlib.sweeps.store import Store, row_key\n"
        "store, number = Store(sys.argv[1]), 0\n"
        "while True:\n"
        "    keys = [row_key({'row': number + each}) for each in range(4)]\n"
        "    numbers = range(number, number + 4)\n"
        "    table = pd.DataFrame({'key': keys, 'number': numbers})\n"
        "    audio = np.full((4, 800), 0.1, np.float32)\n"
        "    store.append(table, audio, sample_rate=16000, audio_format='flac')\n"
        "    number += 4\n"
    )
    folder = tmp_path / "store"
    process = subprocess.Popen([sys.executable, "-c", program, str(folder)])
    deadline = time.time() + 600
    while len(list(folder.glob("parts/*.parquet"))) < 5 and time.time() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numbers = sorted(Store(folder).read()["number"])
    assert len(numbers) >= 20 and numbers == list(range(len(numbers)))


def test_a_folder_that_cannot_be_written_to_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="cannot write results to .*Name a folder"):
        Store(tmp_path / "file" / "store")
