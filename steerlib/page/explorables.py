"""Explorables: pictures that answer when they are touched, made from what a notebook has computed.

Each function returns one ``IPython.display.HTML`` object: SVG and plain scripts, without a kernel or a network, for
mouse, keyboard and touch, in the colours of the page. Where scripts do not run, the clips have plain players, and a
picture says so.

`drag` and `film` are in *DiffMean directions*, `anatomy` in *Meet the model*, `pad` and `blind` in *Explorer*. The
slider with curves of *Steering sweep* is `steerlib.page.players.lambda_slider`.
"""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from IPython.display import HTML
from numpy.typing import ArrayLike

from steerlib.page import players, sound
from steerlib.page.style import signed

__all__ = ["anatomy", "blind", "drag", "film", "pad"]

_HELPERS, _DRAG, _FILM, _ANATOMY, _PAD, _BLIND = (
    Path(__file__).with_suffix(f".{name}.js").read_text(encoding="utf-8").rstrip()
    for name in ("svg", "drag", "film", "anatomy", "pad", "blind")
)
_PLAY = '<button type="button" class="sl-play" data-lm-suppress-shortcuts="true" aria-label="{}"></button>'
_ONLY = "<noscript><p>This picture needs scripts.</p></noscript>"


def drag(points: ArrayLike, positive: Sequence[bool], prompts: Sequence[str], poles: tuple[str, str]) -> HTML:
    """DiffMean in a plane: drag the points, and the means and the arrow between them follow (paper A, equation 1).

    Parameters
    ----------
    points : array_like, shape (prompts, 2)
        Where each prompt begins.
    positive : sequence of bool
        Which belong to the positive pole; both poles need one.
    prompts : sequence of str
    poles : tuple of str
        Names of the (positive, negative) poles.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        If the points are not in a plane, a pole has none, or the three do not have one length.
    """
    places, sides = np.asarray(points, dtype=float), [bool(side) for side in positive]
    if places.ndim != 2 or places.shape[1] != 2 or not len(places) == len(sides) == len(prompts):
        raise ValueError(
            f"drag takes one point (x, y), one pole and one prompt each: got points of shape {places.shape}, "
            f"{len(sides)} poles and {len(prompts)} prompts"
        )
    if len(set(sides)) < 2:
        raise ValueError("drag needs at least one point of each pole, and these are all of one")
    given = [
        [round(x, 4), round(y, 4), side, prompt]
        for (x, y), side, prompt in zip(places.tolist(), sides, prompts, strict=True)
    ]
    body = (
        '<div class="sl-live" hidden><div class="sl-stage"></div>'
        '<div class="sl-bar"><label>Steer the first point of the low pole: <output class="sl-lambda"></output>'
        '<input type="range" min="-1" max="2" step="0.1" value="0"></label>'
        '<button type="button" class="sl-quiet">Back to the start</button></div>'
        '<p class="sl-note" aria-live="polite">Length of Δ: <strong class="sl-length"></strong>. Pairs of opposite '
        'prompts that lie in the right order along Δ: <strong class="sl-order"></strong>.</p></div>'
    )
    key = f"{_key('high', poles[0])} {_key('low', poles[1])}"
    high, low = map(html.escape, poles)
    title = f"Drag a point: Δ is the mean of <em>{high}</em> minus the mean of <em>{low}</em>"
    return _figure("drag", title, key + body, {"points": given, "poles": list(poles)}, _DRAG)


