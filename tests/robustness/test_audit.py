"""The audit of bad input, told again: what each input that it names is answered today.

The tables have an input a row, with exit code and words. What other files of this folder hold is listed in `ELSEWHERE`,
and what could be better in `POOR`, each with its reason.
"""

import ast
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from steerlib import SteeringVector, cli
from steerlib.engine import clips as clips_module
from steerlib.engine.clips import Clips
from steerlib.measure import registry
from steerlib.measure.rhythm import checkpoint_path
from steerlib.study import Study
from steerlib.sweeps.grid import _metrics
from steerlib.sweeps.store import Store

from .test_stores import A, B, rows
from .test_yaml import BOMB

# --- said before the model is loaded ------------------------------------------------------------------------------

STEER = ["steer", "v.safetensors", "--out", "o", "--prompt", "a rock song", "--multiplier", "0.5"]
AIM = STEER[:-2]
SWEEP = ["sweep", "experiment.yaml", "-p"]


def shown(each):
    return " ".join(each)[:60] if isinstance(each, list) else ""


EARLY = [
    (["info", "gone.safetensors"], "no vector at gone.safetensors"),
    (["info", "empty.safetensors"], "empty.safetensors is not a safetensors file"),
    (["info", "not-a-store"], "not-a-store/store.json is damaged"),
    (["extract", "tempo.yaml", "--out", "t.safetensors", "--pairs", "0"], "pairs must be at least 1"),
    (["extract", "bomb.yaml", "--out", "t.safetensors"], "bomb.yaml must have exactly the keys"),
    ([*STEER, "--layer", "3"], "layer 3 is outside the vector"),
    ([*STEER, "--layer", "-1"], "layer -1 is outside the vector"),
    ([*STEER, "--seconds", "0"], "--seconds must be a positive number, got 0"),
    ([*STEER, "--seconds", "-1"], "--seconds must be a positive number, got -1"),
    ([*STEER, "--seconds", "nan"], "--seconds must be a positive number, got nan"),
    ([*STEER, "--seconds", "inf"], "--seconds must be a positive number, got inf"),
    ([*STEER, "--guidance", "0"], "guidance_scale must be a positive number"),
    ([*STEER, "--guidance", "-3"], "guidance_scale must be a positive number"),
    ([*STEER, "--guidance", "nan"], "guidance_scale must be a positive number"),
    ([*STEER, "--guidance", "inf"], "guidance_scale must be a positive number"),
    ([*STEER, "--multiplier", "nan"], "multiplier must be a finite number"),
    ([*STEER, "--multiplier", "0.1", "inf"], "multiplier must be a finite number"),
    ([*STEER, "--prompt", ""], "--prompt: one is empty"),
    ([*STEER, "--prompt", "a rock song", " "], "--prompt: one is empty"),
    ([*STEER, "--guidance", "1", "--branches", "unconditional"], "there is no such branch"),
    (["steer", "empty.safetensors", *STEER[2:]], "empty.safetensors is not a safetensors file"),
    (["steer", "list.yaml", *STEER[2:]], "list.yaml is not a safetensors file"),
    (["steer", "--from", "gone.json", "--out", "o"], "gone.json"),
    (["steer", "--from", "list.yaml", "--out", "o"], "list.yaml is no recipe of a clip"),
    (["steer", "--from", "deep.json", "--out", "o"], "deep.json is no recipe of a clip"),
    (["steer", "--from", "empty.safetensors", "--out", "o"], "empty.safetensors is no recipe of a clip"),
    (["sweep", "bomb.yaml"], "bomb.yaml: sweep 'mine' must be a mapping"),
    (["sweep", "deep.json"], "deep.json is not valid YAML: it is nested too deeply"),
    ([*AIM, "--bpm", "nan"], "--bpm must be positive numbers"),
    ([*AIM, "--bpm", "120", "0"], "--bpm must be positive numbers"),
    ([*AIM, "--centroid", "inf"], "--centroid must be positive numbers"),
    ([*SWEEP, "seeds", "[1.0]"], "experiment.yaml: sweep 'tiny': seeds must be a whole number"),
    ([*SWEEP, "seeds", "[a, b]"], "experiment.yaml: sweep 'tiny': seeds must be a whole number"),
    ([*SWEEP, "seeds", "[1180591620717411303424]"], "at most 64 bits"),
    ([*SWEEP, "seeds", "[3, 3]"], "experiment.yaml: sweep 'tiny': seeds has 3 more than once"),
    ([*SWEEP, "multipliers", "[1, 1]"], "experiment.yaml: sweep 'tiny': multipliers has 1 more than once"),
    ([*SWEEP, "multipliers", "{tempo: [1, 1]}"], "experiment.yaml: sweep 'tiny': multipliers has 1 more than once"),
    ([*SWEEP, "multipliers", "{energy: [1]}"], "sweep 'tiny': multipliers has nothing for the attribute 'tempo'"),
    ([*SWEEP, "layers", "[1, 1]"], "experiment.yaml: sweep 'tiny': layers has 1 more than once"),
    ([*SWEEP, "layers", "[-1]"], "experiment.yaml: sweep 'tiny': layers must be 'all', a list of layers from 0"),
    ([*SWEEP, "layers", "-1"], "experiment.yaml: sweep 'tiny': layers must be 'all', a list of layers from 0"),
    ([*SWEEP, "layers", "{tempo: -1}"], "experiment.yaml: sweep 'tiny': layers must be 'all'"),
    ([*SWEEP, "attributes", "[gone.yaml]"], "experiment.yaml: sweep 'tiny': no attribute at gone.yaml"),
    ([*SWEEP, "prompts", "gone.yaml"], "experiment.yaml: sweep 'tiny': no prompt list at gone.yaml"),
    ([*SWEEP, "prompts", "tempo.yaml"], "experiment.yaml: sweep 'tiny': tempo.yaml must have exactly the keys"),
    ([*SWEEP, "branches", "unconditional", "-p", "guidance_scale", "1"], "there is no such branch"),
    ([*SWEEP, "beats", "gone.ckpt", "-p", "metrics", "[bpm]"], "sweep 'tiny': no BeatThis checkpoint at gone.ckpt"),
    ([*SWEEP, "beats", "list.yaml", "-p", "metrics", "[sure_bpm]"], "list.yaml is no BeatThis checkpoint"),
    ([*SWEEP, "shard", "1/2"], "experiment.yaml: sweep 'tiny' has unknown settings shard"),
    ([*SWEEP, "1", "2"], "experiment.yaml: sweep 'tiny' has unknown settings 1"),
    (["evaluate", "audio", "--beats", "list.yaml"], "list.yaml is no BeatThis checkpoint"),
    (["evaluate", "audio", "--beats", "audio"], "no BeatThis checkpoint at audio"),
    (["evaluate", "audio", "--beats", "gone.ckpt"], "no BeatThis checkpoint at gone.ckpt"),
    (["evaluate", "audio", "--metrics", "--labels", "rock", "folk", "--clap", "audio"], "cannot get the CLAP model"),
    (["evaluate", "audio", "--metrics", "centroid", "--reference", "gone"], "there is no file or folder gone"),
    (["evaluate", "audio", "--metrics", "centroid", "--reference", "not-a-store"], "not-a-store has no audio"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), EARLY, ids=shown)
