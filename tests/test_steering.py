"""Steering: identities, which activations are edited and which are not, and hooks that always go away."""

import copy
import json
import pickle
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from steerlib.model import decoder_blocks
from steerlib.steering import Steering, SteeringMap, SteeringVector, active_steering, add_direction, kappa

PROMPTS = ["a fast rock song", "slow jazz"]
TEXT = 12
PREFIX = 4 + TEXT


@pytest.fixture
def vector(rng):
    return SteeringVector(
        rng.normal(size=(3, 32)), {"attribute": "tempo", "positive": "fast", "negative": "slow"}
    )


@pytest.fixture
def encoded(tiny):
    return tiny.encode(PROMPTS)


def generate(model, encoded, **options):
    """Codes (rows, codebooks, frames) by transformers' own greedy generate, before the codec."""
    codes = []
    watched = model.audio_encoder.decode
    model.audio_encoder.decode = lambda ids, *args, **kwargs: (
        codes.append(ids.clone()) or watched(ids, *args, **kwargs)
    )
    try:
        model.generate(**encoded, max_new_tokens=8, **options)
    finally:
        del model.audio_encoder.decode
    return codes[0][0]


def passes(model, run, *, site="residual", inputs=False):
    """Outputs of every block (or its attention) in every pass while `run` runs: passes of lists of layers.

    With ``inputs`` the input of each block instead. The hooks come after those of open contexts.
    """
    seen: list[list[torch.Tensor]] = []
    with ExitStack() as hooks:
        for layer, block in enumerate(decoder_blocks(model)):

            def keep(module, args, output, layer=layer):
                if layer == 0:
                    seen.append([])
                hidden = output[0] if isinstance(output, tuple) else output
                seen[-1].append((args[0] if inputs else hidden).clone())

            target = block if site == "residual" else block.self_attn
            hooks.callback(target.register_forward_hook(keep).remove)
        run()
    return seen


def one_pass(model, encoded, *, codes=None, **options):
    """A pass over the prefix, the start token and `codes` (more start tokens), without a cache."""
    start = torch.full((len(encoded["input_ids"]) * 2, 1 + (codes or 0)), 16)
    return passes(model, lambda: model(**encoded, decoder_input_ids=start, use_cache=False), **options)[0]


# --- the formula ---


def test_adding_a_direction_is_plain_addition(rng):
    hidden, delta = torch.as_tensor(rng.normal(size=(2, 3, 8))), torch.as_tensor(rng.normal(size=8))
    assert torch.equal(add_direction(hidden, delta), hidden + delta)


def test_with_preserve_norm_the_direction_changes_and_the_norm_does_not(rng):
    hidden = torch.as_tensor(rng.normal(size=(2, 3, 8)), dtype=torch.float32)
    delta = 3 * torch.as_tensor(rng.normal(size=8), dtype=torch.float32)
    moved = add_direction(hidden, delta, preserve_norm=True)
    torch.testing.assert_close(moved.norm(dim=-1), hidden.norm(dim=-1))
    torch.testing.assert_close(
        nn.functional.normalize(moved, dim=-1), nn.functional.normalize(hidden + delta, dim=-1)
    )
    assert add_direction(hidden.bfloat16(), delta, preserve_norm=True).dtype == torch.bfloat16


def test_an_activation_that_cancels_out_gives_zero_not_nan():
    hidden = torch.ones(1, 1, 4)
    assert torch.equal(add_direction(hidden, -torch.ones(4), preserve_norm=True), torch.zeros(1, 1, 4))


# --- maps ---


@pytest.fixture
def affine(rng):
    shift, scale, read, write = rng.normal(size=(4, 2, 3, 32)) / 3
    return SteeringMap(shift, scale, read, write, rng.normal(size=(3, 32)), {"method": "drawn"})


@pytest.mark.parametrize("multiplier", [0.5, -0.25])
def test_a_map_adds_what_its_formula_says_of_the_pole_of_the_sign(tiny_model, encoded, affine, multiplier):
    before = one_pass(tiny_model, encoded)
    with affine.apply(tiny_model, multiplier, layers=[1]):
        after = one_pass(tiny_model, encoded)
    pole, state = int(multiplier < 0), before[1]
    found = (state @ affine.read[pole, 1])[..., None]
    change = affine.shift[pole, 1] + affine.scale[pole, 1] * state - found * affine.write[pole, 1]
    torch.testing.assert_close(after[1], state + abs(multiplier) * change)
    assert torch.equal(before[0], after[0])


