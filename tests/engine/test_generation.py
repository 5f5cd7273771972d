"""Generation: equal to transformers' generate, and a row depends on nothing but itself."""

import numpy as np
import pytest
import torch

from steerlib.engine.clips import Clips
from steerlib.engine.generation import BACKEND, Run, generate
from steerlib.engine.sampling import Sampling
from steerlib.model import decoder_blocks
from steerlib.steering import Steering, SteeringMap, SteeringVector

PROMPTS = ["a fast rock song", "slow jazz", "the dark piano piece with drums of rock"]
SECONDS = 0.4  # 10 frames of 640 samples
QUIET = Run(progress=False)
GREEDY = Sampling(do_sample=False)
UNCONDITIONAL = Steering(SteeringVector(torch.ones(3, 32)), branches="unconditional")


@pytest.fixture
def vector(rng):
    return SteeringVector(rng.normal(size=(3, 32)))


@pytest.fixture
def affine():
    """A map that depends on the state; drawn apart from `vector`, whose numbers other tests know."""
    shift, scale, read, write = np.random.default_rng(7).normal(size=(4, 2, 3, 32)) / 3
    return SteeringMap(shift, scale, read, write, np.zeros((3, 32)))


@pytest.fixture
def make(tiny):
    def make(prompts=PROMPTS, **options):
        return generate(tiny, prompts, **{"seconds": SECONDS, "run": QUIET} | options)

    return make


def transformers_tokens(model, prompts=PROMPTS, **options):
    """Codes (rows, codebooks, frames) by transformers' own greedy generate."""
    codes, network = [], model.network
    watched = network.audio_encoder.decode
    network.audio_encoder.decode = lambda ids, **options: codes.append(ids.clone()) or watched(ids, **options)
    try:
        encoded = model.encode(prompts)
        network.generate(**encoded, max_new_tokens=10 + model.config.decoder.num_codebooks - 1, **options)
    finally:
        del network.audio_encoder.decode
    return codes[0][0].numpy()


# --- equal to transformers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_greedy_tokens_are_those_of_transformers(tiny, make, guidance):
    expected = transformers_tokens(tiny, guidance_scale=guidance)
    assert len(np.unique(expected)) > 4  # not one token over and over
    assert np.array_equal(make(sampling=Sampling(guidance, do_sample=False)).tokens, expected)


def test_greedy_tokens_follow_a_melody_as_in_transformers(tiny, make, rng):
    melody = (
        50 * torch.eye(12)[torch.as_tensor(rng.integers(12, size=(3, 3)))]
    )  # loud: its projection is faint
    expected = transformers_tokens(tiny, input_features=melody)
    clips = make(sampling=GREEDY, melody=melody)
    assert np.array_equal(clips.tokens, expected)
    assert not np.array_equal(clips.tokens, make(sampling=GREEDY).tokens)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"source_layer": 1},
        {"layers": (0, 2)},
        {"steps": "first"},
        {"branches": "conditional"},
        {"branches": "unconditional"},
        {"site": "attention"},
        {"preserve_norm": True},
        {"positions": "prefix"},
        {"positions": "audio"},
        {
            "positions": "audio",
            "steps": "first",
            "multiplier": 9.0,
        },  # the start token alone takes a strong push
        {"positions": "prefix", "site": "attention", "preserve_norm": True, "branches": "conditional"},
        {"site": "attention", "preserve_norm": True, "steps": "first", "branches": "conditional"},
    ],
    ids=str,
)
def test_steered_greedy_tokens_are_those_of_hooks_in_transformers(tiny, make, vector, settings):
    plain, settings = make(sampling=GREEDY), {"multiplier": 0.7} | settings
    with vector.apply(tiny, **settings):
        expected = transformers_tokens(tiny)
        inside = make(sampling=GREEDY)
    row_by_row = make(sampling=GREEDY, steering=Steering(vector, **settings))
    assert np.array_equal(inside.tokens, expected)
    assert np.array_equal(row_by_row.tokens, expected)
    assert not np.array_equal(expected, plain.tokens)