def test_what_can_be_known_without_the_model_is_said_without_it(run, data, monkeypatch, arguments, words):
    def load_model(*_, **__):
        raise AssertionError("the model is loaded")

    monkeypatch.setattr(cli, "load_model", load_model)
    SteeringVector(torch.ones(3, 4)).save(data / "v.safetensors")
    (data / "empty.safetensors").write_bytes(b"")
    (data / "deep.json").write_text("[" * 99999)
    (data / "bomb.yaml").write_text(f"{BOMB}sweeps: {{mine: *a11}}")
    (data / "not-a-store").mkdir()
    (data / "not-a-store" / "store.json").write_text("[]")
    (data / "audio").mkdir()
    soundfile.write(data / "audio" / "a.wav", np.sin(np.arange(16000) / 5), 16000)
    code, out, error = run(*arguments)
    assert code == 1 and words in error and "Traceback" not in error and "not foreseen" not in error
    assert len(error) < 1500 and "load" not in out


# --- with the model ---------------------------------------------------------------------------------------------

FITS = ["steer", "fits.safetensors", *STEER[2:], "--model", "MODEL", "--seconds"]
RUN = [
    (["info", "MODEL", "--device", "mps"], 1, "device"),
    (["info", "~nouser/x"], 1, "unknown model '~nouser/x'"),
    (["info", "MODEL", "--revision", "main"], 1, "means something on the Hub only"),
    (["sweep", "experiment.yaml", "-p", "model", "nowhere"], 1, "sweep 'tiny': unknown model 'nowhere'"),
    (["sweep", "experiment.yaml", "-p", "layers", "[3]"], 1, "experiment.yaml: sweep 'tiny': source_layer: layer 3"),
    (["sweep", "experiment.yaml", "-p", "seconds", "100000"], 1, "experiment.yaml: sweep 'tiny': seconds=100000"),
    (["sweep", "experiment.yaml", "--dry-run", "-p", "layers", "[3]"], 1, "sweep 'tiny': source_layer: layer 3"),
    (["sweep", "experiment.yaml", "--merge", "--output", "merged"], 0, ""),  # no shards: it makes the rows itself
    (["sweep", "experiment.yaml", "--output", "foreign"], 1, "is not a result store"),
    (["sweep", "experiment.yaml", "--output", "damaged"], 1, "tempo.safetensors is not a safetensors file"),
    (["sweep", "experiment.yaml", "--output", "blocked"], 1, "blocked/tiny"),
    (["sweep", "experiment.yaml", "--output", "cut", "--merge"], 1, "'tiny': cut/tiny/shards/1-of-2/store.json is"),
    ([*STEER, "--model", "MODEL"], 1, "v.safetensors has shape \\(3, 4\\), but the model needs"),
    ([*FITS, "0.2", "--prompt", "a " * 50], 1, "padded to"),
    ([*FITS, "0.2", "--multiplier", "1e38"], 1, "finite|overflow"),
    ([*FITS, "1e9"], 1, "ask for at most"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "expected", "words"), RUN, ids=shown)
