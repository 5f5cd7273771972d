"""Tunes, figures and tables of the chapter *Timbre transfer* (``notebooks/timbre_transfer.ipynb``; paper B, table III).

A tune is given to the model as chroma, and played unsteered and steered toward an instrument. It is *transferred* if
the instrument's score rises by at least `RISE` while at least `KEPT` of the correlation with the tune is kept, clip by
clip.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, get_args

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import HTML

from steerlib.activations import Activations
from steerlib.engine.generation import Run
from steerlib.evidence import scorecard, stats
from steerlib.evidence.scorecard import Check, Measured, Verdict
from steerlib.evidence.stats import Interval
from steerlib.measure import chroma_correlation
from steerlib.measure.audio import resample
from steerlib.music import corpus, datasets
from steerlib.music.datasets import AudioSet
from steerlib.page import figures
from steerlib.page.bottom_line import listed, measured
from steerlib.page.players import players as show_players
from steerlib.readout.probes import Method, probe_directions, scaled
from steerlib.steering import Steering, SteeringVector
from steerlib.study import Study
from steerlib.sweeps.grid import sweep_cells
from steerlib.sweeps.transfer import Control, control_of, score_clips, unless_overspent

__all__ = [
    "KEPT",
    "RISE",
    "Tunes",
    "allowed",
    "beside_table_3",
    "by_vector",
    "compose_tunes",
    "controls",
    "cosines",
    "directions",
    "draw",
    "draw_shares",
    "effects",
    "findings",
    "heard",
    "name_instruments",
    "play_tunes",
    "players",
    "shares",
    "single_notes",
    "verdict",
    "words",
]

RISE, KEPT = 0.05, 0.8
"""Least rise of the instrument's score, and least share of the correlation with the tune, of a transfer."""

Key = tuple[str, str]
"""Name of a vector: what it is made of ("pieces", "notes", or such a control), and the instrument that it leads to."""

_CONTROLS: list[Control] = [control for control in get_args(Control) if control]


@dataclass(frozen=True, eq=False)
class Tunes:
    """Tunes to follow, with a prompt for each.

    Attributes
    ----------
    audio : ndarray, shape (tunes, samples)
    sample_rate : int
        Hz.
    prompts : tuple of str
    """

    audio: npt.NDArray[np.float32]
    sample_rate: int
    prompts: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.prompts) != len(self.audio):
            raise ValueError(f"{len(self.prompts)} prompts for {len(self.audio)} tunes: give one for each")

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, part: slice) -> "Tunes":
        return Tunes(self.audio[part], self.sample_rate, self.prompts[part])

    def at(self, rate: int) -> npt.NDArray[np.float32]:
        """The audio at another sample rate."""
        return resample(self.audio, self.sample_rate, rate)


def single_notes(instruments: Sequence[str], each: int, *, seed: int) -> AudioSet:
    """So many SynTheory notes of each instrument of the corpus, two octaves from middle C on."""
    names = {corpus.PROGRAMS[name]: name for name in instruments}
    notes = datasets.syntheory("notes")
    notes = notes[notes["pitch"].between(60, 83) & notes["program"].isin(list(names))]
    notes = notes.assign(label=notes["program"].map(names))
    return datasets.render(datasets.stratified(notes, "label", each * len(names), seed=seed))


def compose_tunes(count: int, spare: int, prompt: str, seconds: float, *, seed: int) -> tuple[Tunes, Tunes]:
    """Leading voices, rendered alone, of pieces that neither the model nor the directions have heard; more to spare."""
    first = corpus.HELD_OUT + 500_000 + 1_000 * seed
    audio, prompts = [], []
    for number in range(first, first + count + spare):
        truth, parts = corpus.compose(number)
        lead = {key: part for key, part in parts.items() if key[2] == "lead"}
        audio.append(corpus.render_parts(lead, truth.bpm, seconds))
        prompts.append(prompt.format(truth.style))
    naming = [text for text in prompts for name in corpus.PROGRAMS if name in text]
    if naming:
        raise ValueError(f"prompts must not name an instrument: {naming}")
    tunes = Tunes(np.stack(audio).astype(np.float32), corpus.SAMPLE_RATE, tuple(prompts))
    return tunes[:count], tunes[count:]


