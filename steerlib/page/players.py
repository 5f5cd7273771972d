"""Sound on the page: players, a slider over the steering multiplier, and a grid of clips to compare.

Every function returns one ``IPython.display.HTML`` object, and writes its sound as MP3 files into a folder
beside the notebook. It needs no kernel and no network afterwards: the same HTML works in a live
notebook, on a page of the book and from a file. Files are named by a hash of what is in them, so that a run
repeated writes nothing new. Sound is loaded when it is first asked for (``preload="none"``).

Comparisons are made at equal loudness, because louder sounds better, and brighter at the same power sounds
louder: the level is the mean square after the K-weighting of ITU-R BS.1770, without its gating. Turn that off
where loudness itself is the point.

Audio is a float array of shape (samples,), full scale 1; sample rates are in Hz.
Used by every chapter; the slider goes with paper A's Figure 5, whose horizontal axis it makes audible.
"""

import html
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from IPython.display import HTML
from numpy.typing import ArrayLike, NDArray

from steerlib.files import digest
from steerlib.page import sound
from steerlib.page.remake import Remake
from steerlib.page.style import PALETTE, css, number, pole_colour, signed

__all__ = ["Curve", "ab_grid", "lambda_slider", "player", "players"]

STYLE, _ROW, _SLIDER, _SLIDER_SCRIPT, _CURVES, _GRID, _GRID_SCRIPT, _LOAD, _RENEW = (
    Path(__file__).with_suffix(suffix).read_text(encoding="utf-8").rstrip()
    for suffix in (
        ".css",
        ".row.js",
        ".html",
        ".js",
        ".curves.js",
        ".grid.html",
        ".grid.js",
        ".load.js",
        ".renew.js",
    )
)


@dataclass(frozen=True)
class Curve:
    """A measure against λ, to be drawn under a slider.

    Parameters
    ----------
    name, unit : str
        What was measured.
    multipliers : sequence of float
        The λ of the points: those of the slider.
    mean, low, high : sequence of float
        Value at each, and the ends of its 95 % interval. NaN is left out.
    worse : collection of float
        The λ at which this measure is shown to be worse than without steering; they are shaded.
    """

    name: str
    unit: str
    multipliers: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    worse: Collection[float] = ()


def player(
    audio: ArrayLike,
    sample_rate: int,
    *,
    label: str,
    equal_loudness: bool = True,
    spectrogram: bool = True,
    folder: str | Path = "audio",
    embed: bool | None = None,
) -> HTML:
    """One labelled player.

    Parameters
    ----------
    audio : array_like, shape (samples,)
        Sound, full scale 1.
    sample_rate : int
        In Hz; one that MP3 knows (16000 and 32000 are).
    label : str
        What is heard: shown above the player and read out by screen readers.
    equal_loudness : bool, default True
        Bring the clip to the book's common loudness.
    spectrogram : bool, default True
        Show a mel spectrogram, in which a press goes to that place in the music.
    folder : path-like, default "audio"
        Where the MP3 goes, relative to the working directory, which is the notebook's folder.
    embed : bool or None, default None
        Put the sound into the HTML itself. None embeds only where the front end cannot read files beside the
        notebook (Google Colab, Visual Studio Code).

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        If the audio is empty, not one-dimensional or not finite, or MP3 does not know the sample rate.
    OSError
        If the folder cannot be written to.
    """
    return players(
        {label: audio},
        sample_rate,
        equal_loudness=equal_loudness,
        spectrogram=spectrogram,
        folder=folder,
        embed=embed,
    )