def test_what_only_the_model_can_tell_is_said_in_one_line(run, data, model_folder, arguments, expected, words):
    SteeringVector(torch.ones(3, 4)).save(data / "v.safetensors")
    SteeringVector(torch.ones(3, 32)).save(data / "fits.safetensors")
    letters = ("foreign/tiny/store/letter.txt", "damaged/tiny/vectors/tempo.safetensors", "blocked/tiny")
    for path in (*letters, "cut/tiny/shards/1-of-2/store.json"):
        (data / path).parent.mkdir(parents=True)
        (data / path).write_text("a letter")
    code, _, error = run(*(model_folder if each == "MODEL" else each for each in arguments), "--quiet")
    assert code == expected and re.search(words, error) and "Traceback" not in error and "not foreseen" not in error
    assert (data / "foreign/tiny/store/letter.txt").read_text() == "a letter"
    assert not list(data.rglob("o/*"))


# --- without a command ------------------------------------------------------------------------------------------


def test_a_disk_that_fills_up_leaves_no_half_clip_of_steer(run, data, model_folder, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    SteeringVector(torch.ones(3, 32)).save(data / "v.safetensors")
    monkeypatch.setattr(clips_module, "write_whole", full)
    code, _, error = run(*STEER, "--model", model_folder, "--seconds", "0.2", "--quiet")
    assert code == 1 and "No space left on device: 'o/000.flac'" in error and len(error.splitlines()) == 1
    assert not list((data / "o").iterdir())


def test_clips_are_saved_as_they_sound(tmp_path):
    sound = 0.3 * np.sin(np.arange(8000, dtype=np.float32) / 5)
    clips = Clips(sound[None], 16000, np.zeros((1, 1, 1), np.int16), ("a",), (0,))
    [path] = clips.save(tmp_path / "new")
    assert np.abs(soundfile.read(path)[0] - sound).max() < 2**-15 and len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize("name", ["sure_bpm", "mode", "cutoff"])
def test_other_thresholds_of_a_judge_are_another_row(tmp_path, monkeypatch, name):
    before = _metrics([name, "centroid"], None)[1]
    (tmp_path / "judges.json").write_text("{}")
    monkeypatch.setitem(registry.THRESHOLDS, name, tmp_path / "judges.json")
    after = _metrics([name, "centroid"], None)[1]
    assert before != after and before.keys() == after.keys()
    assert _metrics(["centroid"], None)[1] == {}


def test_a_public_tracker_that_is_another_file_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    for name in ("final0", "small0"):
        (tmp_path / "checkpoints" / f"beat_this-{name}.ckpt").write_bytes(b"another")
        with pytest.raises(ValueError, match=rf"beat_this-{name}\.ckpt is not the .* that this project knows"):
            checkpoint_path(name)


def with_versions(store, **versions):
    """The parts of a store, as if made with these versions."""
    for path in (store.folder / "parts").iterdir():
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[b"steerlib.Store"])
        about["versions"] |= versions
        path.unlink()
        named = table.replace_schema_metadata({"steerlib.Store": json.dumps(about)})
        pq.write_table(named, path.with_name(f"{''.join(versions.values())}.parquet"))


