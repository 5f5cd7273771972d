"""Files: where data and caches are, YAML read strictly, and a file written whole or not at all.

The lowest module of the library: it imports nothing of ours.
"""

import atexit
import hashlib
import os
import re
import reprlib
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from filelock import FileLock

__all__ = [
    "DATA",
    "cache_folder",
    "check_name",
    "compiling",
    "digest",
    "one_line",
    "parse_yaml",
    "read_yaml",
    "short",
    "write_whole",
]

_PACKAGE = Path(__file__).resolve().parent
DATA = _PACKAGE / "data" if (_PACKAGE / "data").is_dir() else _PACKAGE.parent / "data"
"""The folder of prompts, papers, records and the pocket model: in an installed package, or of the checkout."""


@cache
def cache_folder() -> Path:
    """Folder for what can be made again: ``steerlib`` in the user's cache, ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Where that cannot be written to, as in a container without a home, a folder that lasts as long as this process.
    Never a name that others can foresee in the folder for temporary files: they could put something there.
    """
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "steerlib"
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):  # RuntimeError: nobody knows where home is
        folder = Path(tempfile.mkdtemp(prefix="steerlib-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _cache_compiled_code() -> None:
    """Have numba keep compiled code in the cache, not among the modules.

    There a file that no installer knows of would stay behind, and its folder would hide a later installation.
    """
    os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_folder() / "numba"))
    if "numba.core.config" in sys.modules:  # numba has read its settings already
        sys.modules["numba.core.config"].reload_config()


_cache_compiled_code()


@contextmanager
def compiling() -> Iterator[None]:
    """Let one process at a time compile, or load what is compiled.

    Two that compile the same functions at once, as chapters do on a new machine, write files to numba's cache that
    do not fit together: whoever loads them calls a function that is not there, and crashes.
    """
    with FileLock(cache_folder() / "compiling.lock"):
        yield


def digest(content: bytes) -> str:
    """SHA-256 of some bytes, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def one_line(text: str) -> str:
    """Text without line breaks, and without the control characters that files can smuggle into a terminal."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 80, 80


def short(value: object) -> str:
    """A value for a message: its repr, cut where it is long. Nested YAML aliases can stand for gigabytes."""
    return _SHORT.repr(value)


def check_name(name: object, what: str) -> str:
    """A name that becomes the name of a file: letters, digits, ``.``, ``_`` and ``-``, so that it stays in its folder.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name) or len(name) > 100:
        raise ValueError(
            f"{what} {short(name)} becomes the name of a file: use letters, digits, '_', '-' and '.', at most 100, "
            "and begin with a letter or digit"
        )
    return name


def read_yaml(path: str | Path) -> Any:
    """What a YAML file holds.

    Raises
    ------
    ValueError
        If there is no such file, or it is no YAML in UTF-8, or has a key twice in one mapping.
    """
    path = Path(path)
    if not path.is_file():  # a pipe or a device would be read for ever
        raise ValueError(f"{path} is not a file: expected a YAML file")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8 ({error}): save it as UTF-8") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, what: str) -> Any:
    """What a YAML text holds; raises ValueError, which calls it `what`, as `read_yaml`."""
    try:
        return yaml.load(text, _StrictLoader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-01
        raise ValueError(f"{what} is not valid YAML: {error}") from None
    except RecursionError:
        raise ValueError(f"{what} is not valid YAML: it is nested too deeply") from None


class _StrictLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Refuses a mapping with a key twice, of which YAML would take the last in silence."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name = self.construct_object(key, deep=True)
            if isinstance(name, Hashable):  # else YAML itself refuses it
                if name in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"{short(name)} stands there twice", problem_mark=key.start_mark
                    )
                seen.add(name)
        return super().construct_mapping(node, deep)


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
