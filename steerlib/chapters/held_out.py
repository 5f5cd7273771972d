"""Figures, tables and checks of the chapter *Held-out prompts* (``notebooks/held_out.ipynb``)."""

from collections.abc import Iterator, Mapping
from typing import Any

import librosa
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from steerlib.evidence import choices, scorecard, stats
from steerlib.evidence.scorecard import Check, Measured
from steerlib.evidence.stats import Interval
from steerlib.measure import band_level
from steerlib.measure.distance import Distances
from steerlib.page import figures, style
from steerlib.page.bottom_line import listed, moved, told
from steerlib.page.players import players as listen
from steerlib.page.style import signed
from steerlib.prompts import Attribute
from steerlib.study import Study, Trial

__all__ = [
    "balance",
    "balance_along",
    "bands",
    "claimed",
    "draw_beside",
    "draw_spectrogram",
    "findings",
    "in_paper_figures",
    "players",
    "poles",
    "settings",
    "sounds_by_pole",
    "spectrograms",
    "table_1",
    "table_1_of_the_paper",
    "typical_prompt",
]

Sounds = Mapping[str, npt.NDArray[np.float32]]
"""Clips (prompts, samples) by pole, "not steered" for the unsteered ones."""


def table_1(trial: Trial, distances: Distances) -> pd.DataFrame:
    """Means, changes and Fréchet distances, pole by pole (paper A, table 1)."""
    fads = distances.table.set_index(["attribute", "multiplier"])[["fad", "fad_infinity"]].round(2)
    rows = []
    for name, attribute in trial.study.attributes.items():
        clips = trial.parts[name]
        plain = clips.loc[clips["multiplier"] == 0, attribute.metric]
        mean = f"{plain.mean():.1f} ± {plain.std():.1f}"
        rows.append([name, "not steered", 0.0, mean, *[""] * 5, 0.0, plain.count(), *fads.loc[(name, 0.0)]])
        likelihood = trial.effects(name, "nll").set_index("multiplier")["effect"]
        for _, row in trial.effects(name).iterrows():
            pole = attribute.positive if row["multiplier"] > 0 else attribute.negative
            mean = f"{row['mean']:.1f} ± {row['std']:.1f}"
            effect = f"{row['effect']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]"
            low, high = 100 * row["relative_low"], 100 * row["relative_high"]
            change = f"{100 * row['relative']:+.1f} [{low:+.1f}, {high:+.1f}]"
            fad = fads.loc[(name, row["multiplier"])]
            octaves = f"{row['octaves']:+.2f}" if attribute.metric in stats.OCTAVES else ""
            ways = [f"{100 * row[side]:.0f} %" for side in ("right", "wrong")]
            nll = round(likelihood[row["multiplier"]], 3)
            rows.append(
                [name, pole, row["multiplier"], mean, effect, change, octaves, *ways, nll, row["n"], *fad]
            )
    names = ["attribute", "toward", "λ", "mean ± std", "change", "change (%)", "octaves", "right", "wrong",
             "nll", "clips", "FAD", "FAD∞"]  # fmt: skip
    print(f"{trial.study.model.name}; tempo in BPM, timbre in Hz; brackets: 95 % confidence intervals")
    table = pd.DataFrame(rows, columns=names).set_index(["attribute", "toward"])
    return table.map(lambda cell: "–" if isinstance(cell, str) and "nan" in cell else cell)


def table_1_of_the_paper() -> pd.DataFrame:
    """The published figures, their changes recomputed from the published means (paper A, table 1)."""
    paper = scorecard.paper("a")
    rows = []
    for name in ("tempo", "timbre"):
        part = paper["table_1"][name]
        start = part["baseline"]
        rows.append([name, "not steered", f"{start['mean']} ± {start['spread']}", *[""] * 5])
        for pole in sorted(set(part) - {"metric", "layer", "baseline"}):
            row = part[pole]
            change, ratio = row["mean"] - start["mean"], row["mean"] / start["mean"]
            rows.append([name, pole, f"{row['mean']} ± {row['spread']}", f"{change:+.1f}",
                         f"{100 * (ratio - 1):+.1f}", f"{np.log2(ratio):+.2f}", row["relative_percent"],
                         row["fad"]])  # fmt: skip
    names = ["attribute", "toward", "mean ± spread", "change", "change (%)", "octaves", "printed (%)", "FAD"]
    strength = paper["table_1"]["multiplier"]
    print(f"{paper['model']}, λ = {strength}: Table 1 of paper A, changes recomputed from its means")
    return pd.DataFrame(rows, columns=names).set_index(["attribute", "toward"])


