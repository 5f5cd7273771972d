"""No primary check is passed by a push that means nothing; each is passed by one that means what it says.

Runs are simulated: prompts with their own level and their own answer to a push, noise, a drift, and directions that
do something to the measure by chance; states, scores and gains that mean something or nothing. They go through the
functions that the chapters call.
"""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from steerlib import yardsticks
from steerlib.activations import Activations
from steerlib.chapters import (
    audio_concepts,
    control,
    diffmean_directions,
    emotion,
    genre_fusion,
    held_out,
    known_truth,
    layer_scan,
    methods,
    mixtures,
    other_attributes,
    probes,
    prompt_count,
    steering_sweep,
    timbre_transfer,
    where_and_when,
    where_in_the_network,
)
from steerlib.control import Strength
from steerlib.directions import diff_mean
from steerlib.evidence import stats
from steerlib.evidence.claims import claims, primary
from steerlib.evidence.scorecard import Measured
from steerlib.evidence.stats import Interval
from steerlib.music.datasets import AudioSet
from steerlib.prompts import load_attribute
from steerlib.readout.decoding import decodability
from steerlib.readout.probes import Nested
from steerlib.study import Trial

DRAWS = 20
PROMPTS = 12
RANDOMS = 3
"""As many random directions as the smallest profile of the book has beside an effect."""
BY_CHANCE = 0.2
"""Octaves: standard deviation over directions of what a push that means nothing does. Large against the noise of a
mean over prompts, so that an interval over prompts alone would find an effect in most of them."""
MEANT = 2.0
"""Octaves that a direction shifts which means what it says."""


def chance(rng):
    return rng.normal(0, BY_CHANCE)


def activations(rng, signal=0.0, *, pairs=20, layers=12, width=16):
    """States of opposite prompts, the positive ones with a signal (layers, width) more."""
    values = rng.normal(size=(2 * pairs, layers, width))
    values[:pairs] += signal
    return Activations(torch.tensor(values).float(), torch.arange(2 * pairs) < pairs, ("a song",) * 2 * pairs)


SEEN = activations(np.random.default_rng(0), 1.0)
ATTRIBUTES = {name: load_attribute(name) for name in ("tempo", "timbre", "loudness")}


# --- sweeps: what a push of an attribute does to its measure ----------------------------------------------------------


def sweep(rng, effect, direction="tempo", *, setting="tempo", multipliers=(-1, 0, 1), noise=0.1, **columns):
    """Clips along one direction that shifts by so many octaves at λ = 1; every prompt answers in its own way."""
    own, answer = rng.normal(7, 0.3, size=PROMPTS), rng.normal(1, 0.3, size=PROMPTS)
    sizes, drift = (
        np.array(multipliers)[:, None],
        rng.normal(0, 0.2),
    )  # which a push does whichever way it points
    octaves = own + sizes * effect * answer + np.abs(sizes) * drift
    octaves = (octaves + rng.normal(0, noise, size=octaves.shape)).ravel()
    about = {"multiplier": np.repeat(multipliers, PROMPTS), "prompt_id": np.tile(range(PROMPTS), len(sizes))}
    key = [f"{setting} {direction} {row}" for row in range(len(octaves))]
    about |= {"attribute": direction, "setting": setting, "seed": 0, "key": key, **columns}
    return pd.DataFrame({"bpm": 2**octaves, "rms": 6 * octaves, **about})


def study_of(rng, name="tempo", *, by_chance=BY_CHANCE, layer=5, **options):
    """A study of one attribute, in which other directions than its own do something by chance."""

    def compare(grids, **_):
        tables = [
            sweep(
                rng, rng.normal(0, by_chance), direction, setting=setting, source_layer=source,
                multipliers=sorted({0, *grid.multipliers}), **options,
            )
            for setting, grid in grids.items()
            for direction in grid.vectors
            for source in grid.layers
        ]  # fmt: skip
        return Trial(study, pd.concat(tables, ignore_index=True))

    study = SimpleNamespace(
        attributes={name: ATTRIBUTES[name]}, activations={name: SEEN}, vectors={name: diff_mean(SEEN)},
        layers={name: layer}, seed=0, store="nowhere", compare=compare, poles=lambda: {name: (-1.0, 1.0)},
        verdict=lambda claim, measured, **_: measured,
    )  # fmt: skip
    return study