def directions(
    heard: Mapping[str, Activations],
    sounds: Mapping[str, AudioSet],
    instruments: Sequence[str],
    *,
    method: Method,
    penalty: float,
    seed: int,
) -> dict[Key, SteeringVector]:
    """The vector of every kind of sound and instrument, and the controls of each, all of one length.

    Controls are "<kind>, random direction" and "<kind>, shuffled labels".
    """
    found: dict[Key, SteeringVector] = {}
    for number, (kind, name, control) in enumerate(product(sounds, instruments, ["", *_CONTROLS])):

        def probe(labels: npt.NDArray[Any], kind: str = kind, name: str = name) -> SteeringVector:
            unit = probe_directions(heard[kind], labels, name, method=method, penalty=penalty, seed=seed)
            return scaled(unit, heard["pieces"])  # one norm measures all

        labels = sounds[kind].table["label"].to_numpy()
        found[f"{kind}, {control}" if control else kind, name] = control_of(probe, labels, control, number)
    return found


def name_instruments(tunes: Tunes, instrument: str) -> Tunes:
    """The same tunes with prompts that name the instrument: what words can do without steering."""
    return replace(tunes, prompts=tuple(f"{prompt} with a {instrument}" for prompt in tunes.prompts))


def allowed(chosen: pd.DataFrame, instruments: Sequence[str]) -> list[tuple[Key, float]]:
    """Each vector with the strength of its direction (`strongest`)."""
    for row in chosen[~chosen["within"]].itertuples():
        print(
            f"no strength of {row.direction} is within the budget: the smallest is shown, and the claim cannot pass"
        )
    return [
        ((row.direction, name), float(row.multiplier)) for row in chosen.itertuples() for name in instruments
    ]


def controls(ways: Sequence[tuple[Key, float]]) -> list[tuple[Key, float]]:
    """The controls of each vector, as strong as it."""
    return [((f"{kind}, {control}", name), size) for (kind, name), size in ways for control in _CONTROLS]


def words(study: Study, tunes: Tunes, table: pd.DataFrame, *, instruments: Sequence[str]) -> pd.DataFrame:
    """The tunes with a prompt that names each instrument, unsteered, beside those of `table`; as from `by_vector`."""
    parts = []
    for name in instruments:
        named = play_tunes(study, name_instruments(tunes, name), {}, [], instruments=instruments)
        rows = pd.concat([table[table["multiplier"] == 0], named.assign(multiplier=1.0)])
        parts.append(rows.assign(direction="words", target=name, score=rows[name]))
    return pd.concat(parts)


def cosines(vectors: Mapping[Key, SteeringVector]) -> None:
    """Say how alike the directions of pieces and of notes are for each instrument."""
    means = {
        name: float(vector.cosine_similarity(vectors["notes", name]).diagonal().mean())
        for (source, name), vector in vectors.items()
        if source == "pieces"
    }
    shown = ", ".join(f"{name} {mean:.2f}" for name, mean in means.items())
    print(f"cosine of the two directions, mean over layers: {shown}")


