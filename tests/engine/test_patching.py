"""Patching: what is known beforehand of a patch of nothing, of everything, and of a linear model."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from steerlib.engine.generation import Run, generate
from steerlib.engine.patching import Contrast, Patch, _Change, _Read, generate_patched
from steerlib.engine.sampling import Sampling
from steerlib.engine.weights import Block, Matrix
from steerlib.model import decoder_blocks
from steerlib.steering import Steering, SteeringVector

FAST = ["a fast rock song", "the fast jazz piece"]
SLOW = ["a slow rock song", "the slow jazz piece"]
QUIET = Run(progress=False)
SETTINGS = {"seconds": 0.4, "run": QUIET}
GREEDY = Sampling(1.0, do_sample=False)  # no guidance: what is predicted is what is written
LAST = 2  # layer of the tiny model


@pytest.fixture(scope="module")
def contrast(tiny):
    return Contrast(tiny, FAST, SLOW, sampling=Sampling(6.0), **SETTINGS)


def shares(contrast, changes, **options):
    table = contrast.log_odds(changes, **options)
    assert ((table["positive"] - table["negative"]).abs() > 1e-3).all(), "the words do something"
    share = (table["log_odds"] - table["negative"]) / (table["positive"] - table["negative"])
    return {name: share[table["change"] == name].to_numpy() for name in changes}


def expect(found, value):
    np.testing.assert_allclose(found, value, atol=2e-4)


# --- identities ---------------------------------------------------------------------------------------------


def test_a_patch_of_nothing_is_run_b_and_a_patch_of_everything_run_a(contrast):
    nothing = [
        Patch(()),
        Patch((), "attention"),
        Patch((LAST,), positions="prefix"),
        Patch((-1,), positions="audio"),
    ]
    # of the attention: the audio's embeddings are the same in both runs, so that what is read is all that differs
    everything = [
        Patch(tuple(range(-1, LAST + 1))),
        Patch((-1,), positions="prefix"),
        Patch((LAST,), positions="audio"),
        *(Patch((layer,)) for layer in range(-1, LAST + 1)),
        Patch(tuple(range(LAST + 1)), "attention", "audio"),
    ]
    found = shares(contrast, {str(each): each for each in nothing + everything})
    for patch in nothing:
        expect(found[str(patch)], 0)
    for patch in everything:
        expect(found[str(patch)], 1)


def test_the_prefix_of_several_layers_is_that_of_the_first_and_the_audio_that_of_the_last(contrast):
    pairs = [
        ("prefix", (0, 1), (0,)),
        ("prefix", (0, 2), (0,)),
        ("audio", (0, 1), (1,)),
        ("audio", (-1, 1), (1,)),
    ]
    for positions, several, one in pairs:
        patches = {str(layers): Patch(layers, positions=positions) for layers in (several, one)}
        found = shares(contrast, patches)
        expect(found[str(several)], found[str(one)])
        assert not np.allclose(found[str(one)], 0, atol=1e-3)
        assert not np.allclose(found[str(one)], 1, atol=1e-3)


def test_donors_that_say_the_same_change_nothing(contrast):
    patches = {
        "all": Patch((0,)),
        "prefix": Patch((-1,), positions="prefix"),
        "read": Patch((1,), "attention"),
    }
    for share in shares(contrast, patches, donors=SLOW).values():
        expect(share, 0)


def test_a_pair_does_not_depend_on_the_pairs_beside_it(tiny, contrast):
    alone = Contrast(tiny, FAST[1:], SLOW[1:], sampling=Sampling(6.0), **SETTINGS)
    change = {"patch": Patch((1,), positions="audio")}
    both, one = contrast.log_odds(change), alone.log_odds(change)
    np.testing.assert_allclose(both["log_odds"][1:], one["log_odds"], atol=1e-5)
    assert np.array_equal(alone.music[0], contrast.music[0][1:])


# --- equal to hooks in transformers --------------------------------------------------------------------------


def read_by_transformers(model, prompts, tokens, hook=None, site="residual"):
    """Mean log-probability of music by transformers' own pass; `hook(layer, states)` may replace states."""
    codebooks, frames = tokens.shape[1:]
    ids = torch.full((len(tokens), codebooks, frames + codebooks), model.start_token)
    for k in range(codebooks):
        ids[:, k, k + 1 : k + 1 + frames] = torch.from_numpy(tokens[:, k].astype(np.int64))
    handles = []
    for layer, block in enumerate(decoder_blocks(model)):

        def edit(module, args, output, layer=layer):
            states = hook(layer, output[0] if isinstance(output, tuple) else output) if hook else None
            return None if states is None else (states, *output[1:]) if isinstance(output, tuple) else states

        target = block if site == "residual" else block.self_attn
        handles.append(target.register_forward_hook(edit))
    try:
        logits = model.network(
            **model.encode(prompts), decoder_input_ids=ids[:, :, :-1].flatten(0, 1), use_cache=False
        ).logits
    finally:
        for handle in handles:
            handle.remove()
    logits = logits[:, -(frames + codebooks - 1) :].unflatten(0, (-1, codebooks)).log_softmax(-1)
    found = [
        logits[:, k, k : k + frames].gather(-1, ids[:, k, k + 1 : k + 1 + frames, None])
        for k in range(codebooks)
    ]
    return torch.stack(found, 1).double().mean(dim=(1, 2, 3)).numpy()


