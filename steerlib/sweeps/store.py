"""A folder of results that survives being killed, can be resumed, and can be merged with others.

Layout of a store::

    store.json                  format and version
    parts/<sha256>.parquet      tidy rows, a batch to a file, each row with its ``key``
    clips/<key>.mp3 or .flac    audio of the rows
    claims/                     which rows a process is making just now

A row's key is the SHA-256 of everything that determines it (`row_key`): a changed setting is another row, and
an unchanged one is never computed twice. Files are written beside their place, flushed to disk and then
renamed, clips before the part that mentions them: at any moment a row is there whole or not at all. Several
processes may append to one store. What is damaged is named in a warning and left out, so that whoever fills
the store computes those rows again; no part is ever changed or deleted. A part is whole if it has the SHA-256 of its
name, and a clip if it has the one that its row says.
"""

import io
import json
import re
import stat
import tempfile
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from steerlib.engine.clips import AudioFormat, encoded
from steerlib.files import digest, one_line, write_whole
from steerlib.model import versions

__all__ = ["Store", "merge", "row_key"]

_FORMAT = "steerlib.Store"
_VERSION = 1
_KEY = re.compile(r"\w{1,100}")
_STALE = 3600  # seconds after which a half-written file is taken for the remains of a killed process


def row_key(settings: Mapping[str, Any]) -> str:
    """SHA-256 (hexadecimal) of all that determines a row, whatever the order of the settings."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return digest(text.encode())


class Store:
    """A folder of results, made if it does not exist.

    Parameters
    ----------
    folder : str or Path

    Raises
    ------
    ValueError
        If the folder holds something else, or a store of another version; the message names the file.
    OSError
        If the folder cannot be made or written to.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder, self._told = Path(folder), False
        marker = self.folder / "store.json"
        if marker.is_file():
            _check_marker(marker)
        elif self.folder.exists() and not self._may_become_one():
            raise ValueError(
                f"{self.folder} is not a result store: it exists, but has no store.json. Name a new folder"
            )
        try:
            for part in ("parts", "clips"):
                (self.folder / part).mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=self.folder / part).close()
        except OSError as error:
            raise OSError(
                f"cannot write results to {self.folder}: {error}. Name a folder that can be made and written to"
            ) from error
        if not marker.is_file():
            content = json.dumps({"format": _FORMAT, "version": _VERSION}, indent=2) + "\n"
            write_whole(marker, content.encode(), durable=True)
        for path in self.folder.rglob(".*.tmp"):
            with suppress(FileNotFoundError):  # another process has finished it
                if time.time() - path.stat().st_mtime > _STALE:
                    path.unlink()

    def _may_become_one(self) -> bool:
        """Whether the folder is empty, or another process is just making the store."""
        return self.folder.is_dir() and all(
            path.name in ("store.json", "parts", "clips", "claims") or path.name.startswith(".store.json.")
            for path in self.folder.iterdir()
        )

    def read(self) -> pd.DataFrame:
        """All rows that are whole, one per key, sorted by key.

        Warns
        -----
        UserWarning
            For each file that is damaged, missing or of another version; its rows are left out. Once, if rows were made
            with different versions of the libraries that generate and measure; these stay in.
        """
        parts = sorted((self.folder / "parts").glob("*.parquet"))
        tables = _that_agree({path: table for path in parts if (table := _read(path)) is not None})
        if not tables:
            return pd.DataFrame({"key": pd.Series(dtype="str"), "clip": pd.Series(dtype="str")})
        if not self._told and (mixed := _mixed_versions(tables)):
            warnings.warn(
                f"{self.folder} has rows made with different versions of {mixed}: their numbers need not be "
                "comparable. To make all anew, name a new folder",
                stacklevel=2,
            )
            self._told = True
        rows = pa.concat_tables(tables, promote_options="permissive").to_pandas()
        rows = rows[self._has_clip(rows)]
        if "source_layer" in rows:
            rows["source_layer"] = rows["source_layer"].astype("Int64")
        return rows.drop_duplicates("key").sort_values("key", ignore_index=True)

    def append(
        self,
        rows: pd.DataFrame,
        audio: npt.NDArray[np.float32] | None = None,
        *,
        sample_rate: int = 0,
        audio_format: AudioFormat = "mp3",
    ) -> None:
        """Add rows, and their clips if they have any.

        Parameters
        ----------
        rows : DataFrame
            With a column ``key``; ``clip`` (path within the store), ``clip_bytes`` and ``clip_sha256`` are filled
            in here.
        audio : ndarray, shape (rows, samples), optional
            Mono, in [-1, 1].
        sample_rate : int
            Hz; needed with `audio`.
        audio_format : {"mp3", "flac"}, default "mp3"
        """
        clips: list[str | None] = [None] * len(rows)
        sizes, digests = [0] * len(rows), [""] * len(rows)
        if audio is not None:
            for row, (key, samples) in enumerate(zip(rows["key"], audio, strict=True)):
                content = encoded(samples, sample_rate, audio_format)
                clips[row], sizes[row], digests[row] = (
                    f"clips/{key}.{audio_format}",
                    len(content),
                    digest(content),
                )
                write_whole(self.folder / f"clips/{key}.{audio_format}", content, durable=True)
        clip = pd.Series(clips, rows.index, dtype="str")
        self._append(rows.assign(clip=clip, clip_bytes=sizes, clip_sha256=digests))

    @contextmanager
    def claim(self, keys: Iterable[str]) -> Iterator[set[str]]:
        """Claim rows, so that several processes that fill one store do not make the same rows.

        A claim is a file of keys and a lock beside it, which the system releases when its process ends, however it
        ends.

        Parameters
        ----------
        keys : iterable of str

        Yields
        ------
        set of str
            Those that no other process is making. They are this one's until the block ends.
        """
        folder = self.folder / "claims"
        folder.mkdir(exist_ok=True)
        own = folder / f"{uuid.uuid4().hex}.json"
        with ExitStack() as held:
            with FileLock(folder / "lock"):  # one process at a time looks and claims
                free = set(keys)
                for path in folder.glob("*.json"):
                    lock = FileLock(path.with_suffix(".lock"))
                    try:
                        with lock.acquire(timeout=0):  # nobody holds it any more
                            path.unlink(missing_ok=True)
                        path.with_suffix(".lock").unlink(missing_ok=True)
                    except Timeout:
                        with suppress(FileNotFoundError):  # its owner is just giving it up
                            free -= set(json.loads(path.read_text(encoding="utf-8")))
                if free:
                    held.enter_context(FileLock(own.with_suffix(".lock")))
                    held.callback(own.unlink, missing_ok=True)
                    write_whole(own, json.dumps(sorted(free)).encode())
            yield free
        own.with_suffix(".lock").unlink(missing_ok=True)

    def _append(self, rows: pd.DataFrame) -> None:
        about = {"format": _FORMAT, "version": _VERSION, "versions": versions()}
        table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(
            {_FORMAT: json.dumps(about)}
        )
        file = io.BytesIO()
        pq.write_table(table, file)
        content = file.getvalue()
        write_whole(self.folder / "parts" / f"{digest(content)}.parquet", content, durable=True)

    def _has_clip(self, rows: pd.DataFrame) -> list[bool]:
        """Whether the clip of each row, if it should have one, is there as it was written."""
        digests = rows["clip_sha256"] if "clip_sha256" in rows else [None] * len(rows)
        whole = [
            not isinstance(clip, str) or self._is_whole(clip, key, size, sha256)
            for key, clip, size, sha256 in zip(
                rows["key"], rows["clip"], rows["clip_bytes"], digests, strict=True
            )
        ]
        bad = [str(self.folder / clip) for clip, good in zip(rows["clip"], whole, strict=True) if not good]
        if bad:
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            warnings.warn(
                f"missing or damaged: {', '.join(bad[:5])}{more}. Their rows are left out, and made again by "
                "the next sweep",
                stacklevel=3,
            )
        return whole

    def _is_whole(self, clip: str, key: str, size: int, sha256: str | None) -> bool:
        if not _KEY.fullmatch(key) or clip not in (f"clips/{key}.mp3", f"clips/{key}.flac"):
            return False  # a part that somebody else wrote could name any file
        path = self.folder / clip
        try:
            about = path.stat()
            if not stat.S_ISREG(about.st_mode) or about.st_size != size:
                return False
            return not sha256 or pd.isna(sha256) or _sha256(path, about.st_size, about.st_mtime_ns) == sha256
        except OSError:
            return False


