"""Extraction: the right position of the right layer, whatever else is in the batch."""

import numpy as np
import pytest
import soxr
import torch

from steerlib.activations import (
    Activations,
    audio_states,
    extract_activations,
    extract_audio_activations,
    hear,
)
from steerlib.directions import diff_mean
from steerlib.engine.clips import Clips
from steerlib.model import decoder_blocks
from steerlib.prompts import Attribute, prompts_hash
from steerlib.steering import SteeringVector

PROMPTS = [
    "a song",
    "a fast rock song with drums",
    "slow jazz",
    "the dark folk track with quiet piano and guitar",
]


def reference(model, position):
    """Hidden states by transformers' own output_hidden_states; the last is after the final normalisation."""
    encoded = model.encode(PROMPTS)
    start = torch.full((len(PROMPTS) * 2, 1), 16)
    hidden = torch.stack(
        model.network(
            **encoded, decoder_input_ids=start, output_hidden_states=True, use_cache=False
        ).hidden_states[1:],
        dim=1,
    )
    where = 4 + (
        encoded["attention_mask"].sum(1) - 1 if position == "eos" else torch.full((len(PROMPTS),), 12)
    )
    return hidden[torch.arange(len(PROMPTS)), :, where]


@pytest.mark.parametrize("position", ["eos", "start"])
def test_activations_are_those_of_transformers_at_that_position(tiny, position):
    values = extract_activations(tiny, PROMPTS, position=position, progress=False).values
    expected = reference(tiny, position)
    assert values.shape == (4, 3, 32)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values[:, :2], expected[:, :2])
    norm = tiny.network.decoder.model.decoder.layer_norm
    torch.testing.assert_close(norm(values[:, 2]), expected[:, 2])


def test_the_attention_site_is_what_the_block_adds_to_the_stream_first(tiny):
    block = decoder_blocks(tiny)[1]
    seen = {}
    hooks = [
        block.register_forward_hook(lambda module, args, output: seen.update(stream=args[0])),
        block.final_layer_norm.register_forward_hook(
            lambda module, args, output: seen.update(middle=args[0])
        ),
    ]
    try:
        values = extract_activations(tiny, PROMPTS[:1], site="attention", progress=False).values
    finally:
        for hook in hooks:
            hook.remove()
    added = seen["middle"] - seen["stream"]
    torch.testing.assert_close(values[0, 1], added[0, 4 + 3 - 1])


def test_a_prompt_does_not_depend_on_its_neighbours_nor_on_the_batch_size(tiny):
    whole = extract_activations(tiny, PROMPTS, position="start", progress=False).values
    for batch_size in (1, 3):
        values = extract_activations(
            tiny, PROMPTS[::-1], position="start", batch_size=batch_size, progress=False
        ).values
        torch.testing.assert_close(values.flip(0), whole)


def test_an_attribute_gives_labels_positive_prompts_first_and_metadata(tiny):
    attribute = Attribute(
        "tempo", "fast", "slow", "bpm", "BPM", ("fast rock", "a fast song"), ("slow rock", "a slow song")
    )
    activations = extract_activations(tiny, attribute, progress=False)
    assert activations.prompts == ("fast rock", "a fast song", "slow rock", "a slow song")
    assert activations.labels.tolist() == [True, True, False, False]
    assert activations.attribute is attribute
    assert activations.metadata["prompts_sha256"] == prompts_hash(activations.prompts)
    assert tiny.identity.items() <= activations.metadata.items()
    assert extract_activations(tiny, PROMPTS, progress=False).labels is None


def test_open_steering_contexts_act_on_extraction(tiny):
    vector = SteeringVector(torch.ones(3, 32))
    plain = extract_activations(tiny, PROMPTS, progress=False).values
    with vector.apply(tiny, 0.5, layers=[2]):
        steered = extract_activations(tiny, PROMPTS, progress=False).values
    torch.testing.assert_close(steered[:, :2], plain[:, :2], rtol=0, atol=0)
    torch.testing.assert_close(steered[:, 2], plain[:, 2] + 0.5)