def test_rows_made_with_other_libraries_are_read_and_said_to_be(tmp_path):
    store = Store(tmp_path / "store")
    store.append(rows(A))
    with_versions(store, librosa="0.9", steerlib="0.0.1")
    store.append(rows(B))
    with pytest.warns(UserWarning, match=r"rows made with different versions of librosa \(0\.\d+.* and 0\.\d"):
        assert len(store.read()) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(store.read()) == 2  # it has been said
        store = Store(tmp_path / "other")
        store.append(rows(A))
        with_versions(store, steerlib="0.0.1")
        store.append(rows(B))
        store.read()


@pytest.mark.parametrize("count", [-3, 0, True, 1.5])
def test_a_part_of_the_prompts_of_a_study_is_a_whole_number(tiny, count):
    with pytest.raises(ValueError, match="prompts must be how many to take, at least 1"):
        Study("chapter", tiny, []).compare({}, prompts=count)


@pytest.mark.parametrize("name", ["tempo_alias", "no_such_list"])
def test_a_study_names_the_attribute_or_list_that_there_is_not(tiny, name):
    with pytest.raises(ValueError, match=f"unknown attribute '{name}'"):
        Study("chapter", tiny, [name])
    with pytest.raises(ValueError, match=f"unknown prompt list '{name}'"):
        Study("chapter", tiny, [], prompts=(name, 3))


# --- the recount ------------------------------------------------------------------------------------------------