def test_a_map_that_only_shifts_is_a_vector(vector):
    none = torch.zeros(2, 3, 32)
    shift = torch.stack([vector.directions, -vector.directions])
    for multiplier in (0.7, -0.7):
        as_map = Steering(SteeringMap(shift, none, none, none, torch.zeros(3, 32)), multiplier, source_layer=1)
        plain = Steering(vector, multiplier, source_layer=1)
        torch.testing.assert_close(as_map.deltas(3), plain.deltas(3))
        assert kappa([as_map], torch.ones(3)) == pytest.approx(kappa([plain], torch.ones(3)))


def test_the_strength_of_a_map_is_that_at_its_origin(affine):
    state = affine.origin
    found = (state * affine.read[1]).sum(dim=1, keepdim=True)
    change = affine.shift[1] + affine.scale[1] * state - found * affine.write[1]
    torch.testing.assert_close(Steering(affine, -2.0).deltas(3), 2 * change)
    assert affine.directions.shape == (3, 32)


def test_a_map_must_be_finite_and_of_one_shape(affine):
    with pytest.raises(ValueError, match=r"origin has \(2, 32\)"):
        SteeringMap(affine.shift, affine.scale, affine.read, affine.write, affine.origin[:2])
    with pytest.raises(ValueError, match=r"scale has \(2, 3, 31\)"):
        SteeringMap(affine.shift, affine.scale[..., 1:], affine.read, affine.write, affine.origin)
    with pytest.raises(ValueError, match="must be finite, but its read is not"):
        SteeringMap(affine.shift, affine.scale, affine.read * torch.nan, affine.write, affine.origin)
    with pytest.raises(TypeError, match="vector must be a SteeringVector or a SteeringMap, got Tensor"):
        Steering(affine.shift)


def test_a_map_is_saved_and_loaded_exactly_and_is_no_vector(affine, vector, tmp_path):
    affine.save(tmp_path / "map.safetensors")
    again = SteeringMap.load(tmp_path / "map.safetensors")
    assert again.metadata == affine.metadata
    for name in ("shift", "scale", "read", "write", "origin"):
        assert torch.equal(getattr(again, name), getattr(affine, name))
    vector.save(tmp_path / "vector.safetensors")
    with pytest.raises(ValueError, match="holds no steering map: give one by SteeringMap.save"):
        SteeringMap.load(tmp_path / "vector.safetensors")
    with pytest.raises(ValueError, match="holds no steering vector"):
        SteeringVector.load(tmp_path / "map.safetensors")
    with pytest.raises(FileNotFoundError, match="no map at"):
        SteeringMap.load(tmp_path / "nothing.safetensors")


# --- arithmetic ---


def test_arithmetic_identities(vector):
    assert torch.equal((-(vector * -20)).directions, (20 * vector).directions)
    assert (-(vector * -20)).metadata == (20 * vector).metadata
    assert torch.equal((vector + vector).directions, (2 * vector).directions)
    assert torch.equal((vector - vector).directions, torch.zeros(3, 32))
    assert torch.equal((vector / 2).directions, vector.directions / 2)
    assert torch.equal((-vector).directions, -vector.directions)


def test_negation_swaps_the_poles(vector):
    assert ((-vector).metadata["positive"], (-vector).metadata["negative"]) == ("slow", "fast")
    negated = -vector
    assert (-negated).metadata == vector.metadata


def test_unit_directions_have_length_one_and_zero_stays_zero(vector):
    directions = vector.directions.clone()
    directions[1] = 0
    torch.testing.assert_close(SteeringVector(directions).unit().norms, torch.tensor([1.0, 0.0, 1.0]))


def test_cosine_similarity_compares_every_layer_with_every_layer(vector):
    cosines = vector.cosine_similarity()
    torch.testing.assert_close(cosines.diagonal(), torch.ones(3))
    torch.testing.assert_close(cosines, cosines.T)
    expected = torch.cosine_similarity(vector.directions[0], vector.directions[2], dim=0)
    torch.testing.assert_close(cosines[0, 2], expected)
    torch.testing.assert_close(vector.cosine_similarity(-3 * vector), -cosines)


