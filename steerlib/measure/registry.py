"""The metrics of a sweep by name, and which judge measures the clips of which model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt

from steerlib.files import DATA
from steerlib.measure.audio import Sound
from steerlib.measure.rhythm import tempo
from steerlib.measure.spectrum import band_level, mode, onset_rate, spectral_centroid

__all__ = ["CHECKPOINTS", "METRICS", "VERSIONS", "Metric", "judges"]

Metric = Callable[[Sound], npt.NDArray[Any]]

METRICS: dict[str, Metric] = {
    "bpm": tempo,
    "centroid": spectral_centroid,
    "onset_rate": onset_rate,
    "rms": band_level,
    "mode": mode,
}
"""Metrics by the name of their column: functions of clips, one value per clip."""

VERSIONS: dict[str, int] = {}
"""Version of a metric that has changed, 2 and on: part of the key of stored rows.

Raised whenever a metric gives other numbers for the same sound, be it by our code or by a library that it uses, so
that old and new numbers never stand in one table. ``tests/robustness/test_metrics.py`` has the numbers.
"""

CHECKPOINTS: dict[str, Path] = {"bpm": DATA / "pocket" / "beats.ckpt"}
"""The trained judge that a metric depends on unless it is given another: a sweep keeps its hash."""


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
