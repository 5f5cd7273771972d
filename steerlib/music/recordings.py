"""Audio files of others, which may be damaged, of any rate, and named in any encoding.

Units: Hz; samples are in [-1, 1].
"""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

__all__ = ["printable", "read_mono"]

_SLOWEST, _FASTEST = 1_000, 768_000  # Hz


def read_mono(path: str | Path) -> tuple[npt.NDArray[np.float32], int]:
    """One audio file: its samples (samples,), float32, channels averaged, and its rate in Hz.

    Raises
    ------
    ValueError
        If it is not a file that can be read as audio, is empty, or has a rate that no recording has. The message does
        not name the file.
    """
    path = Path(path)
    if not path.is_file():  # a named pipe would be waited for, for ever
        raise ValueError("cannot be read (it is not a file)")
    try:
        with soundfile.SoundFile(os.fsencode(path) if os.name == "posix" else str(path)) as file:
            rate = file.samplerate
            if not _SLOWEST <= rate <= _FASTEST:
                raise ValueError(
                    f"cannot be read (its header says {rate} Hz, expected {_SLOWEST} to {_FASTEST})"
                )
            samples = file.read(dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        text = str(error).rpartition(": ")[2]  # the name, in bytes, stands before
        raise ValueError(f"cannot be read ({text})") from error
    except MemoryError:
        raise ValueError("cannot be read (its header says that it is longer than memory)") from None
    if not samples.size:
        raise ValueError("cannot be read (it has no samples)")
    return samples.mean(axis=1), rate


def printable(path: str | Path) -> str:
    """The name of a file, of which the bytes need not be UTF-8, as text that can be printed and stored."""
    return str(path).encode("utf-8", "backslashreplace").decode()
