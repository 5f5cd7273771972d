"""Labelled audio for paper B: SynTheory made from its definition, genre collections from a folder, and ours.

Paper B, section IV-B, hears SynTheory [1]_ (notes, chords, chord progressions) for its clusters, and GTZAN [2]_
and the Free Music Archive (FMA) [3]_ in segments of 10 s for its probes. SynTheory is regenerated: `syntheory`
is its table, `render` makes the audio of any part of it. GTZAN and FMA cannot be shipped: they are read from a
folder in their published layouts, and without them `pocket_clips` makes genre clips by the rules of the pocket
model's corpus.

Units: seconds, Hz, MIDI pitches (60 is middle C), BPM. A *group* is what must not be on both sides of a split:
the track that a segment was cut from, or the instrument that plays a note.

.. [1] M. Wei, M. Freeman, C. Donahue, C. Sun. "Do music generation models encode music theory?" ISMIR 2024.
.. [2] G. Tzanetakis, P. Cook. "Musical genre classification of audio signals." IEEE TSAP 10(5), 2002.
.. [3] M. Defferrard, K. Benzi, P. Vandergheynst, X. Bresson. "FMA: A dataset for music analysis." ISMIR 2017.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import pretty_midi
import soxr
from symusic import Note, Score, Synthesizer, Tempo, Track
from tqdm.auto import tqdm

from steerlib.music import corpus
from steerlib.music.captions import LEADS, STYLES
from steerlib.music.recordings import printable, read_mono
from steerlib.music.soundfont import tuned_soundfont

__all__ = [
    "AudioSet",
    "SynTheory",
    "pocket_clips",
    "read_fma",
    "read_folder",
    "read_genres",
    "read_gtzan",
    "render",
    "stratified",
    "syntheory",
]

SynTheory = Literal["notes", "chords", "progressions", "tempos"]

_PROGRAMS = tuple(
    program for program in range(112) if not 96 <= program < 104 and program not in
    (8, 9, 14, 21, 22, 23, 31, 47, 55, 77, 78, 86)
)  # fmt: skip
_PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_TRIADS = {"major": (0, 4, 7), "minor": (0, 3, 7), "augmented": (0, 4, 8), "diminished": (0, 3, 6)}
_INVERSIONS = ("root", "first", "second")
_SCALES = {"ionian": (0, 2, 4, 5, 7, 9, 11), "aeolian": (0, 2, 3, 5, 7, 8, 10)}
_PROGRESSIONS = {
    "ionian": ("1451", "1465", "1564", "1645", "2516", "4156", "4536", "5415", "5641", "6415"),
    "aeolian": ("1251", "1341", "1451", "1637", "1671", "1673", "1764", "4711", "7671"),
}
_CLICKS = {  # name: (program or None for the drum kit, pitch of the downbeat, of the other beats)
    "drum_kit": (None, 37, 31),
    "woodblock_dark": (115, 37, 31),
    "woodblock_light": (115, 52, 48),
    "taiko": (116, 52, 48),
    "synth_drum": (118, 52, 48),
}
_SECONDS, _BPM, _VELOCITY = 4.0, 120.0, 64
_SILENCE = 1e-4  # peak amplitude: -80 dB of full scale
_RENDER_RATE = 96_000  # Hz

_AUDIO = (".wav", ".flac", ".ogg", ".mp3", ".au", ".aiff", ".aif")
_GTZAN = (
    "blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class AudioSet:
    """Clips of equal length with what is known about them.

    Attributes
    ----------
    audio : ndarray, shape (clips, samples), float32
    sample_rate : int
        Hz.
    table : DataFrame
        One row a clip, in the order of `audio`: labels, and ``group``, which must not be split.
    skipped : tuple of str
        Files that could not be used, each with the reason.
    """

    audio: npt.NDArray[np.float32]
    sample_rate: int
    table: pd.DataFrame
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.audio.ndim != 2 or len(self.audio) != len(self.table):
            raise ValueError(
                f"audio must have shape (clips, samples) for the {len(self.table)} rows of the table, got "
                f"{self.audio.shape}"
            )

    def __len__(self) -> int:
        return len(self.audio)

    def select(self, rows: npt.ArrayLike) -> "AudioSet":
        """Some of the clips: a mask, or their numbers in the order wanted."""
        chosen = np.arange(len(self))[np.asarray(rows)]
        return AudioSet(
            self.audio[chosen], self.sample_rate, self.table.iloc[chosen].reset_index(drop=True), self.skipped
        )

    def __repr__(self) -> str:
        left = f", {len(self.skipped)} files skipped" if self.skipped else ""
        return f"AudioSet({len(self)} x {self.audio.shape[1] / self.sample_rate:g} s{left})"


# --- SynTheory ----------------------------------------------------------------------------------------------


def syntheory(kind: SynTheory) -> pd.DataFrame:
    """The table of a SynTheory subset: every combination, no audio yet. Chapter: *Concepts in audio*.

    Parameters
    ----------
    kind : {"notes", "chords", "progressions", "tempos"}
        Notes: MIDI 0 to 107 on 92 instruments, 9,936. Chords: 12 roots, 4 triads, 3 inversions, 92 instruments,
        13,248. Progressions: 12 keys, 19 progressions, 92 instruments, 20,976. Tempos: 50 to 210 BPM, 5 clicks,
        5 offsets, 4,025. All last 4 s, at 120 BPM and velocity 64 (but for the tempos): a note, or chord, is
        struck every half bar.

    Returns
    -------
    DataFrame
        Labels by kind (``pitch_class``, ``octave``, ``register``; ``root``, ``chord_type``, ``inversion``;
        ``key``, ``mode``, ``progression``; ``bpm``, ``click``, ``offset``), ``program`` with ``instrument`` and
        ``family`` (General MIDI), ``group`` (the instrument, or the click) and ``pitches``: what is struck in
        each half bar.

    Notes
    -----
    The SynTheory paper gives no octave for chords; here the root is in the octave from middle C up, and a
    progression keeps every chord's root within it.
    """
    if kind not in get_args(SynTheory):
        raise ValueError(f"kind must be one of {', '.join(get_args(SynTheory))}; got {kind!r}")
    if kind == "tempos":
        clicks = [
            {"bpm": bpm, "click": click, "offset": offset, "group": click}
            for bpm, click, offset in product(range(50, 211), _CLICKS, range(5))
        ]
        return pd.DataFrame(clicks)
    rows: list[dict[str, Any]] = []
    if kind == "notes":
        for pitch in range(108):
            name, octave = _PITCH_CLASSES[pitch % 12], pitch // 12
            register = ("low", "middle", "high")[octave // 3]
            labels = {"pitch": pitch, "pitch_class": name, "octave": octave, "register": register}
            rows.append(labels | {"pitches": ((pitch,),) * 4})
    elif kind == "chords":
        for root, (triad, steps), inversion in product(range(12), _TRIADS.items(), range(3)):
            chord = tuple(60 + root + step + (12 if i < inversion else 0) for i, step in enumerate(steps))
            labels = {"root": _PITCH_CLASSES[root], "chord_type": triad, "inversion": _INVERSIONS[inversion]}
            rows.append(labels | {"pitches": (chord,) * 4})
    else:
        for key, mode in product(range(12), _PROGRESSIONS):
            for degrees in _PROGRESSIONS[mode]:
                chords = tuple(_triad(key, mode, int(degree) - 1) for degree in degrees)
                labels = {"key": _PITCH_CLASSES[key], "mode": mode, "progression": f"{mode} {degrees}"}
                rows.append(labels | {"pitches": chords})
    played = pd.DataFrame(rows).merge(pd.DataFrame({"program": _PROGRAMS}), how="cross")
    played["instrument"] = played["program"].map(pretty_midi.program_to_instrument_name)
    played["family"] = played["program"].map(pretty_midi.program_to_instrument_class)
    played["group"] = played["instrument"]
    return played


def _triad(key: int, mode: str, degree: int) -> tuple[int, ...]:
    scale = _SCALES[mode]
    tones = [key + scale[(degree + step) % 7] + 12 * ((degree + step) // 7) for step in (0, 2, 4)]
    down = 12 * (tones[0] // 12)
    return tuple(60 + tone - down for tone in tones)


def render(table: pd.DataFrame, *, progress: bool = True) -> AudioSet:
    """Render rows of a SynTheory table with the SoundFont that SynTheory uses too (TimGM6mb).

    Parameters
    ----------
    table : DataFrame
        From `syntheory`, whole or in part.
    progress : bool, default True

    Returns
    -------
    AudioSet
        4 s clips at 16 kHz. The table gets a column ``silent``: the SoundFont has no such note (peak under
        -80 dB of full scale). Silent clips stay in, so that they can be counted.

    Notes
    -----
    Rendered at 96 kHz and resampled: symusic 0.5.9 rounds the loop of a sampled note to whole samples, which at
    16 kHz puts high notes out of tune, and never returns from a loop that rounds to nothing.
    """
    if "bpm" not in table and not {"program", "pitches"} <= set(table.columns):
        raise ValueError(
            f"the table has columns {list(table.columns)}, but 'program' and 'pitches' are needed (or 'bpm', "
            "'click' and 'offset'): take rows of syntheory(kind)"
        )
    if table.empty:
        raise ValueError("the table has no rows to render")
    rows = tqdm(table.to_dict("records"), desc="rendering", unit="clip", disable=not progress)
    audio = np.stack([_click(row) if "bpm" in row else _half_bars(row) for row in rows])
    silent = np.abs(audio).max(axis=1) < _SILENCE
    return AudioSet(audio, corpus.SAMPLE_RATE, table.reset_index(drop=True).assign(silent=silent))


def _half_bars(row: dict[str, Any]) -> npt.NDArray[np.float32]:
    notes = [(2.0 * i, 2.0, pitch, _VELOCITY) for i, chord in enumerate(row["pitches"]) for pitch in chord]
    return _play(notes, int(row["program"]), _BPM, _SECONDS)


def _click(row: dict[str, Any]) -> npt.NDArray[np.float32]:
    program, downbeat, other = _CLICKS[row["click"]]
    bpm, longest = float(row["bpm"]), 20.0
    notes = [
        (float(beat), 0.5, other if beat % 4 else downbeat, 75 if beat % 4 else 100)
        for beat in range(int(longest * bpm / 60))
    ]
    rng = np.random.default_rng([int(bpm), list(_CLICKS).index(row["click"]), int(row["offset"])])
    start = round(rng.uniform(0, longest - _SECONDS) * corpus.SAMPLE_RATE)
    return _play(notes, program, bpm, longest)[start:][: round(_SECONDS * corpus.SAMPLE_RATE)]


def _play(
    notes: list[tuple[float, float, int, int]], program: int | None, bpm: float, seconds: float
) -> npt.NDArray[np.float32]:
    """Audio of notes (beat, length, pitch, velocity) on one instrument; None is the drum kit."""
    score: Any = Score(480)
    score.tempos.append(Tempo(0, qpm=bpm))
    track: Any = Track(program=program or 0, is_drum=program is None)
    for beat, length, pitch, velocity in notes:
        track.notes.append(Note(round(beat * 480), round(length * 480), pitch, velocity))
    score.tracks.append(track)
    audio = _synthesizer().render(score, stereo=False)[0][: round(seconds * _RENDER_RATE)]
    audio = soxr.resample(np.asarray(audio, dtype=np.float32), _RENDER_RATE, corpus.SAMPLE_RATE)
    samples = round(seconds * corpus.SAMPLE_RATE)
    return np.pad(audio[:samples], (0, max(0, samples - len(audio))))


@cache
def _synthesizer() -> Any:
    return Synthesizer(sf_path=str(tuned_soundfont()), sample_rate=_RENDER_RATE, quality=4)


def stratified(table: pd.DataFrame, by: str | Sequence[str], count: int, *, seed: int = 0) -> pd.DataFrame:
    """A random sample with (up to one) equally many rows of each class, `count` in all.

    Parameters
    ----------
    table : DataFrame
    by : str or sequence of str
        Columns whose combinations are the classes.
    count : int
        At least one for each class; at most all rows.
    seed : int

    Returns
    -------
    DataFrame
        In the order of `table`.

    Raises
    ------
    ValueError
        If `count` is too small for the classes.
    """
    names = [by] if isinstance(by, str) else list(by)
    classes = table.groupby(names, sort=True).ngroups
    if count < classes:
        raise ValueError(f"{count} rows cannot hold each of {classes} classes of {', '.join(names)}")
    shuffled = table.sample(frac=1, random_state=seed)
    turn = shuffled.groupby(names).cumcount()  # the first of each class, then the second of each, and so on
    return table.loc[turn.sort_values(kind="stable").index[:count]].sort_index()


# --- genre clips that we make -------------------------------------------------------------------------------


def pocket_clips(
    per_class: int,
    *,
    by: Literal["style", "lead"] = "style",
    classes: Sequence[str] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> AudioSet:
    """Clips by the rules of the pocket model's corpus, none of which it was trained on.

    Parameters
    ----------
    per_class : int
        Clips of each class.
    by : {"style", "lead"}
        What the classes are: genres, or lead instruments (in pieces of every genre, with accompaniment).
    classes : sequence of str, optional
        Some of `steerlib.music.captions.STYLES` or ``LEADS``; all by default.
    seed : int
        Another seed gives other clips.
    progress : bool, default True

    Returns
    -------
    AudioSet
        8 s clips at 16 kHz, sorted by class, with ``label`` (the class), ``style``, ``lead``, ``mode``, ``key``,
        ``bpm``, ``caption`` and ``group`` (each clip is a track of its own).
    """
    known = {"style": tuple(STYLES), "lead": tuple(LEADS)}
    if by not in known:
        raise ValueError(f"by must be one of {', '.join(known)}; got {by!r}")
    wanted = known[by] if classes is None else tuple(dict.fromkeys(classes))
    if set(wanted) - set(known[by]) or len(wanted) < 2:
        raise ValueError(f"classes must be at least two of {', '.join(known[by])}; got {list(wanted)}")
    if per_class < 1:
        raise ValueError(f"per_class must be at least 1, got {per_class}")
    missing = dict.fromkeys(wanted, per_class)
    clips, rows = [], []
    number = corpus.HELD_OUT + 1_000_000 * (seed + 1)
    with tqdm(total=per_class * len(missing), desc="clips", unit="clip", disable=not progress) as bar:
        while any(missing.values()):
            truth, parts = corpus.compose(number)
            number += 1
            label = getattr(truth, by)
            if not missing.get(label):
                continue
            missing[label] -= 1
            clips.append(corpus.render(truth, parts))
            about = {
                name: getattr(truth, name) for name in ("style", "lead", "mode", "key", "bpm", "caption")
            }
            rows.append({"label": label, **about, "group": str(truth.seed)})
            bar.update()
    table = pd.DataFrame(rows)
    order = table.sort_values("label", kind="stable").index
    return AudioSet(np.stack(clips)[order], corpus.SAMPLE_RATE, table.loc[order].reset_index(drop=True))


# --- collections in a folder --------------------------------------------------------------------------------


def read_genres(
    source: str | Path,
    per_class: int,
    *,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> AudioSet:
    """Genre clips for the chapters: "pocket" makes them, a folder is read as GTZAN, FMA or by its subfolders.

    Parameters
    ----------
    source : str or path
        "pocket" (see `pocket_clips`), or a folder.
    per_class : int
        Clips of each genre.
    classes : sequence of str, optional
        Genres, as the collection writes them; all by default.
    seed, progress
        See `read_folder`.

    Returns
    -------
    AudioSet
        With ``label`` and ``group``; 8 s clips if made, 10 s segments if read.
    """
    if str(source) == "pocket":
        return pocket_clips(per_class, classes=classes, seed=seed, progress=progress)
    folder = _folder(source, "genres: GTZAN, FMA, or one subfolder for each label")
    if (folder / "fma_metadata").is_dir():
        return read_fma(folder, genres=classes, per_class=per_class, seed=seed, progress=progress)
    if any((folder / name / "blues").is_dir() for name in ("genres_original", "genres", ".")):
        return read_gtzan(folder, genres=classes or _GTZAN, per_class=per_class, seed=seed, progress=progress)
    found = read_folder(folder, per_class=per_class, seed=seed, progress=progress)
    absent = sorted(set(classes or ()) - set(found.table["label"]))
    if absent:
        raise ValueError(f"{folder} has no label {absent}: it has {sorted(set(found.table['label']))}")
    return found.select(found.table["label"].isin(classes)) if classes else found


def read_folder(
    folder: str | Path,
    *,
    labels: str | Path | None = None,
    seconds: float = 10.0,
    sample_rate: int = 16_000,
    per_class: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> AudioSet:
    """Audio of any folder, labelled by its subfolders or by a CSV file.

    Parameters
    ----------
    folder : path
        With one subfolder for each label, or anything if there is a CSV.
    labels : path, optional
        CSV with columns ``path`` (relative to `folder`) and ``label``, and if wanted ``group`` (the artist, say);
        without that, each file is a group.
    seconds : float, default 10
        Files are cut into segments of this length that do not overlap (paper B section IV-B2); a rest is left
        out.
    sample_rate : int, default 16000
        Hz, to which everything is brought; channels are averaged.
    per_class : int, optional
        Segments of each label, drawn at random, from as many tracks as can be. By default as many as the rarest
        label has: the classes are always balanced.
    seed : int
        Seeds the draw.
    progress : bool, default True

    Returns
    -------
    AudioSet
        With ``label``, ``group`` (track), ``path`` and ``start`` (seconds). Files that cannot be read or are too
        short are in ``skipped``.

    Raises
    ------
    FileNotFoundError
        If the folder or the CSV is not there.
    ValueError
        If the layout is another one, or a label has no segment (or fewer than `per_class`).
    """
    folder = _folder(folder, "the audio")
    unnamed: list[str] = []
    if labels is None:
        inside = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
        audio = [path for path in inside if path.suffix.lower() in _AUDIO and len(path.parts) > 1]
        # a table holds text, and a name may be any bytes
        unnamed = [
            f"{name}: its name is not UTF-8" for path in audio if (name := printable(path)) != str(path)
        ]
        files = pd.DataFrame(
            [
                {"path": path.as_posix(), "label": path.parts[0]}
                for path in audio
                if printable(path) == str(path)
            ],
            columns=["path", "label"],
        )
        if files["label"].nunique() < 2:
            raise ValueError(
                f"{folder} has audio in {files['label'].nunique()} subfolders ({_contents(folder)}), but labels are "
                "the names of at least two subfolders: sort the files into subfolders, or give labels='file.csv'"
            )
    else:
        if not Path(labels).is_file():
            raise FileNotFoundError(f"no labels at {labels}: the file does not exist")
        files = pd.read_csv(labels, dtype=str)
        if not {"path", "label"} <= set(files.columns):
            raise ValueError(
                f"{labels} has columns {list(files.columns)}, expected 'path' and 'label' (and if wanted 'group')"
            )
        files = files.dropna(subset=["path", "label"])
    if "group" not in files:
        files["group"] = files["path"]
    found = _segments(folder, files, seconds, sample_rate, per_class, seed, progress)
    return replace(found, skipped=(*unnamed, *found.skipped))


def read_gtzan(
    folder: str | Path,
    *,
    genres: Sequence[str] = _GTZAN,
    seconds: float = 10.0,
    sample_rate: int = 16_000,
    per_class: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> AudioSet:
    """GTZAN in its published layout: ``genres_original/blues/blues.00000.wav`` and on (or ``genres/``, ``.au``).

    The known unreadable file (``jazz.00054``) is skipped and listed like any other that cannot be read.

    Parameters
    ----------
    folder : path
        That holds ``genres_original`` or ``genres``, or one of these itself.
    genres : sequence of str
        Some of the ten.
    seconds, sample_rate, per_class, seed, progress
        See `read_folder`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_folder`; the message says where the collection can be had and what was found instead.
    """
    folder = _folder(folder, "GTZAN (huggingface.co/datasets/marsyas/gtzan, or 'GTZAN' on kaggle.com)")
    unknown = sorted(set(genres) - set(_GTZAN))
    if unknown:
        raise ValueError(f"GTZAN has no genres {unknown}: choose from {', '.join(_GTZAN)}")
    roots = (folder / "genres_original", folder / "genres", folder)
    root = next((root for root in roots if all((root / genre).is_dir() for genre in genres)), None)
    if root is None:
        raise ValueError(
            f"{folder} is not GTZAN: expected subfolders {', '.join(genres)} in it or in its 'genres_original' (or "
            f"'genres'), with files such as blues/blues.00000.wav; found {_contents(folder)}"
        )
    files = [
        {"path": path.relative_to(root).as_posix(), "label": genre, "group": path.stem}
        for genre in genres
        for path in sorted((root / genre).glob(f"{genre}.[0-9]*"))
        if path.suffix.lower() in _AUDIO
    ]
    table = pd.DataFrame(files, columns=["path", "label", "group"])
    return _segments(root, table, seconds, sample_rate, per_class, seed, progress, list(genres))


def read_fma(
    folder: str | Path,
    *,
    genres: Sequence[str] | None = None,
    seconds: float = 10.0,
    sample_rate: int = 16_000,
    per_class: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> AudioSet:
    """FMA in its published layout: ``fma_metadata/tracks.csv`` beside ``fma_small/000/000002.mp3`` and on.

    Parameters
    ----------
    folder : path
        That holds ``fma_metadata`` and at least one of ``fma_small``, ``fma_medium``, ``fma_large``,
        ``fma_full``; the smallest that is there is read.
    genres : sequence of str, optional
        Top genres as FMA writes them ("Hip-Hop", "Rock"); all that have tracks by default.
    seconds, sample_rate, per_class, seed, progress
        See `read_folder`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_folder`; the message says where the collection can be had and what was found instead.
    """
    folder = _folder(folder, "FMA (github.com/mdeff/fma: fma_small.zip and fma_metadata.zip)")
    sizes = [folder / f"fma_{size}" for size in ("small", "medium", "large", "full")]
    root = next((path for path in sizes if path.is_dir()), None)
    tracks = folder / "fma_metadata" / "tracks.csv"
    if root is None or not tracks.is_file():
        raise ValueError(
            f"{folder} is not FMA: expected fma_metadata/tracks.csv and fma_small (or _medium, _large, _full) with "
            f"files such as fma_small/000/000002.mp3; found {_contents(folder)}"
        )
    table = pd.read_csv(tracks, index_col=0, header=[0, 1], low_memory=False)
    if ("track", "genre_top") not in table.columns:
        raise ValueError(
            f"{tracks} has no column (track, genre_top): expected tracks.csv as FMA publishes it"
        )
    genre = table["track", "genre_top"].dropna()
    genre = genre[genre.isin(genres)] if genres is not None else genre
    absent = sorted(set(genres or ()) - set(genre))
    if absent:
        raise ValueError(f"FMA has no tracks of top genres {absent}: check how tracks.csv writes them")
    artist = table["artist", "id"].astype(str) if ("artist", "id") in table.columns else None
    files = [
        {
            "path": f"{int(number) // 1000:03d}/{int(number):06d}.mp3",
            "label": label,
            "group": str(number) if artist is None else f"artist {artist[number]}",
        }
        for number, label in genre.items()
    ]
    listed = pd.DataFrame(files)
    listed = listed[
        [(root / path).is_file() for path in listed["path"]]
    ]  # tracks.csv lists more than fma_small
    wanted = list(genres) if genres is not None else sorted(listed["label"].unique())
    return _segments(root, listed, seconds, sample_rate, per_class, seed, progress, wanted)


def _segments(
    root: Path,
    files: pd.DataFrame,
    seconds: float,
    sample_rate: int,
    per_class: int | None,
    seed: int,
    progress: bool,
    classes: list[str] | None = None,
) -> AudioSet:
    """Cut files into segments, in random order of tracks and one segment of each track before the second."""
    if seconds <= 0 or sample_rate < 1000 or (per_class is not None and per_class < 1):
        raise ValueError(
            f"seconds and per_class must be positive and sample_rate at least 1000 Hz; got seconds={seconds}, "
            f"per_class={per_class}, sample_rate={sample_rate}"
        )
    rng = np.random.default_rng(seed)
    skipped: list[str] = []
    found: dict[str, list[tuple[dict[str, Any], npt.NDArray[np.float32]]]] = {}
    with tqdm(total=len(files), desc="reading", unit="file", disable=not progress) as bar:
        for label in classes or sorted(files["label"].unique()):
            tracks = files[files["label"] == label]
            pieces: list[tuple[int, dict[str, Any], npt.NDArray[np.float32]]] = []
            for row in tracks.iloc[rng.permutation(len(tracks))].to_dict("records"):
                bar.update()
                if per_class is not None and len(pieces) >= 3 * per_class:
                    break  # three times as many as wanted: enough to draw from many tracks
                try:
                    cut = _read(root / row["path"], seconds, sample_rate)
                except (ValueError, OSError) as error:
                    skipped.append(f"{row['path']}: {error}")
                    continue
                if not len(cut):
                    skipped.append(f"{row['path']}: shorter than {seconds:g} s")
                for turn, piece in enumerate(cut):
                    about = {key: row[key] for key in ("label", "group", "path")}
                    pieces.append((turn, about | {"start": turn * seconds}, piece))
            pieces.sort(key=lambda piece: piece[0])  # stable: the first segment of every track comes first
            found[label] = [(about, piece) for _, about, piece in pieces]
    fewest = min(found, key=lambda label: len(found[label])) if found else ""
    count = per_class or (len(found[fewest]) if found else 0)
    if not found or len(found[fewest]) < max(count, 1):
        raise ValueError(
            f"{root}: label {fewest!r} has {len(found.get(fewest, ()))} usable segments of {seconds:g} s, "
            f"{max(count, 1)} are needed; {len(skipped)} files were skipped"
            + (f", such as {skipped[0]}" if skipped else "")
        )
    chosen = [item for pieces in found.values() for item in pieces[:count]]
    return AudioSet(
        np.stack([piece for _, piece in chosen]),
        sample_rate,
        pd.DataFrame([about for about, _ in chosen]),
        tuple(skipped),
    )


def _read(path: Path, seconds: float, sample_rate: int) -> list[npt.NDArray[np.float32]]:
    audio, rate = read_mono(path)
    mono = soxr.resample(audio, rate, sample_rate) if rate != sample_rate else audio
    length = round(seconds * sample_rate)
    return [mono[start : start + length] for start in range(0, len(mono) - length + 1, length)]


def _folder(folder: str | Path, what: str) -> Path:
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(f"no folder {folder}: expected one that holds {what}")
    return path


def _contents(folder: Path) -> str:
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    return (
        ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        if names
        else "nothing"
    )