def controls(study):
    return yardsticks.controls(study, draws=RANDOMS, prompts=PROMPTS)


def shift(rng, effect):
    trial = Trial(study := study_of(rng), sweep(rng, effect))
    beside = yardsticks.beside(trial, controls(study))
    own = beside[beside["kind"] == "own"].iloc[0]
    return Measured(
        stats.effect_of(own.rename({"shift": "effect"})), control=yardsticks.of_random(beside, "tempo")
    )


def paper_figures(rng, effect):
    trial = Trial(study := study_of(rng), sweep(rng, effect))
    return held_out.in_paper_figures(trial, controls(study), "tempo")


def among_directions(rng, effect):
    tables = [sweep(rng, effect, "DiffMean")]
    tables += [sweep(rng, chance(rng), f"random {k + 1}") for k in range(RANDOMS)]
    found = known_truth.shifts(Trial(study_of(rng), pd.concat(tables)), octaves=True)
    along, reach = known_truth.against_random(found, RANDOMS)
    return Measured(along["tempo", "DiffMean"], control=reach["tempo"])


def layers(rng, inside, outside):
    """One layer at the depth of the paper's, four others: each with an effect of its own besides."""
    study, middle, rest = study_of(rng), [3], [1, 6, 8, 10]
    effects = {layer: chance(rng) + (inside if layer in middle else outside) for layer in [*middle, *rest]}
    table = pd.concat([sweep(rng, effect, source_layer=layer) for layer, effect in effects.items()])
    found = layer_scan.shift(Trial(study, table), "tempo")
    reach = layer_scan.of_random(study, middle, rest, 1.0, draws=RANDOMS, prompts=PROMPTS)
    more = stats.paired_interval(found[middle].mean(axis=1), found[rest].mean(axis=1))
    return Measured(more, control=reach["tempo"])


def smooth(rng, effect):
    """By chance a push does little against the noise of a clip: ranks know nothing of size."""
    steps = (-1.0, -0.5, -0.2, 0.0, 0.2, 0.5, 1.0)
    study = study_of(rng, by_chance=0.05, noise=0.2)
    trial = Trial(study, sweep(rng, effect, multipliers=steps, noise=0.2))
    table = steering_sweep.controls(trial, {"tempo": 1.0}, draws=RANDOMS + 1, prompts=PROMPTS)
    inside = steering_sweep.steps(trial, "tempo", 1.0)
    return Measured(
        steering_sweep.smoothness(trial.parts["tempo"], "bpm", inside),
        control=steering_sweep.of_random(table, "tempo", "rank"),
    )


def in_spreads(rng, effect):
    study = study_of(rng, "loudness")
    trial = Trial(study, sweep(rng, effect, "loudness", setting="loudness"))
    table = other_attributes.effects(trial, ["rms"])
    reach = other_attributes.of_random(study, 1.0, 5, table, draws=RANDOMS, prompts=PROMPTS)
    return Measured(other_attributes.in_spreads(table.loc["loudness", "rms"]), control=reach["loudness"])


def tilt(rng, effect):
    """Noise of which the part above 2 kHz is so many times as loud as λ says."""
    size, rate = 2000, 16000
    high = np.fft.rfftfreq(size, 1 / rate) > 2000

    def sounds(rows):
        spectrum = np.fft.rfft(rng.normal(0, 0.1, size=(len(rows), size)))
        spectrum[:, high] *= rows["rms"].map(lambda decibels: 10 ** (decibels / 20)).to_numpy()[:, None] / 100
        return np.fft.irfft(spectrum).astype(np.float32)

    study = study_of(rng, "timbre")
    study.sounds, study.model, study.sizes = sounds, SimpleNamespace(sample_rate=rate), {"timbre": 1.0}
    trial = Trial(study, sweep(rng, effect, "timbre", setting="timbre"))
    found, _ = held_out.balance(
        held_out.sounds_by_pole(trial, "timbre"), study.attributes["timbre"], rate, split=2000
    )
    along = held_out.balance_along(controls(study), "timbre", split=2000)
    return Measured(stats.mean_interval(found), control=stats.control_range(along))


