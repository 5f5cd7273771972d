"""The pocket model's music: composed by rule, rendered with a soundfont, every truth known.

A clip is determined by its seed alone. Styles differ in drums, bass, accompaniment and harmony; tempo,
brightness, loudness, energy, mode, key and lead instrument are drawn independently of style and of each
other, so that no attribute can be guessed from another; or, if asked for, with tempo, brightness and loudness
correlated. Mode is made audible: minor has its leading note, and every progression leans on its tonic. In part of
the clips something happens: drums or lead come in or stop, the music swells, darkens, or changes its speed.

Units: seconds, BPM (quarter notes), Hz, dB re full scale. Rendering uses symusic with the soundfont of
`steerlib.pocket.second.soundfont`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from typing import Any

import numpy as np
import soxr
from scipy.special import ndtr

from steerlib.pocket.second.captions import EVENTS, KEYS, LEADS, STYLES, caption
from steerlib.pocket.second.soundfont import LOUDEST, soundfont

SAMPLE_RATE = 16_000
SECONDS = 8.0
# symusic 0.5.9 rounds the loop of a sampled note to whole samples: at 16 kHz high notes are out of tune
_RENDER_RATE = 48_000
#: Seeds from here on are never trained on.
HELD_OUT = 10_000_000
#: Correlation of tempo, brightness and loudness in the correlated corpus (of their normal scores).
CORRELATION = 0.7

_PROGRAMS = {
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
# lead: (General MIDI program, lowest, highest pitch); symusic 0.5.9 never returns from xylophone above 88
_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
_PROGRESSIONS = {
    "major": ((0, 3, 4, 0), (0, 4, 3, 0), (0, 3, 0, 4), (0, 4, 0, 3), (0, 1, 4, 0), (0, 3, 4, 3)),
    "minor": ((0, 3, 4, 0), (0, 4, 3, 0), (0, 3, 0, 4), (0, 4, 0, 3), (0, 5, 4, 0), (0, 4, 5, 0)),
}  # scale degrees, one a bar
_RHYTHMS = (  # onsets of the tune within a bar, in beats, from sparse to dense
    ((0,), (0, 2), (0, 3), (0, 1)),
    ((0, 1, 2), (0, 2, 3), (0, 1, 2, 3), (0, 1.5, 2)),
    ((0, 0.5, 1, 2, 3), (0, 1, 1.5, 2, 2.5, 3), (0, 0.5, 1, 1.5, 2, 3), (0, 1, 2, 2.5, 3, 3.5)),
    (
        (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5),
        (0, 0.5, 0.75, 1, 1.5, 2, 2.5, 2.75, 3, 3.5),
        (0, 0.25, 0.5, 1, 1.5, 2, 2.25, 2.5, 3, 3.5),
        (0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.25, 3.5, 3.75),
    ),
)
_PER_BEAT = (0.45, 0.9, 1.4, 2.6)  # notes a beat of each
KICK, RIM, SNARE, CLAP, HAT, PEDAL, OPEN, CRASH, RIDE, TAMBOURINE, SHAKER = (
    36, 37, 38, 39, 42, 44, 46, 49, 51, 54, 70,
)  # fmt: skip


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
        ((0, KICK, 107), (2, KICK, 105), (1, SNARE, 105), (3, SNARE, 105), *_every(1, HAT, 76)),
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
        ((0, KICK, 107), (1, SNARE, 107), (3, SNARE, 107), (2.5, KICK, 105), *_every(1, HAT, 70)),
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
        ((0, KICK, 107), (1, KICK, 107), (2, KICK, 107), (3, KICK, 107), (1, CLAP, 96), (3, CLAP, 96)),
        (*_every(1, OPEN, 66, 0.5),),
        (38, 39), ((0.5, 0), (1.5, 0), (2.5, 0), (3.5, 0)), (81, 90, 62), (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5), 0.3,
    ),
    "reggae": _Style(
        ((0, KICK, 92), (1, KICK, 92), (2, KICK, 107), (3, KICK, 92), (2, RIM, 106)),
        (*_every(0.5, HAT, 56),),
        (33, 36), ((0, 0), (1, 2), (2, 0), (3.5, 1)), (16, 27), (0.5, 1.5, 2.5, 3.5), 0.25,
    ),
}  # fmt: skip


def played() -> dict[tuple[int, int], tuple[int, int]]:
    """What the soundfont must have: (bank, program) to lowest and highest key; bank 128 has the drums."""
    keys = {(0, program): (low, high) for program, low, high in _PROGRAMS.values()}
    for style in _STYLES.values():
        for program, low, high in [(p, 36, 47) for p in style.bass] + [(p, 48, 84) for p in style.comp]:
            before = keys.get((0, program), (low, high))
            keys[0, program] = (min(low, before[0]), max(high, before[1]))
    return keys | {(128, 0): (KICK, SHAKER)}


@dataclass(frozen=True)
class Truth:
    """What is known about a clip because we made it.

    Attributes
    ----------
    seed : int
        Determines everything else.
    bpm : float
        Quarter notes a minute, 50 to 200, log-uniform; in the middle of the clip where the tempo changes.
    cutoff : float
        Corner of the low-pass filter in Hz, 600 to 8000, log-uniform; in the middle of the clip where it moves.
    level : float
        Root-mean-square level in dB re full scale, -32 to -14, uniform.
    energy : float
        0 sparse and soft playing, 1 dense and hard playing.
    style, lead, mode : str
        As in `captions.STYLES` and `captions.LEADS`; ``"major"`` or ``"minor"``.
    key : int
        Pitch class of the tonic, 0 is C.
    feel : str or None
        ``"swung"``, ``"half-time"``, or None where it is straight.
    event : str or None
        What happens, as in `captions.EVENTS`, or None where nothing does.
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
    feel: str | None
    event: str | None
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
            "loudness": pole(self.level, -26, -20, ("loud", "soft")),
            "energy": pole(self.energy, 0.3, 0.7, ("energetic", "calm")),
            "mode": self.mode,
            "feel": self.feel,
            "style": self.style,
            "lead": self.lead,
            "key": KEYS[self.key],
            "event": self.event,
        }

    def tempi(self) -> list[float]:
        """BPM of each beat, as `render_parts` takes it."""
        return (60 / np.diff(self.beats)).tolist()


