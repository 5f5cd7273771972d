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

import base64
import html
import io
import math
import os
import re
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
from IPython.display import HTML
from numpy.typing import ArrayLike, NDArray
from scipy.signal import lfilter

from steerlib.files import digest, write_whole
from steerlib.measure.audio import check_clip
from steerlib.page.remake import Remake
from steerlib.page.style import PALETTE, number, pole_colour, signed

__all__ = ["ab_grid", "lambda_slider", "player", "players", "write_mp3"]

_SAMPLE_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_LEVEL = 0.1
"""K-weighted root mean square aimed at, full scale 1; lower if a clip would otherwise exceed _PEAK."""
_PEAK = 0.97
_SILENCE = 1e-5
_K_WEIGHTING = (
    (1681.974450955533, 0.7071752369554196, 3.999843853973347),
    (38.13547087602444, 0.5003270373238773, None),
)
"""The two filters of ITU-R BS.1770-4, a shelf and a high-pass: frequency in Hz, quality, gain in dB."""
_STYLE, _SLIDER, _SLIDER_SCRIPT, _GRID, _GRID_SCRIPT, _LOAD = (
    Path(__file__).with_suffix(suffix).read_text(encoding="utf-8").rstrip()
    for suffix in (".css", ".html", ".js", ".grid.html", ".grid.js", ".load.js")
)

K = TypeVar("K", bound=Hashable)