# --- ways to steer: what a push does, by prompt -----------------------------------------------------------------------


def prompts_of(rng, effect):
    return effect * rng.normal(1, 0.3, size=PROMPTS) + rng.normal(0, 0.1, size=PROMPTS)


def ways(rng, effect, other, *, relative=False):
    found = {
        ("tempo", way): pd.Series(prompts_of(rng, size))
        for way, size in (("One-to-All", effect), ("one", other))
    }
    random = {key: pd.Series([prompts_of(rng, chance(rng)).mean() for _ in range(RANDOMS)]) for key in found}
    return where_and_when.more(found, random, ["tempo"], "one", relative=relative)


def relative_ways(rng, effect, other):
    return ways(rng, effect, other, relative=True)


def share(rng, effect, whole):
    few, every = prompts_of(rng, effect), prompts_of(rng, whole)
    found = prompt_count.plus_one(stats.paired_interval(few, every, relative=True))
    shuffled = np.array([prompts_of(rng, chance(rng)).mean() for _ in range(RANDOMS)]) / every.mean()
    return Measured(found, control=stats.control_range(shuffled))


# --- states: what prompts and clips leave in the network --------------------------------------------------------------


def plane(rng, distance):
    """Poles so far apart in one dimension."""
    seen = activations(rng, distance * np.eye(16)[0], pairs=30)
    control = diffmean_directions.plane_auc_of_shuffled(seen, 3, draws=8)
    return Measured(diffmean_directions.plane_auc(seen, 3), control=control)


def blocks(rng, size):
    """Three blocks of layers with a direction each; of size 0 the poles mean nothing."""
    own = np.repeat(rng.normal(size=(3, 16)), 4, axis=0)
    return diffmean_directions.blocks_measured(activations(rng, size * own), draws=RANDOMS, resamples=40)


def concepts(rng, signal, of_others):
    """Labels of four concepts as clouds in the states of the decoder, and in those of a baseline."""
    labels, options = np.repeat(["a", "b", "c"], 10), {"starts": 1, "shuffles": 5, "swaps": 1, "seed": 0}
    found = {}
    for number in range(4):
        centres = rng.normal(size=(3, 8))[np.unique(labels, return_inverse=True)[1]]
        heard = {}
        for name, sizes in {"decoder": (0, signal), "mel spectrum": (of_others,)}.items():
            states = [size * centres + rng.normal(size=centres.shape) for size in sizes]
            heard[name] = Activations(
                torch.tensor(np.stack(states, axis=1)).float(), None, tuple(map(str, range(30)))
            )
        table = pd.DataFrame({"label": labels, "group": range(30)})
        clips = AudioSet(np.zeros((30, 1), np.float32), 16000, table)
        found[str(number)] = audio_concepts.excess(heard, clips, **options)
    return audio_concepts.verdict(study_of(rng), found)


def decoded(rng, known, of_others):
    """A number that the decoder's states hold, and those of three baselines, each with noise of its own."""
    truth = rng.normal(size=60)
    rows = {
        name: decodability(
            (known_ * truth[:, None] + rng.normal(size=(60, 4)))[:, None, :], truth, seed=0
        ).iloc[0]
        for name, known_ in {
            "decoder": known,
            "a": of_others,
            "b": of_others / 2,
            "c": of_others / 4,
        }.items()
    }
    others = pd.DataFrame(rows).T.iloc[1:].rename(columns={"r2": "value"}).assign(attribute="tempo")
    own = rows["decoder"]
    return Measured(
        Interval(own["r2"], own["low"], own["high"], 60), control=known_truth.best_without(others, "tempo")
    )