@pytest.mark.parametrize("site", ["residual", "attention"])
@pytest.mark.parametrize("positions", ["all", "prefix", "audio"])
def test_a_patch_is_that_of_hooks_in_transformers(tiny, contrast, site, positions):
    where = {
        "all": slice(None),
        "prefix": slice(tiny.prefix_length),
        "audio": slice(tiny.prefix_length, None),
    }
    expected = []
    for tokens in contrast.music:
        theirs = {}
        read_by_transformers(
            tiny, FAST, tokens, lambda k, states, kept=theirs: kept.__setitem__(k, states.clone()), site
        )

        def put(layer, states, kept=theirs):
            if layer in (0, 1):
                states = states.clone()
                states[:, where[positions]] = kept[layer][:, where[positions]]
                return states
            return None

        expected.append(read_by_transformers(tiny, SLOW, tokens, put, site))
    found = contrast.log_odds({"patch": Patch((0, 1), site, positions)})
    np.testing.assert_allclose(found["log_odds"], expected[0] - expected[1], atol=1e-5)
    plain = [read_by_transformers(tiny, SLOW, tokens) for tokens in contrast.music]
    np.testing.assert_allclose(found["negative"], plain[0] - plain[1], atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"source_layer": 1},
        {"layers": (1,), "positions": "prefix"},
        {"layers": (2,), "positions": "audio", "site": "attention"},
        {"steps": "first", "preserve_norm": True},
    ],
    ids=str,
)
def test_a_steering_is_that_of_hooks_in_transformers(tiny, contrast, rng, settings):
    steering = Steering(SteeringVector(rng.normal(size=(3, 32))), 0.5, **settings)
    found = contrast.log_odds({"steering": steering})
    with steering.applied(tiny):
        expected = [read_by_transformers(tiny, SLOW, tokens) for tokens in contrast.music]
    np.testing.assert_allclose(found["log_odds"], expected[0] - expected[1], atol=1e-5)


# --- a linear model, by hand ---------------------------------------------------------------------------------