ELSEWHERE = {
    "1 vector of prompts that have changed": "command_line.a_vector_of_prompts_that_have_changed_is_not_used",
    "1 rules of sweeps without inputs": "book.a_sweep_looks_again_when_its_prompts_model_or_code_change",
    "1 metric that gives other numbers": "metrics.a_metric_gives_the_numbers_of_its_version",
    "2 code of a model folder": "models.code_of_a_model_folder_is_not_run_whatever_is_answered",
    "2 code of a CLAP folder": "models.code_of_a_clap_folder_is_not_run_whatever_is_answered",
    "2 pickled CLAP": "models.a_pickled_clap_is_not_read",
    "3 sweeps and attributes called ../escape": "yaml.a_name_that_could_leave_its_folder_is_refused",
    "3 clips called ../escape in merged stores": "stores.a_clip_outside_the_store_is_never_read_or_copied",
    "4 disk that fills up": "stores.a_disk_that_fills_up_leaves_neither_row_nor_clip",
    "4 clip of zeros": "stores.a_clip_that_is_not_the_one_written_is_left_out",
    "5 every kind of exception": "command_line.every_failure_is_one_line_with_the_documented_code",
    "5 killed worker": "command_line.a_worker_that_the_system_kills_ends_the_sweep_with_3",
    "5 odd config.json": "models.a_configuration_that_makes_no_sense_is_an_error_in_words",
    "5 odd index of weights": "models.an_index_of_weights_that_is_none_is_named",
    "6 experiments that are none": "book.an_experiment_that_makes_no_sense_is_refused_with_its_file",
    "6 rehearsals of what is none": "book.a_rehearsal_of_what_is_no_experiment_is_one_error",
    "7 settings of the wrong type": "yaml.a_setting_of_the_wrong_type_is_refused_by_its_name",
    "7 keys that stand twice": "yaml.a_file_that_is_no_yaml_is_named",
    "7 no tokenizer_config.json": "models.a_file_of_a_model_that_is_missing_or_damaged_is_an_error_in_words",
    "7 study of -49 prompts": "hostile_text.a_study_of_no_whole_number_of_prompts_is_refused",
    "8 seed of 80 bits": "command_line.a_command_line_that_makes_no_sense_is_answered_in_one_line",
    "9 steer into a folder with clips": "command_line.steer_never_writes_into_a_folder_with_clips",
    "9 evaluate with one odd file": "audio.evaluate_leaves_out_what_it_cannot_measure_and_names_it",
    "10 odd part": "stores.an_odd_part_is_named_and_the_others_are_read",
    "10 dangling link": "stores.a_link_to_nowhere_among_the_clips_hurts_nobody",
    "11 reader beside a writer": "stores.a_store_opens_while_others_write_to_it",
    "12 fork": "processes.generate_works_in_a_forked_process",
    "13 path with a space": "book.commands_of_the_workflow_quote_paths_with_spaces_and_worse",
    "14 planted SoundFont": "caches.a_damaged_soundfont_in_the_cache_is_made_again",
    "15 no home": "caches.the_library_works_without_a_home_that_can_be_written_to",
    "16 name that is no UTF-8": "audio.read_folder_skips_and_lists_a_file_whose_name_is_no_text",
    "16 header of 1 Hz, named pipe": "audio.what_is_no_audio_is_refused_in_words_at_once",
    "17 alias bomb": "yaml.aliases_that_stand_for_gigabytes_make_a_short_message",
    "kills: rows lost or doubled": "kills.sweeps_that_are_killed_lose_no_row_and_make_none_twice",
    "kills: clips made twice by two sweeps": "stores.two_sweeps_into_one_store_make_each_clip_once",
    "kills: one table written by two": "stores.a_table_that_many_write_at_once_is_whole",
    "security: card of a vector": "hostile_text.a_card_shows_what_others_wrote_as_text",
    "security: formulas in CSV": "hostile_text.a_csv_file_has_no_formulas",
    "security: control characters": "command_line.info_prints_no_control_characters_of_a_vector",
}

POOR = {
    "Ctrl-C while Python imports the library prints Python's traceback": "none of our code runs yet; nothing is lost",
    "a name on the Hub without a network is refused after 23 s": "its client tries again; offline it is at once",
    "'1e5' in YAML is a text, and refused as one": "the rule of YAML 1.1; 1.0e+5 is a number",
    "a file that was half written beside a vector or table when the process was killed stays": "hidden, never read; "
    "another name each time, so that two processes cannot meet; those in a store go after an hour",
    "a notebook killed with -9 leaves its cells in .NAME.part.ipynb": "the last good one keeps its name until then",
    "extract and --table replace the file that they are told to write": "as all do that are given a file's name",
    "rows from another kind of processor are not told apart": "they may differ in the last bit of a sum; with a key "
    "for each, machines of two kinds could not share a sweep",
    "a model, a recording or a store larger than memory is loaded": "SECURITY.md says so; the system's limit ends it",
    "BeatThis checkpoints but final0 and small0 have no checksum here": "nobody publishes any; a row's key has the "
    "checkpoint's hash",
    "papermill alone takes a parameter of the wrong kind": "it knows none; the book's runner and `Study` do",
    "a read-only checkout has no test": "it needs a mount; the library writes into the user's cache alone",
}  # fmt: skip


@pytest.mark.parametrize("place", ELSEWHERE.values(), ids=ELSEWHERE)
def test_the_file_named_has_the_test(place):
    file, name = place.split(".")
    tree = ast.parse((Path(__file__).parent / f"test_{file}.py").read_text(encoding="utf-8"))
    assert f"test_{name}" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_what_could_be_better_is_little_and_has_reasons():
    assert len(POOR) <= 15 and all(POOR.values())