def test_vectors_of_different_models_or_shapes_cannot_be_added(vector):
    with pytest.raises(ValueError, match=r"shapes \(3, 32\) and \(2, 32\)"):
        vector + SteeringVector(torch.ones(2, 32))
    one, other = (SteeringVector(torch.ones(3, 32), {"model": "pocket", "weights": w}) for w in "ab")
    with pytest.raises(ValueError, match=r"different models.*pocket \(a\) and pocket \(b\)"):
        one + other
    with pytest.raises(TypeError):
        vector + 1


def test_a_vector_must_be_a_finite_matrix_and_keeps_its_own_copy():
    with pytest.raises(ValueError, match=r"\(layers, hidden\), got \(3,\)"):
        SteeringVector(torch.ones(3))
    bad = torch.ones(3, 4)
    bad[1, 2] = float("nan")
    with pytest.raises(ValueError, match=r"layers \[1\]"):
        SteeringVector(bad)
    with pytest.raises(ValueError, match="finite number"):
        SteeringVector(torch.ones(1, 1)) * float("inf")
    source = torch.ones(2, 2)
    vector = SteeringVector(source)
    source.zero_()
    assert torch.equal(vector.directions, torch.ones(2, 2))


# --- files ---


def test_save_and_load_is_exact(vector, tmp_path):
    vector = SteeringVector(
        vector.directions, {**vector.metadata, "n": 3, "versions": {"torch": "x"}, "terms": (1, "é")}
    )
    vector.save(tmp_path / "v.safetensors")
    loaded = SteeringVector.load(str(tmp_path / "v.safetensors"))
    assert torch.equal(loaded.directions, vector.directions)
    assert loaded.metadata == vector.metadata
    loaded.save(tmp_path / "w.safetensors")
    assert (tmp_path / "v.safetensors").read_bytes() == (tmp_path / "w.safetensors").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v.safetensors", "w.safetensors"]


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_load_refuses_pickles_without_running_them(tmp_path):
    torch.save({"directions": Bomb()}, tmp_path / "v.pt")
    (tmp_path / "v.pkl").write_bytes(pickle.dumps(Bomb()))
    for name in ("v.pt", "v.pkl"):
        with pytest.raises(ValueError, match="not a safetensors file.*pickled files .* are refused"):
            SteeringVector.load(tmp_path / name)


def test_load_refuses_damaged_foreign_newer_and_missing_files(vector, tmp_path):
    path = tmp_path / "v.safetensors"
    vector.save(path)
    content = path.read_bytes()
    (tmp_path / "half").write_bytes(content[:-10])
    with pytest.raises(ValueError, match="or is damaged"):
        SteeringVector.load(tmp_path / "half")
    save_file({"directions": torch.ones(3, 4)}, tmp_path / "foreign")
    with pytest.raises(ValueError, match="holds no steering vector"):
        SteeringVector.load(tmp_path / "foreign")
    (tmp_path / "newer").write_bytes(content.replace(rb"format_version\": 1", rb"format_version\": 9"))
    with pytest.raises(ValueError, match="format version 9, this steerlib reads up to 1"):
        SteeringVector.load(tmp_path / "newer")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        SteeringVector.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="make it first"):
        vector.save(tmp_path / "no" / "v.safetensors")


# --- settings ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"multiplier": float("nan")}, "multiplier must be a finite number, got nan"),
        ({"multiplier": float("inf")}, "finite"),
        ({"source_layer": 3}, "source_layer: layer 3 is outside the vector, whose layers are 0 to 2"),
        ({"source_layer": -1}, "outside"),
        ({"source_layer": 1.0}, "whole number"),
        ({"layers": (0, 3)}, "layers: layer 3 is outside"),
        ({"layers": ()}, "at least one"),
        ({"layers": (1, 1)}, "different blocks"),
        ({"steps": "last"}, "steps must be one of all, first; got 'last'"),
        ({"branches": "cond"}, "branches must be one of both, conditional, unconditional"),
        ({"site": "mlp"}, "site must be one of residual, attention"),
        ({"positions": "text"}, "positions must be one of all, prefix, audio"),
    ],
)
def test_bad_settings_are_refused_when_they_are_made(tiny_model, vector, options, message):
    with pytest.raises(ValueError, match=message):
        Steering(vector, **options)
    with pytest.raises(ValueError, match=message):
        vector.apply(tiny_model, **options)