def draw_beside(beside: pd.DataFrame) -> None:
    """The shift along each direction and by words, from `steerlib.yardsticks.beside`, a panel for each attribute."""
    parts = list(beside.groupby("attribute", sort=False))
    rows = beside["along"].groupby(beside["attribute"]).size().max()
    axes = figures.panels(1, len(parts), size=(4.4, 0.3 * rows + 1.1))
    for ax, (name, part) in zip(axes, parts, strict=True):
        figures.score_effects(
            part.rename(columns={"along": "name", "shift": "effect"})[["name", "effect", "low", "high"]], ax,
            quantity=f"shift ({part['unit'].iloc[0]})",
        )  # fmt: skip
        ax.set_title(f"{name}: its own direction is the first row", loc="left")
    beyond = {str(name): _beyond(part) for name, part in parts}
    figures.message(
        told(
            beyond,
            "Steering shifts {} further than any direction that should not steer",
            "for {}, a direction that should not steer may reach as far",
        ),
    )
    plt.show()


def _beyond(part: pd.DataFrame) -> bool:
    """Whether the own direction's whole interval lies beyond the shifts along all others, of one attribute."""
    others = part[part["kind"].isin(["random", "other"])]["shift"].abs()
    return bool((part.loc[part["kind"] == "own", "low"] > others.max()).all())


def claimed(study: Study) -> list[str]:
    """Those attributes of the study that the paper's claims are about."""
    return [name for name in scorecard.paper("a")["table_1"] if name in study.attributes]


def poles(trial: Trial) -> Iterator[tuple[str, Interval]]:
    """Words for the setting, and the effect in octaves in the intended direction, for both poles of each attribute."""
    for name in claimed(trial.study):
        attribute = trial.study.attributes[name]
        for _, row in trial.effects(name).iterrows():
            pole = attribute.positive if row["multiplier"] > 0 else attribute.negative
            change = row.rename({"octaves": "effect", "octaves_low": "low", "octaves_high": "high"})
            change = change[~change.index.duplicated(keep="last")]
            yield f"{name} toward {pole}, λ = {row['multiplier']:g}", choices.intended(change)


def in_paper_figures(trial: Trial, controls: Trial, name: str) -> Measured:
    """The shift over the paper's lower figure; whether the unsteered clips are like the paper's; and the control's."""
    published = scorecard.paper("a")
    least, start = published["least_shift"][name], published["table_1"][name]["baseline"]["mean"]
    metric = trial.study.attributes[name].metric
    plain = trial.parts[name].query("multiplier == 0")[metric]
    part = controls.table[controls.table["setting"] == name]
    along = stats.shifts(part, value=metric, by=["attribute"])
    random = along[along["attribute"].str.startswith("random")].groupby("attribute")["shift"].mean()
    return Measured(
        stats.mean_interval(trial.shifts(name)["shift"] / least),
        control=stats.control_range(random / least),
        testable=stats.mean_interval(plain / start),
    )


def settings(study: Study) -> str:
    """Where the study's settings stand, for the note of a verdict."""
    used = [f"{name}: layer {study.layers[name]}, |λ| = {study.sizes[name]:g}" for name in study.attributes]
    return f"Held-out prompts; {'; '.join(used)}."


def sounds_by_pole(trial: Trial, name: str) -> Sounds:
    """The clips of one attribute: the negative pole, the unsteered one and the positive pole."""
    rows = trial.parts[name].sort_values(["multiplier", "prompt_id"])
    audio = trial.study.sounds(rows)
    attribute, size = trial.study.attributes[name], trial.study.sizes[name]
    multipliers = {attribute.negative: -size, "not steered": 0.0, attribute.positive: size}
    return {pole: audio[rows["multiplier"] == value] for pole, value in multipliers.items()}


def typical_prompt(trial: Trial, name: str) -> int:
    """The prompt with the median distance between the poles: neither the best nor the worst."""
    return int(trial.typical(name)["prompt_id"].iloc[0])


