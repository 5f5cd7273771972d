"""How good the pocket model is: one table of figures on material that was never trained on.

Every figure has a 95 % interval (bootstrap over clips, or Wilson for shares), the number of clips behind it and
the threshold that the project set itself. ``python -m steerlib.pocket evaluate`` prints the table and stores it
as ``data/pocket/evaluation.json``, which the chapter on the pocket model shows as its card.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap

from steerlib import measure
from steerlib.engine.generation import generate
from steerlib.evidence.stats import auc
from steerlib.model import load_model
from steerlib.music import corpus
from steerlib.music.captions import LEADS, STYLES
from steerlib.prompts import load_attribute


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes
    ----------
    part, name : str
        What is judged and by which measure.
    value, low, high : float
        Estimate and 95 % interval.
    n : int
        Clips (or clip pairs) behind it.
    wanted : float
        The threshold the project set itself.
    higher : bool
        Whether larger is better.
    """

    part: str
    name: str
    value: float
    low: float
    high: float
    n: int
    wanted: float
    higher: bool = True

    @property
    def reached(self) -> bool:
        """Whether the estimate meets the threshold."""
        return self.value >= self.wanted if self.higher else self.value <= self.wanted

    def row(self) -> dict[str, object]:
        """The figure as a row of the model card."""
        return {
            "part": self.part,
            "figure": self.name,
            "value": f"{self.value:.3g}",
            "95 % interval": f"{self.low:.3g} to {self.high:.3g}",
            "n": self.n,
            "wanted": f"{'≥' if self.higher else '≤'} {self.wanted:g}",
            "reached": "yes" if self.reached else "no",
        }


def _mean(
    part: str, name: str, values: NDArray[np.floating], wanted: float, *, higher: bool = True
) -> Figure:
    values = np.asarray(values)[np.isfinite(values)]
    interval = bootstrap((values,), np.mean, n_resamples=1000, rng=0).confidence_interval
    return Figure(
        part,
        name,
        float(values.mean()),
        float(interval.low),
        float(interval.high),
        len(values),
        wanted,
        higher,
    )


def _share(part: str, name: str, right: NDArray[np.bool_], wanted: float) -> Figure:
    test = binomtest(int(right.sum()), len(right))
    interval = test.proportion_ci(method="wilson")
    return Figure(part, name, float(right.mean()), interval.low, interval.high, len(right), wanted)


def codec_figures(codec: Any, audio: NDArray[np.float32]) -> tuple[list[Figure], NDArray[np.float32]]:
    """Figures of the codec on held-out clips, and the copies it makes of them."""
    with torch.no_grad():
        batches = torch.tensor(audio)[:, None].split(16)
        codes = torch.cat([codec.encode(batch).audio_codes for batch in batches], dim=1)
        started = time.perf_counter()
        copies = np.concatenate([codec.decode(c).audio_values[:, 0].numpy() for c in codes.split(16, dim=1)])
        speed = audio.size / corpus.SAMPLE_RATE / (time.perf_counter() - started)
    copies = copies[:, : audio.shape[1]]
    rate = corpus.SAMPLE_RATE
    return [
        _mean(
            "codec", "chroma correlation", measure.chroma_correlation(audio, copies, sample_rate=rate), 0.85
        ),
        _mean(
            "codec",
            "log-spectral distance (dB)",
            measure.log_spectral_distance(audio, copies, sample_rate=rate),
            5,
            higher=False,
        ),
        _mean(
            "codec",
            "onset-envelope correlation",
            measure.onset_envelope_correlation(audio, copies, sample_rate=rate),
            0.97,
        ),
        Figure("codec", "decoding (times real time)", speed, speed, speed, len(audio), 200),
    ], copies


def tempo_figures(
    part: str, audio: NDArray[np.float32], truths: list[corpus.Truth], checkpoint: Path | None
) -> list[Figure]:
    """Beat F-measure (mir_eval, 70 ms) and share of clips whose BPM is within 4 %."""
    found = measure.beats(audio, sample_rate=corpus.SAMPLE_RATE, checkpoint=checkpoint)
    f = np.array([mir_eval.beat.f_measure(np.array(t.beats), b) for t, b in zip(truths, found, strict=True)])
    bpm = np.array([measure.tempo_from_beats(b) for b in found])
    near = np.abs(bpm / np.array([t.bpm for t in truths]) - 1) < 0.04
    return [_mean(part, "beat F-measure", f, 0.95), _share(part, "BPM within 4 %", near, 0.95)]