@dataclass(frozen=True)
class _Note:
    beat: float
    length: float
    pitch: int
    velocity: int


Parts = dict[tuple[int, bool, str], list[_Note]]


def compose(seed: int, *, correlation: float = 0.0) -> tuple[Truth, Parts]:
    """Compose the clip of a seed.

    Parameters
    ----------
    seed : int
        Non-negative; at and above `HELD_OUT` reserved for evaluation.
    correlation : float
        Of the normal scores of tempo, brightness and loudness with each other.

    Returns
    -------
    truth : Truth
    parts : dict
        (program, is drum kit, role) to notes, in beats from the start of the clip.
    """
    rng = np.random.default_rng([20261124, seed])
    shared, *own = rng.normal(size=4)
    quick, bright, loud = ndtr(np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * np.array(own))
    bpm, cutoff, level = float(50 * 4**quick), float(600 * (8000 / 600) ** bright), float(18 * loud - 32)
    energy = float(rng.uniform(0, 1))
    style, lead = str(rng.choice(list(STYLES))), str(rng.choice(list(LEADS)))
    mode, key = str(rng.choice(["major", "minor"])), int(rng.integers(12))
    feel = (None, "swung", "half-time")[rng.choice(3, p=(0.8, 0.15, 0.05))]
    event = str(rng.choice(list(EVENTS))) if rng.random() < 0.4 else None
    plan, scale = _STYLES[style], _SCALES[mode]
    if not plan.drums:
        feel = None if feel == "half-time" else feel
        event = None if event and event.startswith("drums") else event

    # beats until past the end; the tempo changes by a constant ratio a second
    change = {"speeds up": 1, "slows down": -1}.get(event or "", 0) * float(rng.uniform(0.3, 0.6))
    times = [0.0]
    while times[-1] < SECONDS:
        times.append(times[-1] + 60 / (bpm * np.exp(change * (min(times[-1], SECONDS) / SECONDS - 0.5))))
    beats = np.array(times).round(5)
    inside = beats[beats < SECONDS]
    bars = -(-len(inside) // 4) + 1
    middle = int(np.abs(beats - SECONDS / 2).argmin())  # where sections change

    chord_beats = 2 if bpm < 100 else 4  # slow clips have room for few bars
    progression = _PROGRESSIONS[mode][rng.integers(6)]
    chords = [progression[i % 4] for i in range(bars * 4 // chord_beats)]

    def degree_at(beat: float) -> int:
        return chords[int(beat // chord_beats)]

    def tone(degree: int, chord: int) -> int:
        """Semitones above C of a scale degree; over the dominant, minor has its leading note."""
        raised = mode == "minor" and chord == 4 and degree % 7 == 6
        return key + scale[degree % 7] + raised + 12 * (degree // 7)

    hard = 0.72 + 0.28 * energy  # how hard the players hit
    bass, comp = int(rng.choice(plan.bass)), int(rng.choice(plan.comp))
    inversion = int(rng.integers(3))
    hits = plan.drums
    if energy > 0.33:
        hits += plan.busy
    if energy > 0.67 and bpm < 100 and plan.drums:
        hits += _every(0.5, HAT, 52, 0.25)
    thin = energy < 0.33 and bpm > 110  # calm in spite of its tempo
    if thin:
        hits = tuple(h for h in hits if h[1] in (KICK, SNARE, CLAP, RIM, RIDE) or h[0] in (0, 2))
    drums, low, harmony = [], [], []
    for bar in range(bars):
        start = 4.0 * bar
        for b, drum, velocity in hits:
            if feel == "half-time" and drum not in (HAT, RIDE):  # the bar's pattern takes two bars
                b = 2 * b - 4 * (bar % 2)
                if not 0 <= b < 4:
                    continue
            drums.append(_Note(start + b, 0.2, drum, int(velocity * hard**3)))
        if bar % 4 == 0 and energy > 0.67 and plan.drums:
            drums.append(_Note(start, 1.0, CRASH, int(88 * hard**3)))
        line = plan.bass_line if energy > 0.33 else plan.bass_line[:1] if thin else plan.bass_line[::2]
        for i, (b, which) in enumerate(line):
            end = line[i + 1][0] if i + 1 < len(line) else 4.0
            chord = degree_at(start + b)
            step = 0 if b % chord_beats == 0 else 2 * which
            low.append(_Note(start + b, 0.9 * (end - b), 36 + tone(chord + step, chord) % 12, int(96 * hard)))
        comp_beats = plan.comp_beats if energy > 0.33 or len(plan.comp_beats) < 5 else plan.comp_beats[::2]
        if thin:
            comp_beats = comp_beats[::2]
        if chord_beats == 2 and len(comp_beats) == 1:
            comp_beats = (0, 2)
        length = min(plan.comp_length, 0.95 * chord_beats)
        if energy > 0.67 and bpm < 130:  # busy in spite of its tempo
            apart = 0.25 if bpm < 75 else 0.5
            comp_beats, length = tuple(np.arange(0, 4, apart)), min(length, 0.9 * apart)
        for i, b in enumerate(comp_beats):
            chord = degree_at(start + b)
            tones = [tone(chord + step, chord) for step in ((0, 2, 4, 6) if plan.seventh else (0, 2, 4))]
            voiced = [55 + (p % 12 - 7 + (12 if n < inversion else 0)) % 24 for n, p in enumerate(tones)]
            arpeggiated = style in ("folk", "electronic") and energy < 0.67
            pitches = [voiced[i % len(voiced)]] if arpeggiated else voiced
            harmony += [_Note(start + b, length, p, int(90 * hard)) for p in pitches]

    tune = _tune(bars, degree_at, tone, lead, energy, bpm, hard, rng)
    parts = {
        (0, True, "drums"): drums,
        (bass, False, "bass"): low,
        (comp, False, "comp"): harmony,
        (_PROGRAMS[lead][0], False, "lead"): tune,
    }
    for role in parts:
        name = role[2]
        if (event == "drums enter" and name == "drums") or (event == "lead enters" and name == "lead"):
            parts[role] = [n for n in parts[role] if n.beat >= middle]
        elif event == "drums stop" and name == "drums":
            parts[role] = [n for n in parts[role] if n.beat < middle]
        elif event == "lead alone" and name != "lead":
            parts[role] = [n for n in parts[role] if n.beat >= middle]
    if feel == "swung":
        parts = {role: [_swung(note) for note in notes] for role, notes in parts.items()}

    named = []
    for onset, degree in zip(inside[::chord_beats].tolist(), chords, strict=False):
        third, fifth = (tone(degree + n, degree) - tone(degree, degree) for n in (2, 4))
        quality = "dim" if fifth == 6 else {4: "maj", 3: "min"}[third]
        named.append((onset, tone(degree, degree) % 12, quality))
    truth = Truth(
        seed=seed, bpm=bpm, cutoff=cutoff, level=level, energy=energy, style=style, lead=lead, mode=mode, key=key,
        feel=feel, event=event, chords=tuple(named), beats=tuple(inside.tolist()),
        downbeats=tuple(inside[::4].tolist()), caption="", mentioned={},
    )  # fmt: skip
    text, mentioned = caption(truth.poles(), rng)
    return Truth(**{**asdict(truth), "caption": text, "mentioned": mentioned, "chords": truth.chords}), parts


def _swung(note: _Note) -> _Note:
    """The same note where a swinging player puts it: the second eighth of a beat on its last third."""
    place = note.beat % 1
    late = place * 4 / 3 if place <= 0.5 else 2 / 3 + (place - 0.5) * 2 / 3
    return _Note(note.beat - place + late, note.length, note.pitch, note.velocity)


def _tune(bars, degree_at, tone, lead, energy, bpm, hard, rng) -> list[_Note]:
    """A tune of two motifs (A A' B A'): chord tones on the beats, steps between them, some rests."""
    _, lowest, highest = _PROGRAMS[lead]
    # notes a second grow with the energy, and less than in proportion with the tempo
    wanted = 0.7 * 8**energy / ((bpm / 60) ** 0.6 * 1.7**0.4)
    fitting = _PER_BEAT if bpm < 110 else _PER_BEAT[:3]
    density = int(np.abs(np.log(np.array(fitting) / wanted)).argmin())
    motifs = []
    for _ in range(2):
        rhythm = _RHYTHMS[density][rng.integers(4)]
        contour = np.cumsum(rng.choice([-2, -1, -1, 1, 1, 2], size=len(rhythm)))
        held = rng.random(len(rhythm)) > 0.15  # a note, else a rest
        held[0] = True
        motifs.append((rhythm, contour - contour[0], held))
    start = int(rng.integers(0, 3)) * 2
    notes = []
    for bar in range(bars):
        rhythm, contour, held = motifs[(0, 0, 1, 0)[bar % 4]]
        if bar % 4 == 3 or (bar % 4 == 1 and rng.random() < 0.5):  # close on a chord tone
            contour = np.append(contour[:-1], 0)
        for i, (b, step) in enumerate(zip(rhythm, contour, strict=True)):
            chord, degree = degree_at(4 * bar + b), start + int(step)
            if b == int(b):
                degree = 2 * round(degree / 2)  # degrees 0, 2, 4 above the root are its chord
            pitch = 60 + tone(chord + degree, chord)
            while pitch < lowest:
                pitch += 12
            while pitch > highest:
                pitch -= 12
            end = rhythm[i + 1] if i + 1 < len(rhythm) else 4.0
            if held[i]:
                notes.append(
                    _Note(4 * bar + b, 0.95 * (end - b), pitch, int((107 if b == 0 else 100) * hard))
                )
    return notes


#: Level of each role in dB; the lead stands in front so that it can be recognised and followed.
_MIX = {"drums": -3.0, "bass": -7.0, "comp": -9.0, "lead": 0.0}


@lru_cache(maxsize=1)
def _synthesizer():
    from symusic import Synthesizer

    return Synthesizer(sf_path=str(soundfont()), sample_rate=_RENDER_RATE, quality=4)


def render_parts(parts: Parts, bpm: float | Sequence[float], seconds: float) -> np.ndarray:
    """Render notes to mono audio without effects.

    Parameters
    ----------
    parts : dict
        As `compose` returns them. Every role has its own level in the mix, however loud its samples are; its
        velocities change it.
    bpm : float or sequence of float
        Of all beats, or of each (`Truth.tempi`); the last holds on.
    seconds : float

    Returns
    -------
    ndarray of shape (seconds * SAMPLE_RATE,), float32
    """
    from symusic import Note, Score, Tempo, Track

    mix = np.zeros(round(seconds * _RENDER_RATE))
    for (program, is_drum, role), notes in parts.items():
        if not notes:
            continue
        score: Any = Score(480)
        for beat, tempo in enumerate([bpm] if isinstance(bpm, float | int) else bpm):
            score.tempos.append(Tempo(480 * beat, qpm=tempo))
        track: Any = Track(program=program, is_drum=is_drum, name=role)
        for n in notes:
            velocity = int(np.clip(n.velocity, 1, LOUDEST))
            track.notes.append(Note(round(n.beat * 480), max(1, round(n.length * 480)), n.pitch, velocity))
        score.tracks.append(track)
        audio = _synthesizer().render(score, stereo=False)[0][: len(mix)]
        level = 10 ** (_MIX.get(role, 0.0) / 20) * np.mean([n.velocity for n in notes]) / 100
        mix[: len(audio)] += audio * (level / max(_loudness(audio), 1e-6))
    return soxr.resample(0.1 * mix, _RENDER_RATE, SAMPLE_RATE).astype(np.float32)


def _loudness(audio: np.ndarray) -> float:
    """Root mean square of what sounds: tenths of a second within 20 dB of the loudest."""
    frame = _RENDER_RATE // 10
    power = (audio[: len(audio) // frame * frame].reshape(-1, frame) ** 2).mean(1)
    return float(np.sqrt(power[power >= power.max() / 100].mean())) if len(power) else 0.0


def render(truth: Truth, parts: Parts) -> np.ndarray:
    """Render a composed clip, with its brightness and level.

    Returns
    -------
    ndarray of shape (SECONDS * SAMPLE_RATE,), float32
        Peak at most 0.99; clips that would exceed it are turned down as a whole.
    """
    audio = render_parts(parts, truth.tempi(), SECONDS)
    moved = {"opens": 2.0, "closes": 0.5}.get(truth.event or "", 1.0)
    gone = np.linspace(0, 1, len(audio))
    filtered = _filtered(audio, truth.cutoff / moved)
    if moved != 1:
        filtered = filtered * (1 - gone) + gone * _filtered(audio, truth.cutoff * moved)
    swell = {"grows": 18, "fades": -18}.get(truth.event or "", 0)  # dB from beginning to end
    audio = filtered * 10 ** (swell * (gone - 0.5) / 20)
    audio *= 10 ** (truth.level / 20) / max(np.sqrt(np.mean(audio**2)), 1e-6)
    return (audio * min(1.0, 0.99 / max(np.abs(audio).max(), 1e-9))).astype(np.float32)


def _filtered(audio: np.ndarray, cutoff: float) -> np.ndarray:
    frequency = np.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE)
    gain = 1 / np.sqrt(1 + (frequency / cutoff) ** 4)  # second-order Butterworth
    lift = np.clip(np.log2(cutoff / 2200) / np.log2(8000 / 2200), 0, 1) * 9  # dB of treble for bright clips
    gain = gain * 10 ** (lift / 20 * np.clip(np.log2(np.maximum(frequency, 1) / 1000) / 2, 0, 1))
    return np.fft.irfft(np.fft.rfft(audio) * gain, len(audio))


def make(seed: int, *, correlation: float = 0.0) -> tuple[Truth, np.ndarray]:
    """The truth and the audio of one seed."""
    truth, parts = compose(seed, correlation=correlation)
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
