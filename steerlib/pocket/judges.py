"""The judges of the pocket model's music, trained on its corpus because public weights cannot be shipped.

A small `BeatThis` (Foscarin et al. 2024) hears tempo, a small `ClapModel` (Wu et al. 2023) style and instrument.
Both are read by the same code as the public checkpoints: beat_this's inference classes and transformers'
zero-shot pipeline. Part of what they learn from has been through the codec, as all that they will judge has.

Both may say that they do not know. CLAP has an answer for it (`NONE`), learned from broken music and from clips whose
right name is not among the choices. The tempo judge learns from degraded clips too, and `measure.rhythm.confidence`
says how sure it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
import torch.nn.functional as F
from beat_this.model.beat_tracker import BeatThis
from beat_this.model.loss import ShiftTolerantBCELoss
from beat_this.preprocessing import LogMelSpect
from scipy.signal import butter, sosfilt
from tqdm.auto import tqdm
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor

from steerlib.pocket import lm, train_codec
from steerlib.pocket.lm import TEXT, make_tokenizer
from steerlib.pocket.second import corpus
from steerlib.pocket.second.captions import LEADS, STYLES, known_words
from steerlib.pocket.training import autocast, fit

#: CLAP's answer where no name fits; put it among the labels.
NONE = "none of these"

_BEATS = {
    "transformer_dim": 64, "ff_mult": 4, "n_layers": 3, "head_dim": 32, "stem_dim": 16,
    "partial_transformers": False, "dropout": {"frontend": 0.1, "transformer": 0.1},
}  # fmt: skip
_FPS = 50
_BEAT_RATE = 22_050


# -- clips that are worse than the corpus ------------------------------------------------------------------------


def degraded(
    audio: np.ndarray, times: Sequence[np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, list[np.ndarray]]:
    """A clip after one or two of: another speed, a filter, noise, a splice; with its beat times moved along.

    Parameters
    ----------
    audio : ndarray of shape (samples,)
        At `corpus.SAMPLE_RATE`.
    times : sequence of ndarray
        Lists of times in seconds, such as beats and downbeats.
    rng : numpy.random.Generator

    Returns
    -------
    audio : ndarray of the same shape
    times : list of ndarray
        Those that are within the clip.
    """
    rate, length = corpus.SAMPLE_RATE, len(audio)
    for kind in rng.choice(["speed", "filter", "noise", "splice"], size=rng.integers(1, 3), replace=False):
        if kind == "speed":
            factor = rng.uniform(0.8, 1.25)
            played = soxr.resample(audio, rate, rate * factor)
            audio, whole = np.resize(played, length), len(played) / rate  # a shorter clip begins again
            times = [np.concatenate([t * factor, t * factor + whole]) for t in times]
        elif kind == "filter":
            low = rng.random() < 0.6
            corner = rng.uniform(400, 3000) if low else rng.uniform(200, 1500)
            audio = sosfilt(butter(4, corner, "lowpass" if low else "highpass", fs=rate, output="sos"), audio)
        elif kind == "noise":
            noise = rng.normal(size=length) * audio.std()
            audio = audio + noise * 10 ** (-rng.uniform(0, 20) / 20)
        else:  # two pieces change places
            cut = int(rng.integers(length // 4, 3 * length // 4))
            audio = np.roll(audio, -cut)
            times = [np.sort((t - cut / rate) % (length / rate)) for t in times]
    inside = [t[(t >= 0) & (t < length / rate)] for t in times]
    return (audio / max(1.0, np.abs(audio).max())).astype(np.float32), inside


def broken_codes(codes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Codes (clips, codebooks, frames) of no music: a steering that went too far makes such.

    A third are frames in random order, a third have every codebook from another clip and time, a third hold on a
    few frames.
    """
    made = codes.clone()
    clips, books, frames = codes.shape
    for clip in range(clips):
        order = torch.randperm(frames, generator=generator)
        if clip % 3 == 0:
            made[clip] = codes[clip][:, order]
        elif clip % 3 == 1:
            others = torch.randint(clips, (books,), generator=generator)
            shifts = torch.randint(frames, (books,), generator=generator)
            made[clip] = torch.stack(
                [codes[o, k].roll(int(s)) for k, (o, s) in enumerate(zip(others, shifts, strict=True))]
            )
            made[clip, 2:] = made[clip, 2:][:, order]
        else:
            few = order[: int(torch.randint(1, 6, (), generator=generator))]
            made[clip] = codes[clip][:, few.repeat(frames)[:frames]]
    return made


