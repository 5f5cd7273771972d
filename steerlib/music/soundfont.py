"""The TimGM6mb SoundFont with its tuning where symusic looks for it.

symusic 0.5.9 takes a sample's root key from the sample's header and ignores the instrument's generator that
overrides it (SoundFont 2.04, section 8.1.2, number 58, overridingRootKey). TimGM6mb has many roots there: the
piano's A3 (220 Hz) sounds 14 semitones too high, the violin's 10. So a copy of the file is written in which each
sample's header says what the instrument says.

It also reads up to a few points past the end of a sample whose loop ends there, which is whatever lies in memory: a
click, and another one in each process. So the copy carries the loop on for some points behind such a sample.

Format: RIFF; in its ``pdta`` list, ``shdr`` has records of 46 bytes (start, end and the loop's start and end at byte
20, in points of 2 bytes; root key at byte 40), ``inst`` of 22, ``ibag`` and ``igen`` of 4.
"""

import struct
from functools import cache
from pathlib import Path

import pretty_midi

from steerlib.files import cache_folder, digest, write_whole

__all__ = ["tuned_soundfont"]

_SAMPLE, _ROOT = 53, 58  # generators
_BEHIND = 8  # points after a loop; the format has at least 46 empty ones behind each sample


@cache
def tuned_soundfont(source: str | Path | None = None) -> Path:
    """A copy of a SoundFont, in the cache, in which symusic finds the tuning.

    Parameters
    ----------
    source : path, optional
        pretty_midi's TimGM6mb by default.

    Returns
    -------
    Path
    """
    original = Path(source or Path(pretty_midi.__file__).with_name("TimGM6mb.sf2"))
    content = original.read_bytes()
    target = cache_folder() / f"{original.stem}-{digest(content)[:16]}.sf2"
    tuned = _tuned(content)
    if not target.is_file() or digest(target.read_bytes()) != digest(tuned):
        write_whole(target, tuned)
    return target


def _tuned(original: bytes) -> bytes:
    content = bytearray(original)
    begin = content.index(b"pdta") + 4  # TimGM6mb's pdta list is the last of the file
    chunks: dict[bytes, bytearray] = {}
    at = begin
    while at + 8 <= len(content):
        size = struct.unpack_from("<I", content, at + 4)[0]
        chunks[bytes(content[at : at + 4])] = content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    generators, headers = chunks[b"igen"], chunks[b"shdr"]
    bags = [start for start, _ in struct.iter_unpack("<HH", chunks[b"ibag"])]
    firsts = [bag for _, bag in struct.iter_unpack("<20sH", chunks[b"inst"])]
    end, made = headers[-46:], {}  # the last record ends the list
    del headers[-46:]
    _carry_loops_on(content, headers)
    for first, last in zip(firsts, firsts[1:], strict=False):
        common: dict[int, tuple[int, int]] = {}  # an instrument's first zone, without a sample, holds for all
        for bag in range(first, last):
            zone = {}
            for place in range(4 * bags[bag], 4 * bags[bag + 1], 4):
                kind, value = struct.unpack_from("<Hh", generators, place)
                zone[kind] = (value, place)
            if _SAMPLE not in zone:
                common = zone
                continue
            found = {kind: value for kind, (value, _) in (common | zone).items()}
            sample, place = zone[_SAMPLE]
            if _ROOT not in found:
                continue
            tuning = (sample, found[_ROOT])
            if tuning not in made:
                header = bytearray(headers[46 * sample : 46 * sample + 46])
                header[40] = found[_ROOT]
                made[tuning] = len(headers) // 46
                headers += header
            struct.pack_into("<H", generators, place + 2, made[tuning])
    headers += end
    pdta = b"pdta" + b"".join(
        name + struct.pack("<I", len(chunk)) + bytes(chunk) + b"\0" * (len(chunk) % 2)
        for name, chunk in chunks.items()
    )
    head = content[: begin - 4]
    struct.pack_into("<I", head, len(head) - 4, len(pdta))
    struct.pack_into("<I", head, 4, len(head) + len(pdta) - 8)
    return bytes(head) + pdta


def _carry_loops_on(content: bytearray, headers: bytearray) -> None:
    points = memoryview(content)[content.index(b"smpl") + 8 :]
    for record in range(0, len(headers), 46):
        _, stop, loop, loop_end = struct.unpack_from("<4I", headers, record + 20)
        for at in range(stop, loop_end + _BEHIND):
            same = loop + (at - loop) % (loop_end - loop)
            points[2 * at : 2 * at + 2] = points[2 * same : 2 * same + 2]
        struct.pack_into("<I", headers, record + 24, max(stop, loop_end + _BEHIND))