def players(
    clips: Mapping[str, ArrayLike],
    sample_rate: int,
    *,
    label: str = "",
    equal_loudness: bool = True,
    spectrogram: bool = True,
    folder: str | Path = "audio",
    embed: bool | None = None,
) -> HTML:
    """Several labelled players side by side, one below the other on a narrow screen.

    Parameters
    ----------
    clips : mapping of str to array_like, shape (samples,)
        Label and sound of each player, in the order shown.
    sample_rate : int
        In Hz, of all clips.
    label : str, default ""
        What the group shows, above all players.
    equal_loudness : bool, default True
        Bring all clips to one loudness. False keeps the differences between them (one gain for all).
    spectrogram, folder, embed
        As in `player`.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError, OSError
        As `player`; also if there is no clip at all.
    """
    sounds = sound.levelled(clips, sample_rate, equal_loudness=equal_loudness)
    sources = sound.sources(sounds, sample_rate, folder=folder, embed=embed)
    pictures = sound.pictures(sounds, sample_rate, folder=folder, embed=embed) if spectrogram else {}
    boxes = []
    for name, samples in sounds.items():
        text, seconds = html.escape(name), len(samples) / sample_rate
        picture = _image(pictures[name], name, seconds) if spectrogram else ""
        boxes.append(
            f'<figure class="sl-player" data-seconds="{seconds:.3f}"><figcaption>'
            f'<span class="sl-title">{text}</span> <small class="sl-time">{seconds:.1f} s</small></figcaption>'
            f'<audio controls preload="none" src="{sources[name]}" aria-label="{text}"></audio>'
            '<div class="sl-live" hidden><button type="button" class="sl-play" data-lm-suppress-shortcuts="true" '
            f'aria-label="Play or pause: {text}"></button>'
            f'<div class="sl-seek" role="slider" tabindex="0" aria-label="Position in: {text}" aria-valuemin="0" '
            f'aria-valuemax="{seconds:.1f}" aria-valuenow="0" data-lm-suppress-shortcuts="true">{picture}<i></i></div>'
            "</div></figure>"
        )
    head = f'<p class="sl-label">{html.escape(label)}</p>' if label else ""
    kind = "sl-one" if len(boxes) == 1 else "sl-many"
    guess = (
        '<p hidden><button type="button" class="sl-guess" aria-pressed="false">Hide the titles</button></p>'
    )
    return HTML(
        f'<div class="sl-listen {kind}" data-players role="group" aria-label="{html.escape(label or "Clips")}">'
        f'<style>{STYLE}</style>{head}<div class="sl-row" style="--sl-columns:{_columns(len(boxes))}">'
        f"{''.join(boxes)}</div>"
        f'{guess if len(boxes) > 1 else ""}<p class="sl-error" role="alert" hidden></p>'
        f"<script>{script(_ROW)}</script></div>"
    )


