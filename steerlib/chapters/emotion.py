"""Judge, clips and figures of the chapter *Emotion* (``notebooks/emotion.ipynb``).

The plane of emotion has two axes: *valence*, from unpleasant to pleasant, and *arousal*, from calm to excited (Russell,
1980). Where in it a composed clip lies follows from its truth by a rule (`truth`), a judge learns to hear it (`train`),
and prompts are pushed into the four quadrants (`quadrants`).

Units: valence and arousal in standard deviations of the composed clips.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import HTML
from matplotlib.axes import Axes
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from steerlib.directions import random_direction
from steerlib.engine.generation import Run
from steerlib.evidence import stats
from steerlib.evidence.scorecard import Measured, Verdict
from steerlib.measure import band_level, mode, onset_rate, spectral_centroid, tempo
from steerlib.measure.audio import resample
from steerlib.measure.degrade import codec
from steerlib.measure.known import features, known
from steerlib.music import corpus
from steerlib.music.captions import ADJECTIVES, words
from steerlib.music.corpus import Truth
from steerlib.page import figures
from steerlib.page.bottom_line import listed, measured, told
from steerlib.page.style import INK, PALETTE
from steerlib.prompts import Attribute, say
from steerlib.readout.decoding import decodability
from steerlib.steering import Steering, SteeringVector
from steerlib.study import Study
from steerlib.sweeps.grid import sweep_cells

__all__ = [
    "AXES",
    "Judge",
    "against",
    "by_axis",
    "draw_planes",
    "effects",
    "findings",
    "listen",
    "meanings",
    "quadrants",
    "summary",
    "train",
    "truth",
]

FloatArray = npt.NDArray[np.floating]

AXES = ("valence", "arousal")
_SIGNS = (-1, 1)
_PENALTIES = np.logspace(-1, 4, 11)


# --- the judge ----------------------------------------------------------------------------------------------


def truth(truths: Sequence[Truth]) -> pd.DataFrame:
    """Valence and arousal of composed clips, by rule, and the cues that they are made of.

    Cues add up without interactions (Eerola, Friberg and Bresin, 2013). Mode comes first for valence, with brightness
    and tempo behind it; arousal is tempo, energy and loudness alike (Gabrielsson and Lindström, 2010)::

        valence = mode + (brightness + tempo) / 2
        arousal = tempo + energy + loudness

    Each cue, and then each sum, is in standard deviations of these clips. Major is above minor.

    Returns
    -------
    DataFrame
        Columns ``valence``, ``arousal``, then the cues ``mode``, ``timbre``, ``tempo``, ``energy`` and ``loudness``.
    """
    cues = pd.DataFrame({
        "mode": [float(each.mode == "major") for each in truths],
        "timbre": np.log2([each.cutoff for each in truths]),
        "tempo": np.log2([each.bpm for each in truths]),
        "energy": [each.energy for each in truths],
        "loudness": [each.level for each in truths],
    })  # fmt: skip
    cues = _standardised(cues)
    sums = pd.DataFrame({
        "valence": cues["mode"] + (cues["timbre"] + cues["tempo"]) / 2,
        "arousal": cues["tempo"] + cues["energy"] + cues["loudness"],
    })  # fmt: skip
    return _standardised(sums).join(cues)


def _standardised(table: pd.DataFrame) -> pd.DataFrame:
    return (table - table.mean()) / table.std(ddof=0)


@dataclass(frozen=True)
class Judge:
    """What hears valence and arousal in clips: a regression that composed clips have taught.

    Attributes
    ----------
    decoder : Pipeline
        From `_heard` to the columns of `AXES`.
    beats : str or None
        The beat tracker that it asks for the tempo.
    """

    decoder: Pipeline
    beats: str | None

    def __call__(self, clips: FloatArray, sample_rate: int) -> pd.DataFrame:
        """Valence and arousal of clips (rows, samples), NaN for silence."""
        heard = _heard(clips, sample_rate, self.beats)
        found = pd.DataFrame(self.decoder.predict(heard), columns=pd.Index(AXES))
        return found.mask(pd.Series(np.isnan(heard[:, 0])))  # of silence nothing can be told


def train(study: Study, seeds: Sequence[int]) -> tuple[Judge, pd.DataFrame]:
    """Teach a judge with composed clips as the model's codec renders them, and test it on those left out.

    Returns
    -------
    judge : Judge
    tested : DataFrame
        Held-out R² of each column of `truth` (index) from what the judge hears: ``r2``, ``low``, ``high``, ``n``.
    """
    truths, audio = zip(*corpus.stream(seeds, workers=0), strict=True)
    rate = study.model.sample_rate
    clips = resample(np.stack(audio), corpus.SAMPLE_RATE, rate)
    clips = np.concatenate([
        codec(clips[begin : begin + 16], 1, network=study.model.network.audio_encoder)[:, : clips.shape[1]]
        for begin in range(0, len(clips), 16)
    ])  # fmt: skip
    wanted, heard = truth(truths), _heard(clips, rate, study.beats)
    decoder = make_pipeline(_filled(), StandardScaler(), RidgeCV(_PENALTIES, alpha_per_target=True))
    whole = _filled().fit_transform(heard)[:, None]
    tested = [decodability(whole, wanted[name], seed=study.seed).assign(of=name) for name in wanted]
    return (
        Judge(decoder.fit(heard, wanted[list(AXES)]), study.beats),
        pd.concat(tested).set_index("of")[["r2", "low", "high", "n"]],
    )


def _filled() -> SimpleImputer:
    """Where a judge of tempo or mode cannot tell, the middle."""
    return SimpleImputer(strategy="median", keep_empty_features=True)


def _heard(clips: FloatArray, sample_rate: int, beats: str | None) -> FloatArray:
    """What the judge goes by (rows, 20): the spectrum in half octaves, and the book's five measures."""
    measures = [
        np.log2(tempo(clips, sample_rate=sample_rate, checkpoint=beats)),
        np.log2(spectral_centroid(clips, sample_rate=sample_rate)),
        *(each(clips, sample_rate=sample_rate) for each in (onset_rate, band_level, mode)),
    ]
    return np.column_stack([features(clips, sample_rate=sample_rate), *measures])


