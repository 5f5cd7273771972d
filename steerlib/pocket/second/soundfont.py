"""The instruments of the corpus: a cut of MuseScore_General_Lite, small enough to be shipped.

The whole soundfont (MIT licence; Debian's package musescore-general-soundfont-small) has 40 MB and is in tune under
symusic as it is, which TimGM6mb is not. The cut keeps what the corpus plays: its programs and drums, one channel of
stereo samples, the keys in use, and no layer for notes louder than `LOUDEST`.

Format: SoundFont 2.04 with Ogg Vorbis samples ("sf3": a sample's start and end in its header are bytes). Presets and
instruments are zones ("bags") of generators; a zone ends with the instrument or the sample that it plays.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

__all__ = ["LOUDEST", "cut", "remake", "soundfont"]

#: Highest MIDI velocity for which the cut has samples.
LOUDEST = 107

_FILE = Path(__file__).resolve().parents[3] / "data" / "soundfont" / "pocket.sf3"
_PAN, _INSTRUMENT, _KEYS, _VELOCITIES, _SAMPLE = 17, 41, 43, 44, 53  # generators
_RIGHT = 2  # bit of a sample's type: the right channel of a pair


def soundfont() -> Path:
    """The soundfont of the corpus.

    Returns
    -------
    Path

    Raises
    ------
    FileNotFoundError
        If it is missing; the message says how to make it again.
    """
    if not _FILE.is_file():
        raise FileNotFoundError(
            f"{_FILE} is missing. It is part of the repository; to cut it again, get MuseScore_General_Lite.sf3 "
            "(Debian: apt install musescore-general-soundfont-small, which puts it under /usr/share/sounds/sf3) "
            "and run python -m steerlib.pocket soundfont --whole PATH."
        )
    return _FILE


def remake(whole: Path, played: Mapping[tuple[int, int], tuple[int, int]]) -> Path:
    """Cut the soundfont of the corpus out of a whole one again (see `cut`)."""
    cut(whole, _FILE, played)
    return _FILE


def cut(whole: Path, target: Path, played: Mapping[tuple[int, int], tuple[int, int]]) -> None:
    """Write the part of a soundfont that is played.

    Parameters
    ----------
    whole : Path
        A SoundFont 3 file.
    target : Path
        Receives the cut.
    played : mapping
        (bank, program) to lowest and highest key; bank 128 has the drums.
    """
    content = whole.read_bytes()
    info, samples, tables = _chunks(content)
    phdr, pbag, pgen = (_records(tables[name], form) for name, form in _FORMS[:3])
    inst, ibag, igen = (_records(tables[name], form) for name, form in _FORMS[3:6])
    shdr = _records(tables[b"shdr"], _FORMS[6][1])
    modulators = {
        name: [tables[name][i : i + 10] for i in range(0, len(tables[name]), 10)]
        for name in (b"pmod", b"imod")
    }

    new: dict[bytes, list] = {name: [] for name, _ in _FORMS} | {b"pmod": [], b"imod": []}
    sound = bytearray()
    instruments: dict[tuple[int, int, int], int] = {}
    kept_samples: dict[int, int] = {}

    def sample(index: int) -> int:
        if index not in kept_samples:
            name, start, end, *rest = shdr[index]
            kept_samples[index] = len(new[b"shdr"])
            *middle, _, _ = rest  # neither linked with the other channel nor of a pair
            new[b"shdr"].append((name, len(sound), len(sound) + end - start, *middle, 0, rest[-1] & ~6 | 1))
            sound.extend(samples[start:end])
        return kept_samples[index]

    def zones(first: int, last: int, bags: list, generators: list, mods: list) -> list[tuple[dict, list]]:
        return [
            (dict(generators[bags[b][0] : bags[b + 1][0]]), mods[bags[b][1] : bags[b + 1][1]])
            for b in range(first, last)
        ]

    def put(bag: bytes, gen: bytes, mod: bytes, zone: tuple[dict, list]) -> None:
        new[bag].append((len(new[gen]), len(new[mod])))
        new[gen] += zone[0].items()  # in order: ranges first, what is played last, as the format asks
        new[mod] += zone[1]

    def instrument(index: int, low: int, high: int) -> int:
        if (index, low, high) not in instruments:
            made = []
            for kinds, mods in zones(inst[index][1], inst[index + 1][1], ibag, igen, modulators[b"imod"]):
                if _SAMPLE in kinds:
                    if shdr[kinds[_SAMPLE]][-1] & _RIGHT or not _within(kinds, low, high):
                        continue
                    if shdr[kinds[_SAMPLE]][-1] & 4:  # the left of a pair stands in the middle
                        kinds.pop(_PAN, None)
                    kinds[_SAMPLE] = sample(kinds[_SAMPLE])
                else:
                    kinds.pop(_PAN, None)
                made.append((kinds, mods))
            instruments[index, low, high] = len(new[b"inst"])
            new[b"inst"].append((inst[index][0], len(new[b"ibag"])))
            for zone in made:
                put(b"ibag", b"igen", b"imod", zone)
        return instruments[index, low, high]

    for number, (name, program, bank, first, *rest) in enumerate(phdr[:-1]):
        if (bank, program) not in played:
            continue
        low, high = played[bank, program]
        new[b"phdr"].append((name, program, bank, len(new[b"pbag"]), *rest))
        for kinds, mods in zones(first, phdr[number + 1][3], pbag, pgen, modulators[b"pmod"]):
            if _INSTRUMENT in kinds:
                if not _within(kinds, low, high):
                    continue
                kinds[_INSTRUMENT] = instrument(kinds[_INSTRUMENT], low, high)
            put(b"pbag", b"pgen", b"pmod", (kinds, mods))
    missing = set(played) - {(bank, program) for _, program, bank, *_ in new[b"phdr"]}
    if missing:
        raise ValueError(f"{whole} has no presets for (bank, program) {sorted(missing)}")

    # every table ends with a record that only says where the last one ends
    new[b"phdr"].append((b"EOP", 0, 0, len(new[b"pbag"]), 0, 0, 0))
    new[b"inst"].append((b"EOI", len(new[b"ibag"])))
    for bag, gen, mod in ((b"pbag", b"pgen", b"pmod"), (b"ibag", b"igen", b"imod")):
        new[bag].append((len(new[gen]), len(new[mod])))
        new[gen].append((0, 0))
        new[mod].append(bytes(10))
    new[b"shdr"].append((b"EOS", *[0] * 9))
    packed = {name: b"".join(struct.pack(form, *record) for record in new[name]) for name, form in _FORMS} | {
        name: b"".join(new[name]) for name in (b"pmod", b"imod")
    }
    order = (b"phdr", b"pbag", b"pmod", b"pgen", b"inst", b"ibag", b"imod", b"igen", b"shdr")
    body = b"".join(
        (
            b"sfbk",
            _chunk(b"LIST", info),
            _chunk(b"LIST", b"sdta" + _chunk(b"smpl", bytes(sound))),
            _chunk(b"LIST", b"pdta" + b"".join(_chunk(name, packed[name]) for name in order)),
        )
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(_chunk(b"RIFF", body))


_FORMS = (
    (b"phdr", "<20sHHHIII"), (b"pbag", "<HH"), (b"pgen", "<HH"),
    (b"inst", "<20sH"), (b"ibag", "<HH"), (b"igen", "<HH"), (b"shdr", "<20sIIIIIBbHH"),
)  # fmt: skip


def _records(table: bytes, form: str) -> list:
    return list(struct.iter_unpack(form, table))


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _chunks(content: bytes) -> tuple[bytes, bytes, dict[bytes, bytes]]:
    """The INFO list, the samples, and the tables of the pdta list."""
    info_size = struct.unpack_from("<I", content, 16)[0]
    info = content[20 : 20 + info_size]
    at = content.index(b"smpl")
    size = struct.unpack_from("<I", content, at + 4)[0]
    samples = content[at + 8 : at + 8 + size]
    at = content.index(b"pdta", at + 8 + size) + 4
    tables = {}
    while at + 8 <= len(content):
        size = struct.unpack_from("<I", content, at + 4)[0]
        tables[content[at : at + 4]] = content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    return info, samples, tables


def _within(kinds: Mapping[int, int], low: int, high: int) -> bool:
    """Whether a zone sounds for some key from `low` to `high` at some velocity up to `LOUDEST`."""
    keys, velocities = kinds.get(_KEYS, 127 << 8), kinds.get(_VELOCITIES, 127 << 8)
    return keys & 255 <= high and keys >> 8 >= low and velocities & 255 <= LOUDEST