def linear_weights():
    """Two blocks that add the mean of what they see: h + mean(h), without any other part."""
    one, zero = torch.ones(1, 1), torch.zeros(1, 1)
    block = Block(
        lambda states: states, Matrix(torch.cat([zero, zero, one])), Matrix(one), None,
        lambda states: states, Matrix(one), Matrix(zero), lambda states: states,
    )  # fmt: skip
    return SimpleNamespace(
        blocks=[block, block], hidden=1, norm=lambda states: states,
        split_heads=lambda states: states.unflatten(-1, (1, -1)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("patch", "share"),
    [
        # Prompt p, audio x. Block 0 makes p + p = 2p of the prompt, and x + (p + x)/2 = 1.5x + 0.5p of the audio; block
        # 1 makes y + (2p + y)/2 of y = 1.5x + 0.5p: in all 2.25x + 1.75p.
        (Patch(()), 0),
        (Patch((-1,), positions="prefix"), 1),
        (Patch((0,), positions="prefix"), 1 / 1.75),
        (Patch((1,), positions="prefix"), 0),
        (Patch((0,), positions="audio"), 0.75 / 1.75),
        (Patch((1,), positions="audio"), 1),
        (Patch((0,)), 1),
        (Patch((0,), "attention", "audio"), 0.75 / 1.75),
        (Patch((1,), "attention", "audio"), 1.25 / 1.75),
        (Patch((0,), "attention", "prefix"), 0.5 / 1.75),
        (Patch((1,), "attention", "prefix"), 0),
        (Patch((0, 1), "attention"), 1),
    ],
    ids=str,
)
def test_shares_in_a_linear_model_are_those_computed_by_hand(patch, share):
    weights = linear_weights()

    def read(prompt):
        prefix = _Read(weights, torch.full((1, 1, 1), float(prompt)), [])
        return prefix, _Read(weights, torch.full((1, 1, 1), 3.0), prefix.cached)

    (prefix, audio), theirs = read(-1), read(2)
    at = {place: patch if patch.positions in ("all", place) else None for place in ("prefix", "audio")}
    in_prefix = _Change([], at["prefix"], theirs[0], 2)
    changed = _Read(weights, prefix.residual[0], [], in_prefix, prefix)
    in_audio = _Change([], at["audio"], theirs[1], 2)
    in_audio.first = min(in_audio.first, in_prefix.first)
    final = _Read(weights, audio.residual[0], changed.cached, in_audio, audio).final
    assert ((final - audio.final) / (theirs[1].final - audio.final)).item() == pytest.approx(share, abs=1e-6)


# --- writing -------------------------------------------------------------------------------------------------


def test_music_written_with_a_patch_of_nothing_is_run_bs_and_with_all_blocks_run_as(tiny):
    for patch, prompts in (
        (Patch(()), SLOW),
        (Patch((-1,)), FAST),
        (Patch((LAST,), positions="audio"), FAST),
    ):
        written = generate_patched(
            tiny, FAST, SLOW, [patch] * 2, sampling=Sampling(3.0, do_sample=False), **SETTINGS
        )
        expected = generate(tiny, prompts, sampling=Sampling(3.0, do_sample=False), **SETTINGS)
        assert np.array_equal(written.tokens, expected.tokens)
    slow = generate(
        tiny, SLOW, seed=3, **SETTINGS
    ).tokens  # sampled, where random numbers go by the prompt's name
    assert np.array_equal(
        generate_patched(tiny, FAST, SLOW, [Patch(())] * 2, seed=3, **SETTINGS).tokens, slow
    )


@pytest.mark.parametrize("patch", [Patch((0,), positions="prefix"), Patch((1,), positions="audio")], ids=str)
def test_what_is_written_under_a_patch_is_what_a_run_with_those_states_predicts(tiny, patch):
    """Writing mixes the prompts' keys and values; reading puts the states in. They are to be the same."""
    tokens = generate_patched(tiny, FAST, SLOW, [patch] * 2, sampling=GREEDY, **SETTINGS).tokens
    assert not np.array_equal(tokens, generate(tiny, SLOW, sampling=GREEDY, **SETTINGS).tokens)
    contrast = Contrast(tiny, FAST, SLOW, sampling=GREEDY, **SETTINGS)
    for frame in range(tokens.shape[2]):
        shorter, other = tokens[:, :, : frame + 1], tokens[:, :, : frame + 1].copy()
        # the last token to be written: none is predicted from it
        other[:, -1, -1] = (other[:, -1, -1] + 5) % 16
        contrast.music = shorter, other
        assert (contrast.log_odds({"patch": patch})["log_odds"] > 0).all()


def test_patched_rows_do_not_depend_on_their_neighbours(tiny):
    patches = [Patch((0,), positions="prefix"), Patch((0,), positions="audio")]
    both = generate_patched(tiny, FAST, SLOW, patches, **SETTINGS)
    for row in range(2):
        one = generate_patched(
            tiny, FAST[row : row + 1], SLOW[row : row + 1], patches[row : row + 1], **SETTINGS
        )
        assert np.array_equal(one.tokens[0], both.tokens[row])


# --- what is refused -----------------------------------------------------------------------------------------


def test_nonsense_is_refused(tiny, tiny_cross, contrast):
    with pytest.raises(ValueError, match="2 prompts of one run and 1 of the other"):
        Contrast(tiny, FAST, SLOW[:1], **SETTINGS)
    with pytest.raises(ValueError, match="reads its prompt through cross-attention"):
        Contrast(tiny_cross, FAST, SLOW, **SETTINGS)
    with pytest.raises(ValueError, match="layers are 0 to 2"):
        contrast.log_odds({"deep": Patch((3,))})
    with pytest.raises(ValueError, match="layers of the attention begin at 0"):
        Patch((-1,), "attention")
    with pytest.raises(ValueError, match="site must be one of residual, attention"):
        Patch((0,), "mlp")
    with pytest.raises(ValueError, match="only patches of the residual stream can be written with"):
        generate_patched(tiny, FAST, SLOW, [Patch((0,), "attention")] * 2, **SETTINGS)
    with pytest.raises(ValueError, match="1 patches for 2 clips"):
        generate_patched(tiny, FAST, SLOW, [Patch((0,))], **SETTINGS)
    with (
        SteeringVector(torch.ones(3, 32)).apply(tiny),
        pytest.raises(ValueError, match="a steering context is open"),
    ):
        Contrast(tiny, FAST, SLOW, **SETTINGS)