@cache
def _sha256(path: Path, _size: int, _modified: int) -> str:
    """Of a file; of one that has not changed it is computed once in a process."""
    return digest(path.read_bytes())


def merge(target: str | Path, sources: Iterable[str | Path]) -> pd.DataFrame:
    """Copy the rows of other stores into one, such as the shards of a sweep that ran on several machines.

    Rows that the target has already are not copied; the sources stay as they are. Killed half-way, it can be
    run again.

    Parameters
    ----------
    target : str or Path
        Made if it does not exist.
    sources : paths of stores

    Returns
    -------
    DataFrame
        All rows of the target, as `Store.read` gives them.

    Raises
    ------
    FileNotFoundError
        If a source is not there, before anything is copied.
    """
    paths = [Path(source) for source in sources]
    for path in paths:
        if not (path / "store.json").is_file():
            raise FileNotFoundError(f"no result store at {path}: it has no store.json")
    into, stores = Store(target), [Store(path) for path in paths]
    known = set(into.read()["key"])
    for store in stores:
        rows = store.read()
        rows = rows[~rows["key"].isin(known)]
        for clip in rows["clip"].dropna():
            content = (store.folder / clip).read_bytes()
            write_whole(into.folder / clip, content, durable=True)
        if len(rows):
            into._append(rows)
            known |= set(rows["key"])
    return into.read()