@torch.no_grad()
def hot_codes(
    model: Any, codes: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Codes in which a part of the tokens is what the model might have written there, at a high temperature.

    The rhythm of the clip stays, so that its beats are known.
    """
    pad = model.config.decoder.pad_token_id
    inputs, labels = lm.delay(codes, pad)
    prefix = lm.prefixes(model, ids, mask, torch.zeros(len(codes), lm.CHROMA, dtype=torch.long))
    hidden = lm._hidden(model, prefix, inputs)
    made = codes.clone()
    for k, head in enumerate(model.decoder.lm_heads):
        temperature = 1 + 0.6 * torch.rand(len(codes), 1, 1, generator=generator)
        logits = head(hidden[:, k : k + codes.shape[-1]])[..., :pad].float() / temperature
        drawn = torch.multinomial(logits.softmax(-1).flatten(0, 1), 1, generator=generator).view(
            len(codes), -1
        )
        share = 0.2 + 0.6 * torch.rand(len(codes), 1, generator=generator)
        replaced = torch.rand(drawn.shape, generator=generator) < share
        made[:, k] = torch.where(replaced, drawn, codes[:, k])
    return made


def _decoded_shards(work: Path, kind: str, clips: int) -> list[Path]:
    """What the codec makes of codes that are ``broken`` or ``hot``, in files like those of `render_shards`."""
    codec = train_codec.load(work)
    folder = work / f"{kind}-{train_codec.digest(codec)}"
    folder.mkdir(exist_ok=True)
    model = lm.load(work, lm.REPLICAS["seed0"]) if kind == "hot" else None
    tokenizer = lm.make_processor().tokenizer
    paths = []
    for source in tqdm(lm.encode_corpus(work, clips), desc=kind, unit="shard"):
        paths.append(folder / source.name.replace("codes", "audio").replace("npz", "npy"))
        if paths[-1].exists():
            continue
        data, generator = lm.Codes([source], tokenizer), torch.Generator().manual_seed(int(source.stem[-8:]))
        made = []
        for rows in torch.arange(len(data)).split(20):
            codes = data.codes[rows].long()
            if model is None:
                codes = broken_codes(codes, generator)
            else:
                ids, mask = data.ids, data.mask
                assert ids is not None and mask is not None  # a tokenizer was given
                codes = hot_codes(model, codes, ids[rows], mask[rows], generator)
            with torch.no_grad():
                copies: Any = codec.decode(codes[None]).audio_values
            made.append(copies[:, 0].clamp(-1, 1).numpy())
        temporary = folder / f"{paths[-1].stem}.tmp.npy"
        np.save(temporary, (np.concatenate(made) * 32767).astype(np.int16))
        os.replace(temporary, paths[-1])
    return paths


def _kept(file: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """An array on disk, made if it is missing."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".tmp.npy")
        np.save(temporary, make())
        os.replace(temporary, file)
    return np.load(file, mmap_mode="r")


def _audio(shard: Path) -> Iterator[np.ndarray]:
    for row in np.load(shard, mmap_mode="r"):
        yield row.astype(np.float32) / 32767


def _seeds(shards: Sequence[Path]) -> np.ndarray:
    """Seeds of the clips in files of 500."""
    return np.concatenate(
        [int(path.stem[-8:]) + np.arange(len(np.load(path, mmap_mode="r"))) for path in shards]
    )


# -- tempo -----------------------------------------------------------------------------------------------------


def train_beats(
    work: Path, *, steps: int = 3_000, clips: int = 3_000, broken: int = 500, batch: int = 16, seed: int = 0
) -> Path:
    """Train the tempo judge on exact beats: of clips, of the codec's copies, of degraded ones of both, and of clips
    in which the decoder drew a part of the tokens anew; and on broken clips, which have none.

    Returns
    -------
    Path
        ``work/beats/beats.ckpt``, float16, in the layout of beat_this's published checkpoints.
    """
    torch.manual_seed(seed)
    mel = LogMelSpect()
    rendered, copies = train_codec.render_shards(work / "audio", clips), train_codec.copy_shards(work, clips)
    hot, no_music = _decoded_shards(work, "hot", clips), _decoded_shards(work, "broken", broken)
    sets = [("", p) for p in (*rendered, *copies, *hot, *no_music)]
    sets += [("-degraded", p) for p in (*rendered, *copies)]
    mels, targets = [], []
    for suffix, shard in tqdm(sets, desc="beats: spectrograms", unit="shard"):
        first = int(shard.stem[-8:])
        truths = [corpus.compose(first + i)[0] for i in range(len(np.load(shard, mmap_mode="r")))]
        heard, times = [], []
        for number, (audio, truth) in enumerate(zip(_audio(shard), truths, strict=True)):
            known = [np.array(truth.beats), np.array(truth.downbeats)]
            if suffix:
                audio, known = degraded(audio, known, np.random.default_rng([seed, first + number]))
            heard.append(audio)
            times.append([t[:0] for t in known] if shard in no_music else known)
        name = f"{shard.parent.name}_{shard.stem}{suffix}.npy"
        mels.append(_kept(work / "beats" / name, partial(_mels, mel, heard)))
        frames = mels[-1].shape[1]
        target = np.zeros((len(heard), 2, frames), np.float32)
        for row, lists in enumerate(times):
            for kind, each in enumerate(lists):
                index = np.round(each * _FPS).astype(int)
                target[row, kind, index[index < frames]] = 1
        targets.append(target)
    model = BeatThis(**_BEATS)
    beat_loss, downbeat_loss = ShiftTolerantBCELoss(pos_weight=8), ShiftTolerantBCELoss(pos_weight=30)

    def step(number: int) -> tuple[torch.Tensor, dict[str, float]]:
        rng = np.random.default_rng([seed, number])
        start = rng.integers(0, 100)  # clips start on a downbeat; music at large does not
        rows = [(s := rng.integers(len(mels)), rng.integers(len(mels[s]))) for _ in range(batch)]
        cut = np.stack([mels[s][r][start : start + frames - 100] for s, r in rows]).astype(np.float32)
        wanted = torch.tensor(np.stack([targets[s][r][:, start : start + frames - 100] for s, r in rows]))
        with autocast():
            out = model(torch.tensor(cut))
        first = beat_loss(out["beat"].float(), wanted[:, 0])
        second = downbeat_loss(out["downbeat"].float(), wanted[:, 1])
        return first + 0.3 * second, {"beat": first.item(), "downbeat": second.item()}

    model = fit(
        model, step, work / "beats", steps=steps, learning_rate=2e-3, weight_decay=0.01, average=0.995
    )
    weights = {f"model.{k}": v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    file = work / "beats" / "beats.ckpt"
    torch.save({"state_dict": weights, "hyper_parameters": _BEATS}, file)
    return file


def _mels(mel: LogMelSpect, clips: list[np.ndarray]) -> np.ndarray:
    return np.stack([_mel(mel, audio) for audio in clips])


def _mel(mel: LogMelSpect, audio: np.ndarray) -> np.ndarray:
    resampled = soxr.resample(audio, corpus.SAMPLE_RATE, _BEAT_RATE)
    return mel(torch.tensor(resampled)).numpy().astype(np.float16)


# -- style and instrument --------------------------------------------------------------------------------------


_TEMPLATES = ("This is a sound of {}.", "{}", "a {} song", "{} music", "music with a {}", "the sound of a {}")


def make_clap() -> tuple[ClapModel, ClapProcessor]:
    """An untrained CLAP of a million parameters, whose embeddings have 64 dimensions.

    No more because the Fréchet distance needs more windows than dimensions, and a notebook on a laptop has some
    hundred of them. A patch is a whole spectrum, four frames long: Swin knows no absolute position, and with
    square patches the instrument was still a guess after 500 steps, because timbre is which bands are loud.
    """
    words = sorted({*known_words(), "this", "is", "sound", "of", "music", "the", "song", "none", "these"})
    tokenizer = make_tokenizer(words)
    extractor = ClapFeatureExtractor(
        feature_size=64, sampling_rate=corpus.SAMPLE_RATE, hop_length=512, max_length_s=int(corpus.SECONDS),
        fft_window_size=1024, frequency_min=50, frequency_max=8000, truncation="rand_trunc", padding="repeatpad",
    )  # fmt: skip
    config = ClapConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 192, "max_position_embeddings": TEXT + 2, "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1,
        },
        audio_config={
            "spec_size": 128, "num_mel_bins": 64, "window_size": 2, "patch_size": [64, 4], "patch_stride": [64, 4],
            "hidden_size": 192, "patch_embeds_hidden_size": 192, "depths": [3], "num_attention_heads": [4],
            "hidden_dropout_prob": 0.0,
        },
        projection_dim=64,
    )  # fmt: skip
    clap: Any = ClapModel(config)
    # transformers' standard deviation of 0.02 is for widths of hundreds; here it would silence every block
    for name, parameter in clap.named_parameters():
        if parameter.ndim > 1 and "relative_position" not in name:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return clap, ClapProcessor(extractor, tokenizer)


