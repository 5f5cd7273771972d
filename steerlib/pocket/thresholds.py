"""What the judges must know of themselves: thresholds fixed on composed clips of held-out seeds, ``judges.json``.

- ``sure``: the lowest confidence, in steps of 0.05, at which 95 % of the tempo judge's answers for degraded clips are
  right within 4 %. Below it the clip gets no tempo.
- ``key``: the fit of a key that 99 of 100 composed clips reach, half of them through the codec.
- ``strange``: the distance from the corpus that 99 of 100 other composed clips keep.

The seeds are used for nothing else; the chapter *Judges* tries the thresholds on others.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from steerlib.files import DATA, digest, write_whole
from steerlib.measure import degrade, known, rules
from steerlib.measure.rhythm import tempo_and_confidence
from steerlib.measure.spectrum import key_fit
from steerlib.model import load_model
from steerlib.music import corpus

__all__ = ["DEGREES", "fix"]

DEGREES: Mapping[str, tuple[float, ...]] = {
    "speed": (-0.3, 0.3),
    "stretch": (-0.3, 0.3),
    "low-pass": (3, 4, 5),
    "high-pass": (3, 4, 5),
    "noise": (0.5, 0.9, 1),
    "splice": (0.5, 1),
}
_RIGHT = 0.95
_FIRST = corpus.HELD_OUT + 2000


def fix(path: Path = known.FILE, *, clips: int = 32, reference: int = 96) -> dict[str, Any]:
    """Fix the thresholds and write them.

    Parameters
    ----------
    path : Path
    clips : int
        Composed clips that are degraded.
    reference : int
        Others, from which the look of the corpus is taken.

    Returns
    -------
    dict
        As `known.learned` gives it.
    """
    ahead = list(corpus.stream(range(_FIRST + 1000, _FIRST + 1000 + reference)))
    sounds = np.stack([audio for _, audio in ahead])
    values = known.features(sounds, sample_rate=corpus.SAMPLE_RATE).astype(float)
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    relation = 0.95 * np.corrcoef(values.T) + 0.05 * np.eye(
        values.shape[1]
    )  # shrunk: features are few and alike
    precision = np.linalg.inv(relation)
    scaled = (values - mean) / deviation
    distance = np.sqrt(np.einsum("ij,jk,ik->i", scaled, precision, scaled) / len(mean))
    source = [rules.decibels(audio) - rules.gain(truth.cutoff) for truth, audio in ahead]

    truths, plain = zip(*corpus.stream(range(_FIRST, _FIRST + clips)), strict=True)
    audio, bpm = np.stack(plain), np.array([truth.bpm for truth in truths])
    codec = load_model("pocket").network.audio_encoder
    copies = degrade.codec(audio, 1, network=codec)
    cases = {"as composed": (audio, 0.0), "codec": (copies, 0.0)}
    cases["frames in random order"] = degrade.shuffle(audio, 1, network=codec), 0.0
    for name, degrees in DEGREES.items():
        for degree in degrees:
            moved = degree if name in ("speed", "stretch") else 0.0
            cases[f"{name} {degree:g}"] = degrade.DEGRADATIONS[name](audio, degree, seed=1), moved
    sure, right = {}, {}
    for name, (worse, octaves) in cases.items():
        found, sure[name] = tempo_and_confidence(worse, sample_rate=corpus.SAMPLE_RATE)
        right[name] = np.abs(found / (bpm * 2**octaves) - 1) < 0.04
    every, correct = np.concatenate(list(sure.values())), np.concatenate(list(right.values()))
    threshold = next(step for step in np.arange(0.05, 1, 0.05) if correct[every >= step].mean() >= _RIGHT)
    fits = [max(key_fit(clip)) for clip in np.concatenate([audio, copies])]
    found_all: dict[str, Any] = {
        "tracker": digest((DATA / "pocket" / "beats.ckpt").read_bytes()),
        "seeds": {"degraded": [_FIRST, clips], "reference": [_FIRST + 1000, reference]},
        "sure": round(float(threshold), 2),
        "key": round(float(np.quantile(fits, 0.01)), 3),
        "strange": round(float(np.quantile(distance, 0.99)), 3),
        "mean": mean.round(3).tolist(),
        "deviation": deviation.round(3).tolist(),
        "precision": precision.round(4).tolist(),
        "source": np.mean([each - each.mean() for each in source], axis=0).round(3).tolist(),
        "answers": [
            {
                "clips": name,
                "answered": round(float((sure[name] >= threshold).mean()), 3),
                "right": round(float(right[name][sure[name] >= threshold].mean()), 3)
                if (sure[name] >= threshold).any()
                else None,
                "right if it always answers": round(float(right[name].mean()), 3),
            }
            for name in cases
        ],
    }
    lines = ",\n".join(f' "{name}": {json.dumps(value)}' for name, value in found_all.items())
    write_whole(path, f"{{\n{lines}\n}}\n".encode())
    known.learned.cache_clear()
    return found_all