def _check_marker(marker: Path) -> None:
    try:
        content = json.loads(marker.read_text(encoding="utf-8"))
        kind, version = content["format"], content["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{marker} is damaged ({error}): restore it from another store, or name a new folder"
        ) from error
    if (kind, version) != (_FORMAT, _VERSION):
        raise ValueError(
            f"{marker} says {kind} version {version}, but this steerlib reads {_FORMAT} version {_VERSION}: "
            "use the steerlib that wrote it, or name a new folder"
        )


def _read(path: Path) -> pa.Table | None:
    """The rows of a part, or None with a warning."""
    try:
        content = path.read_bytes()
        if re.fullmatch("[0-9a-f]{64}", path.stem) and digest(content) != path.stem:
            raise ValueError("it is damaged: its name is the SHA-256 of what was written")
        table = pq.ParquetFile(io.BytesIO(content), page_checksum_verification=True).read()
        about = json.loads((table.schema.metadata or {}).get(_FORMAT.encode(), b"{}"))
        version = about.get("version") if isinstance(about, dict) else None
        if version != _VERSION:
            raise ValueError(f"it has version {version}, not {_VERSION}")
        columns = {
            "key": pa.string(),
            "clip": pa.string(),
            "clip_bytes": pa.int64(),
            "clip_sha256": pa.string(),
        }
        for name, kind in columns.items():
            if name in table.column_names:
                column = table.column(name).cast(kind)
                table = table.set_column(table.column_names.index(name), name, column)
            elif name != "clip_sha256":  # parts of the first versions have none
                raise ValueError("it lacks the columns of a store")
        if table.column("key").null_count:
            raise ValueError("it has rows without a key")
        return table
    except (OSError, ValueError, RecursionError, pa.ArrowException) as error:
        warnings.warn(
            f"{path} cannot be read ({error}): its rows are left out, and made again by the next sweep",
            stacklevel=4,
        )
        return None


def _mixed_versions(tables: Iterable[pa.Table]) -> str:
    """Libraries, and ours not, of which the parts name more than one version; empty if there are none."""
    found: dict[str, set[str]] = {}
    for table in tables:
        named = json.loads(table.schema.metadata[_FORMAT.encode()]).get("versions")
        for name, version in named.items() if isinstance(named, dict) else ():
            found.setdefault(one_line(name), set()).add(one_line(str(version)))
    found.pop("steerlib", None)  # a row's key says what matters of it
    return ", ".join(
        f"{name} ({' and '.join(sorted(each))})" for name, each in found.items() if len(each) > 1
    )


def _that_agree(tables: Mapping[Path, pa.Table]) -> list[pa.Table]:
    """The tables whose columns have types that go together, a warning for each of the others."""
    kinds = Counter(str(table.schema.remove_metadata()) for table in tables.values())
    agreed, fitting = pa.schema([]), []
    for path, table in sorted(  # the odd one is the rare one
        tables.items(), key=lambda item: -kinds[str(item[1].schema.remove_metadata())]
    ):
        try:
            agreed = pa.unify_schemas([agreed, table.schema.remove_metadata()], promote_options="permissive")
            fitting.append(table)
        except pa.ArrowException as error:
            warnings.warn(
                f"{path} does not go with the other parts ({error}): its rows are left out, and made again by the "
                "next sweep",
                stacklevel=3,
            )
    return fitting