def prompt_figures(model, *, prompts: int, seed: int) -> list[Figure]:
    """Whether generated clips follow opposite prompts: separation (AUC) and ratio of medians."""
    figures = []
    for name, metric, ratio in (("tempo", measure.tempo, 1.6), ("timbre", measure.spectral_centroid, 1.7)):
        attribute = load_attribute(name)
        texts = attribute.positive_prompts[:prompts] + attribute.negative_prompts[:prompts]
        values = metric(generate(model, list(texts), seed=seed))
        high, low = values[: len(values) // 2], values[len(values) // 2 :]
        high, low = high[np.isfinite(high)], low[np.isfinite(low)]
        separation = auc(high, low)
        poles = f"{attribute.positive} against {attribute.negative} prompts"
        figures.append(
            Figure(
                "model",
                f"{poles}: AUC",
                separation.estimate,
                separation.low,
                separation.high,
                len(high) + len(low),
                0.95,
            )
        )
        quotient: Callable = lambda a, b, axis=-1: np.median(a, axis=axis) / np.median(b, axis=axis)  # noqa: E731
        interval = bootstrap(
            (high, low), quotient, n_resamples=1000, method="percentile", rng=0
        ).confidence_interval
        figures.append(
            Figure(
                "model",
                f"{poles}: ratio of medians",
                float(quotient(high, low)),
                interval.low,
                interval.high,
                len(high) + len(low),
                ratio,
            )
        )
    return figures


def clap_figures(
    part: str,
    audio: Any,
    truths: Mapping[str, Sequence[str]],
    model: Path,
    wanted: Mapping[str, float],
) -> list[Figure]:
    """Share of clips whose style and lead instrument CLAP names rightly, out of all names that there are."""
    rate = None if hasattr(audio, "sample_rate") else corpus.SAMPLE_RATE
    figures = []
    for kind, names in (("style", list(STYLES)), ("lead", list(LEADS))):
        scores = measure.clap_scores(audio, names, sample_rate=rate, model=model)
        right = scores.argmax(1) == [names.index(name) for name in truths[kind]]
        figures.append(_share(part, f"{kind} recognised", right, wanted[kind]))
    return figures


def named_figures(model, judge: Path, *, seed: int) -> list[Figure]:
    """Whether generated clips have the style and the instrument that their prompt names."""
    pairs = [(style, lead) for style in STYLES for lead in LEADS] * 2
    texts = [f"A {style} song with a {lead}" for style, lead in pairs]
    clips = generate(model, texts, seed=[seed + i for i in range(len(texts))])
    truths = {"style": [style for style, _ in pairs], "lead": [lead for _, lead in pairs]}
    return clap_figures("model, named in the prompt", clips, truths, judge, {"style": 0.7, "lead": 0.6})


def melody_figures(model, *, tunes: int, seed: int) -> list[Figure]:
    """Chroma correlation of generated clips with the tune they were given, and with another clip's tune."""
    seeds = range(corpus.HELD_OUT + 2000, corpus.HELD_OUT + 2000 + tunes)
    composed = [corpus.compose(s) for s in seeds]
    audio = np.stack(
        [
            corpus.render_parts({k: v for k, v in parts.items() if k[2] == "lead"}, t.bpm, corpus.SECONDS)
            for t, parts in composed
        ]
    )
    melody = model.processor.feature_extractor(audio, sampling_rate=corpus.SAMPLE_RATE, return_tensors="pt")
    texts = [f"A {truth.style} song with a {truth.lead}" for truth, _ in composed]
    clips = generate(model, texts, seed=seed, melody=melody.input_features)
    length = min(clips.audio.shape[1], audio.shape[1])
    made, rate = clips.audio[:, :length], corpus.SAMPLE_RATE
    own = measure.chroma_correlation(audio[:, :length], made, sample_rate=rate)
    other = measure.chroma_correlation(np.roll(audio[:, :length], 1, axis=0), made, sample_rate=rate)
    part = "model, given a tune"
    return [
        _mean(part, "chroma correlation with it, minus with another tune", own - other, 0.1),
        _mean(part, "chroma correlation with it", own, 0.0),
    ]


def evaluate(
    folder: Path, *, clips: int = 200, prompts: int = 100, seed: int = 0, write: bool = True
) -> list[Figure]:
    """All figures of a pocket model folder.

    Parameters
    ----------
    folder : Path
        As ``data/pocket``.
    clips : int
        Held-out clips, seeds `corpus.HELD_OUT` + 1000 and on.
    prompts : int
        Pairs of prompts per attribute.
    seed : int
        Seeds the generation.
    write : bool
        Store the table as ``evaluation.json`` in the folder.

    Returns
    -------
    list of Figure
    """
    model = load_model(folder)
    made = list(corpus.stream(range(corpus.HELD_OUT + 1000, corpus.HELD_OUT + 1000 + clips)))
    truths, audio = [t for t, _ in made], np.stack([x for _, x in made])
    figures, copies = codec_figures(model.network.audio_encoder, audio)
    checkpoint = folder / "beats.ckpt"
    figures += tempo_figures("tempo judge", audio, truths, checkpoint)
    figures += tempo_figures("tempo judge, through the codec", copies, truths, checkpoint)
    judge = folder / "clap"
    known = {"style": [t.style for t in truths], "lead": [t.lead for t in truths]}
    wanted = {"style": 0.9, "lead": 0.8}
    figures += clap_figures("CLAP judge", audio, known, judge, wanted)
    figures += clap_figures("CLAP judge, through the codec", copies, known, judge, wanted)
    figures += prompt_figures(model, prompts=prompts, seed=seed)
    figures += named_figures(model, judge, seed=seed)
    figures += melody_figures(model, tunes=prompts, seed=seed)
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 1e6
    figures.append(Figure("all weights", "size (MB)", size, size, size, 1, 60, higher=False))
    if write:
        content = {"seeds": [corpus.HELD_OUT + 1000, clips], "figures": [asdict(f) for f in figures]}
        (folder / "evaluation.json").write_text(json.dumps(content, indent=1) + "\n")
    return figures


def show(figures: list[Figure]) -> str:
    """The table as text."""
    rows = [
        f"{f.part:32} {f.name:44} {f.value:8.3f} [{f.low:.3f}, {f.high:.3f}]  n={f.n:<4} "
        f"{'>=' if f.higher else '<='} {f.wanted:<6g} {'reached' if f.reached else 'NOT reached'}"
        for f in figures
    ]
    return "\n".join(rows)
