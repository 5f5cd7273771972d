"""Figures and tables of the chapter *Judges* (``notebooks/judges.ipynb``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import HTML, display
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from scipy.stats import binomtest, spearmanr

from steerlib.engine.clips import Clips
from steerlib.engine.generation import Run, generate
from steerlib.engine.sampling import Sampling
from steerlib.evidence import stats
from steerlib.measure import clap_scores, degrade, independent, known
from steerlib.measure.likeness import chroma_correlation, log_spectral_distance
from steerlib.measure.registry import METRICS
from steerlib.measure.rhythm import tempo_and_confidence
from steerlib.measure.rules import octave_distance
from steerlib.model import MusicModel
from steerlib.music import debian
from steerlib.music.captions import STYLES
from steerlib.music.corpus import SAMPLE_RATE, Truth
from steerlib.music.datasets import read_fma
from steerlib.page import figures
from steerlib.page.bottom_line import bottom_line, listed
from steerlib.page.style import PALETTE
from steerlib.prompts import load_attribute

__all__ = [
    "Case",
    "agreement",
    "agreement_matrix",
    "conclude",
    "coverage",
    "curves",
    "degraded",
    "elsewhere",
    "errors",
    "hear",
    "ordered",
    "read",
    "real_music",
    "trust",
    "wander",
]

Audio = npt.NDArray[np.float32]
TOLERANCE = 0.04  # of a tempo
JUDGES = {
    "tempo": ("tracker", "tracker, if sure", "comb"),
    "style": ("CLAP", "CLAP, if it knows"),
    "mode": ("key profile", "third"),
    "brightness": ("centroid", "cutoff"),
    "level": ("level", "LUFS"),
    "energy": ("onset rate", "attacks"),
}
_METRIC = {
    "comb": "pulse",
    "key profile": "mode",
    "third": "third",
    "centroid": "centroid",
    "cutoff": "cutoff",
    "level": "rms",
    "LUFS": "loudness",
    "onset rate": "onset_rate",
    "attacks": "attacks",
}
_SECOND = {  # the judge in use, and the one that must confirm it
    "tempo": ("tracker, if sure", "comb"),
    "tempo between groups": ("tracker", "onset rate"),
    "style": ("CLAP, if it knows", ""),
    "mode": ("key profile", "third"),
    "brightness": ("centroid", "cutoff"),
    "level": ("level", "LUFS"),
    "energy": ("onset rate", "attacks"),
}
_WORDS = {
    "one clip": "You can trust, for one clip",
    "groups of clips": "for comparing groups of clips",
    "not confirmed": "not confirmed by two judges",
}
_COLOURS = ("#D55E00", "#0072B2", "#009E73")
_STEP = {"speed": "octaves", "stretch": "octaves", "codec": "passes"}


@dataclass(frozen=True)
class Case:
    """Clips that were made worse in one way by one degree, and by how many octaves that moved their tempo."""

    kind: str
    degree: float
    audio: Audio
    octaves: float = 0.0


def degraded(
    model: MusicModel, audio: Audio, degrees: Mapping[str, Sequence[float]], seed: int
) -> list[Case]:
    """The clips in every way and degree, as they are (degree 0) for each way first."""
    network: Any = model.network.audio_encoder
    cases = []
    for kind, steps in degrees.items():
        for degree in sorted({0.0, *map(float, steps)}):
            if not degree:
                worse = audio
            elif kind == "codec":
                worse = degrade.codec(audio, round(degree), network=network)
            elif kind == "shuffle":
                worse = degrade.shuffle(audio, degree, network=network, seed=seed)
            else:
                worse = degrade.DEGRADATIONS[kind](audio, degree, seed=seed)
            cases.append(Case(kind, degree, worse, degree if kind in ("speed", "stretch") else 0.0))
    return cases


def hear(audio: Audio, rate: int = SAMPLE_RATE) -> pd.DataFrame:
    """What every judge reads from each clip; NaN where it cannot tell. Style is the number of the name."""
    bpm, sure = tempo_and_confidence(audio, sample_rate=rate)
    style = clap_scores(audio, list(STYLES), sample_rate=rate).argmax(axis=1).astype(float)
    heard = {
        "tracker": bpm,
        "tracker, if sure": np.where(sure >= known.learned()["sure"], bpm, np.nan),
        "CLAP": style,
        "CLAP, if it knows": np.where(known.known(audio, sample_rate=rate), style, np.nan),
    }
    return pd.DataFrame(
        heard | {name: METRICS[metric](audio, sample_rate=rate) for name, metric in _METRIC.items()}
    )


def read(cases: Sequence[Case], truths: Sequence[Truth]) -> pd.DataFrame:
    """One row for each case, clip and judge: ``value``, ``truth``, and ``right`` where there is a right and a wrong."""
    plain: pd.DataFrame | None = None
    parts = []
    for case in cases:
        if case.degree == 0 and plain is not None:
            heard = plain
        else:
            heard = hear(case.audio)
            plain = heard if case.degree == 0 else plain
        bpm = np.array([truth.bpm for truth in truths]) * 2**case.octaves
        true = {
            "tempo": bpm,
            "style": np.array([list(STYLES).index(truth.style) for truth in truths], dtype=float),
            "mode": np.array([1.0 if truth.mode == "major" else -1.0 for truth in truths]),
            "brightness": np.array([truth.cutoff for truth in truths]),
            "level": np.array([truth.level for truth in truths]),
            "energy": np.array([truth.energy for truth in truths]),
        }
        for attribute, names in JUDGES.items():
            for name in names:
                value = heard[name].to_numpy(dtype=float)
                rows = {"kind": case.kind, "degree": case.degree, "attribute": attribute, "judge": name}
                right = _right(attribute, name, value, true[attribute])
                parts.append(pd.DataFrame(rows | {"value": value, "truth": true[attribute], "right": right}))
    return pd.concat(parts, ignore_index=True)


def _right(attribute: str, name: str, value: npt.NDArray[Any], truth: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """1 or 0 where a judge answered and there is a right and a wrong, NaN elsewhere."""
    if attribute == "tempo":
        away = octave_distance(value, truth) if name == "comb" else np.abs(np.log2(value / truth))
        right = away <= np.log2(1 + TOLERANCE)
    elif attribute == "style":
        right = value == truth
    elif attribute == "mode":
        right = np.sign(value) == truth
    else:
        return np.full(len(value), np.nan)
    return np.where(np.isfinite(value), right, np.nan)


def errors(heard: pd.DataFrame) -> pd.DataFrame:
    """By kind, degree and judge: the share answered, the share of answers that is right, and the share ordered rightly.

    ``ordered`` is the share of pairs of clips with different truths that the judge puts into their true order; a coin
    reaches a half. It is not defined for style.
    """
    rows = []
    for key, part in heard.groupby(["kind", "degree", "attribute", "judge"], sort=False):
        told = part.dropna(subset="value")
        right = told["right"].dropna()
        low, high = _limits(int(right.sum()), len(right))
        rows.append(
            [*key, len(part), len(told) / len(part), right.mean() if len(right) else np.nan, low, high]
            + [ordered(told["value"], told["truth"]) if key[2] != "style" else np.nan]
        )
    names = ["kind", "degree", "attribute", "judge", "clips", "answered", "right", "low", "high", "ordered"]
    return pd.DataFrame(rows, columns=names)


def ordered(value: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Share of pairs with different truths that `value` puts into the order of `truth`; ties count half."""
    value, truth = np.asarray(value, dtype=float), np.asarray(truth, dtype=float)
    differ = np.sign(truth[:, None] - truth) * np.sign(value[:, None] - value)
    pairs = truth[:, None] > truth
    return float((1 + differ[pairs]).mean() / 2) if pairs.any() else float("nan")


