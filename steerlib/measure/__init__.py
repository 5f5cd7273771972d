"""Numbers from sound: tempo, brightness, onsets, mode, likeness, style and quality of audio clips.

One module a concern; their public names are here as well: ``measure.tempo(clips)``. A module is imported when
one of its names is first asked for, because the judges of tempo and style load for seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steerlib.measure.audio import ANALYSIS_RATE, Sound, read_clips
    from steerlib.measure.clap import clap_dimensions, clap_embeddings, clap_scores
    from steerlib.measure.frechet import frechet_distance, frechet_infinity
    from steerlib.measure.likeness import (
        chroma_correlation,
        log_spectral_distance,
        onset_envelope_correlation,
    )
    from steerlib.measure.registry import CHECKPOINTS, METRICS, Metric, judges
    from steerlib.measure.rhythm import beats, checkpoint_path, tempo, tempo_from_beats
    from steerlib.measure.spectrum import band_level, mode, onset_rate, spectral_centroid

_MODULES = {
    "audio": ("ANALYSIS_RATE", "Sound", "read_clips"),
    "clap": ("clap_dimensions", "clap_embeddings", "clap_scores"),
    "frechet": ("frechet_distance", "frechet_infinity"),
    "likeness": ("chroma_correlation", "log_spectral_distance", "onset_envelope_correlation"),
    "registry": ("CHECKPOINTS", "METRICS", "Metric", "judges"),
    "rhythm": ("beats", "checkpoint_path", "tempo", "tempo_from_beats"),
    "spectrum": ("band_level", "mode", "onset_rate", "spectral_centroid"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ANALYSIS_RATE",
    "CHECKPOINTS",
    "METRICS",
    "Metric",
    "Sound",
    "band_level",
    "beats",
    "checkpoint_path",
    "chroma_correlation",
    "clap_dimensions",
    "clap_embeddings",
    "clap_scores",
    "frechet_distance",
    "frechet_infinity",
    "judges",
    "log_spectral_distance",
    "mode",
    "onset_envelope_correlation",
    "onset_rate",
    "read_clips",
    "spectral_centroid",
    "tempo",
    "tempo_from_beats",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