def lambda_slider(
    clips: Mapping[float, ArrayLike],
    sample_rate: int,
    *,
    label: str,
    readouts: Mapping[str, Sequence[float]] | None = None,
    poles: tuple[str, str] | None = None,
    colours: tuple[str, str] | None = None,
    curves: Sequence[Curve] = (),
    remake: Remake | None = None,
    equal_loudness: bool = True,
    spectrogram: bool = True,
    folder: str | Path = "audio",
    embed: bool | None = None,
) -> HTML:
    """A slider over the steering multiplier λ: move it, and the clip made with that multiplier plays.

    While it plays, moving the slider carries on at the same position in the other clip. Arrow keys move the
    slider, the space bar starts and stops. Where scripts do not run, one player for each multiplier is shown
    instead.

    Parameters
    ----------
    clips : mapping of float to array_like, shape (samples,)
        Sound by multiplier; shown in rising order. The slider starts at the multiplier nearest to 0.
    sample_rate : int
        In Hz, of all clips.
    label : str
        What is heard, the prompt for instance.
    readouts : mapping of str to sequence of float, optional
        Measured values, one for each clip in the order of `clips`; the key is the unit shown after the value,
        such as ``"BPM"``. NaN is shown as a dash.
    poles : tuple of str, optional
        Names of the (positive, negative) ends, such as ``("fast", "slow")``.
    colours : tuple of str, optional
        CSS colours of the (positive, negative) ends; by default the book's colours of these poles.
    curves : sequence of Curve, optional
        Drawn below the slider, a point under each stop; a press on a point plays its clip.
    remake : Remake, optional
        What the clips, by multiplier, were made of: a page that runs the model then offers them with another seed.
    equal_loudness, spectrogram, folder, embed
        As in `players`.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        As `players`; also for a multiplier that is not finite, a readout without one value for each clip, or a
        curve over other multipliers.
    OSError
        If the folder cannot be written to.

    Examples
    --------
    >>> silence = np.zeros(16000)
    >>> clips = {-1.0: silence, 0.0: silence, 1.0: silence}
    >>> lambda_slider(clips, 16000, label="a folk song", readouts={"BPM": [90, 120, 160]})  # doctest: +SKIP
    """
    given = [float(multiplier) for multiplier in clips]
    _check_multipliers(given, "slider")
    for curve in curves:
        if sorted(curve.multipliers) != sorted(given):
            raise ValueError(f"curve {curve.name!r} has the λ {list(curve.multipliers)}, the slider {given}")
    measured = _measured(readouts or {}, len(given))
    sounds = sound.levelled(clips, sample_rate, equal_loudness=equal_loudness)
    sources = sound.sources(sounds, sample_rate, folder=folder, embed=embed)
    pictures = sound.pictures(sounds, sample_rate, folder=folder, embed=embed) if spectrogram else {}

    ends = poles or ("", "")
    order = sorted(range(len(given)), key=given.__getitem__)
    keys = list(sounds)
    items, images = [], []
    for index in order:
        multiplier, key = given[index], keys[index]
        values = measured[index].values()
        setting = _setting(multiplier, ends)
        spoken = ", ".join([setting, *values])
        data = {"lambda": signed(multiplier), "values": "|".join(values), "setting": setting}
        data |= _length(sounds[key], sample_rate)
        items.append(item(data, spoken, sources[key], label))
        if spectrogram:
            images.append(_image(pictures[key], f"{label}, {spoken}", len(sounds[key]) / sample_rate))

    multipliers = [given[index] for index in order]
    start = min(range(len(multipliers)), key=lambda index: abs(multipliers[index]))
    numbered = _numbered_ticks(len(multipliers), start)
    positive, negative = ends
    positive_colour, negative_colour = colours or map(
        css, (pole_colour(positive, True), pole_colour(negative, False))
    )
    parts = {
        "COLOUR_POSITIVE": html.escape(positive_colour),
        "COLOUR_NEGATIVE": html.escape(negative_colour),
        "POSITIVE": html.escape(f"{positive} →" if positive else ""),
        "NEGATIVE": html.escape(f"← {negative}" if negative else ""),
        "LAST": str(len(multipliers) - 1),
        "START": str(start),
        "TICKS": "".join(
            f"<span>{signed(multiplier) if index in numbered else ''}</span>"
            for index, multiplier in enumerate(multipliers)
        ),
        "PICTURES": "".join(images),
        "REMAKE": remake.attribute([given[index] for index in order]) if remake else "",
        "CURVES": _curves(curves),
    }
    return _widget(_SLIDER, _SLIDER_SCRIPT.replace("{CURVES_SCRIPT}", _CURVES), label, items, parts)


