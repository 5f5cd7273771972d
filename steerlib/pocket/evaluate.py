"""How good the pocket model is: one table of figures on material that was never trained on.

Every figure has a 95 % interval (bootstrap over clips, or Wilson for shares), the number of clips behind it and
the threshold that the project set itself. ``python -m steerlib.pocket evaluate`` prints the table and stores it
as ``data/pocket/evaluation.json``, which the chapter on the pocket model shows as its card.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
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
from steerlib.measure.known import learned
from steerlib.measure.rhythm import tempo_and_confidence
from steerlib.model import load_model
from steerlib.pocket import geometry, judges
from steerlib.pocket.card import Figure
from steerlib.pocket.second import corpus
from steerlib.pocket.second.captions import LEADS, STYLES
from steerlib.prompts import load_attribute

_DEFAULT = Path(__file__).resolve().parents[2] / "data" / "pocket"


def _mean(
    part: str, name: str, values: NDArray[np.floating], wanted: float | None, *, higher: bool = True
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


def _share(part: str, name: str, right: NDArray[np.bool_], wanted: float | None) -> Figure:
    if not len(right):
        return Figure(part, name, np.nan, np.nan, np.nan, 0, wanted)
    test = binomtest(int(right.sum()), len(right))
    interval = test.proportion_ci(method="wilson")
    return Figure(part, name, float(right.mean()), interval.low, interval.high, len(right), wanted)


def _auc(
    part: str, name: str, high: NDArray[np.floating], low: NDArray[np.floating], wanted: float | None
) -> Figure:
    count = int(np.isfinite(high).sum() + np.isfinite(low).sum())
    if not (np.isfinite(high).any() and np.isfinite(low).any()):
        return Figure(part, name, np.nan, np.nan, np.nan, count, wanted)
    found = auc(high[np.isfinite(high)], low[np.isfinite(low)])
    return Figure(part, name, found.estimate, found.low, found.high, count, wanted)


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
    """Beat F-measure (mir_eval, 70 ms) and share of clips whose BPM is within 4 %; of clips of one tempo."""
    steady = [t.event not in ("speeds up", "slows down") for t in truths]
    audio, truths = audio[steady], [t for t, kept in zip(truths, steady, strict=True) if kept]
    found = measure.beats(audio, sample_rate=corpus.SAMPLE_RATE, checkpoint=checkpoint)
    f = np.array([mir_eval.beat.f_measure(np.array(t.beats), b) for t, b in zip(truths, found, strict=True)])
    bpm = np.array([measure.tempo_from_beats(b) for b in found])
    near = np.abs(bpm / np.array([t.bpm for t in truths]) - 1) < 0.04
    return [_mean(part, "beat F-measure", f, 0.95), _share(part, "BPM within 4 %", near, 0.95)]


def degraded_figures(audio: NDArray[np.float32], truths: list[corpus.Truth], beats: Path) -> list[Figure]:
    """How often the tempo judge answers on degraded clips of one tempo, and how often it is then right."""
    heard, bpm = [], []
    for clip, truth in zip(audio, truths, strict=True):
        if truth.event not in ("speeds up", "slows down"):
            worse, (times,) = judges.degraded(
                clip, [np.array(truth.beats)], np.random.default_rng([1, truth.seed])
            )
            heard.append(worse)
            bpm.append(60 / np.median(np.diff(times)))
    found, confidence = tempo_and_confidence(
        np.stack(heard), sample_rate=corpus.SAMPLE_RATE, checkpoint=beats
    )
    answered, near = confidence >= learned()["sure"], np.abs(found / np.array(bpm) - 1) < 0.04
    part = "tempo judge, degraded clips"
    return [
        _share(part, "answered", answered, 0.8),
        _share(part, "BPM within 4 % where it answered", near[answered], 0.9),
        _share(part, "BPM within 4 % of all", near, None),
    ]


def none_figures(codec: Any, audio: NDArray[np.float32], judge: Path) -> list[Figure]:
    """How often CLAP says that no style fits: of held-out clips, and of the same clips with their codes broken."""
    with torch.no_grad():
        codes = codec.encode(torch.tensor(audio)[:, None]).audio_codes[0]
        codes = judges.broken_codes(codes, torch.Generator().manual_seed(1))
        broken = codec.decode(codes[None]).audio_values[:, 0].numpy()
    labels = [*STYLES, judges.NONE]
    figures = []
    for name, clips, wanted, higher in (
        ("broken clips", broken, 0.9, True),
        ("held-out clips", audio, 0.05, False),
    ):
        scores = measure.clap_scores(clips, labels, sample_rate=corpus.SAMPLE_RATE, model=judge)
        figure = _share("CLAP judge", f"no style fits, of {name}", scores.argmax(1) == len(STYLES), wanted)
        figures.append(replace(figure, higher=higher))
    return figures


#: Attribute, its measure, the least AUC and the least ratio of medians (None where a ratio says nothing).
_PROMPTED = (
    ("tempo", measure.tempo, 0.97, 1.8),
    ("timbre", measure.spectral_centroid, 0.98, 2.0),
    ("loudness", measure.band_level, 0.98, None),
    ("energy", measure.onset_rate, 0.95, None),
    ("mode", measure.mode, 0.90, None),
)


def truth_figures(audio: NDArray[np.float32], truths: list[corpus.Truth]) -> list[Figure]:
    """What the measures of `prompt_figures` can reach at best: AUC of composed clips of opposite poles."""
    figures = []
    for name, metric, _, _ in _PROMPTED[1:]:
        values, poles = metric(audio, sample_rate=corpus.SAMPLE_RATE), [t.poles()[name] for t in truths]
        attribute = load_attribute(name)
        high, low = (
            values[[pole == wanted for pole in poles]] for wanted in (attribute.positive, attribute.negative)
        )
        title = f"{attribute.positive} against {attribute.negative} clips: AUC"
        figures.append(_auc("corpus", title, high, low, None))
    return figures


def prompt_figures(model, beats: Path, *, prompts: int, seed: int) -> list[Figure]:
    """Whether generated clips follow opposite prompts: separation (AUC) and ratio of medians."""
    figures = []
    for name, metric, wanted, ratio in _PROMPTED:
        attribute = load_attribute(name)
        texts = attribute.positive_prompts[:prompts] + attribute.negative_prompts[:prompts]
        clips = generate(model, list(texts), seed=seed)
        values = measure.tempo(clips, checkpoint=beats) if name == "tempo" else metric(clips)
        high, low = values[: len(values) // 2], values[len(values) // 2 :]
        poles = f"{attribute.positive} against {attribute.negative} prompts"
        figures.append(_auc("model", f"{poles}: AUC", high, low, wanted))
        high, low = high[np.isfinite(high)], low[np.isfinite(low)]
        count = len(high) + len(low)
        if ratio is None or min(len(high), len(low)) < 2:
            continue
        quotient: Callable = lambda a, b, axis=-1: np.median(a, axis=axis) / np.median(b, axis=axis)  # noqa: E731
        interval = bootstrap(
            (high, low), quotient, n_resamples=1000, method="percentile", rng=0
        ).confidence_interval
        value = float(quotient(high, low))
        title = f"{poles}: ratio of medians"
        figures.append(Figure("model", title, value, interval.low, interval.high, count, ratio))
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
    return clap_figures("model, named in the prompt", clips, truths, judge, {"style": 0.9, "lead": 0.85})


def melody_figures(model, *, tunes: int, seed: int) -> list[Figure]:
    """Chroma correlation of generated clips with the tune they were given, and with another clip's tune."""
    seeds = range(corpus.HELD_OUT + 2000, corpus.HELD_OUT + 2000 + tunes)
    composed = [corpus.compose(s) for s in seeds]
    audio = np.stack(
        [
            corpus.render_parts({k: v for k, v in parts.items() if k[2] == "lead"}, t.tempi(), corpus.SECONDS)
            for t, parts in composed
        ]
    )
    full = np.stack([corpus.render(t, parts) for t, parts in composed])
    melody = model.processor.feature_extractor(audio, sampling_rate=corpus.SAMPLE_RATE, return_tensors="pt")
    texts = [f"A {truth.style} song with a {truth.lead}" for truth, _ in composed]
    clips = generate(model, texts, seed=seed, melody=melody.input_features)
    length = min(clips.audio.shape[1], audio.shape[1])
    made, rate = clips.audio[:, :length], corpus.SAMPLE_RATE
    own = measure.chroma_correlation(audio[:, :length], made, sample_rate=rate)
    other = measure.chroma_correlation(np.roll(audio[:, :length], 1, axis=0), made, sample_rate=rate)
    part = "model, given a tune"
    return [
        _mean(part, "chroma correlation with it", own, 0.6),
        _mean(part, "chroma correlation with another tune", other, 0.1, higher=False),
        _mean(
            part,
            "the same of the composed clips",
            measure.chroma_correlation(audio, full, sample_rate=rate),
            None,
        ),
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
        Of the generation.
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
    figures += truth_figures(audio, truths)
    beats, judge = _DEFAULT / "beats.ckpt", _DEFAULT / "clap"  # a replica's folder has no judges of its own
    beats = folder / "beats.ckpt" if (folder / "beats.ckpt").exists() else beats
    judge = folder / "clap" if (folder / "clap").exists() else judge
    figures += tempo_figures("tempo judge", audio, truths, beats)
    figures += tempo_figures("tempo judge, through the codec", copies, truths, beats)
    figures += degraded_figures(copies, truths, beats)
    known = {"style": [t.style for t in truths], "lead": [t.lead for t in truths]}
    wanted = {"style": 0.9, "lead": 0.8}
    figures += clap_figures("CLAP judge", audio, known, judge, wanted)
    figures += clap_figures("CLAP judge, through the codec", copies, known, judge, wanted)
    figures += none_figures(model.network.audio_encoder, audio, judge)
    figures += prompt_figures(model, beats, prompts=prompts, seed=seed)
    figures += named_figures(model, judge, seed=seed)
    figures += melody_figures(model, tunes=prompts, seed=seed)
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 1e6
    figures.append(Figure("all weights", "size (MB)", size, size, size, 1, 80, higher=False))
    if write:
        content = {
            "seeds": [corpus.HELD_OUT + 1000, clips],
            "figures": [asdict(f) for f in figures],
            "readability": geometry.readability(model).to_dict("list"),
            "geometry": geometry.geometry(model, audio).to_dict("list"),
            "breaking": geometry.breaking(model, audio, judge, seed=seed).to_dict("list"),
        }
        (folder / "evaluation.json").write_text(json.dumps(content, indent=1) + "\n")
    return figures


_WORDS = {"yes": "reached", "open": "open", "no": "NOT reached"}


def show(figures: list[Figure]) -> str:
    """The table as text."""
    rows = [
        f"{f.part:32} {f.name:44} {f.value:8.3f} [{f.low:.3f}, {f.high:.3f}]  n={f.n:<4} "
        + ("" if f.wanted is None else f"{'>=' if f.higher else '<='} {f.wanted:<6g} reached: {f.reached}")
        for f in figures
    ]
    return "\n".join(rows)