def play_tunes(
    study: Study,
    tunes: Tunes,
    vectors: Mapping[Key, SteeringVector],
    steered: Sequence[tuple[Key, float]],
    *,
    instruments: Sequence[str],
    seed: int | None = None,
) -> pd.DataFrame:
    """Let the model play given tunes, unsteered and steered.

    Parameters
    ----------
    study : Study
    tunes : Tunes
        Of which the model gets the chroma.
    vectors : mapping to SteeringVector
    steered : sequence of (key of a vector, strength)
        Each steers every tune, at all blocks with the norm kept. The unsteered clips are always made.
    instruments : sequence of str
        That CLAP chooses from.
    seed : int, optional
        By default that of the study.

    Returns
    -------
    DataFrame
        One row a clip: ``tune`` (number), ``vector`` (key, None for unsteered), ``multiplier`` (strength, 0 for
        unsteered), a score for each instrument, ``chroma``: correlation with the tune, ``nll`` and ``clip``.
    """
    model, hears = study.model, study.model.processor.feature_extractor
    rate = int(hears.sampling_rate)
    chroma = hears(tunes.at(rate), sampling_rate=rate, return_tensors="pt").input_features
    settings: list[tuple[Key | None, float, tuple[Steering, ...]]] = [(None, 0.0, ())]
    settings += [(key, each, (Steering(vectors[key], each, preserve_norm=True),)) for key, each in steered]
    records: list[dict[str, Any]] = [
        {
            "tune": tune, "vector": None if key is None else str(key), "multiplier": strength, "prompt": prompt,
            "seed": study.seed if seed is None else seed, "steering": steering, "melody": chroma[tune],
        }
        for key, strength, steering in settings
        for tune, prompt in enumerate(tunes.prompts)
    ]  # fmt: skip
    table = sweep_cells(
        model,
        pd.DataFrame(records),
        store=study.store,
        seconds=study.seconds,
        metrics=(),
        keep="flac",
        run=Run(),
    )
    table["vector"] = pd.Series([key for key, _, _ in settings for _ in tunes.prompts], dtype=object)
    made, known = study.sounds(table), tunes.at(model.sample_rate)
    length = min(made.shape[1], known.shape[1])
    table["chroma"] = chroma_correlation(
        known[table["tune"], :length], made[:, :length], sample_rate=model.sample_rate
    )
    table = score_clips(table, study.store, instruments, clap=study.clap)
    return table.rename(columns={f"score {name}": name for name in instruments})


def by_vector(table: pd.DataFrame) -> pd.DataFrame:
    """The clips of each vector and the unsteered: its ``direction``, its ``target``, and the target's ``score``."""
    plain, parts = table[table["multiplier"] == 0], []
    for (source, target), rows in table[table["multiplier"] != 0].groupby("vector", sort=False):
        part = pd.concat([plain[plain["tune"].isin(rows["tune"])], rows])
        parts.append(part.assign(direction=source, target=target, score=part[target]))
    return pd.concat(parts)


def effects(table: pd.DataFrame) -> pd.DataFrame:
    """Change of the instrument's score, and of the correlation with the tune, along each vector."""
    rows = []
    for (source, target), part in by_vector(table).groupby(["direction", "target"], sort=False):
        plain, steered = (part[part["multiplier"].eq(0) == off].set_index("tune") for off in (True, False))
        for measure, kind in (("score", "instrument"), ("chroma", "tune")):
            change = stats.paired_interval(steered[measure], plain.loc[steered.index, measure])
            rows.append({
                "name": target, "kind": f"{source}: {kind}", "n": change.n, "baseline": plain[measure].mean(),
                "steered": steered[measure].mean(), "effect": change.estimate, "low": change.low,
                "high": change.high,
            })  # fmt: skip
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> None:
    """Draw a table of `effects`."""
    [ax] = figures.panels(1, size=(6.5, 0.8 * table["name"].nunique() + 1.2))
    figures.score_effects(table, ax, quantity="change of CLAP's score, and of the correlation with the tune")
    shown, count = [], table["name"].nunique()
    for kind, rows in table[table["kind"].str.endswith(": instrument")].groupby("kind", sort=False):
        shown.append(f"{(rows['low'] > 0).sum()} of {count} along directions of {str(kind).split(':')[0]}")
    figures.message(f"The instrument is shown to appear for {listed(shown)}")
    plt.show()


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """Share of clips in which the instrument rises, of those that keep the tune, and of those that do both.

    Parameters
    ----------
    table : DataFrame
        From `by_vector`.

    Returns
    -------
    DataFrame
        A row for each direction: ``name``, ``n`` (clips), ``rises``, ``kept``, and ``effect`` with ``low`` and
        ``high``: the share that does both, with Student's interval over tunes.
    """
    rows = []
    for direction, clips in _compared(table).groupby("direction", sort=False):
        both = stats.share_interval(clips["both"], clusters=clips["tune"])
        rows.append({
            "name": direction, "n": both.n, "rises": clips["rises"].mean(), "kept": clips["kept"].mean(),
            "effect": both.estimate, "low": both.low, "high": both.high,
        })  # fmt: skip
    return pd.DataFrame(rows)