def test_no_hook_is_left_behind_even_if_the_pass_fails(tiny, monkeypatch):
    hooks = [len(block._forward_hooks) for block in decoder_blocks(tiny)]
    extract_activations(tiny, PROMPTS, progress=False)
    monkeypatch.setattr(decoder_blocks(tiny)[2], "forward", None)
    with pytest.raises(TypeError):
        extract_activations(tiny, PROMPTS, progress=False)
    assert [len(block._forward_hooks) for block in decoder_blocks(tiny)] == hooks


def test_a_cross_attention_model_has_no_eos_in_its_decoder_but_a_start_token(tiny_cross):
    with pytest.raises(ValueError, match="cross-attention: the prompt's EOS is not in its decoder"):
        extract_activations(tiny_cross, PROMPTS, progress=False)
    values = extract_activations(tiny_cross, PROMPTS, position="start", progress=False).values
    encoded = tiny_cross.encode(PROMPTS)
    start = torch.full((len(PROMPTS) * 2, 1), 16)
    output = tiny_cross.network(
        **encoded, decoder_input_ids=start, output_hidden_states=True, use_cache=False
    )
    expected = torch.stack([hidden[:, 0] for hidden in output.decoder_hidden_states[1:]], dim=1)
    torch.testing.assert_close(values[:, :2], expected[:, :2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"position": "end"}, "position must be one of eos, start"),
        ({"site": "mlp"}, "site must be one of"),
        ({"batch_size": 0}, "at least 1"),
    ],
)
def test_bad_options_are_refused(tiny, options, message):
    with pytest.raises(ValueError, match=message):
        extract_activations(tiny, PROMPTS, **options)


def test_a_model_in_training_mode_and_an_empty_list_are_refused(tiny):
    with pytest.raises(ValueError, match="no prompts"):
        extract_activations(tiny, [])
    tiny.network.train()
    try:
        with pytest.raises(ValueError, match="training mode"):
            extract_activations(tiny, PROMPTS)
    finally:
        tiny.network.eval()


def test_activations_of_the_wrong_shape_are_refused():
    with pytest.raises(ValueError, match="for 1 prompts"):
        Activations(torch.zeros(2, 3, 4), None, ("a",))
    with pytest.raises(ValueError, match="labels must have shape"):
        Activations(torch.zeros(1, 3, 4), torch.tensor([True, False]), ("a",))


# --- audio --------------------------------------------------------------------------------------------------


@pytest.fixture
def audio(rng):
    return rng.normal(0, 0.2, (3, 8000)).astype("float32")  # half a second at 16 kHz


def heard(model, audio):
    """Hidden states at the clips' codes, by transformers' own forward with a text that is masked away."""
    codes = model.audio_encoder.encode(torch.from_numpy(audio)[:, None]).audio_codes[0]
    start = torch.full((len(codes), 1), 16)
    first = torch.cat([start, codes[:, 0]], dim=1)
    second = torch.cat([start, start, codes[:, 1, :-1]], dim=1)  # one step late
    output = model(
        input_ids=torch.ones(len(codes), 12, dtype=torch.long),
        attention_mask=torch.zeros(len(codes), 12, dtype=torch.long),
        decoder_input_ids=torch.stack([first, second], dim=1).flatten(0, 1),
        output_hidden_states=True,
        use_cache=False,
    )
    return torch.stack(output.hidden_states[1:], dim=1)[:, :, -codes.shape[2] :]