@pytest.mark.parametrize("multiplier", [0.7, -0.7])
@pytest.mark.parametrize("settings", [{}, {"source_layer": 1, "positions": "audio"}, {"preserve_norm": True}], ids=str)
def test_greedy_tokens_under_a_map_are_those_of_hooks_in_transformers(tiny, make, affine, multiplier, settings):
    with affine.apply(tiny, multiplier, **settings):
        expected = transformers_tokens(tiny)
    assert np.array_equal(make(sampling=GREEDY, steering=Steering(affine, multiplier, **settings)).tokens, expected)
    assert not np.array_equal(expected, make(sampling=GREEDY).tokens)


def test_prefix_and_audio_are_all_positions_and_neither_alone_is(make, vector):
    together = Steering(vector, 0.7, positions="prefix"), Steering(vector, 0.7, positions="audio")
    both = make(sampling=GREEDY, steering=[together] * 3).tokens
    assert np.array_equal(both, make(sampling=GREEDY, steering=Steering(vector, 0.7)).tokens)
    assert not any(np.array_equal(make(sampling=GREEDY, steering=each).tokens, both) for each in together)


def test_prefix_only_is_done_after_the_first_step(make, vector):
    prefix = {steps: Steering(vector, 0.7, positions="prefix", steps=steps) for steps in ("all", "first")}
    assert np.array_equal(make(steering=prefix["all"]).tokens, make(steering=prefix["first"]).tokens)


@pytest.mark.parametrize("act", ["generate", "hooks"])
def test_prefix_only_is_refused_where_there_is_no_prefix(tiny_cross, vector, act):
    steering = Steering(vector, positions="prefix")
    with pytest.raises(ValueError, match="positions='prefix', but this model reads its prompt through cross"):
        if act == "hooks":
            steering.applied(tiny_cross).__enter__()
        generate(tiny_cross, PROMPTS, seconds=SECONDS, steering=steering, run=QUIET)


def test_audio_only_is_every_position_where_there_is_no_prefix(tiny_cross, vector):
    made = [
        generate(
            tiny_cross, PROMPTS, seconds=SECONDS, steering=Steering(vector, 0.7, positions=each), run=QUIET
        )
        for each in ("all", "audio")
    ]
    assert np.array_equal(made[0].tokens, made[1].tokens)


def test_nested_steering_acts_as_nested_hooks_do(tiny, make, vector, rng):
    other = SteeringVector(rng.normal(size=(3, 32)))
    with (
        vector.apply(tiny, 0.5),
        other.apply(tiny, 0.4, preserve_norm=True),
        vector.apply(tiny, 0.3, source_layer=0),
    ):
        expected = transformers_tokens(tiny)
        assert np.array_equal(make(sampling=GREEDY).tokens, expected)


@pytest.mark.parametrize("branches", ["both", "conditional"])
def test_a_model_with_cross_attention_gives_the_tokens_of_transformers(tiny_cross, vector, branches):
    with vector.apply(tiny_cross, 0.7, branches=branches, site="attention"):
        expected = transformers_tokens(tiny_cross)
        clips = generate(tiny_cross, PROMPTS, seconds=SECONDS, sampling=GREEDY, run=QUIET)
    assert np.array_equal(clips.tokens, expected)


def test_audio_is_what_the_codec_makes_of_the_tokens(tiny, make):
    clips = make()
    codes = torch.from_numpy(clips.tokens).long()[None]
    audio = tiny.network.audio_encoder.decode(codes, [None] * len(clips)).audio_values[:, 0]
    assert clips.audio.shape == (3, 6400) and clips.sample_rate == 16000
    assert np.allclose(clips.audio, audio, atol=1e-6)


# --- a row depends on itself alone --------------------------------------------------------------------------