def patched(rng, carried, spread):
    """Windows of blocks, one of which carries a share of what the words do; all do something by chance."""
    pairs = 10
    whole = rng.normal(1, 0.2, size=pairs)

    def log_odds(changes, donors=None):
        rows = []
        for number, change in enumerate(changes):
            meant = carried if number == 4 and donors is None else 0
            gain = whole * (meant + rng.normal(0, spread)) + rng.normal(0, 0.2, size=pairs)
            rows += [(change, pair, gain[pair], 0.0, whole[pair]) for pair in range(pairs)]
        return pd.DataFrame(rows, columns=["change", "pair", "log_odds", "negative", "positive"])

    contrast = SimpleNamespace(
        log_odds=log_odds, negative=("a song",) * pairs, model=SimpleNamespace(depth=12)
    )
    asked = where_in_the_network.ask(contrast, {"read": where_in_the_network.patches(12, 3, 1)["read"]})
    found, _ = where_in_the_network.carrying(asked)
    return Measured(found, control=where_in_the_network.control(contrast, 3, 8))


# --- scores: what a judge makes of clips ------------------------------------------------------------------------------

CHOSEN = pd.DataFrame({"multiplier": [0.02], "within": [True]}, index=["main"])


def genre_clips(rng, arm, toward=0.0, both=0.0, *, draws=(0,)):
    """Scores of five genres; a direction raises the target's and lowers the source's, and does something by chance."""
    rows = []
    for pair in ("rock to folk", "pop to jazz"):
        for draw in draws:
            pushed = np.zeros(5) if arm == "not steered" else rng.normal(0, 0.7, size=5)
            for prompt in range(8):
                logits = np.array([4.0, 0, 0, 0, 0]) + pushed + rng.normal(0, 0.5, size=5)
                logits += [both - toward / 2, both + toward, 0, 0, 0]
                scores = np.exp(logits) / np.exp(logits).sum()
                rows.append({
                    "arm": arm, "setting": "main", "pair": pair, "prompt_id": prompt, "draw": draw, "nll": 4.0,
                    "multiplier": 0.0 if arm == "not steered" else 0.02, "source score": scores[0],
                    "target score": scores[1], "other score": scores[2:].mean(),
                    "fused": min(scores[:2]) >= genre_fusion.FUSED,
                })  # fmt: skip
    return pd.DataFrame(rows)


def rises(rng, toward):
    plain = genre_clips(rng, "not steered", draws=range(4))
    random = pd.concat([plain, genre_clips(rng, "random direction", draws=range(4))])
    main = pd.concat([plain[plain["draw"] == 0], genre_clips(rng, "steered", toward)])
    return genre_fusion.verdict_b2(study_of(rng), main, random, CHOSEN)


def fused(rng, toward):
    arms = [genre_clips(rng, "not steered"), genre_clips(rng, "words"), genre_clips(rng, "overlay", 2.5)]
    arms += [genre_clips(rng, "steered", toward), genre_clips(rng, "random direction", draws=(0, 2))]
    arms += [genre_clips(rng, "shuffled labels", draws=(1, 3))]
    return genre_fusion.verdict_b4(study_of(rng), pd.concat(arms, ignore_index=True), CHOSEN)


def losses(rng, mse, bce):
    """How often probes of both losses are right, and the scores that they steer to."""
    tracks = np.array([f"track {clip // 2}" for clip in range(80)])
    read = {
        ("residual", loss): Nested(rng.random(80) < accuracy, tracks, (1,), (10.0,), 0.25)
        for loss, accuracy in (("mse", mse), ("bce", bce))
    }
    rows = [
        {
            "target": target, "way": way, "prompt_id": prompt, "seed": 0, "multiplier": 0.1,
            "score": np.clip(score + 0.1 * rng.normal(), 0, 1),
        }
        for target in ("rock", "folk")
        for way, score in (("MSE", mse), ("BCE", bce))
        for prompt in range(10)
    ]  # fmt: skip
    return probes.verdict(study_of(rng), read, pd.DataFrame(rows), within=True)


