"""The metrics of a sweep by name, and which judge measures the clips of which model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pandas as pd

from steerlib.files import DATA
from steerlib.measure.audio import read_clips
from steerlib.measure.known import FILE
from steerlib.measure.loudness import loudness
from steerlib.measure.rhythm import sure_tempo, tempo
from steerlib.measure.rules import attacks, cutoff, pulse, third
from steerlib.measure.spectrum import band_level, mode, onset_rate, spectral_centroid

__all__ = ["CHECKPOINTS", "METRICS", "SECOND", "THRESHOLDS", "VERSIONS", "Metric", "add_columns", "judges"]

Metric = Callable[..., npt.NDArray[Any]]

METRICS: dict[str, Metric] = {
    "bpm": tempo,
    "centroid": spectral_centroid,
    "onset_rate": onset_rate,
    "rms": band_level,
    "mode": mode,
    "sure_bpm": sure_tempo,
    "pulse": pulse,
    "cutoff": cutoff,
    "attacks": attacks,
    "loudness": loudness,
    "third": third,
}
"""Metrics by the name of their column: functions of clips, one value per clip."""

SECOND = {"bpm": "pulse", "centroid": "cutoff", "onset_rate": "attacks", "rms": "loudness", "mode": "third"}
"""The judge by rule that is asked beside a metric: another way to the same attribute, without a network."""

VERSIONS: dict[str, int] = {"mode": 2}  # 2: cannot tell where no key fits
"""Version of a metric that has changed, 2 and on: part of the key of stored rows.

Raised whenever a metric gives other numbers for the same sound, be it by our code or by a library that it uses, so
that old and new numbers never stand in one table. ``tests/robustness/test_metrics.py`` has the numbers, and fails where
they change and the version does not. A hash of the code would throw rows away for every comment that is mended, and
would not see a library change. Of rows made with different versions of the libraries, `Store.read` warns.
"""

CHECKPOINTS: dict[str, Path] = dict.fromkeys(("bpm", "sure_bpm"), DATA / "pocket" / "beats.ckpt")
"""The trained judge that a metric depends on unless it is given another: a sweep keeps its hash."""

THRESHOLDS: dict[str, Path] = dict.fromkeys(("sure_bpm", "mode", "cutoff"), FILE)
"""The thresholds that a metric depends on, whatever its judge: a sweep keeps their hash as well."""


def add_columns(table: pd.DataFrame, store: str | Path, metrics: Sequence[str]) -> pd.DataFrame:
    """The table of a sweep with more metrics, measured on the clips that its store has kept. Nothing is generated.

    Parameters
    ----------
    table : DataFrame
        From `sweep` with ``keep``. A clip that stands in several rows is measured once.
    store : str or Path
        Folder of the store. What it kept is measured, mp3 included.
    metrics : sequence of str
        Names in `METRICS`; those that are columns already are left as they are.

    Returns
    -------
    DataFrame

    Raises
    ------
    ValueError
        If there is no such metric, or a row has no clip.
    """
    missing = [name for name in metrics if name not in table]
    unknown = [name for name in missing if name not in METRICS]
    if unknown:
        raise ValueError(f"unknown metrics {unknown}: expected some of {', '.join(METRICS)}")
    if not missing:
        return table
    once = table.drop_duplicates("clip")
    audio, rate = read_clips(once, store)
    found = {name: METRICS[name](audio, sample_rate=rate) for name in missing}
    return table.join(pd.DataFrame(found, index=once["clip"].to_numpy()), on="clip")


def judges(model: str, *, beats: str = "", clap: str = "") -> tuple[str | None, str | None]:
    """Names of the judges of tempo and of style for the clips of a model: the pocket's for it alone.

    The pocket's judges know nothing but the pocket's music; clips of any other model go to the public ones, which
    transformers and beat_this fetch. Used in every chapter that measures clips.

    Parameters
    ----------
    model : str
        As `load_model` takes it.
    beats, clap : str
        A judge by name or folder, whatever the model; empty for the one that fits.

    Returns
    -------
    beats, clap : str or None
        For `tempo` and `clap_scores`: None is the pocket's, else "final0" and "laion/clap-htsat-unfused".
    """
    if model.split(":")[0] == "pocket":  # a replica too
        return beats or None, clap or None
    return beats or "final0", clap or "laion/clap-htsat-unfused"