def test_deltas_are_one_to_all_all_to_all_and_zero_where_nothing_is_steered(vector):
    directions = vector.directions
    assert torch.equal(Steering(vector, 2.0).deltas(3), directions * 2)
    assert torch.equal(Steering(vector, -1.0, source_layer=1).deltas(3), -directions[[1, 1, 1]])
    deltas = Steering(vector, source_layer=0, layers=(2, 1)).deltas(3)
    assert torch.equal(deltas, torch.stack([torch.zeros(32), directions[0], directions[0]]))
    with pytest.raises(ValueError, match=r"shape \(3, 32\).*the model has 4"):
        Steering(vector).deltas(4)


def test_a_vector_of_another_model_is_refused_with_both_shapes(tiny_model):
    for shape in ((2, 32), (3, 16)):
        with (
            pytest.raises(ValueError, match=rf"\({shape[0]}, {shape[1]}\), but the model needs .* \(3, 32\)"),
            SteeringVector(torch.ones(shape)).apply(tiny_model),
        ):
            pass


# --- which activations are edited ---


@pytest.mark.parametrize("site", ["residual", "attention"])
@pytest.mark.parametrize("source_layer", [None, 0])
def test_only_the_chosen_blocks_are_edited_and_those_before_them_are_untouched(
    tiny_model, encoded, vector, site, source_layer
):
    plain = one_pass(tiny_model, encoded, site=site)
    plain_blocks = one_pass(tiny_model, encoded)
    with vector.apply(tiny_model, 1.5, source_layer=source_layer, layers=[1], site=site):
        steered = one_pass(tiny_model, encoded, site=site)
        steered_blocks = one_pass(tiny_model, encoded)
    delta = 1.5 * vector.directions[1 if source_layer is None else source_layer]
    assert torch.equal(steered[0], plain[0])
    torch.testing.assert_close(steered[1], plain[1] + delta)
    assert torch.equal(steered_blocks[0], plain_blocks[0])
    assert not torch.allclose(steered_blocks[1], plain_blocks[1], atol=1e-3)
    assert not torch.allclose(steered_blocks[2], plain_blocks[2], atol=1e-3)  # not edited, but downstream


def test_every_block_gets_its_own_direction_all_to_all(tiny_model, encoded, vector):
    with vector.apply(tiny_model, 0.7):
        outputs = one_pass(tiny_model, encoded)
        inputs = one_pass(tiny_model, encoded, inputs=True)
    mask = torch.full((PREFIX + 1, PREFIX + 1), float("-inf")).triu(1)[None, None]
    for layer, block in enumerate(decoder_blocks(tiny_model)):
        own = block(inputs[layer], attention_mask=mask)[0]  # what the block computes without steering
        torch.testing.assert_close(
            outputs[layer] - own, (0.7 * vector.directions[layer]).expand_as(own), atol=1e-5, rtol=1e-5
        )


def test_the_direction_of_one_layer_everywhere_is_one_to_all_as_a_vector(vector):
    spread = vector.everywhere(1)
    assert torch.equal(Steering(spread, 0.7).deltas(3), Steering(vector, 0.7, source_layer=1).deltas(3))
    assert spread.metadata == {**vector.metadata, "source_layer": 1}
    both = 0.7 * spread - 0.2 * vector.everywhere(2)
    pushes = Steering(vector, 0.7, source_layer=1), Steering(vector, -0.2, source_layer=2)
    torch.testing.assert_close(Steering(both).deltas(3), sum(each.deltas(3) for each in pushes))
    with pytest.raises(ValueError, match="layer 3 is outside the vector, whose layers are 0 to 2"):
        vector.everywhere(3)


def test_preserve_norm_keeps_the_norm_of_every_position(tiny_model, encoded, vector):
    plain = one_pass(tiny_model, encoded)
    with vector.unit().apply(tiny_model, 4.0, layers=[1], preserve_norm=True):
        steered = one_pass(tiny_model, encoded)
    torch.testing.assert_close(steered[1].norm(dim=-1), plain[1].norm(dim=-1))
    assert not torch.allclose(steered[1], plain[1], atol=1e-3)