def film(
    layers: Mapping[int, ArrayLike],
    positive: Sequence[bool],
    prompts: Sequence[str],
    poles: tuple[str, str],
    said: Mapping[int, str],
    *,
    start: int,
) -> HTML:
    """The same prompts at one layer after the other.

    Parameters
    ----------
    layers : mapping of int to array_like, shape (prompts, 2)
        Points by layer. Each layer is drawn on a scale of its own.
    positive, prompts, poles
        As in `drag`.
    said : mapping of int to str
        What is said of each layer.
    start : int
        The layer shown first.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        If a layer has no words, or `start` is none of the layers.
    """
    if set(layers) != set(said) or start not in layers:
        raise ValueError(f"film has the layers {list(layers)}, words for {list(said)}, and starts at {start}")
    shown = [
        {"layer": layer, "said": said[layer], "points": _unit(points).round(3).tolist()}
        for layer, points in layers.items()
    ]
    place = list(layers).index(start)
    body = (
        f'<div class="sl-live" hidden><div class="sl-bar">{_PLAY.format("Play or pause the film")}'
        f'<label>Depth: <output class="sl-layer"></output><input type="range" min="0" max="{len(shown) - 1}" step="1" '
        f'value="{place}"></label></div><div class="sl-stage"></div>'
        '<p class="sl-note"><strong class="sl-state"></strong></p>'
        '<p class="sl-note sl-said">Touch a point to read its prompt.</p></div>'
    )
    data = {"layers": shown, "high": [bool(side) for side in positive], "prompts": list(prompts)}
    key = f"{_key('high', poles[0])} {_key('low', poles[1])}"
    return _figure("film", "Through the layers: each point is a prompt", key + body, data, _FILM)


def anatomy(parts: Mapping[str, tuple[str, str]], tokens: ArrayLike, entries: int) -> HTML:
    """The parts of the model, and how the delay pattern of its codebooks fills.

    Parameters
    ----------
    parts : mapping of str to tuple of str
        In the order of the signal: name, and what it is in a few words and in a few sentences.
    tokens : array_like of int, shape (codebooks, frames)
        The beginning of a clip; ten to twenty frames can be read.
    entries : int
        Size of a codebook.

    Returns
    -------
    IPython.display.HTML
    """
    buttons = "".join(
        f'<button type="button" class="sl-part" aria-pressed="false"><strong>{html.escape(name)}</strong>'
        f"<small>{html.escape(short)}</small></button>"
        for name, (short, _) in parts.items()
    )
    grid = np.asarray(tokens)
    steps = grid.shape[1] + grid.shape[0] - 1
    body = (
        f'<div class="sl-live" hidden><div class="sl-parts">{buttons}</div><p class="sl-told" aria-live="polite"></p>'
        f'<div class="sl-fill"><p class="sl-label">The delay pattern: the number in a cell is its frame</p>'
        f'<div class="sl-bar">{_PLAY.format("Write step by step")}<label>Step'
        f'<input type="range" min="0" max="{steps}" step="1" value="{min(steps, grid.shape[0])}"></label></div>'
        '<div class="sl-stage sl-scroll" tabindex="0" role="region" aria-label="Codebooks and steps"></div>'
        '<p class="sl-note sl-state" aria-live="polite"></p></div></div>'
    )
    data = {"told": [told for _, told in parts.values()], "tokens": grid.tolist(), "entries": int(entries)}
    return _figure("anatomy", "From words to sound: press a part", body, data, _ANATOMY)


def pad(
    clips: Mapping[tuple[float, float, str], ArrayLike],
    sample_rate: int,
    *,
    attributes: tuple[tuple[str, str, str], tuple[str, str, str]],
    readouts: tuple[Mapping[tuple[float, float, str], str], Mapping[tuple[float, float, str], str]],
    folder: str | Path = "audio",
    embed: bool | None = None,
) -> HTML:
    """Two attributes at once: a square of clips, one axis each.

    Parameters
    ----------
    clips : mapping of (float, float, str) to array_like, shape (samples,)
        Sound by λ of the first attribute (to the right), λ of the second (upwards) and prompt; every combination.
    sample_rate : int
    attributes : tuple of (name, positive pole, negative pole), twice
    readouts : tuple of mappings
        What was measured of each clip, as text: large and small.
    folder, embed
        As in `players.players`.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        As `players.players`; also if a combination is missing.
    """
    across, upwards = (sorted({float(key[axis]) for key in clips}) for axis in (0, 1))
    prompts = list(dict.fromkeys(key[2] for key in clips))
    order = [(x, y, prompt) for prompt in prompts for y in reversed(upwards) for x in across]
    missing = [key for key in order if key not in clips]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(order)} clips of the pad are missing, the first is {missing[0]}"
        )
    levelled = sound.levelled({key: clips[key] for key in order}, sample_rate, equal_loudness=True)
    sources = sound.sources(levelled, sample_rate, folder=folder, embed=embed)
    first, second = attributes
    items = []
    for key in order:
        large, small = readouts[0][key], readouts[1][key]
        spoken = f"{first[0]} λ = {signed(key[0])}, {second[0]} λ = {signed(key[1])}: {large}, {small}"
        items.append(players.item({"first": large, "second": small}, spoken, sources[key], key[2]))
    square = '<button type="button" class="sl-square" data-lm-suppress-shortcuts="true"><b></b><small></small></button>'
    options = "".join(
        f'<option value="{index}">{html.escape(each)}</option>' for index, each in enumerate(prompts)
    )
    body = (
        f'<div class="sl-live" hidden><label class="sl-prompt"><span>Prompt</span><select>{options}</select></label>'
        f'<p class="sl-axis">↑ {html.escape(second[1])}</p>'
        f'<div class="sl-pad" style="grid-template-columns:repeat({len(across)},minmax(0,1fr))">'
        f"{square * (len(across) * len(upwards))}</div>"
        f'<p class="sl-axis">↓ {html.escape(second[2])}</p>'
        f'<p class="sl-axis"><span>← {html.escape(first[2])}</span><span>{html.escape(first[1])} →</span></p>'
        f'<p class="sl-note sl-said" aria-live="polite"></p><p class="sl-error" role="alert" hidden></p></div>'
        f'<ol class="sl-clips">{"".join(items)}</ol>'
    )
    title = f"{first[0]} to the right, {second[0]} upwards: drag over the square"
    return _figure("pad", html.escape(title), body, None, _PAD, f'data-columns="{len(across)}"')