def ab_grid(
    clips: Mapping[tuple[str, float, str], ArrayLike],
    sample_rate: int,
    *,
    label: str,
    poles: Mapping[str, tuple[str, str]] | None = None,
    readouts: Mapping[str, Sequence[float]] | None = None,
    shown: Mapping[str, str] | None = None,
    remake: Remake | None = None,
    equal_loudness: bool = True,
    folder: str | Path = "audio",
    embed: bool | None = None,
) -> HTML:
    """A grid of clips, attribute by multiplier λ, for each of several prompts: choose two, A and B, and compare.

    A cell plays its clip; a second cell is B, and the button below switches between the two at the same position
    in the music, as does a change of the prompt. Arrow keys move over the grid, the space bar plays. Sound is
    loaded cell by cell when it is asked for. Where scripts do not run, one player for each clip is shown.

    Parameters
    ----------
    clips : mapping of (attribute, multiplier, prompt) to array_like, shape (samples,)
        Every combination of the attributes, multipliers and prompts that occur. Attributes and prompts are shown
        in the order of their first appearance, multipliers in rising order.
    sample_rate : int
        In Hz, of all clips.
    label : str
        What the grid shows.
    poles : mapping of str to tuple of str, optional
        Names of the (positive, negative) poles of each attribute.
    readouts : mapping of str to sequence of float, optional
        Measured values, one for each clip in the order of `clips`; the key is the unit, such as ``"BPM"``. NaN is
        shown as a dash.
    shown : mapping of str to str, optional
        Which readout stands in the cells of each attribute; by default none, all are below the grid.
    remake : Remake, optional
        As in `lambda_slider`; the keys are those of `clips`.
    equal_loudness, folder, embed
        As in `players`.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        As `players`; also if a combination is missing, a multiplier is not finite, a readout has not one value
        for each clip, or `shown` names none.
    OSError
        If the folder cannot be written to.
    """
    given, poles, readouts, shown = list(clips), poles or {}, readouts or {}, shown or {}
    attributes = list(dict.fromkeys(key[0] for key in given))
    prompts = list(dict.fromkeys(key[2] for key in given))
    multipliers = sorted({float(key[1]) for key in given})
    _check_multipliers(multipliers, "grid")
    order = [(name, value, prompt) for prompt in prompts for name in attributes for value in multipliers]
    missing = [key for key in order if key not in clips]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(order)} cells of the grid have no clip, the first is {missing[0]}: give every "
            "combination of attribute, multiplier and prompt"
        )
    measured = dict(zip(given, _measured(readouts, len(given)), strict=True))
    unknown = set(shown.values()) - set(readouts)
    if unknown:
        raise ValueError(f"shown names {sorted(unknown)}, but the readouts are {list(readouts)}")
    sounds = sound.levelled(clips, sample_rate, equal_loudness=equal_loudness)
    sources = sound.sources(sounds, sample_rate, folder=folder, embed=embed)

    items = []
    for key in order:
        attribute, multiplier, prompt = key
        setting = f"{attribute}, {_setting(multiplier, poles.get(attribute, ('', '')))}"
        values = measured[key].values()
        spoken = ", ".join([setting, *values])
        data = {
            "value": measured[key][shown[attribute]] if attribute in shown else "",
            "values": "|".join(values),
            "setting": setting,
        }
        items.append(item(data, spoken, sources[key], prompt))

    def cell(attribute: str, multiplier: float, first: bool) -> str:
        pole = poles.get(attribute, ("positive", "negative"))[multiplier < 0]
        colour = PALETTE["baseline"] if multiplier == 0 else pole_colour(pole, multiplier > 0)
        return (
            f'<td role="gridcell"><button type="button" class="sl-cell" data-lm-suppress-shortcuts="true" '
            f'tabindex="{0 if first else -1}" style="--sl-pole:{css(colour)}"><i></i><small></small><b></b></button>'
            "</td>"
        )

    def row(attribute: str) -> str:
        ends = poles.get(attribute)
        small = f"<small>← {html.escape(ends[1])}<br>{html.escape(ends[0])} →</small>" if ends else ""
        cells = "".join(
            cell(attribute, value, (attribute, value) == (attributes[0], multipliers[0]))
            for value in multipliers
        )
        return f'<tr><th scope="row">{html.escape(attribute)}{small}</th>{cells}</tr>'

    parts = {
        "PROMPTS": "".join(
            f'<option value="{index}">{html.escape(prompt)}</option>' for index, prompt in enumerate(prompts)
        ),
        "MULTIPLIERS": "".join(f'<th scope="col">{signed(multiplier)}</th>' for multiplier in multipliers),
        "ROWS": "".join(map(row, attributes)),
        "REMAKE": remake.attribute(order) if remake else "",
    }
    return _widget(_GRID, _GRID_SCRIPT, label, items, parts)


def _check_multipliers(multipliers: Sequence[float], what: str) -> None:
    if not all(math.isfinite(multiplier) for multiplier in multipliers):
        raise ValueError(f"multipliers of a {what} must be finite numbers, got {list(multipliers)}")