def test_hidden_states_of_transformers_show_the_steered_stream(tiny_model, encoded, vector):
    start = torch.full((4, 1), 16)
    options = {"decoder_input_ids": start, "use_cache": False, "output_hidden_states": True}
    plain = tiny_model(
        **encoded, **options
    ).hidden_states  # transformers installs its own hooks here, and keeps them
    with vector.apply(tiny_model, layers=[1]):
        steered = tiny_model(**encoded, **options).hidden_states
    assert torch.equal(steered[1], plain[1])
    torch.testing.assert_close(steered[2], plain[2] + vector.directions[1])


def test_steps_all_edits_every_pass_and_first_only_the_prefix_pass(tiny_model, encoded, vector):
    # A small shift of the last block leaves the tokens, and so the input of every block, as they were.
    plain = passes(tiny_model, lambda: generate(tiny_model, encoded))
    assert [p[2].shape[1] for p in plain] == [PREFIX + 1] + [1] * (len(plain) - 1)
    assert len(plain) > 3
    delta = 1e-3 * vector.directions[2]
    for steps in ("all", "first"):
        with vector.apply(tiny_model, 1e-3, layers=[2], steps=steps):
            steered = passes(tiny_model, lambda: generate(tiny_model, encoded))
        for number, (before, after) in enumerate(zip(plain, steered, strict=True)):
            assert torch.equal(before[1], after[1])
            if steps == "all" or number == 0:
                torch.testing.assert_close(after[2] - before[2], delta.expand_as(after[2]), rtol=0, atol=1e-5)
            else:
                assert torch.equal(after[2], before[2])


def test_steps_mean_the_same_with_and_without_a_cache(tiny_model, encoded, vector):
    """Without a cache every step recomputes the prefix, so steering must follow positions, not calls."""
    for steps in ("all", "first"):
        with vector.apply(tiny_model, 1.0, steps=steps):
            cached = generate(tiny_model, encoded)
            recomputed = generate(tiny_model, encoded, use_cache=False)
        assert torch.equal(cached, recomputed)


def test_steps_first_edits_prefix_and_start_token_and_no_later_position(tiny_model, encoded, vector):
    plain = one_pass(tiny_model, encoded, codes=3)
    with vector.apply(tiny_model, 1.0, layers=[1], steps="first"):
        steered = one_pass(tiny_model, encoded, codes=3)
    torch.testing.assert_close(steered[1][:, : PREFIX + 1], plain[1][:, : PREFIX + 1] + vector.directions[1])
    assert torch.equal(steered[1][:, PREFIX + 1 :], plain[1][:, PREFIX + 1 :])


@pytest.mark.parametrize("steps", ["all", "first"])
def test_positions_are_the_prefix_or_the_start_token_and_the_codes(tiny_model, encoded, vector, steps):
    plain = one_pass(tiny_model, encoded, codes=3)
    end = PREFIX + 1 if steps == "first" else None
    for positions, edited in (("prefix", slice(PREFIX)), ("audio", slice(PREFIX, end))):
        with vector.apply(tiny_model, 1.0, layers=[1], positions=positions, steps=steps):
            steered = one_pass(tiny_model, encoded, codes=3)
        expected = plain[1].clone()
        expected[:, edited] += vector.directions[1]
        assert torch.equal(steered[1], expected)


@pytest.mark.parametrize("positions", ["prefix", "audio"])
def test_positions_mean_the_same_with_and_without_a_cache(tiny_model, encoded, vector, positions):
    with vector.apply(tiny_model, 1.0, positions=positions):
        cached = generate(tiny_model, encoded)
        recomputed = generate(tiny_model, encoded, use_cache=False)
    assert torch.equal(cached, recomputed)