@pytest.mark.parametrize("batch_size", [16, 2])
def test_audio_is_heard_as_the_tokens_that_generation_would_have_written(tiny, audio, batch_size):
    expected = heard(tiny.network, audio)
    options = {"sample_rate": 16000, "batch_size": batch_size, "progress": False}
    last = extract_audio_activations(tiny, audio, **options)
    mean = extract_audio_activations(tiny, audio, position="mean", **options)
    assert last.values.shape == (3, 3, 32)
    torch.testing.assert_close(last.values[:, :2], expected[:, :2, -1])
    torch.testing.assert_close(mean.values[:, :2], expected[:, :2].mean(2))
    norm = tiny.network.decoder.model.decoder.layer_norm
    torch.testing.assert_close(norm(last.values[:, 2]), expected[:, 2, -1])
    assert last.metadata["audio_tokens_sha256"] == mean.metadata["audio_tokens_sha256"]


def test_the_attention_site_of_audio_is_the_output_of_self_attention(tiny, audio):
    seen = []
    hook = decoder_blocks(tiny)[1].self_attn.register_forward_hook(
        lambda module, args, output: seen.append(output[0][:, -1])
    )
    try:
        values = extract_audio_activations(
            tiny, audio, sample_rate=16000, site="attention", progress=False
        ).values
    finally:
        hook.remove()
    torch.testing.assert_close(values[:, 1], seen[-1])  # the pass before it reads the empty prompt


def test_one_pass_gives_what_several_would(tiny, audio):
    readings = [("last", "residual"), ("mean", "heads"), ("mean", "residual"), ("last", "attention")]
    options = {"sample_rate": 16000, "progress": False}
    for (position, site), found in zip(readings, hear(tiny, audio, readings, **options), strict=True):
        alone = extract_audio_activations(tiny, audio, position=position, site=site, **options)
        assert torch.equal(found.values, alone.values) and found.metadata == alone.metadata
    with pytest.raises(ValueError, match="readings is empty: give at least one"):
        hear(tiny, audio, [], **options)


def test_the_empty_prompt_is_read_once_unless_steering_acts_on_it(tiny, audio):
    reads = []
    hook = tiny.stack.register_forward_pre_hook(
        lambda module, args, given: reads.append("encoder_hidden_states" in given), with_kwargs=True
    )
    nothing = SteeringVector(torch.zeros(3, 32))
    options = {"sample_rate": 16000, "batch_size": 1, "progress": False}
    try:
        once = extract_audio_activations(tiny, audio, **options)
        with nothing.apply(tiny):
            each = extract_audio_activations(tiny, audio, **options)
    finally:
        hook.remove()
    assert reads == [True, False, False, False, True, True, True]
    torch.testing.assert_close(once.values, each.values)


def test_what_the_heads_give_makes_the_output_of_self_attention(tiny, audio):
    heads = extract_audio_activations(tiny, audio, sample_rate=16000, site="heads", progress=False)
    mixed = extract_audio_activations(tiny, audio, sample_rate=16000, site="attention", progress=False)
    for layer, block in enumerate(decoder_blocks(tiny)):
        with torch.inference_mode():
            made = block.self_attn.out_proj(heads.values[:, layer])
        torch.testing.assert_close(made, mixed.values[:, layer])


def test_the_states_of_all_frames_have_the_mean_and_the_last_that_are_kept_otherwise(tiny, audio):
    states = audio_states(tiny, audio, 1, sample_rate=16000, progress=False)
    for position, expected in (("mean", states.mean(dim=1)), ("last", states[:, -1])):
        kept = extract_audio_activations(tiny, audio, sample_rate=16000, position=position, progress=False)
        torch.testing.assert_close(kept.values[:, 1], expected)
    with pytest.raises(ValueError, match="layer must be a block of the model, 0 to 2, got 3"):
        audio_states(tiny, audio, 3, sample_rate=16000)


def test_clips_carry_their_rate_and_prompts_and_labels_make_diff_mean(tiny, audio):
    clips = Clips(audio, 16000, np.zeros((3, 2, 12), np.int16), ("a song", "jazz", "rock"), (0, 0, 0))
    activations = extract_audio_activations(tiny, clips, labels=[True, False, False], progress=False)
    assert activations.prompts == clips.prompts
    vector = diff_mean(activations)
    expected = activations.values[0] - activations.values[1:].mean(0)
    torch.testing.assert_close(vector.directions, expected)