def by_axis(study: Study) -> dict[str, Attribute]:
    """The study's two attributes, the first of valence and the second of arousal, by axis.

    Raises
    ------
    ValueError
        Unless there are two.
    """
    if len(study.attributes) != len(AXES):
        raise ValueError(
            f"the plane has two axes, {listed(AXES)}, in this order; got {list(study.attributes)}"
        )
    return dict(zip(AXES, study.attributes.values(), strict=True))


def meanings(study: Study) -> pd.DataFrame:
    """The words of each pole in the study's prompts, and what the captions that taught pocket mean by them."""
    rows = []
    for name, attribute in by_axis(study).items():
        sides = (attribute.positive_prompts, attribute.negative_prompts)
        pairs = [[set(words(prompt)) for prompt in pair] for pair in zip(*sides, strict=True)]
        for side, pole in enumerate((attribute.positive, attribute.negative)):
            said = set().union(*(pair[side] - pair[1 - side] for pair in pairs)) - {"a", "an"}
            of = {
                f"{other}: {meant}": sorted(said & set(known_words))
                for other, poles in ADJECTIVES.items()
                for meant, known_words in poles.items()
            }
            of["not known"] = sorted(said - {word for group in of.values() for word in group})
            rows += [(name, pole, meant, ", ".join(group)) for meant, group in of.items() if group]
    names = ["axis", "pole", "in pocket's captions", "words"]
    return pd.DataFrame(rows, columns=names).set_index(names[:2])


# --- clips --------------------------------------------------------------------------------------------------


