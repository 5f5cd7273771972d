"""Extraction: the right position of the right layer, whatever else is in the batch."""

import pytest
import torch

from steerlib.activations import Activations, extract_activations
from steerlib.models import decoder_blocks, encode_prompts, model_id
from steerlib.prompts import Attribute, prompts_hash
from steerlib.steering import SteeringVector

PROMPTS = [
    "a song",
    "a fast rock song with drums",
    "slow jazz",
    "the dark folk track with quiet piano and guitar",
]


def reference(model, processor, position):
    """Hidden states by transformers' own output_hidden_states; the last is after the final normalisation."""
    encoded = encode_prompts(model, processor, PROMPTS)
    start = torch.full((len(PROMPTS) * 2, 1), 16)
    hidden = torch.stack(
        model(**encoded, decoder_input_ids=start, output_hidden_states=True, use_cache=False).hidden_states[
            1:
        ],
        dim=1,
    )
    where = 4 + (
        encoded["attention_mask"].sum(1) - 1 if position == "eos" else torch.full((len(PROMPTS),), 12)
    )
    return hidden[torch.arange(len(PROMPTS)), :, where]


@pytest.mark.parametrize("position", ["eos", "start"])
def test_activations_are_those_of_transformers_at_that_position(tiny_model, tiny_processor, position):
    values = extract_activations(
        tiny_model, tiny_processor, PROMPTS, position=position, progress=False
    ).values
    expected = reference(tiny_model, tiny_processor, position)
    assert values.shape == (4, 3, 32)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values[:, :2], expected[:, :2])
    norm = tiny_model.decoder.model.decoder.layer_norm
    torch.testing.assert_close(norm(values[:, 2]), expected[:, 2])


def test_the_attention_site_is_what_the_block_adds_to_the_stream_first(tiny_model, tiny_processor):
    block = decoder_blocks(tiny_model)[1]
    seen = {}
    hooks = [
        block.register_forward_hook(lambda module, args, output: seen.update(stream=args[0])),
        block.final_layer_norm.register_forward_hook(
            lambda module, args, output: seen.update(middle=args[0])
        ),
    ]
    try:
        values = extract_activations(
            tiny_model, tiny_processor, PROMPTS[:1], site="attention", progress=False
        ).values
    finally:
        for hook in hooks:
            hook.remove()
    added = seen["middle"] - seen["stream"]
    torch.testing.assert_close(values[0, 1], added[0, 4 + 3 - 1])


def test_a_prompt_does_not_depend_on_its_neighbours_nor_on_the_batch_size(tiny_model, tiny_processor):
    whole = extract_activations(tiny_model, tiny_processor, PROMPTS, position="start", progress=False).values
    for batch_size in (1, 3):
        values = extract_activations(
            tiny_model, tiny_processor, PROMPTS[::-1], position="start", batch_size=batch_size, progress=False
        ).values
        torch.testing.assert_close(values.flip(0), whole)


def test_an_attribute_gives_labels_positive_prompts_first_and_metadata(tiny_model, tiny_processor):
    attribute = Attribute(
        "tempo", "fast", "slow", "bpm", "BPM", ("fast rock", "a fast song"), ("slow rock", "a slow song")
    )
    activations = extract_activations(tiny_model, tiny_processor, attribute, progress=False)
    assert activations.prompts == ("fast rock", "a fast song", "slow rock", "a slow song")
    assert activations.labels.tolist() == [True, True, False, False]
    assert activations.attribute is attribute
    assert activations.metadata["prompts_sha256"] == prompts_hash(activations.prompts)
    assert model_id(tiny_model).items() <= activations.metadata.items()
    assert extract_activations(tiny_model, tiny_processor, PROMPTS, progress=False).labels is None


def test_open_steering_contexts_act_on_extraction(tiny_model, tiny_processor):
    vector = SteeringVector(torch.ones(3, 32))
    plain = extract_activations(tiny_model, tiny_processor, PROMPTS, progress=False).values
    with vector.apply(tiny_model, 0.5, layers=[2]):
        steered = extract_activations(tiny_model, tiny_processor, PROMPTS, progress=False).values
    torch.testing.assert_close(steered[:, :2], plain[:, :2], rtol=0, atol=0)
    torch.testing.assert_close(steered[:, 2], plain[:, 2] + 0.5)


def test_no_hook_is_left_behind_even_if_the_pass_fails(tiny_model, tiny_processor, monkeypatch):
    hooks = [len(block._forward_hooks) for block in decoder_blocks(tiny_model)]
    extract_activations(tiny_model, tiny_processor, PROMPTS, progress=False)
    monkeypatch.setattr(decoder_blocks(tiny_model)[2], "forward", None)
    with pytest.raises(TypeError):
        extract_activations(tiny_model, tiny_processor, PROMPTS, progress=False)
    assert [len(block._forward_hooks) for block in decoder_blocks(tiny_model)] == hooks


def test_a_cross_attention_model_has_no_eos_in_its_decoder_but_a_start_token(tiny_musicgen, tiny_processor):
    with pytest.raises(ValueError, match="cross-attention: the prompt's EOS is not in its decoder"):
        extract_activations(tiny_musicgen, tiny_processor, PROMPTS, progress=False)
    values = extract_activations(
        tiny_musicgen, tiny_processor, PROMPTS, position="start", progress=False
    ).values
    encoded = encode_prompts(tiny_musicgen, tiny_processor, PROMPTS)
    start = torch.full((len(PROMPTS) * 2, 1), 16)
    output = tiny_musicgen(**encoded, decoder_input_ids=start, output_hidden_states=True, use_cache=False)
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
def test_bad_options_are_refused(tiny_model, tiny_processor, options, message):
    with pytest.raises(ValueError, match=message):
        extract_activations(tiny_model, tiny_processor, PROMPTS, **options)


def test_a_model_in_training_mode_and_an_empty_list_are_refused(tiny_model, tiny_processor):
    with pytest.raises(ValueError, match="no prompts"):
        extract_activations(tiny_model, tiny_processor, [])
    try:
        with pytest.raises(ValueError, match="training mode"):
            extract_activations(tiny_model.train(), tiny_processor, PROMPTS)
    finally:
        tiny_model.eval()


def test_activations_of_the_wrong_shape_are_refused():
    with pytest.raises(ValueError, match="for 1 prompts"):
        Activations(torch.zeros(2, 3, 4), None, ("a",))
    with pytest.raises(ValueError, match="labels must have shape"):
        Activations(torch.zeros(1, 3, 4), torch.tensor([True, False]), ("a",))