def train_clap(
    work: Path,
    *,
    steps: int = 4_000,
    clips: int = 8_000,
    copies: int = 4_000,
    broken: int = 1_500,
    batch: int = 48,
    seed: int = 0,
) -> Path:
    """Train the judge of style and instrument: right names out of all names, and captions among captions.

    In a third of the rows the right name is not among the names, and of broken clips no name is right: the answer is
    then `NONE`.

    Returns
    -------
    Path
        ``work/clap/model``, a folder with a `ClapModel` and its processor.
    """
    torch.manual_seed(seed)
    clap, processor = make_clap()
    extractor, tokenizer = processor.feature_extractor, processor.tokenizer

    def feature(shard: Path) -> np.ndarray:
        rows = list(_audio(shard))
        parts = [rows[i : i + 25] for i in range(0, len(rows), 25)]
        found = [extractor(x, sampling_rate=corpus.SAMPLE_RATE, return_tensors="np") for x in parts]
        return np.concatenate([f["input_features"] for f in found]).astype(np.float16)

    music = train_codec.render_shards(work / "audio", clips) + train_codec.copy_shards(work, copies)
    noise = _decoded_shards(work, "broken", broken)
    files = [work / "clap" / f"{shard.parent.name}_{shard.stem}.npy" for shard in (*music, *noise)]
    shards = [
        _kept(file, partial(feature, shard))
        for file, shard in zip(files, tqdm((*music, *noise), desc="clap: spectrograms"), strict=True)
    ]
    mels = [row for shard in shards for row in shard]
    seeds, is_music = _seeds([*music, *noise]), np.arange(len(mels)) < len(_seeds(music))
    truths = [corpus.compose(s)[0] for s in range(clips)]
    names = {"style": STYLES, "lead": LEADS}
    right = {
        kind: torch.tensor([list(of).index(getattr(t, kind)) for t in truths]) for kind, of in names.items()
    }

    def told(texts: list[str]) -> torch.Tensor:
        ids = tokenizer(texts, padding="max_length", truncation=True, max_length=TEXT, return_tensors="pt")
        output = clap.text_model(input_ids=ids.input_ids, attention_mask=ids.attention_mask)
        return F.normalize(clap.text_projection(output.pooler_output).float(), dim=-1)

    def heard(rows: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        cut = np.stack([_augmented(mels[row], rng) for row in rows])
        output = clap.audio_model(
            input_features=torch.tensor(cut), is_longer=torch.zeros(len(rows), 1, dtype=torch.bool)
        )
        return F.normalize(clap.audio_projection(output.pooler_output).float(), dim=-1)

    def step(number: int) -> tuple[torch.Tensor, dict[str, float]]:
        rng = np.random.default_rng([seed, number])
        rows = rng.integers(len(mels), size=batch)
        template = _TEMPLATES[rng.integers(len(_TEMPLATES))]
        labels = [template.format(rng.choice(words)) for of in names.values() for words in of.values()]
        music_rows = rows[is_music[rows]]
        rows = np.concatenate([music_rows, rows[~is_music[rows]]])
        texts = [truths[s].caption for s in seeds[music_rows]]
        with autocast():
            sounds, words = heard(rows, rng), told([*labels, template.format(NONE), *texts])
        classes, captions = words[: len(labels) + 1], words[len(labels) + 1 :]
        scale = clap.logit_scale_a.exp().clamp(max=100)
        logits = scale * sounds @ classes.T
        parts = dict(zip(names, logits[:, :-1].split([len(of) for of in names.values()], dim=1), strict=True))
        index, count = torch.tensor(seeds[rows]), len(music_rows)
        named, share = [], {}
        for kind, part in parts.items():
            own, none = right[kind][index], part.shape[1]
            share[kind] = (part.argmax(1) == own)[:count].float().mean().item()
            withheld = torch.tensor(rng.random(len(rows)) < 1 / 3)
            part = part.masked_fill(F.one_hot(own, none).bool() & withheld[:, None], -1e4)
            own = own.masked_fill(withheld | (torch.arange(len(rows)) >= count), none)
            named.append(F.cross_entropy(torch.cat([part, logits[:, -1:]], 1), own))
        pairs, own = scale * sounds[:count] @ captions.T, torch.arange(count)
        matched = (F.cross_entropy(pairs, own) + F.cross_entropy(pairs.T, own)) / 2
        return sum(named) + 0.5 * matched, {**share, "captions": matched.item()}

    fit(clap, step, work / "clap", steps=steps, learning_rate=1.5e-3, average=0.995)
    clap.half().save_pretrained(work / "clap" / "model")
    processor.save_pretrained(work / "clap" / "model")
    return work / "clap" / "model"


def _augmented(mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another start, another level, and in a fifth of the cases two seconds repeated, as the extractor repeats
    what is short."""
    frames = mel.shape[1]
    rolled = np.roll(mel.astype(np.float32), rng.integers(frames), axis=1)
    if rng.random() < 0.2:
        rolled = np.tile(rolled[:, : frames // 4], (1, 5, 1))[:, :frames]
    return rolled + np.float32(rng.uniform(-6, 6))