def tunes(rng, rise):
    """Clips of tunes toward two instruments: how much its score rises, and how much of the tune is kept."""
    kinds, rows = ("pieces", "notes"), []
    idle = [f"{kind}, {control}" for kind in kinds for control in ("random direction", "shuffled labels")]
    for direction in [*kinds, *idle]:
        for target in ("flute", "violin"):
            size = rng.normal(0, 0.02) + (rise if direction in kinds else 0)
            for tune in range(PROMPTS):
                before, chroma = rng.uniform(0.1, 0.2), rng.uniform(0.3, 0.5)
                after, kept = before + size + rng.normal(0, 0.03), chroma * rng.normal(0.95, 0.05)
                for multiplier, score, match in ((0.0, before, chroma), (0.1, after, kept)):
                    rows.append((direction, target, tune, multiplier, score, match))
    names = ["direction", "target", "tune", "multiplier", "score", "chroma"]
    again = pd.DataFrame({"tune": range(PROMPTS), "chroma": 0.5})
    chosen = pd.DataFrame({"direction": kinds, "within": True})
    return timbre_transfer.verdict(study_of(rng), pd.DataFrame(rows, columns=names), again, chosen)


# --- control: what was asked for, and what came -----------------------------------------------------------------------


def asked(rng, error):
    """Errors of both loops beside those of random directions, which miss by what the target asks for."""
    rows = []
    for name in ("tempo", "timbre"):
        for way in ("open loop", "closed loop", *(f"random {k + 1}" for k in range(6))):
            size = 0.7 + rng.normal(0, 0.1) if way.startswith("random") or error is None else error
            for prompt in range(PROMPTS):
                missed = np.abs(rng.normal(size, 0.3 * size, size=2))
                rows += [(name, way, prompt, target, each) for target, each in enumerate(missed)]
    return control.hit(pd.DataFrame(rows, columns=["attribute", "way", "prompt_id", "target", "error"]))


def followed(rng, chance_to_hit):
    """Clips that follow a curve or do not; along random directions some do."""
    rows = []
    for kind in ("ramp", "step", "tempo"):
        for along in ("own", *(f"random {k + 1}" for k in range(RANDOMS))):
            likely = chance_to_hit if along == "own" else rng.uniform(0, 0.3)
            rows += [(kind, along, hit) for hit in rng.random(50) < likely]
    return control.shares(pd.DataFrame(rows, columns=["kind", "along", "hit"]))


def mixed(rng, own, across, judged=("tempo", "timbre")):
    """Squares of prompts: what each direction does to its own measure and, by chance or not, to the other's.

    `own` and `across` are of both directions. Random directions take the place of each in turn.
    """
    names, metrics = ("tempo", "timbre"), ("bpm", "centroid")
    kinds = [("sum", "", dict(zip(names, zip(own, across, strict=True), strict=True)), (-1, 0, 1))]
    for name in names:
        pushed = [(chance(rng), chance(rng)) for _ in range(RANDOMS)]
        kinds += [
            (f"random {k}", name, {**kinds[0][2], name: each}, (-1, 1)) for k, each in enumerate(pushed)
        ]
    levels, answers = rng.normal(7, 0.3, size=(2, PROMPTS)), rng.normal(1, 0.3, size=(2, PROMPTS))
    rows = []
    for way, instead, does, signs in kinds:
        for one, two in ((one, two) for one in signs for two in signs):
            pushes = np.array([one * does["tempo"][0] + two * does["timbre"][1],
                               two * does["timbre"][0] + one * does["tempo"][1]])  # fmt: skip
            octaves = levels + pushes[:, None] * answers + rng.normal(0, 0.1, size=levels.shape)
            rows += [(way, instead, one, two, prompt, *2 ** octaves[:, prompt]) for prompt in range(PROMPTS)]
    table = pd.DataFrame(rows, columns=["way", "instead", *names, "prompt_id", *metrics])
    found = mixtures.against(mixtures.effects(table, dict(zip(names, metrics, strict=True))))
    return {part: each for part, each in found.items() if part.startswith(judged)}


