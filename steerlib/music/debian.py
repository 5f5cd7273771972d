"""Real music under free licences, from Debian's packages, laid out as GTZAN and as FMA are. It may be absent.

``python -m steerlib.music.debian`` has apt download four packages, 290 MB, from the mirrors that this machine trusts
(Debian, Ubuntu; no root is needed and nothing is installed), cuts 30 s from the middle of every song, and keeps them in
the user's cache, twice as GTZAN and FMA [1]_ are published. So the readers of `steerlib.music.datasets`, and with them
every chapter that takes a folder, can be tried on music that nobody here made. Nothing of it is part of this project.

- fretsonfire-songs-sectoid: 4 rock songs with a tempo map (rock, Rock), under a licence like MIT's
- fretsonfire-songs-muldjord: 4 metal songs with a tempo map (metal, Rock), CC BY-SA 3.0
- singularity-music: 16 electronic pieces (Electronic, of FMA alone), CC BY-SA 3.0
- wesnoth-1.x-music: 41 orchestral pieces (classical, Classical), GPL-2+, some CC BY-SA 4.0

The labels are those of the packages' descriptions, in the words of each collection. Units: seconds, Hz, BPM.

.. [1] The layouts are described in `steerlib.music.datasets`.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pretty_midi
import soundfile
import soxr

from steerlib.files import cache_folder, write_whole
from steerlib.music.recordings import read_mono

__all__ = ["COMMAND", "PACKAGES", "arrange", "available", "fetch", "folder", "songs"]

COMMAND = "python -m steerlib.music.debian"
PACKAGES = {
    "fretsonfire-songs-sectoid": ("rock", "Rock"),
    "fretsonfire-songs-muldjord": ("metal", "Rock"),
    "singularity-music": ("", "Electronic"),
    "wesnoth-1[.][0-9]+-music": ("classical", "Classical"),
}
"""Names of packages (a pattern where the name has a version), and their labels in GTZAN, if it has one, and in FMA."""

SECONDS = 30.0
_TABLE = "songs.csv"


def folder() -> Path:
    """Where the music is: ``gtzan``, ``fma`` and ``songs.csv`` in it."""
    return cache_folder() / "debian-music"


def available() -> bool:
    """Whether it has been fetched."""
    return (folder() / _TABLE).is_file()


def songs() -> pd.DataFrame:
    """What is known of each song: ``package``, ``title``, ``bpm`` (NaN if unknown), its files ``gtzan`` and ``fma``.

    Raises
    ------
    FileNotFoundError
        If it has not been fetched; names the command.
    """
    if not available():
        raise FileNotFoundError(f"no music at {folder()}: run `{COMMAND}` once, with a network")
    return pd.read_csv(folder() / _TABLE, keep_default_na=False, na_values={"bpm": [""]}, dtype={"fma": str})


def fetch() -> Path:
    """Have apt download the packages, and lay their songs out; returns the folder. Nothing is installed.

    Raises
    ------
    ValueError
        If this machine has no apt, or apt does not know or get a package; nothing is changed then.
    """
    with tempfile.TemporaryDirectory(dir=cache_folder()) as temporary:
        for pattern in PACKAGES:
            found = _output(["apt-cache", "search", "--names-only", f"^{pattern}$"]).split("\n")
            name = sorted(line.split(" ")[0] for line in found)[-1]
            if not name:
                raise ValueError(f"apt knows no package {pattern}: run `apt-get update`, or use Debian or Ubuntu")
            _output(["apt-get", "download", name], cwd=temporary)
            [package] = Path(temporary).glob("*.deb")
            (Path(temporary) / "unpacked").mkdir(exist_ok=True)
            _output(["dpkg-deb", "-x", str(package), str(Path(temporary) / "unpacked" / name)])
            package.unlink()
        made = Path(temporary) / "music"
        arrange(Path(temporary) / "unpacked", made)
        if folder().exists():
            folder().rename(Path(temporary) / "old")
        made.rename(folder())
    return folder()


def _output(command: list[str], cwd: str | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ValueError(f"there is no {command[0]} here: these packages need Debian or Ubuntu") from None
    if done.returncode:
        raise ValueError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-400:]}")
    return done.stdout.strip()


def arrange(unpacked: Path, target: Path) -> pd.DataFrame:
    """Lay the songs of unpacked packages, a subfolder each, out as GTZAN and as FMA; returns their table.

    GTZAN: 30 s of 22,050 Hz, mono, as ``rock/rock.00000.wav``. FMA: 30 s of 44,100 Hz as MP3,
    ``fma/fma_small/000/000001.mp3``, and ``fma/fma_metadata/tracks.csv``. Licences are copied to ``licences``.
    """
    rows, tracks, counts = [], [], dict.fromkeys((name for name, _ in PACKAGES.values()), 0)
    for number, (package, (genre, top), title, files, notes) in enumerate(_songs(unpacked), start=1):
        audio, rate = _middle(files)
        row = {"package": package, "title": title, "bpm": _tempo(notes), "gtzan": "", "fma": f"{number:06d}"}
        if genre:
            row["gtzan"] = f"{genre}/{genre}.{counts[genre]:05d}.wav"
            counts[genre] += 1
            _write(target / "gtzan" / "genres_original" / str(row["gtzan"]), audio, rate, 22_050)
        _write(target / "fma" / "fma_small" / f"{number // 1000:03d}" / f"{row['fma']}.mp3", audio, rate, 44_100)
        rows.append(row)
        tracks.append((number, list(dict.fromkeys(r["package"] for r in rows)).index(package), top, title))
    columns = pd.MultiIndex.from_tuples([("artist", "id"), ("track", "genre_top"), ("track", "title")])
    about = pd.DataFrame([track[1:] for track in tracks], [track[0] for track in tracks], columns)
    (target / "fma" / "fma_metadata").mkdir(parents=True, exist_ok=True)
    about.rename_axis("track_id").to_csv(target / "fma" / "fma_metadata" / "tracks.csv")
    (target / "licences").mkdir()
    for path in unpacked.glob("*/usr/share/doc/*/copyright"):
        write_whole(target / "licences" / path.parent.name, path.read_bytes())
    table = pd.DataFrame(rows)
    table.to_csv(target / _TABLE, index=False)
    return table


def _songs(unpacked: Path) -> Iterator[tuple[str, tuple[str, str], str, list[Path], Path | None]]:
    """Package, labels, title, files that sound at once, and notes with the tempo map, of each song."""
    for root in sorted(path for path in unpacked.iterdir() if path.is_dir()):
        labels = next(each for pattern, each in PACKAGES.items() if re.fullmatch(pattern, root.name))
        for path in sorted(root.rglob("*.ogg")):
            if path.name == "song.ogg":  # of the game: the guitar, which a player plays, has a file of its own
                files = [path, path.with_name("guitar.ogg")]
                yield root.name, labels, path.parent.name, files, path.with_name("notes.mid")
            elif path.name != "guitar.ogg":
                yield root.name, labels, path.stem, [path], None


def _middle(files: list[Path]) -> tuple[npt.NDArray[np.float32], int]:
    """30 s from the middle of files that sound at once, at most as loud as full scale, and their rate."""
    found = [read_mono(path) for path in files]
    rate, length = found[0][1], max(len(samples) for samples, _ in found)
    audio = np.sum([np.pad(samples, (0, length - len(samples))) for samples, _ in found], axis=0)
    begin = max(0, length - round(SECONDS * rate)) // 2
    audio = audio[begin : begin + round(SECONDS * rate)]
    return (audio / max(1.0, float(np.abs(audio).max()))).astype(np.float32), rate


def _tempo(notes: Path | None) -> float:
    """BPM of a song that has one tempo throughout; NaN if it has several, or nobody has written it down."""
    if notes is None:
        return float("nan")
    _, tempos = pretty_midi.PrettyMIDI(str(notes)).get_tempo_changes()
    return round(float(tempos[0]), 2) if len(tempos) == 1 else float("nan")


def _write(path: Path, audio: npt.NDArray[np.float32], rate: int, wanted: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.clip(soxr.resample(audio, rate, wanted), -1, 1), wanted)


if __name__ == "__main__":
    try:
        place = fetch()
    except ValueError as error:
        sys.exit(f"ERROR: {error}")
    print(f"{len(songs())} songs are in {place}")
