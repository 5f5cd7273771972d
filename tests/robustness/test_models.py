"""Model folders and vectors of others: no code of theirs runs, and what is odd is named."""

import io
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from steerlib import SteeringVector, load_model
from steerlib.measure import clap_scores
from steerlib.model import POCKET


@pytest.fixture
def folder(tmp_path, model_folder):
    return shutil.copytree(model_folder, tmp_path / "model")


def change(path, **values):
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | values), encoding="utf-8")


@pytest.fixture
def willing(monkeypatch):
    """Somebody who says yes to every question."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 10))


# --- code ---------------------------------------------------------------------------------------------------

EVIL = "import pathlib\n\npathlib.Path({!r}).write_text('it ran')\n"


def test_code_of_a_model_folder_is_not_run_whatever_is_answered(folder, tmp_path, willing):
    (folder / "evil.py").write_text(EVIL.format(str(tmp_path / "ran")))
    feature = {"feature_extractor_type": "Evil", "auto_map": {"AutoFeatureExtractor": "evil.Evil"}}
    change(
        folder / "processor_config.json", feature_extractor=feature, auto_map={"AutoProcessor": "evil.Evil"}
    )
    change(folder / "config.json", auto_map={"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"})
    with pytest.raises(ValueError, match="wants to run code that it brings along|make no MusicGen"):
        load_model(folder)
    assert not (tmp_path / "ran").exists()


def test_code_of_a_clap_folder_is_not_run_whatever_is_answered(tmp_path, willing):
    folder = shutil.copytree(POCKET / "clap", tmp_path / "clap")
    (folder / "evil.py").write_text(EVIL.format(str(tmp_path / "ran")))
    change(
        folder / "config.json",
        model_type="evil",
        auto_map={"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"},
    )
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 32000)).astype(np.float32)
    with pytest.raises(ValueError, match="wants to run code that it brings along"):
        clap_scores(noise, ["rock", "folk"], sample_rate=16000, model=folder)
    assert not (tmp_path / "ran").exists()


def test_a_pickled_clap_is_not_read(tmp_path):
    folder = shutil.copytree(POCKET / "clap", tmp_path / "clap")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 32000)).astype(np.float32)
    with pytest.raises(FileNotFoundError, match="safetensors"):
        clap_scores(noise, ["rock", "folk"], sample_rate=16000, model=folder)


# --- folders ------------------------------------------------------------------------------------------------

FILES = [
    "config.json",
    "tokenizer_config.json",
    "model.safetensors",
    "tokenizer.json",
    "processor_config.json",
]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"null", b"3", b"\xff\xfe\x00", b"[" * 5000])
def test_a_file_of_a_model_that_is_missing_or_damaged_is_an_error_in_words(folder, name, content):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises((ValueError, OSError)) as refused:
        load_model(folder)
    assert str(folder) in str(refused.value)


CONFIGS = {
    "no type": {"model_type": None},
    "another type": {"model_type": "bert"},
    "a type that is a list": {"model_type": ["musicgen_melody"]},
    "a decoder that is a list": {"decoder": [1]},
    "a decoder that is null": {"decoder": None},
    "no blocks": {"decoder": {"model_type": "musicgen_melody_decoder", "num_hidden_layers": 0}},
    "blocks in words": {"decoder": {"model_type": "musicgen_melody_decoder", "num_hidden_layers": "three"}},
    "fewer blocks": {"decoder": {"model_type": "musicgen_melody_decoder", "num_hidden_layers": 1}},
    "a codec that is a list": {"audio_encoder": []},
    "a codec that nobody knows": {"audio_encoder": {"model_type": "nobody"}},
    "a text encoder that is null": {"text_encoder": None},
}


@pytest.mark.parametrize("values", CONFIGS.values(), ids=CONFIGS)
def test_a_configuration_that_makes_no_sense_is_an_error_in_words(folder, values):
    change(folder / "config.json", **values)
    with pytest.raises((ValueError, OSError)) as refused:
        load_model(folder)
    assert str(folder) in str(refused.value)


@pytest.mark.parametrize(
    "index", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "{", '{"weight_map": {"a": "b"}}']
)
def test_an_index_of_weights_that_is_none_is_named(folder, index):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ValueError, match=r"index\.json|lacks 1 of 1 shards"):
        load_model(folder)


@pytest.mark.parametrize(
    "name", ["", "~nobody/model", "a" * 5000, "nowhere", "a/b/c", "../x", "zero\0byte", "http://x/y", "a b/c"]
)
def test_a_name_of_no_model_is_refused(name):
    with pytest.raises(ValueError, match="unknown model"):
        load_model(name)


@pytest.mark.parametrize(
    "device", ["meta", "mps", "gpu", "", "cuda:99", "cpu:x", "hpu", "xla", 1.5, "vulkan"]
)
def test_a_device_that_cannot_hold_a_model_is_refused_before_it_is_loaded(device):
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("there is one here")
    with pytest.raises(ValueError, match="device"):
        load_model("pocket", device=device)


@pytest.mark.parametrize("dtype", ["int8", "float", "", "nothing", "__doc__", torch.int64, "quint8"])
def test_a_dtype_that_is_none_is_refused_before_the_model_is_loaded(dtype):
    if dtype == "float":
        assert torch.float.is_floating_point
        return
    with pytest.raises(ValueError, match="unknown dtype"):
        load_model("pocket", dtype=dtype)


# --- vectors ------------------------------------------------------------------------------------------------

HEADERS = {
    "no header": None,
    "no JSON": "{",
    "a list": "[]",
    "a number": "3",
    "deep": "[" * 99999,
    "no version": '{"metadata": {}}',
    "no metadata": '{"format_version": 1}',
    "a version that is a word": '{"format_version": "one", "metadata": {}}',
    "a version that is null": '{"format_version": null, "metadata": {}}',
    "a version to come": '{"format_version": 99, "metadata": {}}',
    "metadata that is a number": '{"format_version": 1, "metadata": 3}',
    "metadata that is a list": '{"format_version": 1, "metadata": [3]}',
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_vector_with_an_odd_header_is_named(tmp_path, header):
    metadata = {} if header is None else {"steerlib.SteeringVector": header}
    save_file({"directions": torch.ones(3, 32)}, tmp_path / "odd.safetensors", metadata)
    with pytest.raises(ValueError, match=r"odd\.safetensors"):
        SteeringVector.load(tmp_path / "odd.safetensors")


DIRECTIONS = {
    "one number": torch.ones(1),
    "three axes": torch.ones(3, 3, 3),
    "nothing": torch.ones(0, 32),
    "NaN": torch.full((3, 32), torch.nan),
    "infinity": torch.full((3, 32), torch.inf),
}


@pytest.mark.parametrize("directions", DIRECTIONS.values(), ids=DIRECTIONS)
def test_a_vector_of_odd_directions_is_named(tmp_path, directions):
    header = {"steerlib.SteeringVector": '{"format_version": 1, "metadata": {}}'}
    save_file({"directions": directions}, tmp_path / "odd.safetensors", header)
    with pytest.raises(ValueError, match=r"odd\.safetensors"):
        SteeringVector.load(tmp_path / "odd.safetensors")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\0" * 100, b"\xff" * 100, b"text", (2**40).to_bytes(8, "little") + b"{}"]
)
def test_a_vector_that_is_no_safetensors_is_named(tmp_path, content):
    (tmp_path / "odd.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"odd\.safetensors is not a safetensors file"):
        SteeringVector.load(tmp_path / "odd.safetensors")
