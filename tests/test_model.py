"""Loading models, what they say of themselves, encoding prompts, and naming the model."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import MusicgenMelodyConfig, MusicgenMelodyForConditionalGeneration

from steerlib.files import DATA
from steerlib.model import check_shape, decoder_blocks, load_model, model_id
from steerlib.music.codec import SpectralCodecConfig


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny):
    folder = tmp_path_factory.mktemp("saved") / "tiny"
    for part in tiny:
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "tiny")


def edit_config(folder, change):
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    change(config)
    path.write_text(json.dumps(config), encoding="utf-8")


def test_a_saved_model_comes_back_ready_for_inference_with_the_same_tokens(saved, tiny):
    model = load_model(saved)
    encoded = model.encode(["a fast folk song"])
    assert not model.network.training
    assert not any(p.requires_grad for p in model.network.parameters())
    assert torch.equal(
        model.network.generate(**encoded, max_new_tokens=8),
        tiny.network.generate(**encoded, max_new_tokens=8),
    )
    assert torch.equal(encoded["input_ids"], tiny.encode(["a fast folk song"])["input_ids"])


def test_weights_stored_in_half_precision_are_float32_on_the_cpu_unless_asked_otherwise(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({k: v.half() for k, v in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    assert load_model(str(folder)).dtype == torch.float32
    assert load_model(folder, dtype="bfloat16").dtype == torch.bfloat16


def test_sharded_weights_load_and_a_missing_shard_is_named(tmp_path, tiny):
    tiny.network.save_pretrained(tmp_path, max_shard_size="50KB")
    tiny.processor.save_pretrained(tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert load_model(tmp_path).identity["weights"] == tiny.identity["weights"]
    shards[0].unlink()
    with pytest.raises(ValueError, match=f"lacks 1 of {len(shards)} shards.*{shards[0].name}"):
        load_model(tmp_path)


def as_on_the_hub(folder, model_class):
    """Names of files and weights as in the repositories of facebook/musicgen-*, which older versions wrote."""
    weights = load_file(folder / "model.safetensors")
    old = {
        ".parametrizations.weight.original0": ".weight_g",
        ".parametrizations.weight.original1": ".weight_v",
    }
    for new, legacy in old.items():
        weights = {key.replace(new, legacy): value for key, value in weights.items()}
    assert any(key.endswith("weight_g") for key in weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
    features = config["feature_extractor"]
    if model_class == "Musicgen":
        features = {"feature_extractor_type": "EncodecFeatureExtractor", "sampling_rate": 16000}
    features["processor_class"] = f"{model_class}Processor"
    (folder / "preprocessor_config.json").write_text(json.dumps(features), encoding="utf-8")
    (folder / "processor_config.json").unlink()


@pytest.mark.parametrize("name", ["facebook/musicgen-melody", "facebook/musicgen-small"])
def test_a_model_of_the_hub_loads_offline_from_its_cache_at_a_revision(tmp_path, tiny, tiny_cross, name):
    expected = tiny if name.endswith("melody") else tiny_cross
    commit = "0123456789" * 4
    cache = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    folder = cache / "snapshots" / commit
    for part in expected:
        part.save_pretrained(folder)
    as_on_the_hub(folder, "MusicgenMelody" if name.endswith("melody") else "Musicgen")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit, encoding="utf-8")
    program = (
        "import sys, json, steerlib.model as m\n"
        "for revision in (None, sys.argv[2]):\n"
        "    model = m.load_model(sys.argv[1], revision=revision)\n"
        "print(json.dumps([model.identity, type(model.processor).__name__]))"
    )
    command = [sys.executable, "-c", program, name, commit]
    offline = dict(os.environ) | {
        "HF_HOME": str(tmp_path),
        "HF_HUB_CACHE": str(cache.parent),
        "HF_HUB_OFFLINE": "1",
    }
    finished = subprocess.run(
        command, capture_output=True, text=True, cwd=DATA.parent, check=False, env=offline
    )
    assert finished.returncode == 0, finished.stderr
    about, processor = json.loads(finished.stdout.splitlines()[-1])
    assert about == {"model": name, "revision": commit, "weights": expected.identity["weights"]}
    assert processor == f"Musicgen{'Melody' * name.endswith('melody')}Processor"


def test_a_cross_attention_model_loads_as_well(tmp_path, tiny_cross):
    for part in tiny_cross:
        part.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "processor_config.json").read_text(encoding="utf-8"))
    config["feature_extractor"] = {
        "feature_extractor_type": "EncodecFeatureExtractor",
        "sampling_rate": 16000,
    }
    config["processor_class"] = "MusicgenProcessor"
    (tmp_path / "processor_config.json").write_text(json.dumps(config), encoding="utf-8")
    model = load_model(tmp_path)
    encoded = model.encode(["a song"])
    assert torch.equal(
        model.network.generate(**encoded, max_new_tokens=8),
        tiny_cross.network.generate(**encoded, max_new_tokens=8),
    )


def test_a_model_with_the_codec_of_this_project_loads_in_a_fresh_process(tmp_path, tiny):
    codec = SpectralCodecConfig(
        n_fft=64,
        num_quantizers=2,
        codebook_size=16,
        codebook_dim=4,
        encoder_size=8,
        latent_size=8,
        decoder_size=8,
        depth=2,
    )
    config = MusicgenMelodyConfig(
        text_encoder=tiny.config.text_encoder.to_dict(),
        audio_encoder=codec.to_dict(),
        decoder=tiny.config.decoder.to_dict(),
        chroma_length=4,
    )
    MusicgenMelodyForConditionalGeneration(config).save_pretrained(tmp_path)
    tiny.processor.save_pretrained(tmp_path)
    program = "import sys, steerlib.model as m; print(type(m.load_model(sys.argv[1]).network.audio_encoder).__name__)"
    command = [sys.executable, "-c", program, str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=DATA.parent, check=False)
    assert finished.stdout.split() == ["SpectralCodec"], finished.stderr


@pytest.mark.parametrize("name", ["pockett", "no/such/folder", "/no/such/folder", ""])
def test_an_unknown_name_says_what_would_be_known(name):
    with pytest.raises(ValueError, match="unknown model .*expected 'pocket', an existing folder, or"):
        load_model(name)


def test_a_model_that_cannot_be_downloaded_says_what_to_get_from_where(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        OSError, match="hf download nobody/nothing .*https://huggingface.co/nobody/nothing.*HF_HUB_OFFLINE=1"
    ):
        load_model("nobody/nothing")


def test_a_folder_without_configuration_weights_or_processor_is_refused(folder):
    (folder / "processor_config.json").unlink()
    (folder / "tokenizer.json").unlink()
    with pytest.raises((OSError, ValueError), match="tiny"):
        load_model(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="no weights.*pytorch_model.bin is a pickle, which is not read"):
        load_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"no config.json.*save_pretrained"):
        load_model(folder)


def test_weights_of_another_shape_are_named_with_both_shapes(folder):
    edit_config(folder, lambda config: config["decoder"].update(ffn_dim=48))
    with pytest.raises(
        ValueError, match=r"layers\.0\.fc1\.weight has shape \(64, 32\) in the file, \(48, 32\) in the conf"
    ):
        load_model(folder)


def test_weights_that_are_missing_are_named(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["decoder.model.decoder.layers.1.fc2.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"layers\.1\.fc2\.weight is not in the file"):
        load_model(folder)


def test_a_configuration_with_fewer_blocks_than_the_weights_is_refused(folder):
    edit_config(folder, lambda config: config["decoder"].update(num_hidden_layers=2))
    with pytest.raises(ValueError, match="weights of .*tiny have 3 decoder blocks, its config.json 2"):
        load_model(folder)


def test_damaged_weights_and_other_kinds_of_model_are_refused(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"tiny/model.safetensors is damaged"):
        load_model(folder)
    (folder / "model.safetensors").write_bytes(content)
    edit_config(folder, lambda config: config.update(model_type="t5"))
    with pytest.raises(ValueError, match="type 't5': expected one of musicgen_melody, musicgen"):
        load_model(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu-9"}, "unknown device"),
        ({"dtype": "int64"}, "unknown dtype"),
        ({"dtype": "float33"}, "unknown dtype"),
        ({"revision": "main"}, "is a folder"),
    ],
)
def test_a_bad_option_is_refused(saved, options, message):
    with pytest.raises(ValueError, match=message):
        load_model(saved, **options)


def test_prompts_are_padded_to_one_length_whatever_their_company(tiny):
    alone = tiny.encode(["a song"])
    together = tiny.encode(["a song", "a fast rock song with drums and piano"])
    assert alone["input_ids"].shape == (1, tiny.text_length) == (1, 12)
    assert torch.equal(alone["input_ids"][0], together["input_ids"][0])
    assert alone["attention_mask"].sum() == 3
    assert tiny.encode(["a song"], text_length=5)["input_ids"].shape == (1, 5)


@pytest.mark.parametrize(
    ("prompts", "error", "message"),
    [
        ([], ValueError, "no prompts"),
        (["a song", "  "], ValueError, r"prompts\[1\] is empty"),
        (["a song", "song " * 12], ValueError, r"prompts\[1\] has 13 tokens, but prompts are padded to 12"),
        ("a song", TypeError, r"write \['a song'\]"),
        ([3], TypeError, r"prompts\[0\] must be a string, got int"),
    ],
)
def test_bad_prompts_are_refused(tiny, prompts, error, message):
    with pytest.raises(error, match=message):
        tiny.encode(prompts)


def test_words_that_the_tokenizer_does_not_know_are_named_once(tiny):
    with pytest.warns(UserWarning, match="unknown to the tokenizer.*: kazoo, zither$") as caught:
        tiny.encode(["a Kazoo song", "a kazoo and zither track"])
    assert len(caught) == 1


def test_words_outside_the_vocabulary_of_the_training_are_named(folder):
    (folder / "vocabulary.txt").write_text("a\nsong\nfolk\nrock\n", encoding="utf-8")
    model = load_model(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.encode(["a folk song"])
    with pytest.warns(UserWarning, match="never seen in training.*: jazz, drums$"):
        model.encode(["a jazz song", "drums"])


def test_a_model_is_named_by_its_folder_and_its_weights(folder):
    model = load_model(folder)
    before = model.identity
    assert before["model"] == "tiny"
    assert before["revision"] == "local"
    assert model.identity == model_id(model.network) == before
    model.network.decoder.lm_heads[0].weight.mul_(1.5)
    assert model.identity["weights"] != before["weights"]


def test_blocks_are_found_in_both_kinds_of_model_and_nowhere_else(tiny_model, tiny_musicgen):
    assert len(decoder_blocks(tiny_model)) == len(decoder_blocks(tiny_musicgen)) == 3
    with pytest.raises(TypeError, match="Linear has no blocks.*as load_model returns"):
        decoder_blocks(torch.nn.Linear(2, 2))


# --- the model object ---------------------------------------------------------------------------------------


def test_a_model_is_its_network_and_its_processor(tiny, tiny_model, tiny_processor):
    network, processor = tiny
    assert network is tiny.network is tiny_model and processor is tiny.processor is tiny_processor
    assert decoder_blocks(tiny) is decoder_blocks(network)


def test_a_model_says_its_sizes_and_rates(tiny, tiny_cross, saved):
    for model in (tiny, tiny_cross):
        assert (model.depth, model.width, model.codebooks, model.start_token) == (3, 32, 2, 16)
        assert (model.sample_rate, model.frame_rate, model.text_length) == (16000, 25, 12)
        assert (model.device.type, model.dtype) == ("cpu", torch.float32)
        assert model.frames(0.4) == 10
    assert tiny.is_prefix and tiny.prefix_length == 4 + 12
    assert not tiny_cross.is_prefix and tiny_cross.prefix_length == 0
    assert load_model(saved).name == str(saved) and tiny.name == "unnamed"
    assert "3 blocks x 32, 2 codebooks, 16000 Hz" in repr(tiny)


def test_more_seconds_than_there_are_positions_for_are_refused(tiny, tiny_cross):
    for model, most in ((tiny, 256 - 16 - 1), (tiny_cross, 256 - 1)):
        assert model.frames(most / 25) == most
        with pytest.raises(ValueError, match=f"{most + 1} frames, .* positions for {most} after its prompt"):
            model.frames((most + 1) / 25)


def test_directions_of_another_shape_are_refused_by_name(tiny):
    check_shape(tiny, torch.zeros(3, 32), "the vector")
    for model in (tiny, tiny.network):
        with pytest.raises(
            ValueError, match=r"^mine has shape \(3, 16\), but the model needs .* = \(3, 32\): take"
        ):
            check_shape(model, torch.zeros(3, 16), "mine")


def by_the_book(network):
    """SHA-256 over the name, type, shape and bytes of every weight."""
    digest = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)} ".encode() + weight.numpy().tobytes())
    return digest.hexdigest()


def test_the_digest_of_all_weights_is_computed_once(saved, monkeypatch):
    model = load_model(saved)
    expected = by_the_book(model.network)
    assert model.weights_digest() == expected
    monkeypatch.setattr("steerlib.model.hashlib", None)
    assert model.weights_digest() == expected


def test_the_digest_follows_every_change_of_a_weight(saved):
    model = load_model(saved)
    weight = model.network.decoder.lm_heads[0].weight
    seen = [model.weights_digest()]
    kept = weight[3, 5].item()
    weight[3, 5] += 1  # in place
    assert model.weights_digest() == by_the_book(model.network) not in seen
    weight[3, 5] = kept
    assert model.weights_digest() == seen[0]
    weight.data = weight * 2  # other numbers in the same parameter
    assert model.weights_digest() == by_the_book(model.network) not in seen
    seen.append(model.weights_digest())
    model.network.decoder.lm_heads[0].weight = torch.nn.Parameter(
        weight * 2, requires_grad=False
    )  # another one
    assert model.weights_digest() == by_the_book(model.network) not in seen
    seen.append(model.weights_digest())
    model.network.double()
    assert model.weights_digest() == by_the_book(model.network) not in seen