def draw_shares(table: pd.DataFrame) -> None:
    """Draw a table of `shares`; dotted: half of the clips, the limit of the claim."""
    [ax] = figures.panels(1, size=(6.5, 0.35 * len(table) + 1.2))
    figures.score_effects(table, ax, quantity="share of clips with the instrument and the tune")
    ax.axvline(0.5, color="#999999", linestyle=":", linewidth=1.2)
    of = table.set_index("name")["effect"]
    control = of[of.index.str.contains("random|shuffled")].max()
    shares = [f"{100 * of[kind]:.0f} % ({kind})" for kind in ("pieces", "notes", "words")]
    figures.message(
        f"The instrument comes and the tune stays in {listed(shares)}; the best control reaches {100 * control:.0f} %",
    )
    plt.show()


def verdict(study: Study, table: pd.DataFrame, again: pd.DataFrame, chosen: pd.DataFrame) -> Verdict:
    """Judge B5 for the directions of pieces and of notes: how many clips have the instrument and keep the tune?

    Parameters
    ----------
    study : Study
    table : DataFrame
        From `by_vector`: both directions and their controls.
    again : DataFrame
        From `play_tunes`: the tunes unsteered with other random numbers. If those do not keep the tune, nothing can.
    chosen : DataFrame
        From `strongest`, by direction.
    """
    clips, kinds = _compared(table), ("pieces", "notes")
    controls = clips[~clips["direction"].isin(kinds)]
    drawn = controls.groupby(["direction", "target"])["both"].mean()
    control = stats.control_range(drawn, symmetric=False)
    plain = table[table["multiplier"] == 0].drop_duplicates("tune").set_index("tune")["chroma"]
    other = again.set_index("tune")["chroma"]
    testable = stats.share_interval(_keeps(other, plain.loc[other.index]))
    of = {kind: clips[clips["direction"] == kind] for kind in kinds}
    parts = {kind: stats.share_interval(rows["both"], clusters=rows["tune"]) for kind, rows in of.items()}
    also = [
        Check(f"{target}, direction of {direction}: {what}", stats.mean_interval(rows[column]), above=limit)
        for (direction, target), rows in clips[clips["direction"].isin(kinds)].groupby(
            ["direction", "target"]
        )
        for what, column, limit in (
            ("rise of its score", "rise", RISE),
            ("share of clips with both", "both", 0.5),
        )
    ]
    within = chosen.set_index("direction")["within"]
    measured = {
        kind: unless_overspent(Measured(part, control=control, testable=testable), bool(within[kind]))
        for kind, part in parts.items()
    }
    return study.verdict(
        "B5", measured, also=also, note="Melody-conditioned; strengths chosen on other tunes."
    )