def _measured(readouts: Mapping[str, Sequence[float]], count: int) -> list[dict[str, str]]:
    """The readouts of each clip by unit, as text: "121 BPM"."""
    for unit, values in readouts.items():
        if len(values) != count:
            raise ValueError(f"readout {unit!r}: {len(values)} values for {count} clips; give one each")
    return [
        {unit: f"{number(float(values[index]))} {unit}" for unit, values in readouts.items()}
        for index in range(count)
    ]


def _setting(multiplier: float, poles: tuple[str, str]) -> str:
    """In words: "λ = −0.1 (slow)"."""
    pole = "not steered" if multiplier == 0 else poles[multiplier < 0]
    return f"λ = {signed(multiplier)}" + (f" ({pole})" if pole else "")


def item(data: Mapping[str, str], spoken: str, source: str, label: str) -> str:
    """One clip of a widget: what its script reads, and a player where scripts do not run."""
    given = " ".join(f'data-{name}="{html.escape(value)}"' for name, value in data.items())
    return (
        f'<li {given}><span>{html.escape(spoken)}</span><audio controls loop preload="none" src="{source}" '
        f'aria-label="{html.escape(f"{label}, {spoken}")}"></audio></li>'
    )


def script(own: str) -> str:
    """A script with what fetches clips in it."""
    return own.replace("{LOAD}", _LOAD).replace("{RENEW}", _RENEW)


def _length(samples: NDArray[np.float32], sample_rate: int) -> dict[str, str]:
    return {"seconds": f"{len(samples) / sample_rate:.3f}"}


def _curves(curves: Sequence[Curve]) -> str:
    """What the slider's script draws, in the order of the slider's stops."""
    if not curves:
        return ""
    boxes, drawn = [], []
    for curve in curves:
        order = np.argsort(curve.multipliers)
        values = {
            name: [None if math.isnan(each[index]) else float(each[index]) for index in order]
            for name, each in (("mean", curve.mean), ("low", curve.low), ("high", curve.high))
        }
        worse = [place for place, index in enumerate(order) if curve.multipliers[index] in curve.worse]
        drawn.append({"unit": curve.unit, "worse": worse} | values)
        boxes.append(
            f'<div class="sl-curve"><p>{html.escape(curve.name)}: <output></output></p><div></div></div>'
        )
    data = json.dumps(drawn).replace("<", "\\u003c")
    return f'<div class="sl-curves"><script type="application/json">{data}</script>{"".join(boxes)}</div>'


def _widget(template: str, own: str, label: str, items: Sequence[str], parts: Mapping[str, str]) -> HTML:
    """The template with its script in it and every {NAME} replaced by its part, which is never read again."""
    parts = {
        "IDENTITY": digest("".join([label, *items]).encode())[:12],
        "LABEL": html.escape(label),
        "STYLE": f"<style>{STYLE}</style>",
        "CLIPS": "".join(items),
        **parts,
    }
    whole = template.replace("{SCRIPT}", script(own))
    return HTML(re.sub(r"\{([A-Z_]+)\}", lambda found: parts[found[1]], whole))


def _columns(count: int) -> int:
    """In how many columns so many players stand, at most, so that the last row is as full as can be."""
    return 2 if count == 4 else max((3, 4), key=lambda columns: (count % columns or columns) / columns)


def _image(source: str, label: str, seconds: float) -> str:
    text = f"Mel spectrogram of: {label}; {seconds:.1f} s from left to right, low to high frequency upwards"
    alternative = html.escape(text)
    return f'<img class="sl-picture dark-light" loading="lazy" src="{source}" alt="{alternative}">'


def _numbered_ticks(count: int, start: int) -> set[int]:
    """Which ticks carry a number: all if there are few, otherwise the ends, the start and some between."""
    if count <= 9:
        return set(range(count))
    step = math.ceil(count / 6)
    inner = {index for index in range(start % step, count, step) if step <= index < count - step}
    return {0, start, count - 1} | inner