@pytest.mark.parametrize(
    ("branches", "edited"), [("both", [0, 1, 2, 3]), ("conditional", [0, 1]), ("unconditional", [2, 3])]
)
def test_branches_of_guidance_are_edited_separately_in_every_step(
    tiny_model, encoded, vector, branches, edited
):
    # A small shift of the last block leaves the tokens, and so the input of every block, as they were.
    plain = passes(tiny_model, lambda: generate(tiny_model, encoded))
    with vector.apply(tiny_model, 1e-3, layers=[2], branches=branches):
        steered = passes(tiny_model, lambda: generate(tiny_model, encoded))
    assert len(steered) == len(plain) > 3
    for before, after in zip(plain, steered, strict=True):
        expected = torch.zeros_like(before[2])
        expected[edited] = 1e-3 * vector.directions[2]
        torch.testing.assert_close(after[2] - before[2], expected, rtol=0, atol=1e-5)
        untouched = [row for row in range(4) if row not in edited]
        assert torch.equal(after[2][untouched], before[2][untouched])


def test_without_guidance_conditional_is_every_row_and_unconditional_an_error(tiny_model, encoded, vector):
    with vector.apply(tiny_model):
        both = generate(tiny_model, encoded, guidance_scale=1.0)
    with vector.apply(tiny_model, branches="conditional"):
        assert torch.equal(generate(tiny_model, encoded, guidance_scale=1.0), both)
    message = "no row of this batch is unconditional.*guidance_scale > 1"
    with vector.apply(tiny_model, branches="unconditional"), pytest.raises(ValueError, match=message):
        generate(tiny_model, encoded, guidance_scale=1.0)


def test_branches_need_a_context_opened_before_the_prefix(tiny_model, encoded, vector):
    start = torch.full((4, 1), 16)
    cache = tiny_model(**encoded, decoder_input_ids=start).past_key_values
    message = "open the context before generation starts"
    with vector.apply(tiny_model, branches="conditional"), pytest.raises(ValueError, match=message):
        tiny_model(decoder_input_ids=start, past_key_values=cache)


def test_a_cross_attention_model_is_steered_by_the_same_rules(tiny_cross, tiny_musicgen, vector):
    encoded = tiny_cross.encode(PROMPTS)
    plain = passes(tiny_musicgen, lambda: generate(tiny_musicgen, encoded))
    for branches, edited in (("conditional", [0, 1]), ("unconditional", [2, 3])):
        with vector.apply(tiny_musicgen, 1e-3, layers=[2], branches=branches, steps="first"):
            steered = passes(tiny_musicgen, lambda: generate(tiny_musicgen, encoded))
        expected = torch.zeros_like(plain[0][2])
        expected[edited] = 1e-3 * vector.directions[2]
        torch.testing.assert_close(steered[0][2] - plain[0][2], expected, rtol=0, atol=1e-5)
        # transformers 5.23 runs MusicGen's first pass twice, without a cache: both are steered
        torch.testing.assert_close(steered[1][2], steered[0][2], rtol=0, atol=0)
        assert all(torch.equal(a[2], b[2]) for a, b in zip(steered[2:], plain[2:], strict=True))


@pytest.mark.parametrize("form", ["tuple", "tensor"])
def test_both_forms_of_block_output_are_edited(form, rng):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.self_attn = nn.Identity()

        def forward(self, hidden):
            return (hidden + 1, "rest") if form == "tuple" else hidden + 1

    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([Block(), Block()])
            self.config = SimpleNamespace(hidden_size=4)

        def forward(self, hidden):
            for block in self.layers:
                output = block(hidden)
                hidden = output[0] if form == "tuple" else output
            return output

    model = nn.Module()
    model.config = SimpleNamespace()
    model.decoder, model.decoder.model = nn.Module(), nn.Module()
    model.decoder.model.decoder = stack = Stack()
    vector = SteeringVector(rng.normal(size=(2, 4)))
    with vector.apply(model, 2.0):
        output = stack(torch.zeros(1, 3, 4))
    hidden = output[0] if form == "tuple" else output
    torch.testing.assert_close(hidden, (2 + 2 * vector.directions.sum(0)).expand(1, 3, 4))
    assert form == "tensor" or output[1] == "rest"


def test_blocks_that_run_outside_the_decoder_are_not_steered(tiny_model, vector):
    block, hidden = decoder_blocks(tiny_model)[0], torch.ones(1, 2, 32)
    plain = block(hidden)[0]
    with vector.apply(tiny_model):
        assert torch.equal(block(hidden)[0], plain)


# --- what comes out ---