def findings(shares: pd.DataFrame, again: pd.DataFrame, plain: pd.DataFrame) -> tuple[list[str], str]:
    """What this run found, in sentences, and what speaks against it.

    Parameters
    ----------
    shares : DataFrame
        From `shares`, with the controls and the words.
    again, plain : DataFrame
        From `play_tunes`: the tunes unsteered with other random numbers, and all clips.
    """
    of = {
        row["name"]: measured(
            Interval(row["effect"], row["low"], row["high"], row["n"]), share=True, sign=False
        )
        for _, row in shares.iterrows()
    }
    before = plain[plain["multiplier"] == 0].drop_duplicates("tune").set_index("tune")["chroma"]
    other = again.set_index("tune")["chroma"]
    kept = stats.share_interval(_keeps(other, before.loc[other.index]))
    reach = shares.loc[shares["name"].str.contains("random|shuffled"), "effect"].max()
    return [
        f"The instrument appears and the tune survives in {of['pieces']} of the clips steered along directions from "
        f"pieces, and in {of['notes']} of those along directions from single notes.",
        f"Naming the instrument in the prompt does both in {of['words']}.",
    ], (
        f"The strongest control reaches {100 * reach:.0f} %. The model follows tunes loosely: unsteered, with other "
        f"random numbers, it keeps the tune in {measured(kept, share=True, sign=False)} of the clips."
    )


def players(study: Study, tunes: Tunes, table: pd.DataFrame) -> HTML:
    """The first tune, as given, as played without steering, and as played toward each instrument."""
    rate, rows = study.model.sample_rate, table[table["tune"] == 0]
    labels = ["{1} ({0})".format(*vector) if vector else "not steered" for vector in rows["vector"]]
    sounds = {"the tune": tunes[:1].at(rate)[0]} | dict(zip(labels, study.sounds(rows), strict=True))
    return show_players(sounds, rate, label=f"{tunes.prompts[0]}, given a tune")


def heard(study: Study, tunes: Tunes, table: pd.DataFrame) -> HTML:
    """The tune and instrument with the median rise along directions of pieces: as given, not steered and steered."""
    clips = _compared(by_vector(table))
    key = ["target", "tune"]
    target, tune = stats.middle(clips[clips["direction"] == "pieces"].set_index(key)["rise"])
    rows = table[
        (table["tune"] == tune) & table["vector"].map(lambda each: each in (None, ("pieces", target)))
    ]
    labels = [f"toward {target}" if vector else "not steered" for vector in rows["vector"]]
    rate = study.model.sample_rate
    sounds = {"the tune": tunes[tune : tune + 1].at(rate)[0]}
    sounds |= dict(zip(labels, study.sounds(rows), strict=True))
    return show_players(sounds, rate, label=f"Hear it: {tunes.prompts[tune]}, given a tune")


def beside_table_3(table: pd.DataFrame, instruments: Sequence[str]) -> pd.DataFrame:
    """The paper's scores (table III) beside ours, steered along directions of pieces."""
    published, rows = scorecard.paper("b")["table_III"], []
    parts = {"ground_truth": table[table["multiplier"] == 0]}
    parts |= {f"to_{target}": table[table["vector"] == ("pieces", target)] for target in instruments}
    for name, part in parts.items():
        theirs = zip(("flute", "violin", "xylophone"), published.get(name, []), strict=False)
        rows.append(
            {"clip": name.replace("_", " ")}
            | {f"paper: {label}": score for label, score in theirs}
            | {f"ours: {label}": part[label].mean() for label in instruments}
            | {"ours: tune": part["chroma"].mean()}
        )
    return pd.DataFrame(rows).round(3).set_index("clip")


def _keeps(after: "pd.Series[float]", before: "pd.Series[float]") -> "pd.Series[bool]":
    """Whether the correlation with the tune is kept; one that never was there cannot be."""
    return (after >= KEPT * before) & (before > 0)


def _compared(table: pd.DataFrame) -> pd.DataFrame:
    """The steered clips with ``rise``, ``rises``, ``kept`` and ``both``, each against its tune unsteered."""
    key = ["direction", "target", "tune"]
    before = {"score": "score before", "chroma": "chroma before"}
    plain = table[table["multiplier"] == 0].set_index(key)[list(before)].rename(columns=before)
    clips = table[table["multiplier"] != 0].join(plain, on=key)
    rise = clips["score"] - clips["score before"]
    kept = _keeps(clips["chroma"], clips["chroma before"])
    both = ((rise >= RISE) & kept).astype(float)
    return clips.assign(rise=rise, rises=rise >= RISE, kept=kept, both=both)