def blind(
    pairs: Sequence[tuple[str, ArrayLike, ArrayLike]],
    sample_rate: int,
    *,
    folder: str | Path = "audio",
    embed: bool | None = None,
) -> HTML:
    """Which of the two is steered? Pairs in an order drawn anew, with a score.

    Parameters
    ----------
    pairs : sequence of (str, array_like, array_like)
        How the first clip is steered, in words; the steered clip; the same without steering.
    sample_rate : int
    folder, embed
        As in `players.players`.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        As `players.players`.
    """
    clips = {
        (number, which): each for number, pair in enumerate(pairs) for which, each in enumerate(pair[1:])
    }
    levelled = sound.levelled(clips, sample_rate, equal_loudness=True)
    sources = sound.sources(levelled, sample_rate, folder=folder, embed=embed)
    items = "".join(
        players.item(
            {}, "not steered" if which else pairs[number][0], sources[number, which], f"Pair {number + 1}"
        )
        for number, which in clips
    )
    hear = "".join(
        f'<button type="button" class="sl-quiet sl-hear" aria-pressed="false">Play {each}</button>'
        for each in "AB"
    )
    say = "".join(
        f'<button type="button" class="sl-do sl-answer">{each} is steered</button>' for each in "AB"
    )
    body = (
        '<div class="sl-live" hidden><button type="button" class="sl-do sl-begin">Begin</button>'
        '<div class="sl-trial" hidden><p><strong class="sl-ask"></strong></p>'
        f'<div class="sl-bar" role="group" aria-label="Listen">{hear}</div>'
        f'<div class="sl-bar" role="group" aria-label="Your answer">{say}</div></div>'
        '<p class="sl-note sl-score" aria-live="polite"></p><p class="sl-error" role="alert" hidden></p></div>'
        f'<ol class="sl-clips">{items}</ol>'
    )
    return _figure("blind", "Blind test: which one is steered?", body, None, _BLIND)


def _figure(kind: str, title: str, body: str, data: Any, script: str, more: str = "") -> HTML:
    given = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    values = f'<script type="application/json">{given}</script>' if data is not None else ""
    only = "" if "sl-clips" in body else _ONLY
    whole = script.replace("{SVG}", _HELPERS)
    return HTML(
        f'<figure class="sl-listen sl-x" data-x="{kind}" {more}><style>{players.STYLE}</style>'
        f"<figcaption>{title}</figcaption>{values}{body}{only}<script>{players.script(whole)}</script></figure>"
    )


def _key(kind: str, name: str) -> str:
    return f'<span class="sl-key"><i class="sl-{kind}"></i>{html.escape(name)}</span>'


def _unit(points: ArrayLike) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Points about their middle, the farthest coordinate at 1."""
    places = np.asarray(points, dtype=float)
    places = places - places.mean(axis=0)
    return np.asarray(places / max(float(np.abs(places).max()), 1e-12))