def _limits(count: int, of: int) -> tuple[float, float]:
    if not of:
        return float("nan"), float("nan")
    found = binomtest(count, of).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def curves(table: pd.DataFrame, attribute: str) -> None:
    """For each way of making clips worse: share of answers that is right (solid) and share answered (dashed)."""
    part = table[table["attribute"] == attribute]
    kinds = list(dict.fromkeys(part["kind"]))
    across = 4
    axes = figures.panels(-(-len(kinds) // across), across, size=(2.3, 2.1), sharey=True)
    for kind, ax in zip(kinds, axes, strict=False):
        draw_curves(part[part["kind"] == kind], JUDGES[attribute], ax)
        ax.set(
            title=kind,
            xlabel=_STEP.get(kind, "share" if kind in ("noise", "splice", "shuffle") else "octaves"),
        )
    for ax in axes[len(kinds) :]:
        ax.set_axis_off()
    figure = axes[0].figure
    axes[0].yaxis.set_major_formatter(PercentFormatter(1))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    figures.message(_hurt(part, JUDGES[attribute][0]))
    plt.show()


def _hurt(part: pd.DataFrame, judge: str) -> str:
    """How often a judge is right on clips as composed, and which degradation hurts it most."""
    rows = part[part["judge"] == judge].dropna(subset="right")
    worst = rows.loc[rows["right"].idxmin()]
    clean = rows.loc[rows["degree"] == 0, "right"].max()
    name = judge if judge.isupper() else f"The {judge}"
    return (
        f"{name} is right on {100 * clean:.0f} % of clips as composed, and on {100 * worst['right']:.0f} % where it is "
        f"hurt most ({worst['kind']})"
    )


def draw_curves(table: pd.DataFrame, judges: Sequence[str], ax: Axes) -> None:
    """One panel of `curves`: columns ``judge``, ``degree``, ``answered``, ``right``, ``low`` and ``high``."""
    for judge, colour in zip(judges, _COLOURS, strict=False):
        rows = table[table["judge"] == judge].sort_values("degree")
        ax.fill_between(rows["degree"], rows["low"], rows["high"], color=colour, alpha=0.15, linewidth=0)
        ax.plot(rows["degree"], rows["right"], color=colour, marker="o", markersize=3, label=judge)
        ax.plot(rows["degree"], rows["answered"], color=colour, linestyle="--", linewidth=1)
    ax.set_ylim(-0.04, 1.04)
    ax.xaxis.set_major_locator(MaxNLocator(4))


def order_table(table: pd.DataFrame) -> pd.DataFrame:
    """Share of pairs that each judge orders rightly, at the highest degree of each kind, beside clips as composed."""
    rows = table[table["attribute"] != "style"]
    clean = rows[rows["degree"] == 0].drop_duplicates("judge").assign(kind="as composed")
    worst = rows.loc[rows.groupby(["kind", "judge"])["degree"].idxmax()]
    shown = pd.concat([clean, worst]).pivot(index=["attribute", "judge"], columns="kind", values="ordered")
    order = [
        (attribute, name) for attribute, names in JUDGES.items() if attribute != "style" for name in names
    ]
    return shown.reindex(order)[["as composed", *dict.fromkeys(worst["kind"])]]


# --- clips that the model made ---------------------------------------------------------------------------------


def wander(
    model: MusicModel, pairs: int, temperatures: Sequence[float], *, seconds: float, seed: int
) -> tuple[pd.DataFrame, Clips]:
    """Clips of fast and of slow prompts, sampled at each temperature, and what every judge reads from them."""
    attribute = load_attribute("tempo").first(pairs)
    prompts = [*attribute.positive_prompts, *attribute.negative_prompts]
    parts, first = [], None
    for temperature in temperatures:
        made = generate(
            model, prompts, seconds=seconds, seed=seed, sampling=Sampling(temperature=temperature),
            run=Run(progress=False),
        )  # fmt: skip
        heard = hear(made.audio, made.sample_rate)
        if independent.available():
            heard["BeatNet"] = independent.beatnet_tempo(made)
        poles = [attribute.positive] * pairs + [attribute.negative] * pairs
        parts.append(heard.assign(temperature=float(temperature), pole=poles))
        first = first or made
    assert first is not None
    return pd.concat(parts, ignore_index=True), first


def _tempo_judges(made: pd.DataFrame) -> list[str]:
    return [*JUDGES["tempo"], *(["BeatNet"] if "BeatNet" in made else [])]


def coverage(made: pd.DataFrame) -> pd.DataFrame:
    """By temperature and judge: share answered at each pole, and how well its answers tell fast prompts from slow."""
    rows = []
    for temperature, part in made.groupby("temperature"):
        for judge in [*_tempo_judges(made), "CLAP, if it knows"]:
            sides = [part.loc[part["pole"] == pole, judge] for pole in ("fast", "slow")]
            told = [side.notna().mean() for side in sides]
            tempo = judge in _tempo_judges(made) and min(side.notna().sum() for side in sides) > 1
            area = str(stats.auc(*(side.dropna() for side in sides))) if tempo else "–"
            rows.append([temperature, judge, *told, area])
    names = [
        "temperature",
        "judge",
        "answered, fast prompts",
        "answered, slow prompts",
        "AUC fast against slow",
    ]
    return pd.DataFrame(rows, columns=names).set_index(["temperature", "judge"]).round(2)


def agreement(made: pd.DataFrame) -> pd.DataFrame:
    """Share of clips on which two judges of tempo agree within 4 % up to octaves, of those that both answer."""
    judges = _tempo_judges(made)
    found = pd.DataFrame(np.nan, index=judges, columns=judges)
    for one in judges:
        for other in judges:
            both = (
                made[[one, other]].dropna().to_numpy().T
                if one != other
                else made[[one]].dropna().to_numpy().T
            )
            if both.shape[1]:
                away = octave_distance(both[0], both[-1])
                found.loc[one, other] = float((away <= np.log2(1 + TOLERANCE)).mean())
    return found


def agreement_matrix(made: pd.DataFrame) -> None:
    """`agreement` at the lowest temperature, as a matrix for each pole; below each share the clips behind it."""
    lowest = made[made["temperature"] == made["temperature"].min()]
    axes = figures.panels(1, 2, size=(3.6, 3.4), sharey=True)
    for pole, ax in zip(("fast", "slow"), axes, strict=True):
        part = lowest[lowest["pole"] == pole]
        found = agreement(part)
        ax.imshow(found, cmap="Blues", vmin=0, vmax=1)
        for y, one in enumerate(found.index):
            for x, other in enumerate(found.columns):
                count, share = len(part[list({one, other})].dropna()), found.loc[one, other]
                words = f"{share:.0%}\n{count}" if count else "–"
                ink = "white" if count and share > 0.6 else "black" if count else PALETTE["baseline"]
                ax.text(x, y, words, ha="center", va="center", color=ink, fontsize=8)
        names = [name.replace(", ", ",\n") for name in found.columns]
        ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
        ax.set_yticks(range(len(names)), names)
        ax.set_title(f"{pole} prompts")
    one, other = JUDGES["tempo"][0], JUDGES["tempo"][-1]
    both = lowest[[one, other]].dropna()
    share = agreement(lowest).loc[one, other]
    figures.message(
        f"{one.capitalize()} and {other} both answer on {len(both)} of {len(lowest)} clips"
        + (f", and agree on {100 * share:.0f} % of them" if len(both) else ""),
    )
    plt.show()


def elsewhere(made: pd.DataFrame, clips: Clips) -> None:
    """What the judges from elsewhere say of the clips at the lowest temperature, or that they are not there."""
    if not independent.available():
        print(
            "The judges trained on real music are not on this machine. To ask them, with a network, run once:"
        )
        print(f"    {independent.COMMAND}")
        return
    lowest = made[made["temperature"] == made["temperature"].min()].reset_index(drop=True)
    heard = independent.tags(clips)
    odds = np.log(heard / (1 - heard))
    lowest = lowest.assign(tagger=odds["fast"] - odds["slow"])
    sides = [lowest[lowest["pole"] == pole] for pole in ("fast", "slow")]
    rows = [
        [
            judge,
            *(side[judge].median() for side in sides),
            str(stats.auc(*(side[judge].dropna() for side in sides))),
        ]
        for judge in ("tracker", "BeatNet", "tagger")
    ]
    names = ["judge", "median, fast prompts", "median, slow prompts", "AUC fast against slow"]
    display(pd.DataFrame(rows, columns=names).set_index("judge").round(1))
    print("tracker and BeatNet: BPM; tagger (musicnn): log odds of 'fast' less those of 'slow'")


# --- real music ------------------------------------------------------------------------------------------------


def real_music(
    model: MusicModel, composed: Audio, truths: Sequence[Truth], *, each: int = 8, seed: int = 0
) -> None:
    """What codec and judges make of real music, beside as many composed clips; or that there is none here.

    Parameters
    ----------
    model : MusicModel
        Its codec makes the copies.
    composed : ndarray, shape (N, samples)
        At `SAMPLE_RATE`, with their `truths`.
    each : int
        Songs of each label, a clip of 8 s each.
    seed : int
        Seeds the choice of songs.
    """
    if not debian.available():
        print(
            "No real music is on this machine. To hear it judged, on Debian or Ubuntu with a network, run once:"
        )
        print(f"    {debian.COMMAND}")
        return
    found = read_fma(debian.folder() / "fma", seconds=8.0, per_class=each, seed=seed, progress=False)
    known_tempo = debian.songs().set_index("fma")["bpm"]
    bpm = known_tempo.reindex(found.table["path"].map(lambda path: Path(path).stem)).to_numpy(dtype=float)
    labels = found.table["label"]
    parts = [("composed here", composed[:each], np.array([truth.bpm for truth in truths[:each]]))]
    parts += [(label, found.audio[labels == label], bpm[labels == label]) for label in sorted(set(labels))]
    rows = {
        name: _heard_in_real_music(model.network.audio_encoder, audio, truth) for name, audio, truth in parts
    }
    display(pd.DataFrame.from_dict(rows, orient="index").rename_axis("music"))
    if not independent.available():
        print(f"Without BeatNet and musicnn, which `{independent.COMMAND}` gets.")


def _heard_in_real_music(network: Any, audio: Audio, truth: npt.NDArray[np.float64]) -> dict[str, str]:
    """A row of `real_music`: `truth` in BPM, NaN where it is not known."""
    copies = degrade.codec(audio, 1, network=network)[:, : audio.shape[1]]
    tracker, sure = tempo_and_confidence(audio, sample_rate=SAMPLE_RATE)
    row = {
        "chroma kept": str(stats.mean_interval(chroma_correlation(audio, copies, sample_rate=SAMPLE_RATE))),
        "spectrum off, dB": str(
            stats.mean_interval(log_spectral_distance(audio, copies, sample_rate=SAMPLE_RATE))
        ),
        "known": _of(known.known(audio, sample_rate=SAMPLE_RATE)),
        "tracker is sure": _of(sure >= known.learned()["sure"]),
        "tracker right": _of_known(tracker, truth),
    }
    if independent.available():
        row["BeatNet right"] = _of_known(independent.beatnet_tempo(audio, sample_rate=SAMPLE_RATE), truth)
        tags = independent.tags(audio, sample_rate=SAMPLE_RATE).mean().nlargest(3)
        row["tags"] = ", ".join(f"{name} {chance:.2f}" for name, chance in tags.items())
    return row


def _of(hits: npt.ArrayLike) -> str:
    hits = np.asarray(hits, dtype=bool)
    return f"{hits.sum()} of {len(hits)}" if len(hits) else "–"


def _of_known(value: npt.NDArray[Any], truth: npt.NDArray[Any]) -> str:
    """Of the clips whose tempo is known, how many are right within 4 % and up to octaves."""
    told = np.isfinite(truth)
    return _of(octave_distance(value[told], truth[told]) <= np.log2(1 + TOLERANCE))


# --- what may be trusted ---------------------------------------------------------------------------------------


def trust(table: pd.DataFrame, made: pd.DataFrame, *, one_clip: float, groups: float) -> pd.DataFrame:
    """Which numbers may be trusted, by the rules of the chapter.

    Parameters
    ----------
    table : DataFrame
        From `errors`.
    made : DataFrame
        From `wander`; the clips of the lowest temperature count.
    one_clip : float
        A number of one clip is trusted if this share of a judge's answers for composed clips is right (or ordered
        rightly), it answers for this share of generated clips, and the second judge confirms it as below.
    groups : float
        A comparison of groups is trusted if this share of pairs of composed clips is ordered rightly, and the rank
        correlation of both judges of the attribute over generated clips is at least this.

    Returns
    -------
    DataFrame
        A row for each attribute and judge.
    """
    lowest = made[made["temperature"] == made["temperature"].min()]
    clean = table[table["degree"] == 0].drop_duplicates("judge").set_index("judge")
    rows = []
    for attribute, (name, second) in _SECOND.items():
        right, order = float(clean.loc[name, "right"]), float(clean.loc[name, "ordered"])
        told = float(lowest[name].notna().mean())
        pair = lowest[[name, second]].dropna() if second else lowest[:0]
        same = float(spearmanr(pair[name], pair[second]).statistic) if len(pair) > 3 else float("nan")
        confirmed = same >= groups  # NaN compares as no
        alone = confirmed and (right if np.isfinite(right) else order) >= one_clip and told >= one_clip
        alone = (
            alone and "groups" not in attribute
        )  # that judge answers for any sound: its answering says nothing
        compared = confirmed and order >= groups
        word = "one clip" if alone else "groups of clips" if compared else "not confirmed"
        rows.append([attribute, name, second or "none", right, order, told, same, word])
    columns = [
        "attribute",
        "judge",
        "second judge",
        "right, composed",
        "ordered, composed",
        "answered, generated",
    ]
    found = pd.DataFrame(rows, columns=[*columns, "rank correlation of both", "trusted for"])
    return found.set_index("attribute").round(2)


def conclude(
    table: pd.DataFrame, made: pd.DataFrame, trusted: pd.DataFrame, *, model: str, folder: str
) -> HTML:
    """The bottom line: which numbers of this book can be trusted and which cannot."""
    lowest = made[made["temperature"] == made["temperature"].min()]
    sure = {pole: lowest.loc[lowest["pole"] == pole, "tracker, if sure"].notna() for pole in ("fast", "slow")}
    wrecked = table[(table["kind"].isin(["noise", "shuffle", "splice"])) & (table["degree"] > 0)]
    rate = (100 * wrecked.groupby("judge")[["answered", "right"]].mean()).round()
    by = {word: list(part.index) for word, part in trusted.groupby("trusted for")}
    named = [f"{words}: {listed(by.get(word, [])) or 'none'}" for word, words in _WORDS.items()]
    found = [
        f"On clips with noise, splices or shuffled frames, the tempo tracker answers for "
        f"{rate.loc['tracker', 'answered']:.0f} %, and {rate.loc['tracker', 'right']:.0f} % of its answers are right. "
        f"If it must be sure, it answers for {rate.loc['tracker, if sure', 'answered']:.0f} %.",
        f"It is sure of {sure['fast'].sum()} of {len(sure['fast'])} clips generated from fast prompts and of "
        f"{sure['slow'].sum()} of {len(sure['slow'])} from slow ones: **the BPM of a single "
        f"{'slow ' if sure['slow'].mean() < 0.95 <= sure['fast'].mean() else ''}generated clip is "
        f"{'a' if min(sure['fast'].mean(), sure['slow'].mean()) >= 0.95 else 'not a'} number you can trust**.",
        f"{'; '.join(named)}.",
    ]
    count = int(table["clips"].iloc[0])
    against = (
        f"The truth is known only for {count} composed clips, which sound like what the judges learned from. For "
        "generated clips we know only whether judges agree, and two judges can make the same mistake."
    )
    return bottom_line("judges", found, against, model=model, folder=folder)