def stood_out(rng, effect):
    """Scores of many methods, one of which shifts by so many octaves; all others do something by chance."""
    ways = {f"method {k}": (effect if k == 0 else chance(rng), False) for k in range(9)}
    ways |= {each: (chance(rng), True) for each in ("shuffled poles", *(f"random {k}" for k in range(RANDOMS)))}
    rows = []
    for method, (octaves, means_nothing) in ways.items():
        octaves = octaves * rng.normal(1, 0.3, PROMPTS) + rng.normal(0, 0.1, PROMPTS)
        shares = np.array([np.clip(octaves / MEANT, 1e-9, 1), *rng.uniform(0.7, 1, size=(2, PROMPTS))])
        score = 3 / (1 / shares).sum(axis=0)
        about = {"method": method, "control": means_nothing, "prompt_id": range(PROMPTS)}
        rows.append(pd.DataFrame({**about, "score": score}))
    scores = pd.concat(rows, ignore_index=True).assign(attribute="tempo")
    heard = SimpleNamespace(table=pd.DataFrame({"bpm": [*np.full(20, 150.0), *np.full(20, 70.0)]}))
    return methods.parts(SimpleNamespace(attributes={"tempo": ATTRIBUTES["tempo"]}), scores, {"tempo": heard})


def strengths(rng, size):
    """A λ found from short clips, in a sweep that meets its budget at 0.03."""
    sizes = (-0.1, -0.05, -0.02, -0.01, 0, 0.01, 0.02, 0.05, 0.1)
    table = sweep(rng, 20, multipliers=sizes, noise=0.02, source_layer=0)
    study = study_of(rng)
    study.seconds = 8.0
    tried = np.array([value for value in sizes if value])
    quality = pd.DataFrame({"attribute": "tempo", "multiplier": tried, "nll_high": np.abs(tried)})
    found = Strength(size, 0.1, pd.DataFrame(), 0.03, 1.0, words=True)
    return control.of_sweep(Trial(study, table), {"tempo": found}, quality)[1]


def felt(rng, valence, arousal):
    """What a judge hears in the four quadrants; random pairs of directions do something by chance to both axes."""
    ways = {"steering": ((valence, chance(rng)), (chance(rng), arousal)), "words": ((1.0, 0.0), (0.0, 1.0))}
    ways |= {f"random {k + 1}": (both_by_chance(rng), both_by_chance(rng)) for k in range(RANDOMS)}
    rows = []
    for way, does in ways.items():
        for prompt in range(PROMPTS):
            level, answer = rng.normal(0, 0.5, size=2), rng.normal(1, 0.3, size=2)
            for one, two in ((one, two) for one in (-1, 1) for two in (-1, 1)):
                heard = level + answer * (one * np.array(does[0]) + two * np.array(does[1]))
                rows.append((way, one, two, prompt, *(heard + rng.normal(0, 0.2, size=2))))
    names = ["way", "valence", "arousal", "prompt_id", "heard valence", "heard arousal"]
    return emotion.against(pd.DataFrame(rows, columns=names))


# --- the checks -------------------------------------------------------------------------------------------------------


def by_chance(rng):
    return (chance(rng),)


def both_by_chance(rng):
    return chance(rng), chance(rng)


def always(*meant):
    return lambda rng: meant