def test_multiplier_zero_gives_the_same_tokens_and_activations_bit_for_bit(tiny_model, encoded, vector):
    plain_tokens, plain = generate(tiny_model, encoded), one_pass(tiny_model, encoded)
    block_hooks = [len(block._forward_hooks) for block in decoder_blocks(tiny_model)]
    for options in (
        {},
        {"source_layer": 1},
        {"preserve_norm": True},
        {"branches": "conditional"},
        {"steps": "first"},
    ):
        with vector.apply(tiny_model, 0.0, **options):
            assert [len(block._forward_hooks) for block in decoder_blocks(tiny_model)] == block_hooks
            assert torch.equal(generate(tiny_model, encoded), plain_tokens)
            assert all(torch.equal(a, b) for a, b in zip(one_pass(tiny_model, encoded), plain, strict=True))


def test_generation_changes_inside_the_context_and_is_restored_after(tiny_model, encoded, vector):
    before = generate(tiny_model, encoded)
    with vector.apply(tiny_model, 2.0):
        inside = generate(tiny_model, encoded)
    assert not torch.equal(inside, before)
    assert torch.equal(generate(tiny_model, encoded), before)


def test_nested_contexts_add_up_and_opposite_ones_cancel(tiny_model, encoded, vector):
    with vector.apply(tiny_model, 3.0):
        at_once = one_pass(tiny_model, encoded)
    with vector.apply(tiny_model, 1.0), vector.apply(tiny_model, 2.0):
        nested = one_pass(tiny_model, encoded)
    plain = one_pass(tiny_model, encoded)
    with vector.apply(tiny_model, 0.5), (-vector).apply(tiny_model, 0.5):
        cancelled = one_pass(tiny_model, encoded)
    for layer in range(3):
        torch.testing.assert_close(nested[layer], at_once[layer], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(cancelled[layer], plain[layer], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(at_once[0], plain[0], atol=1e-2)


def test_open_contexts_are_listed_in_the_order_in_which_they_act(tiny_model, tiny_musicgen, vector):
    assert active_steering(tiny_model) == ()
    outer, inner = Steering(vector, 1.0), Steering(vector, 2.0, source_layer=1)
    with outer.applied(tiny_model) as opened:
        assert opened is outer
        with inner.applied(tiny_model), outer.applied(tiny_model):
            assert active_steering(tiny_model) == (outer, inner, outer)
            assert active_steering(tiny_musicgen) == ()
        assert active_steering(tiny_model) == (outer,)
    assert active_steering(tiny_model) == ()


def test_a_context_on_a_loaded_model_is_one_on_its_network(tiny, encoded, vector):
    with vector.apply(tiny.network, 2.0):
        expected = generate(tiny.network, encoded)
        assert len(active_steering(tiny)) == 1
    with vector.apply(tiny, 2.0):
        assert len(active_steering(tiny.network)) == 1
        assert torch.equal(generate(tiny.network, encoded), expected)
    assert active_steering(tiny) == active_steering(tiny.network) == ()


def test_with_preserve_norm_the_inner_context_acts_first_as_listed(tiny_model, encoded, vector):
    plain = one_pass(tiny_model, encoded)[2]
    with (
        vector.apply(tiny_model, 3.0, layers=[2], preserve_norm=True),
        vector.apply(tiny_model, 2.0, layers=[2], source_layer=0),
    ):
        order = active_steering(tiny_model)
        steered = one_pass(tiny_model, encoded)[2]
    for steering in order:
        plain = add_direction(plain, steering.deltas(3)[2], preserve_norm=steering.preserve_norm)
    torch.testing.assert_close(steered, plain)


# --- hooks go away ---


def hooks_of(model):
    return {name: (list(m._forward_hooks), list(m._forward_pre_hooks)) for name, m in model.named_modules()}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_hooks_are_gone_after_an_exception_and_those_of_others_stay(tiny_model, encoded, vector, error):
    other = decoder_blocks(tiny_model)[1].register_forward_hook(lambda *_: None)
    try:
        before = hooks_of(tiny_model)
        both = (vector.apply(tiny_model), vector.apply(tiny_model, site="attention"))
        with pytest.raises(error), both[0], both[1]:
            assert hooks_of(tiny_model) != before
            raise error
        assert hooks_of(tiny_model) == before
        assert active_steering(tiny_model) == ()
    finally:
        other.remove()


def test_an_exception_inside_a_pass_leaves_the_context_usable(tiny_model, encoded, vector, monkeypatch):
    before = hooks_of(tiny_model)
    with vector.apply(tiny_model, 1.0):
        expected = generate(tiny_model, encoded)
        with monkeypatch.context() as patch:
            patch.setattr(decoder_blocks(tiny_model)[1], "forward", None)
            with pytest.raises(TypeError):
                generate(tiny_model, encoded)
        block, hidden = decoder_blocks(tiny_model)[0], torch.ones(1, 2, 32)
        steered_outside = block(hidden)[0]
        assert torch.equal(generate(tiny_model, encoded), expected)
    assert torch.equal(steered_outside, block(hidden)[0])
    assert hooks_of(tiny_model) == before


def test_hooks_are_gone_after_an_installation_that_failed_midway(tiny_model, encoded, vector, monkeypatch):
    before, tokens = hooks_of(tiny_model), generate(tiny_model, encoded)

    def refuse(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(decoder_blocks(tiny_model)[2], "register_forward_hook", refuse)
    with pytest.raises(MemoryError), vector.apply(tiny_model):
        pytest.fail("the context opened")
    assert hooks_of(tiny_model) == before
    assert active_steering(tiny_model) == ()
    assert torch.equal(generate(tiny_model, encoded), tokens)


def test_a_model_can_be_copied_and_pickled_metadata_is_plain(vector):
    assert type(copy.deepcopy(vector).metadata) is dict
    assert torch.equal(pickle.loads(pickle.dumps(vector)).directions, vector.directions)


# --- vectors by others --------------------------------------------------------------------------------------


def rewritten(path, **changes):
    """A vector's file with another header."""
    header = {"format_version": 1, "metadata": {}} | changes
    text = changes.get("text", json.dumps({key: value for key, value in header.items() if value is not None}))
    save_file({"directions": torch.ones(3, 32)}, path, {"steerlib.SteeringVector": text})
    return path


@pytest.mark.parametrize(
    "changes",
    [{"text": "{"}, {"text": "[]"}, {"format_version": None}, {"format_version": "new"}, {"metadata": 3}],
    ids=str,
)
def test_a_vector_with_a_damaged_header_is_refused_by_name(tmp_path, changes):
    with pytest.raises(ValueError, match=r"v\.safetensors holds no valid steering vector"):
        SteeringVector.load(rewritten(tmp_path / "v.safetensors", **changes))


def test_a_vector_of_a_newer_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match="format version 99, this steerlib reads up to 1: update"):
        SteeringVector.load(rewritten(tmp_path / "v.safetensors", format_version=99))


def test_a_vector_is_checked_against_the_model_when_it_is_loaded(tmp_path, tiny):
    SteeringVector(torch.ones(4, 32)).save(tmp_path / "deep.safetensors")
    for model in (tiny, tiny.network):
        with pytest.raises(ValueError, match=r"\(4, 32\), but the model needs .* \(3, 32\)"):
            SteeringVector.load(tmp_path / "deep.safetensors", model=model)
    SteeringVector(torch.ones(3, 32), {"model": "other", "weights": "0"}).save(tmp_path / "other.safetensors")
    with pytest.warns(UserWarning, match="taken from other weights"):
        SteeringVector.load(tmp_path / "other.safetensors", model=tiny)


@pytest.mark.parametrize("schedule", [(), (float("nan"),), (1.0, float("inf"))])
def test_a_schedule_that_is_empty_or_not_finite_is_refused(schedule):
    with pytest.raises(ValueError, match="a finite factor for each frame"):
        Steering(SteeringVector(torch.ones(3, 4)), schedule=schedule)


def test_hooks_refuse_a_schedule_because_they_do_not_know_the_frame(tiny):
    steering = Steering(SteeringVector(torch.ones(3, 32)), schedule=(1.0, 0.0))
    encoded = tiny.encode(["a folk song"])
    with steering.applied(tiny), pytest.raises(ValueError, match=r"acts in steerlib\.generate"):
        tiny.network.generate(**encoded, max_new_tokens=4)