def spectrograms(sounds: Sounds, prompt: int, sample_rate: int, *, split: float) -> None:
    """Spectrograms of one prompt on one scale of colours, dotted at `split` Hz (paper A, figure 9)."""
    shown = {pole: clips[prompt] for pole, clips in sounds.items()}
    peak = max(np.abs(librosa.stft(sound, n_fft=1024, hop_length=256)).max() for sound in shown.values())
    _, axes = plt.subplots(1, 3, figsize=(10, 3), sharey=True, width_ratios=[1, 1, 1.2])
    for ax, (pole, sound) in zip(axes, shown.items(), strict=True):
        draw_spectrogram(sound, sample_rate, ax, peak=peak, colorbar=ax is axes[-1])
        ax.axhline(split / 1000, color="white", linestyle=":", linewidth=1)
        ax.set_title(pole)
        ax.label_outer()
    levels = {pole: float(band_level(sound[None], sample_rate=sample_rate, low=split)[0])
              for pole, sound in shown.items()}  # fmt: skip
    first, plain, last = levels
    apart = [signed(levels[pole] - levels[plain], "+.1f") for pole in (first, last)]
    figures.message(
        f"Above {split:g} Hz, this clip changes by {apart[0]} dB toward {first} and {apart[1]} dB toward {last}",
    )
    plt.show()


def players(trial: Trial, name: str, prompt: int) -> None:
    """One prompt at both poles of the attribute `name`, loudness and all, and then of the others."""
    study = trial.study
    text = f"{study.prompts[prompt]} (the prompt with the median difference between its poles)"
    for each in sorted(study.attributes, key=lambda other: other != name):
        shown = {pole: clips[prompt] for pole, clips in sounds_by_pole(trial, each).items()}
        label = text if each == name else f"The same prompt, {each}"
        display(listen(shown, study.model.sample_rate, label=label, equal_loudness=each != name))


def bands(sounds: Sounds, attribute: Attribute, sample_rate: int) -> None:
    """Change of level in each octave against the unsteered clip, over all prompts (beside paper A, figure 9)."""
    edges = np.array([0, 125, 250, 500, 1000, 2000, 4000, 8000])
    centres = np.r_[62.5, np.sqrt(edges[1:-1] * edges[2:])]
    _, ax = plt.subplots(figsize=(6, 3.4))
    ax.axhline(0, color=style.PALETTE["baseline"], linewidth=1)
    top: dict[str, Interval] = {}
    for pole, positive in ((attribute.positive, True), (attribute.negative, False)):
        changes = []
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            band = {"low": low, "high": high, "sample_rate": sample_rate}
            level, plain = (band_level(sounds[each], **band) for each in (pole, "not steered"))
            changes.append(stats.paired_interval(level, plain))
        top[pole] = changes[-1]
        colour = style.pole_colour(pole, positive)
        limits = [each.low for each in changes], [each.high for each in changes]
        ax.fill_between(centres, *limits, color=colour, alpha=0.2, linewidth=0)
        estimates = [each.estimate for each in changes]
        ax.plot(centres, estimates, color=colour, marker="o", markersize=4, label=f"toward {pole}")
    ax.set(xscale="log", xlabel="centre of the octave (Hz)", ylabel="change of level (dB)")
    ax.set_xticks([100, 300, 1000, 3000], ["100", "300", "1000", "3000"])
    ax.legend()
    tilted = {
        f"{attribute.positive} (louder)": top[attribute.positive].low > 0,
        f"{attribute.negative} (quieter)": top[attribute.negative].high < 0,
    }
    above = f"bove {edges[-2]} Hz, "
    yes, no = "the level changes as intended toward {}", "no change as intended is shown toward {}"
    figures.message(told(tilted, f"A{above}{yes}", f"a{above}{no}"))
    plt.show()