def quadrants(
    study: Study, judge: Judge, *, layer: int, multiplier: float, draws: int, control_prompts: int
) -> pd.DataFrame:
    """Every prompt unsteered and in the four quadrants: pushed there, asked for in words, and pushed at random.

    Parameters
    ----------
    study : Study
        Of the two `AXES`.
    judge : Judge
    layer : int
        Source layer of both directions.
    multiplier : float
        Size of λ of each.
    draws : int
        Pairs of random directions as long as those of valence and arousal, which take their places.
    control_prompts : int
        So many of the prompts are pushed along them.

    Returns
    -------
    DataFrame
        Columns ``way`` ("unsteered", "steering", "words", "random 1" and on), ``valence`` and ``arousal`` (0 or the
        side, -1 or 1), ``prompt_id``, ``said`` (the prompt without words for the poles), those of `sweep_cells`, and
        what the judge hears: ``heard valence``, ``heard arousal``, and ``known`` (whether the clip is like those that
        taught it).
    """
    attributes = by_axis(study)
    own = {
        name: vector.everywhere(layer) * multiplier
        for name, vector in zip(AXES, study.vectors.values(), strict=True)
    }
    pushes: dict[str, Mapping[str, SteeringVector]] = {"steering": own}
    for k in range(draws):
        pushes[f"random {k + 1}"] = {
            name: random_direction(vector, seed=study.seed + 2 * k + at)
            for at, (name, vector) in enumerate(own.items())
        }
    records: list[tuple[Any, ...]] = [
        ("unsteered", 0, 0, number, prompt, prompt, ()) for number, prompt in enumerate(study.prompts)
    ]
    for one, two in product(_SIGNS, _SIGNS):
        poles = _poles(attributes, one, two)
        records += [
            ("words", one, two, number, prompt, say(prompt, poles), ())
            for number, prompt in enumerate(study.prompts)
        ]
        for way, push in pushes.items():
            steering = (Steering(push[AXES[0]] * one + push[AXES[1]] * two),)
            some = study.prompts if way == "steering" else study.prompts[:control_prompts]
            records += [
                (way, one, two, number, prompt, prompt, steering) for number, prompt in enumerate(some)
            ]
    names = ["way", *AXES, "prompt_id", "said", "prompt", "steering"]
    table = sweep_cells(
        study.model, pd.DataFrame(records, columns=names).assign(seed=study.seed), store=study.store,
        seconds=study.seconds, sampling=study.sampling, metrics=("rms",), beats=study.beats, run=Run(progress=True),
    )  # fmt: skip
    clips, rate = study.sounds(table), study.model.sample_rate
    heard = judge(clips, rate).add_prefix("heard ").set_index(table.index)
    return table.join(heard).assign(known=known(clips, sample_rate=rate))


def _poles(attributes: Mapping[str, Attribute], *signs: int) -> list[str]:
    return [
        each.positive if sign > 0 else each.negative
        for each, sign in zip(attributes.values(), signs, strict=True)
    ]


def effects(table: pd.DataFrame) -> pd.DataFrame:
    """What each way does along both axes, by prompt.

    Returns
    -------
    DataFrame
        A row for each ``way``, ``prompt_id``, ``pushed`` (the axis) and ``heard`` (the axis): ``shift``, half of what
        is heard on the positive side less what is heard on the negative, mean over both sides of the other axis.
    """
    rows = []
    for (way, prompt), part in table[table["way"] != "unsteered"].groupby(["way", "prompt_id"], sort=False):
        for pushed, heard in product(AXES, AXES):
            shift = (part[pushed] * part[f"heard {heard}"]).mean(skipna=False)
            rows.append((way, prompt, pushed, heard, shift))
    return pd.DataFrame(rows, columns=["way", "prompt_id", "pushed", "heard", "shift"])


def against(table: pd.DataFrame) -> dict[str, Measured]:
    """The parts of C6: how far each direction moves its own axis, how far random ones do, and whether words do."""
    found, parts = effects(table), {}
    for name in AXES:
        on_axis = found[found["heard"] == name]
        own = on_axis.query("way == 'steering' and pushed == @name")["shift"]
        drawn = on_axis[on_axis["way"].str.startswith("random")].groupby(["way", "pushed"])["shift"].mean()
        said = table[table["way"] == "words"]
        sides = [said[said[name] == sign] for sign in (1, -1)]
        followed = stats.auc(
            *(side[f"heard {name}"] for side in sides),
            clusters=(sides[0]["prompt_id"], sides[1]["prompt_id"]),
        )
        parts[name] = Measured(stats.mean_interval(own), control=stats.control_range(drawn), testable=followed)
    return parts


# --- what came of it ----------------------------------------------------------------------------------------


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """The shifts of `effects`, mean over prompts with 95 %; of random directions, where those of one more would lie."""
    found = effects(table)
    rows = {}
    for (pushed, heard), part in found.groupby(["pushed", "heard"], sort=False):
        random = part[part["way"].str.startswith("random")].groupby("way")["shift"].mean()
        shifts = {
            way: stats.mean_interval(part.loc[part["way"] == way, "shift"]) for way in ("steering", "words")
        }
        shifts["random directions"] = stats.control_range(random)
        rows[pushed, heard] = {way: measured(each) for way, each in shifts.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["pushed", "heard"])