def test_the_random_stream_of_the_caller_is_left_alone(make):
    before = torch.get_rng_state()
    make()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def crowd(vector, affine):
    """Forty rows of mixed prompts, seeds and settings."""
    settings = [
        None,
        Steering(vector, 0.6),
        Steering(-vector, 0.3, source_layer=2, branches="conditional"),
        Steering(vector, 0.5, site="attention", preserve_norm=True),
        Steering(vector, 0.5, positions="prefix"),
        Steering(vector, 0.5, positions="audio", schedule=(0.5, 1.0)),
        (Steering(affine, -0.4, positions="audio"), Steering(vector, 0.2), Steering(affine, 0.2, preserve_norm=True)),
        (
            Steering(vector, 0.2, steps="first"),
            Steering(vector, 0.1, preserve_norm=True),
            Steering(vector, 0.4),
        ),
    ]
    rows = range(40)
    return {
        "prompts": [PROMPTS[row % 3] for row in rows],
        "seed": [row // 3 for row in rows],
        "steering": [settings[row % len(settings)] for row in rows],
    }


def pick(crowd, rows):
    return {name: [values[row] for row in rows] for name, values in crowd.items()}


def test_in_half_precision_too_a_row_does_not_depend_on_its_neighbours(make, crowd):
    many = make(**crowd, sampling=Sampling(exact=False))
    assert (many.tokens == make(**crowd).tokens).mean() > 0.5
    for row in (0, 13, 39):
        one = make(**pick(crowd, [row]), sampling=Sampling(exact=False))
        assert np.array_equal(one.tokens[0], many.tokens[row])


def test_a_batch_of_one_equals_its_row_in_a_batch_of_many(make, crowd):
    many = make(**crowd)
    for row in (0, 7, 13, 24, 39):
        one = make(**pick(crowd, [row]))
        assert np.array_equal(one.tokens[0], many.tokens[row])
        assert np.array_equal(one.audio[0], many.audio[row])


def test_order_batch_size_and_threads_do_not_change_a_row(make, crowd, rng):
    many = make(**crowd)
    order = rng.permutation(40)
    threads = torch.get_num_threads()
    try:
        for count, batch_size in ((1, 5), (2, None), (3, 40)):
            torch.set_num_threads(count)
            run = Run(batch_size, progress=False)
            assert np.array_equal(make(**pick(crowd, order), run=run).audio, many.audio[order])
    finally:
        torch.set_num_threads(threads)


def test_multiplier_zero_is_bit_identical_to_no_steering(tiny, make, vector):
    plain = make()
    for site in ("residual", "attention"):
        for keep in (False, True):
            zero = Steering(vector, 0.0, site=site, preserve_norm=keep)
            assert np.array_equal(make(steering=zero).audio, plain.audio)
            beside = make(
                PROMPTS * 2, steering=[zero] * 3 + [Steering(vector, 0.8, site=site, preserve_norm=keep)] * 3
            )
            assert np.array_equal(beside.audio[:3], plain.audio)
    with vector.apply(tiny, 0.0):
        assert np.array_equal(make().audio, plain.audio)


def test_the_minus_vector_is_the_opposite_pole(make, vector):
    there, back = make(steering=Steering(vector, -0.6)), make(steering=Steering(vector * -1, 0.6))
    assert np.array_equal(there.tokens, back.tokens)
    assert not np.array_equal(there.tokens, make(steering=Steering(vector, 0.6)).tokens)


def test_nested_contexts_add_to_a_rows_own_steering(tiny, make, vector):
    with vector.apply(tiny, 0.5):
        nested = make(steering=Steering(vector, 0.25))
    assert np.array_equal(nested.tokens, make(steering=Steering(vector, 0.75)).tokens)
    assert not np.array_equal(nested.tokens, make(steering=Steering(vector, 0.5)).tokens)


def test_a_schedule_is_a_factor_for_each_frame_and_its_last_one_goes_on(make, vector):
    constant = make(steering=Steering(vector, 1.0)).tokens
    for schedule in [(1.0,), (0.5,) * 10]:
        assert np.array_equal(
            make(steering=Steering(vector, 1 / schedule[0], schedule=schedule)).tokens, constant
        )
    late = make(steering=Steering(vector, 1.0, schedule=(0.0,) * 5 + (1.0,))).tokens
    plain = make().tokens
    assert np.array_equal(late[:, 0, :5], plain[:, 0, :5]), "nothing acts before its frame"
    assert not np.array_equal(late, plain)
    assert not np.array_equal(late, constant)


def test_rows_with_and_without_a_schedule_do_not_touch_each_other(make, vector):
    scheduled = Steering(vector, 1.0, schedule=(1.0, 0.0, 1.0))
    together = make(steering=[scheduled, None, Steering(vector, 0.5)]).tokens
    settings = [scheduled, None, Steering(vector, 0.5)]
    alone = [make([prompt], steering=each).tokens[0] for prompt, each in zip(PROMPTS, settings, strict=True)]
    assert np.array_equal(together, alone)


def test_prompt_and_seed_make_the_random_stream(make):
    clips = make(["slow jazz"] * 3, seed=[0, 1, 0])
    assert np.array_equal(clips.tokens[0], clips.tokens[2])
    assert not np.array_equal(clips.tokens[0], clips.tokens[1])
    assert np.array_equal(make(["slow jazz"], seed=np.int64(1)).tokens[0], clips.tokens[1])


def test_a_longer_clip_begins_with_the_shorter_one(make):
    assert np.array_equal(make(seconds=0.8).tokens[:, :, :10], make().tokens)


def test_a_prompt_keeps_most_of_its_tokens_under_weak_steering(make, vector):
    plain = make(seconds=2).tokens
    assert (make(seconds=2, steering=Steering(vector, 1e-4)).tokens == plain).mean() > 0.9


# --- what is refused, and the clips -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 0}, "seconds must be positive"),
        ({"seconds": float("nan")}, "seconds must be positive"),
        ({"seconds": 60}, r"at most 9\.56 s"),
        ({"prompts": []}, "no prompts"),
        ({"prompts": ["slow jazz", " "]}, r"prompts\[1\] is empty"),
        ({"seed": [1, 2]}, "2 entries for 3 prompts"),
        ({"steering": [None]}, "1 entries for 3 prompts"),
        ({"melody": torch.zeros(3, 5)}, r"melody must have shape \(frames, 12\)"),
        ({"melody": torch.zeros(2, 5, 12)}, "for 3 prompts"),
        ({"steering": Steering(SteeringVector(torch.ones(3, 31)))}, r"needs \(layers, hidden\) = \(3, 32\)"),
        ({"steering": UNCONDITIONAL, "sampling": Sampling(1)}, "branches='both'"),
    ],
)
def test_nonsense_is_refused(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        Run(batch_size=0)


@pytest.mark.parametrize(
    "options", [{"prompts": "slow jazz"}, {"seed": True}, {"seed": ["a", "b", "c"]}, {"steering": [0.5] * 3}]
)
def test_things_of_another_kind_are_refused(make, options):
    with pytest.raises(TypeError):
        make(**options)


def test_a_foreign_hook_is_refused_and_left_in_place(tiny, make):
    block = decoder_blocks(tiny)[1]
    hook = block.fc1.register_forward_hook(lambda *_: None)
    try:
        with pytest.raises(ValueError, match=r"layers\.1\.fc1 carries a forward hook .* network\.generate"):
            make()
        assert list(block.fc1._forward_hooks) == [hook.id]
    finally:
        hook.remove()


def test_a_model_in_training_mode_is_refused(tiny, make):
    tiny.network.train()
    try:
        with pytest.raises(ValueError, match=r"model\.network\.eval\(\)"):
            make()
    finally:
        tiny.network.eval()


def test_a_shape_that_does_not_fit_is_said_of_the_row_that_has_it(make, vector):
    other = Steering(SteeringVector(torch.ones(4, 32)))
    with pytest.raises(ValueError, match=r"the vector that steers row 2 has shape \(4, 32\)"):
        make(steering=[None, Steering(vector), other])


# --- another function in place of the decode loop -----------------------------------------------------------


def silence(plan, seconds, measure, batch_size, label):
    """What `run_tiles` would yield, of silence, row by row and the last one first."""
    for number in reversed(range(len(plan.rows))):
        row = plan.rows[number]
        audio = np.zeros((1, round(seconds * plan.model.sample_rate)), np.float32)
        tokens = np.full((1, plan.model.codebooks, plan.frames), number, np.int16)
        yield [number], Clips(audio, plan.model.sample_rate, tokens, (row.prompt,), (row.seed,)), None


def test_the_environment_names_a_function_in_place_of_the_decode_loop(make, monkeypatch):
    monkeypatch.setenv(BACKEND, f"{__name__}:silence")
    clips = make(seed=[5, 6, 7])
    assert clips.audio.shape == (3, 6400) and not clips.audio.any()
    assert clips.tokens[:, 0, 0].tolist() == [0, 1, 2] and clips.prompts == tuple(PROMPTS)
    assert clips.seeds == (5, 6, 7)
    with pytest.raises(
        ValueError, match="seconds must be positive"
    ):  # what makes no sense is refused as ever
        make(seconds=0)
    monkeypatch.delenv(BACKEND)
    assert make().audio.any()