JUDGES = {
    # claim: how it is measured, of what means what the claim says, and of what means nothing, in one way or several
    "A1": (shift, (MEANT,), [by_chance]),
    "A2": (paper_figures, (1.0,), [by_chance]),
    "A3": (layers, (MEANT, 0), [always(0, 0), always(1.0, 1.0)]),  # nothing; the same from all layers
    "A4": (blocks, (2.0,), [always(0)]),
    "A5": (smooth, (MEANT,), [lambda rng: (rng.normal(0, 0.05),)]),
    "A6": (share, (MEANT, MEANT * 0.8), [both_by_chance]),
    "A7": (ways, (MEANT, 0), [both_by_chance]),
    "A8": (ways, (MEANT, 0), [both_by_chance]),
    "A9": (relative_ways, (MEANT, 0), [both_by_chance]),
    "A10": (plane, (8.0,), [always(0)]),
    "A11": (tilt, (MEANT,), [by_chance]),
    "A12": (in_spreads, (MEANT,), [by_chance]),
    "B1": (concepts, (4.0, 0), [always(0, 0), always(4.0, 4.0)]),  # no labels; those that everybody hears
    "B2": (rises, (4.0,), [always(0)]),
    "B3": (losses, (0.9, 0.5), [always(0.7, 0.7)]),
    "B4": (fused, (2.5,), [always(0)]),
    "B5": (tunes, (0.4,), [always(0)]),
    "T1": (decoded, (2.0, 0.3), [always(0, 0), always(2.0, 2.0)]),  # no number; one that everybody hears
    "T2": (among_directions, (MEANT,), [by_chance]),
    "T3": (among_directions, (MEANT,), [by_chance]),
    "T4": (patched, (0.9, 0.1), [always(0, 0.3)]),
    "C1": (asked, (0.05,), [always(None)]),
    "C2": (
        mixed,
        ((MEANT, MEANT), (0.02, 0.02)),
        [  # nothing; nothing in the second's place; brightness that is as much tempo
            lambda rng: (both_by_chance(rng), both_by_chance(rng)),
            lambda rng: ((MEANT, chance(rng)), (0.02, chance(rng)), "timbre"),
            always((MEANT, MEANT), (MEANT, MEANT), ("tempo off-axis", "timbre off-axis")),
        ],
    ),
    "C3": (followed, (0.95,), [lambda rng: (rng.uniform(0, 0.3),)]),
    "C4": (stood_out, (MEANT,), [by_chance, lambda rng: (rng.normal(0, 2 * BY_CHANCE),)]),
    "C5": (strengths, (0.03,), [lambda rng: (rng.choice([0.01, 0.02, 0.05, 0.1]),)]),  # of the sweep's own
    "C6": (felt, (MEANT, MEANT), [both_by_chance]),
}
QUICK = (ways, relative_ways, share)  # they make no table, so that more draws can be afforded


def outcomes(claim, measured):
    """Whether the primary check of a claim holds of each part, testable or not."""
    check, held = primary(claim), []
    parts = measured if isinstance(measured, dict) else {"": measured}
    for part, each in parts.items():
        limit, interval = check.limit(part), each.interval
        reached = limit.reached_by(each.control, interval.estimate)
        held.append(limit.outcome(interval) == "holds" and not reached)
    return held


def test_every_claim_has_its_check_simulated():
    assert list(JUDGES) == claims()["claim"].tolist()


@pytest.mark.parametrize("claim", JUDGES)
def test_at_most_one_push_in_twenty_that_means_nothing_passes(claim):
    judge, _, ways_of_nothing = JUDGES[claim]
    for nothing in ways_of_nothing:
        rng = np.random.default_rng(1)
        draws = 10 * DRAWS if judge in QUICK else DRAWS
        passed = [outcomes(claim, judge(rng, *nothing(rng))) for _ in range(draws)]
        assert np.mean(passed) <= 1 / 20


@pytest.mark.parametrize("claim", JUDGES)
def test_what_means_what_it_says_passes(claim):
    judge, meant, _ = JUDGES[claim]
    rng = np.random.default_rng(0)
    assert sum(all(outcomes(claim, judge(rng, *meant))) for _ in range(10)) >= 7


def test_without_the_control_many_random_directions_would_pass():
    rng = np.random.default_rng(0)
    found = [shift(rng, rng.normal(0, BY_CHANCE)).interval for _ in range(DRAWS)]
    assert sum(interval.low > 0 for interval in found) >= 5  # half of them have the intended sign
