"""The pocket model's music: composed by rule, rendered with a SoundFont, every truth known.

A clip is determined by its seed alone. Styles differ in drums, bass, accompaniment and harmony; tempo,
brightness, loudness, energy, mode, key and lead instrument are drawn independently of style and of each
other, so that no attribute can be guessed from another (`steerlib.pocket` chapter of the book).

Units: seconds, BPM (quarter notes), Hz, dB re full scale. Rendering uses symusic with the TimGM6mb SoundFont
that pretty_midi carries (GPL-2; only audio made with it is used here, the SoundFont is not shipped), tuned by
`steerlib.music.soundfont`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from typing import Any

import numpy as np
import soxr

from steerlib.music.captions import KEYS, LEADS, STYLES, caption
from steerlib.music.soundfont import tuned_soundfont

SAMPLE_RATE = 16_000
SECONDS = 8.0
# symusic 0.5.9 rounds the loop of a sampled note to whole samples: at 16 kHz high notes are out of tune
_RENDER_RATE = 48_000
#: Seeds from here on are never trained on.
HELD_OUT = 10_000_000

# lead: (General MIDI program, lowest, highest pitch); symusic 0.5.9 never returns from xylophone above 88
_LEADS = {
    "flute": (73, 72, 91),
    "violin": (40, 64, 86),
    "xylophone": (13, 67, 88),
    "piano": (0, 62, 84),
    "guitar": (24, 55, 76),
    "trumpet": (56, 60, 80),
    "saxophone": (65, 58, 77),
    "clarinet": (71, 60, 82),
    "organ": (19, 60, 82),
    "synth": (81, 62, 84),
}  # fmt: skip
#: General MIDI program of each lead instrument.
PROGRAMS = {name: program for name, (program, _, _) in _LEADS.items()}
_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
_PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 3, 4, 0), (0, 5, 3, 4), (1, 4, 0, 0), (0, 3, 0, 4), (5, 3, 0, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 4, 0), (0, 5, 3, 4), (0, 6, 5, 6), (0, 3, 6, 2), (0, 0, 3, 4)),
}  # scale degrees, one a bar
_RHYTHMS = {  # onsets of the tune within a bar, in beats, from sparse to dense
    0: ((0, 2), (0, 3), (0, 1, 2), (0, 2, 3)),
    1: ((0, 1, 2, 3), (0, 1, 1.5, 2, 3), (0, 0.5, 1, 2, 3), (0, 1.5, 2, 3)),
    2: (
        (0, 0.5, 1, 1.5, 2, 3),
        (0, 0.5, 1, 2, 2.5, 3),
        (0, 1, 1.5, 2, 2.5, 3, 3.5),
        (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5),
    ),
}
KICK, RIM, SNARE, CLAP, HAT, PEDAL, OPEN, RIDE, TAMBOURINE, SHAKER = 36, 37, 38, 39, 42, 44, 46, 51, 54, 70


@dataclass(frozen=True)
class _Style:
    """How a style is played: everything in beats within one 4/4 bar."""

    drums: tuple[tuple[float, int, int], ...]  # (beat, General MIDI drum, velocity): always heard
    busy: tuple[tuple[float, int, int], ...]  # added when the energy is not low
    bass: tuple[int, ...]  # programs to choose from
    bass_line: tuple[tuple[float, int], ...]  # (beat, chord tone: 0 root, 1 third, 2 fifth)
    comp: tuple[int, ...]
    comp_beats: tuple[float, ...]
    comp_length: float
    seventh: bool = False


def _every(step: float, drum: int, velocity: int, start: float = 0.0) -> tuple[tuple[float, int, int], ...]:
    return tuple((float(b), drum, velocity) for b in np.arange(start, 4, step))


_STYLES = {
    "rock": _Style(
        ((0, KICK, 112), (2, KICK, 108), (1, SNARE, 108), (3, SNARE, 108), *_every(1, HAT, 76)),
        (*_every(1, HAT, 60, 0.5), (2.5, KICK, 92)),
        (33, 34), ((0, 0), (0.5, 0), (1, 0), (1.5, 0), (2, 0), (2.5, 0), (3, 0), (3.5, 0)), (29, 30), (0, 2), 1.8,
    ),
    "pop": _Style(
        ((0, KICK, 106), (2, KICK, 104), (1, CLAP, 104), (3, CLAP, 104), *_every(1, TAMBOURINE, 66)),
        (*_every(1, HAT, 62, 0.5), (1.5, KICK, 84)),
        (38, 33), ((0, 0), (1, 0), (2, 0), (3, 0)), (4, 50, 5), (0, 1, 2, 3), 0.8,
    ),
    "folk": _Style(
        ((0, TAMBOURINE, 74), (1, TAMBOURINE, 56), (2, TAMBOURINE, 70), (3, TAMBOURINE, 56)),
        _every(0.5, SHAKER, 46),
        (32,), ((0, 0), (2, 2)), (25, 24, 105), (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5), 0.45,
    ),
    "hip-hop": _Style(
        ((0, KICK, 118), (1, SNARE, 114), (3, SNARE, 114), (2.5, KICK, 110), *_every(1, HAT, 70)),
        (*_every(1, HAT, 58, 0.5), (1.75, KICK, 88), (3.75, HAT, 56)),
        (38, 39), ((0, 0), (2.5, 0)), (4, 11, 89), (0,), 3.5, True,
    ),
    "jazz": _Style(
        (*_every(1, RIDE, 84), (1, PEDAL, 78), (3, PEDAL, 78)),
        ((1.667, RIDE, 64), (3.667, RIDE, 64), (2.667, SNARE, 46)),
        (32,), ((0, 0), (1, 1), (2, 2), (3, 1)), (0, 26), (0, 1.667, 3), 0.5, True,
    ),
    "classical": _Style(
        (),
        (),
        (45, 43), ((0, 0), (1, 2), (2, 1), (3, 2)), (48, 49, 46), (0, 1, 2, 3), 0.95,
    ),
    "electronic": _Style(
        ((0, KICK, 118), (1, KICK, 118), (2, KICK, 118), (3, KICK, 118), (1, CLAP, 96), (3, CLAP, 96)),
        (*_every(1, OPEN, 66, 0.5),),
        (38, 39), ((0.5, 0), (1.5, 0), (2.5, 0), (3.5, 0)), (81, 90, 62), (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5), 0.3,
    ),
    "reggae": _Style(
        ((0, KICK, 92), (1, KICK, 92), (2, KICK, 112), (3, KICK, 92), (2, RIM, 106)),
        (*_every(0.5, HAT, 56),),
        (33, 36), ((0, 0), (1, 2), (2, 0), (3.5, 1)), (16, 27), (0.5, 1.5, 2.5, 3.5), 0.25,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Truth:
    """What is known about a clip because we made it.

    Attributes
    ----------
    seed : int
        Determines everything else.
    bpm : float
        Quarter notes a minute, 50 to 200, log-uniform.
    cutoff : float
        Corner of the low-pass filter in Hz, 600 to 8000, log-uniform.
    level : float
        Root-mean-square level in dB re full scale, -30 to -14, uniform.
    energy : float
        0 sparse and soft playing, 1 dense and hard playing.
    style, lead, mode : str
        As in `captions.STYLES` and `captions.LEADS`; ``"major"`` or ``"minor"``.
    key : int
        Pitch class of the tonic, 0 is C.
    chords : tuple of (float, int, str)
        Onset in seconds, pitch class of the root, quality (``maj``, ``min``, ``dim``).
    beats : tuple of float
        Beat times in seconds within the clip.
    downbeats : tuple of float
        Those that start a bar.
    caption : str
        What the text encoder reads.
    mentioned : dict
        The attributes that the caption speaks of, with the pole.
    """

    seed: int
    bpm: float
    cutoff: float
    level: float
    energy: float
    style: str
    lead: str
    mode: str
    key: int
    chords: tuple[tuple[float, int, str], ...]
    beats: tuple[float, ...]
    downbeats: tuple[float, ...]
    caption: str
    mentioned: dict[str, str]

    def poles(self) -> dict[str, str | None]:
        """The pole of each attribute, None in its middle range."""

        def pole(value: float, low: float, high: float, names: tuple[str, str]) -> str | None:
            return names[0] if value >= high else names[1] if value <= low else None

        return {
            "tempo": pole(self.bpm, 82, 128, ("fast", "slow")),
            "timbre": pole(self.cutoff, 1300, 4000, ("bright", "dark")),
            "loudness": pole(self.level, -25, -19, ("loud", "soft")),
            "energy": pole(self.energy, 0.33, 0.67, ("energetic", "calm")),
            "mode": self.mode,
            "style": self.style,
            "lead": self.lead,
            "key": KEYS[self.key],
        }


@dataclass(frozen=True)
class _Note:
    beat: float
    length: float
    pitch: int
    velocity: int


def compose(seed: int) -> tuple[Truth, dict[tuple[int, bool, str], list[_Note]]]:
    """Compose the clip of a seed.

    Parameters
    ----------
    seed : int
        Non-negative; at and above `HELD_OUT` reserved for evaluation.

    Returns
    -------
    truth : Truth
    parts : dict
        (program, is drum kit, role) to notes, in beats from the start of the clip.
    """
    rng = np.random.default_rng([20261122, seed])
    bpm = float(np.exp(rng.uniform(np.log(50), np.log(200))))
    cutoff = float(np.exp(rng.uniform(np.log(600), np.log(8000))))
    level, energy = float(rng.uniform(-30, -14)), float(rng.uniform(0, 1))
    style, lead = str(rng.choice(list(STYLES))), str(rng.choice(list(LEADS)))
    mode, key = str(rng.choice(["major", "minor"])), int(rng.integers(12))
    bars = int(np.ceil(SECONDS * bpm / 240)) + 1
    progression = _PROGRESSIONS[mode][rng.integers(6)]
    degrees = [progression[bar % 4] for bar in range(bars)]

    plan, scale = _STYLES[style], _SCALES[mode]
    tone = lambda degree: key + scale[degree % 7] + 12 * (degree // 7)  # noqa: E731 - semitones above C
    hard = 0.72 + 0.28 * energy  # how hard the players hit
    bass, comp = int(rng.choice(plan.bass)), int(rng.choice(plan.comp))
    inversion = int(rng.integers(3))
    drums: list[_Note] = []
    low: list[_Note] = []
    middle: list[_Note] = []
    for bar, degree in enumerate(degrees):
        beat = 4.0 * bar
        hits = plan.drums + (plan.busy if energy > 0.33 else ())
        drums += [_Note(beat + b, 0.2, d, int(v * hard)) for b, d, v in hits]
        if bar % 4 == 0 and energy > 0.67 and plan.drums:
            drums.append(_Note(beat, 1.0, 49, int(88 * hard)))
        line = plan.bass_line if energy > 0.33 else plan.bass_line[::2]
        for i, (b, which) in enumerate(line):
            end = line[i + 1][0] if i + 1 < len(line) else 4.0
            low.append(_Note(beat + b, 0.9 * (end - b), 36 + _fold(tone(degree + 2 * which)), int(96 * hard)))
        chord = [tone(degree + step) for step in ((0, 2, 4, 6) if plan.seventh else (0, 2, 4))]
        voiced = [55 + (_fold(p) - 7 + (12 if i < inversion else 0)) % 24 for i, p in enumerate(chord)]
        beats = plan.comp_beats if energy > 0.33 or len(plan.comp_beats) < 5 else plan.comp_beats[::2]
        for i, b in enumerate(beats):
            arpeggiated = style in ("folk", "electronic") and energy < 0.67
            pitches = [voiced[i % len(voiced)]] if arpeggiated else voiced
            middle += [_Note(beat + b, plan.comp_length, p, int(70 * hard)) for p in pitches]

    parts = {
        (0, True, "drums"): drums,
        (bass, False, "bass"): low,
        (comp, False, "comp"): middle,
        (_LEADS[lead][0], False, "lead"): _tune(degrees, tone, lead, energy, hard, rng),
    }
    seconds = 60 / bpm
    times = np.arange(4 * bars) * seconds
    quality = {(0, 4): "maj", (0, 3): "min"}
    chords = []
    for bar, degree in enumerate(degrees):
        third, fifth = tone(degree + 2) - tone(degree), tone(degree + 4) - tone(degree)
        name = "dim" if fifth == 6 else quality[(0, third)]
        if bar * 4 * seconds < SECONDS:
            chords.append((round(bar * 4 * seconds, 4), tone(degree) % 12, name))
    truth = Truth(
        seed=seed, bpm=bpm, cutoff=cutoff, level=level, energy=energy, style=style, lead=lead, mode=mode, key=key,
        chords=tuple(chords), beats=tuple(times[times < SECONDS].round(5).tolist()),
        downbeats=tuple(times[::4][times[::4] < SECONDS].round(5).tolist()), caption="", mentioned={},
    )  # fmt: skip
    text, mentioned = caption(truth.poles(), rng)
    return Truth(**{**asdict(truth), "caption": text, "mentioned": mentioned, "chords": truth.chords}), parts


def _fold(pitch: int) -> int:
    return pitch % 12


def _tune(degrees, tone, lead: str, energy: float, hard: float, rng: np.random.Generator) -> list[_Note]:
    """A tune of two motifs (A A' B A'): chord tones on the beats, steps between them."""
    program, lowest, highest = _LEADS[lead]
    density = min(2, int(energy * 3))
    motifs = []
    for _ in range(2):
        rhythm = _RHYTHMS[density][rng.integers(4)]
        contour = np.cumsum(rng.choice([-2, -1, -1, 1, 1, 2], size=len(rhythm)))
        motifs.append((rhythm, contour - contour[0]))
    start = int(rng.integers(0, 3)) * 2
    notes = []
    for bar, degree in enumerate(degrees):
        rhythm, contour = motifs[(0, 0, 1, 0)[bar % 4]]
        if bar % 4 == 3 or (bar % 4 == 1 and rng.random() < 0.5):  # close on a chord tone
            contour = np.append(contour[:-1], 0)
        for i, (b, step) in enumerate(zip(rhythm, contour, strict=True)):
            wanted = start + int(step)
            if b == int(b):
                wanted = 2 * round(wanted / 2)  # degrees 0, 2, 4 above the root are its chord
            pitch = 60 + tone(degree + wanted)
            while pitch < lowest:
                pitch += 12
            while pitch > highest:
                pitch -= 12
            end = rhythm[i + 1] if i + 1 < len(rhythm) else 4.0
            notes.append(_Note(4 * bar + b, 0.92 * (end - b), pitch, int((118 if b == 0 else 110) * hard)))
    return notes


#: Level of each role in the mix; the lead stands in front so that it can be recognised.
_MIX = {"drums": 0.8, "bass": 0.8, "comp": 0.55, "lead": 1.0}


@lru_cache(maxsize=1)
def _synthesizer():
    from symusic import Synthesizer

    return Synthesizer(sf_path=str(tuned_soundfont()), sample_rate=_RENDER_RATE, quality=4)


def render_parts(parts: dict[tuple[int, bool, str], list[_Note]], bpm: float, seconds: float) -> np.ndarray:
    """Render notes to mono audio without effects.

    Returns
    -------
    ndarray of shape (seconds * SAMPLE_RATE,), float32
    """
    from symusic import Note, Score, Tempo, Track

    score: Any = Score(480)
    score.tempos.append(Tempo(0, qpm=bpm))
    for (program, is_drum, role), notes in parts.items():
        track: Any = Track(program=program, is_drum=is_drum, name=role)
        for n in notes:
            velocity = int(np.clip(n.velocity * _MIX.get(role, 1.0), 1, 127))
            track.notes.append(Note(round(n.beat * 480), max(1, round(n.length * 480)), n.pitch, velocity))
        score.tracks.append(track)
    audio = soxr.resample(_synthesizer().render(score, stereo=False)[0], _RENDER_RATE, SAMPLE_RATE)
    samples = round(seconds * SAMPLE_RATE)
    return np.pad(audio[:samples], (0, max(0, samples - len(audio))))


def render(truth: Truth, parts: dict[tuple[int, bool, str], list[_Note]]) -> np.ndarray:
    """Render a composed clip, with its brightness and level.

    Returns
    -------
    ndarray of shape (SECONDS * SAMPLE_RATE,), float32
        Peak at most 0.99; clips that would exceed it are turned down as a whole.
    """
    audio = render_parts(parts, truth.bpm, SECONDS)
    spectrum = np.fft.rfft(audio)
    frequency = np.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE)
    gain = 1 / np.sqrt(1 + (frequency / truth.cutoff) ** 4)  # second-order Butterworth
    lift = (
        np.clip(np.log2(truth.cutoff / 2200) / np.log2(8000 / 2200), 0, 1) * 9
    )  # dB of treble for bright clips
    gain = gain * 10 ** (lift / 20 * np.clip(np.log2(np.maximum(frequency, 1) / 1000) / 2, 0, 1))
    audio = np.fft.irfft(spectrum * gain, len(audio))
    audio *= 10 ** (truth.level / 20) / max(np.sqrt(np.mean(audio**2)), 1e-6)
    return (audio * min(1.0, 0.99 / max(np.abs(audio).max(), 1e-9))).astype(np.float32)


def make(seed: int) -> tuple[Truth, np.ndarray]:
    """The truth and the audio of one seed."""
    truth, parts = compose(seed)
    return truth, render(truth, parts)


def stream(seeds: Iterable[int], *, workers: int = 2) -> Iterator[tuple[Truth, np.ndarray]]:
    """Clips of many seeds, in order, made by several processes.

    Parameters
    ----------
    seeds : iterable of int
    workers : int
        Processes; 0 makes them in this one.

    Yields
    ------
    (Truth, ndarray)
    """
    if workers == 0:
        yield from map(make, seeds)
        return
    # spawned: a forked child inherits the locks of the renderer's threads and hangs
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(make, seeds, chunksize=32)