def levels(
    clips: npt.NDArray[np.float32], sample_rate: int, *, split: float
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Level in dB of each clip above `split` Hz, and below."""
    high = band_level(clips, sample_rate=sample_rate, low=split)
    return high, band_level(clips, sample_rate=sample_rate, high=split)


def balance(
    sounds: Sounds, attribute: Attribute, sample_rate: int, *, split: float
) -> tuple[npt.NDArray[Any], list[Check]]:
    """Half the poles' difference in level above minus below `split` Hz, by prompt; and each level's own change."""
    found = {pole: levels(clips, sample_rate, split=split) for pole, clips in sounds.items()}
    tilt = {pole: high - low for pole, (high, low) in found.items()}
    also = []
    for pole, limit in (attribute.negative, {"below": 0.0}), (attribute.positive, {"above": 0.0}):
        change = stats.paired_interval(found[pole][0], found["not steered"][0])
        also.append(
            Check(
                f"level above {split:g} Hz toward {pole}",
                change,
                above=limit.get("above"),
                below=limit.get("below"),
                unit="dB",
            )
        )
    return (tilt[attribute.positive] - tilt[attribute.negative]) / 2, also


def balance_along(controls: Trial, name: str, *, split: float) -> list[float]:
    """The same along each random direction, mean over prompts."""
    rows = controls.table[(controls.table["setting"] == name) & (controls.table["multiplier"] != 0)]
    found = []
    for direction, part in rows.groupby("attribute"):
        if str(direction).startswith("random"):
            part = part.sort_values(["multiplier", "prompt_id"])
            high, low = levels(controls.study.sounds(part), controls.study.model.sample_rate, split=split)
            minus, plus = np.split(high - low, 2)
            found.append(float((plus - minus).mean() / 2))
    return found


def findings(trial: Trial, beside: pd.DataFrame) -> tuple[list[str], str]:
    """What this run found, in sentences, and what speaks against it."""
    parts, against = [], []
    for name, part in beside.groupby("attribute", sort=False):
        own = part[part["kind"] == "own"].iloc[0]
        interval = Interval(own["shift"], own["low"], own["high"], own["n"])
        if np.isnan([own["shift"], own["low"], own["high"], own["of_words"]]).any():
            against.append(f"For {name}, too few clips could be measured.")
            continue
        share = f" ({100 * own['of_words']:.0f} % of what the words do)"
        parts.append(f"{name} by {moved(interval, own['unit'])}{share}")
        random = part[part["kind"] == "random"]["shift"].abs()
        against.append(
            f"For {name}, {100 * own['wrong']:.0f} % of the prompts move the wrong way, and the strongest of "
            f"{len(random)} random directions reaches {moved(random.max(), own['unit'])}."
        )
    found = (
        f"On prompts that had no part in the tuning, steering changes {listed(parts)}, on average of both poles."
        if parts
        else ""
    )
    return [found or "Too few clips could be measured to tell."], " ".join(against)


def draw_spectrogram(
    audio: npt.ArrayLike,
    sample_rate: int,
    ax: Axes,
    *,
    peak: float | None = None,
    log_frequency: bool = True,
    colorbar: bool = True,
) -> None:
    """Spectrogram in dB (paper A, figure 9): power of frames of 1024 samples, hop 256, over a range of 70 dB.

    Parameters
    ----------
    audio : array_like, shape (samples,)
    sample_rate : int
        Hz.
    ax : Axes
    peak : float, optional
        Magnitude that counts as 0 dB; give the same to figures that are to be compared. Default: the clip's
        own peak.
    log_frequency : bool
        Logarithmic frequency from 0.06 kHz up, or linear.
    colorbar : bool
        Draw the scale beside it.
    """
    samples = np.asarray(audio, dtype=np.float32)
    if samples.ndim != 1 or not len(samples):
        raise ValueError(
            f"a spectrogram needs one clip of shape (samples,), got {samples.shape}; take clips.audio[i]"
        )
    magnitude = np.abs(librosa.stft(samples, n_fft=1024, hop_length=256))
    reference = float(magnitude.max()) if peak is None else peak
    decibels = 20 * np.log10(np.maximum(magnitude, 1e-10) / max(reference, 1e-10))
    seconds = np.arange(magnitude.shape[1]) * 256 / sample_rate
    kilohertz = np.arange(magnitude.shape[0]) * sample_rate / 1024 / 1000
    mesh = ax.pcolormesh(
        seconds, kilohertz, decibels, cmap="magma", vmin=-70, vmax=0, shading="nearest", rasterized=True
    )
    if log_frequency:
        ax.set_yscale("log")
        ax.set_ylim(0.06, kilohertz[-1])
        ax.yaxis.set_major_locator(
            FixedLocator([t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10) if t < kilohertz[-1]])
        )
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set(xlabel="time (s)", ylabel="frequency (kHz)")
    if colorbar:
        bar = ax.figure.colorbar(mesh, ax=ax, label="power (dB)")
        bar.outline.set_visible(False)
