"""Files: where the data of the package are, and writing a file whole or not at all.

The lowest module of the library: it imports nothing of ours.
"""

import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path

__all__ = ["DATA", "digest", "write_whole"]

_PACKAGE = Path(__file__).resolve().parent
DATA = _PACKAGE / "data" if (_PACKAGE / "data").is_dir() else _PACKAGE.parent / "data"
"""The folder of prompts, papers, records and the pocket model: in an installed package, or of the checkout."""


def digest(content: bytes) -> str:
    """SHA-256 of some bytes, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def write_whole(
    path: str | Path, content: bytes | Callable[[Path], object], *, durable: bool = False
) -> None:
    """Write a file beside its place and rename it, so that a reader finds all of it or nothing.

    Parameters
    ----------
    path : str or Path
        Its folder exists. A file of that name is replaced.
    content : bytes or callable
        What to write, or a function that writes it to the path it is given.
    durable : bool, default False
        Flush file and folder to disk before returning, so that the file survives a crash of the machine and not
        only of the process.

    Raises
    ------
    OSError
        If the file cannot be written; nothing is left behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content)
        if durable:
            _flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable and os.name == "posix":  # Windows cannot open a folder
        _flush(path.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