def test_audio_of_another_rate_is_resampled_to_that_of_the_codec(tiny, audio):
    twice = soxr.resample(audio.T, 16000, 32000).T
    values = extract_audio_activations(tiny, twice, sample_rate=32000, progress=False)
    plain = soxr.resample(twice.T, 32000, 16000).T
    expected = extract_audio_activations(tiny, plain, sample_rate=16000, progress=False)
    torch.testing.assert_close(values.values, expected.values)


def test_a_cross_attention_model_hears_audio_with_a_null_prompt(tiny_cross, audio):
    values = extract_audio_activations(tiny_cross, audio, sample_rate=16000, progress=False).values
    codes = tiny_cross.network.audio_encoder.encode(torch.from_numpy(audio)[:, None]).audio_codes[0]
    start = torch.full((3, 1), 16)
    tokens = torch.stack(
        [torch.cat([start, codes[:, 0]], 1), torch.cat([start, start, codes[:, 1, :-1]], 1)], dim=1
    )
    output = tiny_cross.network.decoder(
        input_ids=tokens.flatten(0, 1),
        encoder_hidden_states=torch.zeros(3, 12, 32),
        output_hidden_states=True,
        use_cache=False,
    )
    torch.testing.assert_close(values[:, 0], output.hidden_states[1][:, -1])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"sample_rate": None}, TypeError, "does not know its sample rate"),
        ({"sample_rate": 16}, ValueError, "in kHz"),
        ({"position": "eos"}, ValueError, "position must be one of last, mean"),
        ({"site": "mlp"}, ValueError, "site must be one of"),
        ({"batch_size": 0}, ValueError, "at least 1"),
        ({"labels": [1, 0, 1]}, ValueError, "labels must be 3 booleans"),
        ({"audio": np.zeros(8000, np.float32)}, ValueError, r"pass clip\[None\]"),
        ({"audio": np.zeros((1, 8000), np.int16)}, TypeError, "floating point"),
        ({"audio": np.full((2, 8000), np.nan, np.float32)}, ValueError, r"clips \[0, 1\] hold NaN"),
        ({"audio": np.zeros((1, 160000 * 2), np.float32)}, ValueError, "positions for 1 to"),
    ],
)
def test_bad_audio_is_refused(tiny, audio, change, error, message):
    options = {"audio": audio, "sample_rate": 16000, "progress": False} | change
    with pytest.raises(error, match=message):
        extract_audio_activations(tiny, **options)


def test_saved_activations_come_back_for_their_own_model_and_no_other(tiny, tmp_path):
    seen = extract_activations(tiny, PROMPTS, progress=False)
    seen.save(tmp_path / "seen.safetensors")
    found = Activations.load(tmp_path / "seen.safetensors", model=tiny)
    assert torch.equal(found.values, seen.values) and found.labels is None
    assert (found.prompts, found.metadata) == (seen.prompts, seen.metadata)
    seen.metadata["weights"] = "of another"
    seen.save(tmp_path / "seen.safetensors")
    with pytest.raises(ValueError, match="taken from other weights"):
        Activations.load(tmp_path / "seen.safetensors", model=tiny)


def test_a_file_without_activations_is_refused_with_what_to_do(tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match="run the chapter that leaves them there first"):
        Activations.load(tmp_path / "none.safetensors", model=tiny)
    SteeringVector(torch.zeros(3, 32), {}).save(tmp_path / "vector.safetensors")
    (tmp_path / "text.safetensors").write_text("seen")
    for name in ("vector", "text"):
        with pytest.raises(ValueError, match="holds no activations"):
            Activations.load(tmp_path / f"{name}.safetensors", model=tiny)