def player(
    audio: ArrayLike,
    sample_rate: int,
    *,
    label: str,
    equal_loudness: bool = True,
    spectrogram: bool = False,
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
    spectrogram : bool, default False
        Show a mel spectrogram below the player.
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
    spectrogram: bool = False,
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
    sounds = _levelled(clips, sample_rate, equal_loudness=equal_loudness)
    sources = _sources(sounds, sample_rate, folder=folder, embed=embed)
    pictures = _pictures(sounds, sample_rate, folder=folder, embed=embed) if spectrogram else {}
    boxes = []
    for name in sounds:
        text = html.escape(name)
        picture = _image(pictures[name], name, len(sounds[name]) / sample_rate) if spectrogram else ""
        boxes.append(
            f'<figure class="sl-player"><figcaption>{text}</figcaption>'
            f'<audio controls preload="none" src="{sources[name]}" aria-label="{text}"></audio>'
            f"{picture}</figure>"
        )
    head = f'<p class="sl-label">{html.escape(label)}</p>' if label else ""
    kind = "sl-one" if len(boxes) == 1 else "sl-many"
    row = f'<div class="sl-row">{"".join(boxes)}</div>'
    return HTML(f'<div class="sl-listen {kind}"><style>{_STYLE}</style>{head}{row}</div>')


def lambda_slider(
    clips: Mapping[float, ArrayLike],
    sample_rate: int,
    *,
    label: str,
    readouts: Mapping[str, Sequence[float]] | None = None,
    poles: tuple[str, str] | None = None,
    colours: tuple[str, str] | None = None,
    remake: Remake | None = None,
    equal_loudness: bool = True,
    spectrogram: bool = False,
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
        As `players`; also for a multiplier that is not finite, or a readout without one value for each clip.
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
    measured = _measured(readouts or {}, len(given))
    sounds = _levelled(clips, sample_rate, equal_loudness=equal_loudness)
    sources = _sources(sounds, sample_rate, folder=folder, embed=embed)
    pictures = _pictures(sounds, sample_rate, folder=folder, embed=embed) if spectrogram else {}

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
        items.append(_item(data, spoken, sources[key], label))
        if spectrogram:
            images.append(_image(pictures[key], f"{label}, {spoken}", len(sounds[key]) / sample_rate))

    multipliers = [given[index] for index in order]
    start = min(range(len(multipliers)), key=lambda index: abs(multipliers[index]))
    numbered = _numbered_ticks(len(multipliers), start)
    positive, negative = ends
    positive_colour, negative_colour = colours or (pole_colour(positive, True), pole_colour(negative, False))
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
    }
    return _widget(_SLIDER, _SLIDER_SCRIPT, label, items, parts)


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
    sounds = _levelled(clips, sample_rate, equal_loudness=equal_loudness)
    sources = _sources(sounds, sample_rate, folder=folder, embed=embed)

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
        items.append(_item(data, spoken, sources[key], prompt))

    def cell(attribute: str, multiplier: float, first: bool) -> str:
        pole = poles.get(attribute, ("positive", "negative"))[multiplier < 0]
        colour = PALETTE["baseline"] if multiplier == 0 else pole_colour(pole, multiplier > 0)
        return (
            f'<td role="gridcell"><button type="button" class="sl-cell" data-lm-suppress-shortcuts="true" '
            f'tabindex="{0 if first else -1}" style="--sl-pole:{colour}"><i></i><small></small><b></b></button></td>'
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


def write_mp3(audio: ArrayLike, sample_rate: int, *, folder: str | Path = "audio") -> Path:
    """Write a clip as an MP3 of 64 kbit/s whose name is a hash of its content.

    Parameters
    ----------
    audio : array_like, shape (samples,)
        Sound, full scale 1; what exceeds it is clipped.
    sample_rate : int
        In Hz; one that MP3 knows.
    folder : path-like, default "audio"
        Made if it is not there. A file already in it is not written again.

    Returns
    -------
    Path
        The file, below `folder`.

    Raises
    ------
    ValueError
        If the audio is empty, not one-dimensional or not finite, or MP3 does not know the sample rate.
    OSError
        If the folder cannot be written to.
    """
    samples = _checked(audio, sample_rate, "the clip")
    name = f"{_digest(samples, sample_rate)}.mp3"
    path = Path(folder) / name
    _write_once(path, partial(_mp3, samples, sample_rate))
    return path


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


def _item(data: Mapping[str, str], spoken: str, source: str, label: str) -> str:
    """One clip of a widget: what its script reads, and a player where scripts do not run."""
    given = " ".join(f'data-{name}="{html.escape(value)}"' for name, value in data.items())
    return (
        f'<li {given}><span>{html.escape(spoken)}</span><audio controls loop preload="none" src="{source}" '
        f'aria-label="{html.escape(f"{label}, {spoken}")}"></audio></li>'
    )


def _widget(template: str, script: str, label: str, items: Sequence[str], parts: Mapping[str, str]) -> HTML:
    """The template with its script in it and every {NAME} replaced by its part, which is never read again."""
    parts = {
        "IDENTITY": digest("".join([label, *items]).encode())[:12],
        "LABEL": html.escape(label),
        "STYLE": f"<style>{_STYLE}</style>",
        "CLIPS": "".join(items),
        **parts,
    }
    whole = template.replace("{SCRIPT}", script.replace("{LOAD}", _LOAD))
    return HTML(re.sub(r"\{([A-Z_]+)\}", lambda found: parts[found[1]], whole))


def _checked(audio: ArrayLike, sample_rate: int, name: str) -> NDArray[np.float32]:
    """The clip as float32, or an error that names it."""
    if sample_rate not in _SAMPLE_RATES:
        raise ValueError(f"MP3 has no sample rate of {sample_rate} Hz; resample to one of {_SAMPLE_RATES}")
    return check_clip(audio, name)


def _levelled(
    clips: Mapping[K, ArrayLike], sample_rate: int, *, equal_loudness: bool
) -> dict[K, NDArray[np.float32]]:
    """All clips at one loudness, or with one gain that brings the loudest peak below full scale."""
    if not clips:
        raise ValueError("there is no clip to listen to; pass at least one")
    sounds = {key: _checked(audio, sample_rate, f"clip {key!r}") for key, audio in clips.items()}
    peaks = {key: float(np.abs(sound).max()) for key, sound in sounds.items()}
    if not equal_loudness:
        gain = min(1.0, _PEAK / max(max(peaks.values()), _SILENCE))
        return {key: sound * np.float32(gain) for key, sound in sounds.items()}
    levels = {key: _loudness(sound, sample_rate) for key, sound in sounds.items()}
    heard = [key for key in sounds if levels[key] > _SILENCE]
    target = min([_LEVEL, *(_PEAK * levels[key] / peaks[key] for key in heard)])
    gains = {key: target / levels[key] if key in heard else 1.0 for key in sounds}
    return {key: sound * np.float32(gains[key]) for key, sound in sounds.items()}


def _loudness(samples: NDArray[np.float32], sample_rate: int) -> float:
    """Root mean square after the K-weighting of ITU-R BS.1770-4, its filters set for this sample rate."""
    weighted = samples.astype(np.float64)
    for frequency, quality, gain in _K_WEIGHTING:
        k = math.tan(math.pi * frequency / sample_rate)
        denominator = 1 + k / quality + k * k
        if gain is None:
            numerator = [1.0, -2.0, 1.0]
        else:
            high = 10 ** (gain / 20)
            band = high**0.4996667741545416
            numerator = [
                (high + band * k / quality + k * k) / denominator,
                2 * (k * k - high) / denominator,
                (high - band * k / quality + k * k) / denominator,
            ]
        feedback = [1.0, 2 * (k * k - 1) / denominator, (1 - k / quality + k * k) / denominator]
        weighted = lfilter(numerator, feedback, weighted)
    return float(np.sqrt(np.mean(np.square(weighted))))


def _digest(samples: NDArray[np.float32], sample_rate: int) -> str:
    """Hash of a clip in 16 bits, so that rounding in the last place does not make another file."""
    pcm = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")
    return digest(f"{sample_rate} ".encode() + pcm.tobytes())[:16]


def _mp3(samples: NDArray[np.float32], sample_rate: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(
        buffer,
        np.clip(samples, -1, 1),
        sample_rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        compression_level=0.62,
    )
    return buffer.getvalue()


def _spectrogram(samples: NDArray[np.float32], sample_rate: int) -> bytes:
    """Mel spectrogram, 80 dB deep, 64 bands high, as a small PNG without axes."""
    import librosa
    import matplotlib.pyplot as plt

    hop = max(1, len(samples) // 320)
    power = librosa.feature.melspectrogram(y=samples, sr=sample_rate, n_fft=1024, hop_length=hop, n_mels=64)
    decibel = librosa.power_to_db(power, ref=np.max, top_db=80.0)
    buffer = io.BytesIO()
    plt.imsave(buffer, decibel, origin="lower", cmap="magma", vmin=-80, vmax=0, format="png")
    return buffer.getvalue()


def _write_once(path: Path, content: Callable[[], bytes]) -> None:
    """Write what `content()` gives unless the file is there; a reader never sees half a file."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content())


def _embeds(embed: bool | None) -> bool:
    if embed is not None:
        return embed
    return "google.colab" in sys.modules or "VSCODE_PID" in os.environ


def _sources(
    sounds: Mapping[K, NDArray[np.float32]], sample_rate: int, *, folder: str | Path, embed: bool | None
) -> dict[K, str]:
    """What goes into ``src`` for each clip: a relative path, or the data themselves."""
    if _embeds(embed):
        return {key: _data_uri(_mp3(sound, sample_rate), "audio/mpeg") for key, sound in sounds.items()}
    files = {key: write_mp3(sound, sample_rate, folder=folder) for key, sound in sounds.items()}
    return {key: html.escape(file.as_posix()) for key, file in files.items()}


def _pictures(
    sounds: Mapping[K, NDArray[np.float32]], sample_rate: int, *, folder: str | Path, embed: bool | None
) -> dict[K, str]:
    if _embeds(embed):
        drawn = {key: _spectrogram(sound, sample_rate) for key, sound in sounds.items()}
        return {key: _data_uri(picture, "image/png") for key, picture in drawn.items()}
    pictures = {}
    for key, sound in sounds.items():
        path = Path(folder) / f"{_digest(sound, sample_rate)}.png"
        _write_once(path, partial(_spectrogram, sound, sample_rate))
        pictures[key] = html.escape(path.as_posix())
    return pictures


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


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