def draw_planes(study: Study, table: pd.DataFrame) -> None:
    """The plane for each way to get to its quadrants: mean change over prompts from their unsteered clips."""
    axes = figures.panels(1, 3, size=(3.0, 3.3), sharex=True, sharey=True)
    random = table["way"].str.startswith("random")
    panels = {
        "words": table[table["way"] == "words"], "steering": table[table["way"] == "steering"],
        "random directions": table[random],
    }  # fmt: skip
    for ax, (title, part) in zip(axes, panels.items(), strict=True):
        _plane(study, table, part, ax)
        ax.set(xlabel="change of heard valence")
        ax.set_title(title, loc="left", pad=36)
    axes[0].set_ylabel("change of heard arousal")
    figures.legend(axes[0])
    further = {
        name: part.interval.low > (part.control.high if part.control else 0)
        for name, part in against(table).items()
    }
    yes, no = "steering moves {} further than random directions do", "this is not shown for {}"
    figures.message(told(further, yes, no if any(further.values()) else f"that {yes} is not shown"))
    plt.show()


def _plane(study: Study, table: pd.DataFrame, part: pd.DataFrame, ax: Axes) -> None:
    heard = [f"heard {name}" for name in AXES]
    plain = table[(table["way"] == "unsteered") & table["prompt_id"].isin(part["prompt_id"])]
    middle = plain[heard].mean().to_numpy()
    ax.plot(0, 0, "o", color=PALETTE["baseline"], markersize=5)
    random = part["way"].str.startswith("random").all()
    for (_, one, two), rows in part.groupby(["way", *AXES]):
        at = rows[heard].mean().to_numpy() - middle
        colour = PALETTE["baseline"] if random else PALETTE["positive" if two > 0 else "negative"]
        ax.annotate("", tuple(at), (0, 0), arrowprops={"arrowstyle": "->", "color": colour, "alpha": 0.8})
        if random:
            ax.plot(*at, "o", color=colour, markersize=3)
            continue
        inside = colour if one > 0 else "white"  # arrows of two quadrants may end in one place: a legend names them
        label = ", ".join(_poles(by_axis(study), one, two))
        ax.plot(*at, "o", color=colour, markerfacecolor=inside, markersize=5, linestyle="", label=label)
    for line in (ax.axhline, ax.axvline):
        line(0, color=INK, linewidth=0.6, alpha=0.5)
    ax.margins(0.15)


def listen(study: Study, table: pd.DataFrame, *, prompt: int = 0) -> HTML:
    """One prompt unsteered and pushed into each quadrant, at its own loudness."""
    rows = table[table["way"].isin(["unsteered", "steering"]) & (table["prompt_id"] == prompt)]
    labels = [
        ", ".join(_poles(by_axis(study), one, two)) if one else "not steered"
        for one, two in zip(rows["valence"], rows["arousal"], strict=True)
    ]
    label = f"{study.prompts[prompt]}: pushed into each quadrant"
    return study.players(rows, labels, label=label, equal_loudness=False)


def findings(
    study: Study, verdict: Verdict, tested: pd.DataFrame, table: pd.DataFrame
) -> tuple[list[str], str]:
    """What this run found, in sentences, and what speaks against it."""
    said = []
    for name, part in verdict.parts.items():
        outcome, attribute = verdict.outcomes[name], by_axis(study)[name]
        poles = f"{attribute.positive} against {attribute.negative}"
        if outcome == "not testable" and part.testable is not None:
            said.append(
                f"{name.capitalize()} is **not testable** in this run: it is not shown that the model follows even "
                f"the words ({poles}: AUC {measured(part.testable, sign=False)})."
            )
        else:
            said.append(
                f"Steering shifts {name} by {measured(part.interval)} standard deviations of composed clips, and "
                f"random directions by up to {part.control.high:.2g}."
                if part.control
                else f"Steering shifts {name} by {measured(part.interval)} standard deviations of composed clips."
            )
    said.append(f"The claim that emotion can be steered ({verdict.check.claim}) is **{verdict.verdict}**.")
    hears = [
        f"{100 * max(row.r2, 0):.0f} % of {name}"
        for name, row in tested[["r2"]].iterrows()
        if name in (*AXES, "mode")
    ]
    return said, (
        f"The judge hears {listed(hears)} in composed clips left out, and its truth is a rule and not a listener. "
        f"{100 * table['known'].mean():.0f} % of the clips sound like those that taught it."
    )
