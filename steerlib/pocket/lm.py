"""The pocket model itself: a text encoder that has read captions, and a decoder trained on codes.

Four things differ from an ordinary training, because a small decoder left alone ignores its text:

1. the T5 encoder is trained for a few minutes on captions alone, to name masked words (as the real model's T5 was on
   the web), and then frozen; it is never told what an attribute is;
2. in a part of the rows the audio inputs are blanked, all of them or frame by frame, so that only the text can
   explain what comes;
3. in a part of the rows the frames see of the text its last token only, so that the decoder has to gather there what
   the words say;
4. the *text gain* is watched: the loss with captions of other clips minus the loss with the right ones.

Condition dropout makes classifier-free guidance work; chroma of the lead, given in a part of the rows, makes
melody conditioning work (paper A, section 2.2; MusicGen, Copet et al. 2023).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from torch import nn
from tqdm.auto import tqdm
from transformers import (
    GenerationConfig,
    MusicgenMelodyConfig,
    MusicgenMelodyDecoderConfig,
    MusicgenMelodyFeatureExtractor,
    MusicgenMelodyForConditionalGeneration,
    MusicgenMelodyProcessor,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from steerlib.music.codec import SpectralCodec
from steerlib.pocket import train_codec
from steerlib.pocket.second import corpus
from steerlib.pocket.second.captions import known_words
from steerlib.pocket.training import autocast, fit

FRAMES = 200
CHROMA = 64
TEXT = 32
_SHARD = 500


@dataclass(frozen=True)
class Replica:
    """One training of the decoder, all with the same codec and text encoder.

    Attributes
    ----------
    seed : int
        Of the initial weights and the batches.
    layers : int
    correlation : float
        Of tempo, brightness and loudness in the music it is trained on.
    """

    seed: int = 0
    layers: int = 16
    correlation: float = 0.0

    def folder(self, work: Path) -> Path:
        """Where its training is."""
        depth = "" if self.layers == Replica.layers else f"-{self.layers}layers"
        return work / f"lm-seed{self.seed}{depth}{'-correlated' if self.correlation else ''}"


#: The first is the one in the repository.
REPLICAS = {
    "seed0": Replica(),
    "seed1": Replica(seed=1),
    "seed2": Replica(seed=2),
    "shallow": Replica(layers=8),
    "correlated": Replica(correlation=corpus.CORRELATION),
}


# -- text ------------------------------------------------------------------------------------------------------


def make_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """Unigram tokenizer, lower case, with ``</s>`` at the end as T5 has it.

    Its pieces are given and not learned: every one of `words` is one token, and any other word is spelled, so
    that no prompt is cut at `TEXT` tokens because its words were split.
    """
    spelling = [(letter, -12.0) for letter in "\u2581abcdefghijklmnopqrstuvwxyz'-"]
    pieces = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        *spelling,
        *((f"\u2581{word}", -6.0) for word in words),
    ]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=2))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex("[^a-z'-]+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=TEXT,
    )


def make_processor() -> MusicgenMelodyProcessor:
    """Tokenizer of the captions' words, and chroma extractor."""
    extractor = MusicgenMelodyFeatureExtractor(
        sampling_rate=corpus.SAMPLE_RATE, hop_length=2000, n_fft=4096, chunk_length=int(corpus.SECONDS)
    )
    return MusicgenMelodyProcessor(extractor, make_tokenizer(known_words()))


def train_text(
    work: Path, *, steps: int = 2_500, clips: int = 20_000, batch: int = 64, seed: int = 0
) -> None:
    """Train the T5 encoder to name masked words of captions, and nothing else.

    The words of a caption are masked one by one or in spans, 15 to 60 % of them; all are to be named. The head that
    names them is dropped.
    Writes ``work/text`` (processor and ``T5EncoderModel``); resumes like every training here.
    """
    torch.manual_seed(seed)
    texts = [corpus.compose(number)[0].caption for number in range(clips)]
    processor = make_processor()
    tokenizer = processor.tokenizer
    encoder = T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer), d_model=192, d_kv=48, d_ff=512, num_layers=2, num_heads=4, dropout_rate=0.0,
            feed_forward_proj="gated-gelu", use_cache=False, is_encoder_decoder=False, pad_token_id=0, eos_token_id=1,
        )
    )  # fmt: skip
    head = nn.Linear(192, len(tokenizer))
    encoded = tokenizer(texts, padding="max_length", truncation=True, max_length=TEXT, return_tensors="pt")
    ids, mask = encoded.input_ids, encoded.attention_mask.bool()
    model = nn.ModuleDict({"encoder": encoder, "head": head})
    held = clips // 20

    def losses(index: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (len(index), TEXT)
        rate = 0.15 + 0.45 * torch.rand(len(index), 1, generator=generator)
        single = torch.rand(shape, generator=generator) < rate
        begins = torch.rand(shape, generator=generator) < rate / 3
        spans = begins | begins.roll(1, 1) | begins.roll(2, 1)
        masked = torch.where(torch.rand(len(index), 1, generator=generator) < 0.5, single, spans)
        masked &= mask[index] & (ids[index] != tokenizer.eos_token_id)
        heard = ids[index].masked_fill(masked, tokenizer.unk_token_id)
        with autocast():
            hidden = encoder(input_ids=heard, attention_mask=mask[index].long()).last_hidden_state
            logits = head(hidden[mask[index]]).float()
        wanted, masked = ids[index][mask[index]], masked[mask[index]]
        by_word = F.cross_entropy(logits, wanted, reduction="none")
        right = (logits.argmax(-1) == wanted)[masked].float().mean()
        # words that are not masked are named too, else their states forget them
        return by_word[masked].mean() + 0.3 * by_word[~masked].mean(), right

    def step(number: int) -> tuple[torch.Tensor, dict[str, float]]:
        generator = torch.Generator().manual_seed(seed * 10**6 + number)
        loss, right = losses(torch.randint(clips - held, (batch,), generator=generator), generator)
        return loss, {"words": right.item()}

    def evaluate(number: int) -> dict[str, float]:
        with torch.no_grad():
            loss, right = losses(torch.arange(clips - held, clips), torch.Generator().manual_seed(0))
        return {"held-out": loss.item(), "held-out words": right.item()}

    fit(
        model, step, work / "text", steps=steps, learning_rate=2e-3, warmup=100, average=0.99,
        hidden=[p for n, p in encoder.encoder.block.named_parameters() if p.ndim == 2 and "relative" not in n],
        evaluate=evaluate, evaluate_every=250,
    )  # fmt: skip
    encoder.save_pretrained(work / "text")
    processor.save_pretrained(work / "text")


# -- codes -----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _encoder(work: Path) -> tuple[SpectralCodec, MusicgenMelodyFeatureExtractor]:
    torch.set_num_threads(1)
    return train_codec.load(work), MusicgenMelodyProcessor.from_pretrained(work / "text").feature_extractor


@torch.no_grad()
def _encode(work: Path, correlation: float, seeds: range) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Codes, chroma of the lead and truth (JSON) of some clips."""
    codec, extractor = _encoder(work)
    clips = [corpus.compose(seed, correlation=correlation) for seed in seeds]
    audio = torch.tensor(np.stack([corpus.render(truth, parts) for truth, parts in clips]))
    leads = [{key: notes for key, notes in parts.items() if key[2] == "lead"} for _, parts in clips]
    tunes = [
        corpus.render_parts(lead, truth.tempi(), corpus.SECONDS)
        for lead, (truth, _) in zip(leads, clips, strict=True)
    ]
    decibels = codec.decibels(audio)
    with autocast():
        latents = codec.latents(decibels)
    codes = codec.quantize(latents).short().numpy()
    features = extractor(
        np.stack(tunes), sampling_rate=corpus.SAMPLE_RATE, return_tensors="pt"
    ).input_features
    chroma = features[:, :CHROMA].argmax(-1).byte().numpy()
    return codes, chroma, [json.dumps(asdict(truth)) for truth, _ in clips]


def encode_corpus(
    work: Path, clips: int, *, first: int = 0, correlation: float = 0.0, workers: int = 2
) -> list[Path]:
    """Codes, melody chroma and truth of clips, in files of 500; existing ones of this codec are kept.

    Each file holds ``codes`` (500, codebooks, 200) int16, ``chroma`` (500, 64) uint8 (the strongest pitch class
    of the lead, 8 a second) and ``truth`` (one JSON line a clip).
    """
    kind = "-correlated" if correlation else ""
    folder = work / f"codes-{train_codec.digest(train_codec.load(work))}{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"codes_{s:08d}.npz" for s in range(first, first + clips, _SHARD)]
    missing = [p for p in paths if not p.exists()]
    if not missing:
        return paths
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for path in tqdm(missing, desc="encode", unit="shard"):
            start = int(path.stem.split("_")[1])
            parts = [range(s, s + 25) for s in range(start, start + _SHARD, 25)]
            codes, chroma, truths = zip(*pool.map(partial(_encode, work, correlation), parts), strict=True)
            temporary = path.with_suffix(".tmp.npz")
            np.savez(
                temporary,
                codes=np.concatenate(codes),
                chroma=np.concatenate(chroma),
                truth=np.array(sum(truths, [])),
            )
            os.replace(temporary, path)
    return paths


# -- decoder ---------------------------------------------------------------------------------------------------


def build(
    text_encoder: T5EncoderModel, codec: SpectralCodec, *, layers: int = Replica.layers, size: int = 256
) -> MusicgenMelodyForConditionalGeneration:
    """The untrained model around a text encoder and a codec, initialised for its size.

    transformers' standard deviation of 0.02 starves a small model: token embeddings would be 15 times smaller
    than the sinusoidal positions they are added to.
    """
    books, entries = codec.config.num_quantizers, codec.config.codebook_size
    decoder = MusicgenMelodyDecoderConfig(
        vocab_size=entries, num_hidden_layers=layers, hidden_size=size, ffn_dim=4 * size,
        num_attention_heads=max(1, size // 64),
        num_codebooks=books, max_position_embeddings=1024, dropout=0.0, pad_token_id=entries, bos_token_id=entries,
    )  # fmt: skip
    text_encoder.config._name_or_path = ""  # else the folder it was trained in is stored with the model
    config = MusicgenMelodyConfig(
        text_encoder=text_encoder.config, audio_encoder=codec.config, decoder=decoder, chroma_length=CHROMA
    )
    model: Any = MusicgenMelodyForConditionalGeneration(config)
    model.text_encoder.load_state_dict(text_encoder.state_dict())
    model.audio_encoder.load_state_dict(codec.state_dict())
    for name, parameter in model.decoder.named_parameters():
        if "embed_tokens" in name:
            nn.init.normal_(parameter, std=0.4)
        elif parameter.ndim == 2:
            nn.init.normal_(parameter, std=1 / math.sqrt(parameter.shape[1]))
            if name.endswith(("out_proj.weight", "fc2.weight")):
                parameter.data.mul_(1 / math.sqrt(2 * layers))
    # Tokens start as what they sound like: one random map carries the codec's entries into the stream, so that the
    # sum over codebooks is the quantised latent, and into the heads, so that like continues like.
    spread = torch.randn(codec.codebooks.shape[-1], size)
    for embed, head, book in zip(
        model.decoder.model.decoder.embed_tokens, model.decoder.lm_heads, codec.codebooks, strict=True
    ):
        heard = book @ spread / (codec.codebooks[0] @ spread).std().clamp_min(1e-6)
        embed.weight.data[:entries] = 0.8 * heard + 0.2 * torch.randn_like(heard)
        head.weight.data = (heard / heard.std().clamp_min(1e-6) + 0.5 * torch.randn_like(heard)) / math.sqrt(
            size
        )
    for projection, std in ((model.enc_to_dec_proj, 1 / math.sqrt(192)), (model.audio_enc_to_dec_proj, 0.7)):
        nn.init.normal_(projection.weight, std=std)
        nn.init.zeros_(projection.bias)
    model.generation_config = GenerationConfig(
        do_sample=True, guidance_scale=3.0, top_k=250, temperature=1.0, max_length=FRAMES + books,
        bos_token_id=entries, pad_token_id=entries, decoder_start_token_id=entries,
    )  # fmt: skip
    return model


def load(work: Path, replica: Replica) -> MusicgenMelodyForConditionalGeneration:
    """The model as far as a replica's decoder is trained, with averaged weights.

    Raises
    ------
    FileNotFoundError
        If its training has not begun.
    """
    state_file = replica.folder(work) / "state.pt"
    if not state_file.exists():
        name = next(n for n, each in REPLICAS.items() if each == replica)
        raise FileNotFoundError(
            f"{state_file} is missing: train it first (python -m steerlib.pocket lm --replica {name})."
        )
    text = T5EncoderModel.from_pretrained(work / "text")
    model = build(text, train_codec.load(work), layers=replica.layers)
    state = torch.load(state_file, weights_only=True)
    model.load_state_dict(state["model"])
    freeze(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    for parameter, mean in zip(trained, state["average"], strict=True):
        parameter.data.copy_(mean)
    return model.eval().requires_grad_(False)


def freeze(model: MusicgenMelodyForConditionalGeneration) -> None:
    """Let only the decoder and the two projections into it be trained."""
    model.requires_grad_(False)
    for part in (model.decoder, model.enc_to_dec_proj, model.audio_enc_to_dec_proj):
        part.requires_grad_(True)


def delay(codes: torch.Tensor, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Decoder inputs and labels of the delay pattern (Copet et al. 2023).

    Parameters
    ----------
    codes : Tensor of shape (batch, codebooks, frames)
    pad : int
        The token that stands where a codebook has no code, and at the start.

    Returns
    -------
    inputs : Tensor of shape (batch, codebooks, frames + codebooks - 1)
    labels : the same shape, -100 where nothing is predicted
    """
    batch, books, frames = codes.shape
    length = frames + books - 1
    labels = codes.new_full((batch, books, length), -100)
    inputs = codes.new_full((batch, books, length), pad)
    for k in range(books):
        labels[:, k, k : k + frames] = codes[:, k]
        inputs[:, k, k + 1 : k + 1 + frames] = codes[:, k, : length - k - 1]
    return inputs, labels


def _hidden(
    model: Any, prefix: torch.Tensor, inputs: torch.Tensor, unseen: torch.Tensor | None = None
) -> torch.Tensor:
    """The decoder's last hidden state over the codes; the module's own forward without its bookkeeping.

    `unseen`, of shape (batch, prefix), marks what of the prefix the codes cannot attend to.
    """
    decoder = model.decoder.model.decoder
    codes = sum(embed(inputs[:, k]) for k, embed in enumerate(decoder.embed_tokens))
    x = torch.cat([prefix, codes], 1)
    x = x + decoder.embed_positions.weights[: x.shape[1]]
    batch, length, size = x.shape
    heads = model.config.decoder.num_attention_heads
    hidden = torch.full((length, length), -1e4).triu(1)[None]
    if unseen is not None:
        from_codes = (torch.arange(length) >= prefix.shape[1])[:, None]
        to_unseen = F.pad(unseen, (0, inputs.shape[-1]))[:, None]
        hidden = hidden.where(~(from_codes & to_unseen), -1e4)
    hidden = hidden.repeat_interleave(heads, 0) if unseen is not None else hidden
    for layer in decoder.layers:
        attention, normed = layer.self_attn, layer.self_attn_layer_norm(x)
        q, k, v = (
            p(normed).view(batch, length, heads, size // heads).transpose(1, 2)
            for p in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        # three times as fast in bfloat16 on a CPU as scaled_dot_product_attention with its backward pass
        scores = torch.baddbmm(
            hidden.to(q.dtype), q.flatten(0, 1) * attention.scaling, k.flatten(0, 1).transpose(1, 2)
        )
        mixed = torch.bmm(scores.softmax(-1).to(v.dtype), v.flatten(0, 1)).view_as(q)
        x = x + attention.out_proj(mixed.transpose(1, 2).reshape(batch, length, size))
        x = x + layer.fc2(F.gelu(layer.fc1(layer.final_layer_norm(x))))
    return decoder.layer_norm(x)[:, prefix.shape[1] :]


def _losses(
    model,
    prefix: torch.Tensor,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    unseen: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy by codebook, shape (codebooks,), in nats."""
    hidden = _hidden(model, prefix, inputs, unseen)
    return torch.stack(
        [
            F.cross_entropy(head(hidden).flatten(0, 1).float(), labels[:, k].flatten())
            for k, head in enumerate(model.decoder.lm_heads)
        ]
    )


@torch.no_grad()
def adopt(model: Any, source: Path, work: Path, *, clips: int = 2_000) -> None:
    """Let the decoder start as that of another pocket model, its tokens translated if the codec is another.

    A token of ours starts as the mean of the source's tokens that stand for the same frames of music. So a codec
    that was trained on does not cost the decoder what it had learned.

    Parameters
    ----------
    model : MusicgenMelodyForConditionalGeneration
        Of the source's size; changed in place.
    source : Path
        Folder of the model to start from, such as ``data/pocket``.
    work : Path
        Working folder of the trainings.
    clips : int
        Clips that are encoded twice to learn the translation.

    Raises
    ------
    ValueError
        If the source's decoder has another shape.
    """
    other: Any = MusicgenMelodyForConditionalGeneration.from_pretrained(source, dtype=torch.float32).eval()
    shapes = [{n: tuple(p.shape) for n, p in m.decoder.named_parameters()} for m in (model, other)]
    if shapes[0] != shapes[1]:
        differing = sorted(n for n, shape in shapes[0].items() if shapes[1].get(n) != shape)
        raise ValueError(
            f"the decoder in {source} has another shape ({differing[:3]}): start without it, or build its size"
        )
    embed, heads = model.decoder.model.decoder.embed_tokens, model.decoder.lm_heads
    before = [(e.weight.clone(), h.weight.clone()) for e, h in zip(embed, heads, strict=True)]
    for part in ("decoder", "enc_to_dec_proj", "audio_enc_to_dec_proj"):
        getattr(model, part).load_state_dict(getattr(other, part).state_dict())
    if torch.equal(model.audio_encoder.codebooks, other.audio_encoder.codebooks):
        return
    books, entries = model.config.decoder.num_codebooks, model.config.decoder.vocab_size
    together = torch.zeros(books, entries, entries)
    audio = train_codec.render_shards(work / "audio", clips)
    for path, coded in zip(audio, tqdm(encode_corpus(work, clips), desc="translate tokens"), strict=True):
        ours = torch.tensor(np.load(coded)["codes"]).long()
        waves = torch.tensor(np.load(path)[:, None] / np.float32(32767), dtype=torch.float32)
        theirs = torch.cat([other.audio_encoder.encode(part).audio_codes[0] for part in waves.split(25)])
        for k in range(books):
            together[k].view(-1).index_add_(
                0, (ours[:, k] * entries + theirs[:, k]).flatten(), torch.ones(ours[:, k].numel())
            )
    for k, (embedding, head) in enumerate(before):
        seen = together[k].sum(1, keepdim=True)
        share = together[k] / seen.clamp_min(1)
        for weight, first in ((embed[k].weight, embedding), (heads[k].weight, head)):
            weight[:entries] = torch.where(seen > 0, share @ weight[:entries], first[:entries])


class Codes:
    """The encoded corpus in memory: codes, chroma and caption tokens of every clip."""

    def __init__(self, paths: list[Path], tokenizer):
        files = [np.load(p) for p in tqdm(paths, desc="load codes", disable=len(paths) < 20)]
        self.codes = torch.tensor(np.concatenate([f["codes"] for f in files]))
        self.chroma = torch.tensor(np.concatenate([f["chroma"] for f in files]))
        texts = [json.loads(t)["caption"] for f in files for t in f["truth"]]
        encoded = tokenizer(
            texts, padding="max_length", truncation=True, max_length=TEXT, return_tensors="pt"
        )
        self.ids, self.mask = encoded.input_ids.short(), encoded.attention_mask.bool()

    def __len__(self) -> int:
        return len(self.codes)


def prefixes(
    model: Any,
    ids: torch.Tensor,
    mask: torch.Tensor,
    chroma: torch.Tensor,
) -> torch.Tensor:
    """[chroma | text] prefix as transformers builds it.

    Parameters
    ----------
    ids, mask : Tensor of shape (batch, TEXT)
        A row whose mask is empty is unconditional.
    chroma : Tensor of shape (batch, CHROMA)
        Pitch class by frame, 0 everywhere where no melody is given.
    """
    with torch.no_grad():
        text = model.text_encoder(input_ids=ids.long(), attention_mask=mask.long()).last_hidden_state
    text = model.enc_to_dec_proj(text) * mask[..., None]
    melody = model.audio_enc_to_dec_proj(F.one_hot(chroma.long(), 12).to(text.dtype))
    return torch.cat([melody, text], 1)


def train(
    work: Path,
    replica: Replica = REPLICAS["seed0"],
    *,
    steps: int = 8_000,
    clips: int = 24_000,
    batch: int = 32,
    size: int = 256,
    learning_rate: float = 2e-3,
    blank: float = 0.3,
    gathered: float = 0.3,
    short: float = 0.6,
    start: Path | None = None,
) -> MusicgenMelodyForConditionalGeneration:
    """Train the decoder; resumes from the replica's folder in `work`.

    Parameters
    ----------
    work : Path
        Must hold a trained codec and text encoder.
    replica : Replica
        Seed, depth and corpus.
    steps, clips, batch, size, learning_rate
        Usual meanings; `clips` are the seeds from 0 on, encoded first where they are not.
    blank : float
        Share of rows whose audio inputs are blanked, half of them wholly, half frame by frame.
    gathered : float
        Share of rows in which the frames see of the text its last token only.
    short : float
        Share of the steps that see only the first half of each clip, at under half the cost of whole ones.
    start : Path, optional
        Folder of a pocket model to start from (see `adopt`) where there is no state to resume.
    """
    folder, seed = replica.folder(work), replica.seed
    torch.manual_seed(seed)
    processor = MusicgenMelodyProcessor.from_pretrained(work / "text")
    encoded = partial(encode_corpus, work, correlation=replica.correlation)
    data = Codes(encoded(clips), processor.tokenizer)
    held = Codes(encoded(_SHARD, first=corpus.HELD_OUT), processor.tokenizer)
    model: Any = build(
        T5EncoderModel.from_pretrained(work / "text"),
        train_codec.load(work),
        layers=replica.layers,
        size=size,
    )
    if start is not None and not (folder / "state.pt").exists():
        adopt(model, start, work)
    freeze(model)
    pad = model.config.decoder.pad_token_id
    losses = torch.compile(lambda *a: _losses(model, *a), dynamic=False)
    weights = torch.linspace(1.4, 0.6, model.config.decoder.num_codebooks)

    def step(number: int) -> tuple[torch.Tensor, dict[str, float]]:
        generator = torch.Generator().manual_seed(seed * 10**8 + number)
        index = torch.randint(len(data), (batch,), generator=generator)
        chance = lambda: torch.rand(batch, generator=generator)  # noqa: E731
        told, hummed = chance() > 0.12, chance() < 0.4
        frames = FRAMES // 2 if number < short * steps else FRAMES
        inputs, labels = delay(data.codes[index, :, :frames].long(), pad)
        kind, share = chance(), chance()
        hidden = torch.rand(batch, inputs.shape[-1], generator=generator) < share[:, None]
        hidden &= (kind < blank)[:, None]
        hidden |= ((kind < blank / 2) & told)[:, None]
        inputs = torch.where(hidden[:, None], pad, inputs)
        chroma, mask = data.chroma[index] * hummed[:, None], data.mask[index]
        last = mask & ~F.pad(mask[:, 1:], (0, 1))
        unseen = F.pad(~last & (chance() < gathered)[:, None], (CHROMA, 0))
        with autocast():
            prefix = prefixes(model, data.ids[index], mask & told[:, None], chroma)
            by_book = losses(prefix.float(), inputs, labels, unseen)
        return (by_book * weights).mean(), {f"book {k}": v.item() for k, v in enumerate(by_book[:4])}

    @torch.no_grad()
    def evaluate(number: int) -> dict[str, float]:
        totals = np.zeros(7)
        for start in range(0, 256, batch):
            rows = slice(start, start + batch)
            inputs, labels = delay(held.codes[rows, :, : FRAMES // 2].long(), pad)
            ids, mask, chroma = held.ids[rows], held.mask[rows], held.chroma[rows]
            null, blanked = torch.zeros_like(chroma), torch.full_like(inputs, pad)
            told, other = (ids, mask), (ids.roll(1, 0), mask.roll(1, 0))
            all_seen = torch.zeros(len(ids), CHROMA + TEXT, dtype=torch.bool)
            last = F.pad(~(mask & ~F.pad(mask[:, 1:], (0, 1))), (CHROMA, 0))
            cases = [
                (told, null, inputs, all_seen),
                (other, null, inputs, all_seen),
                (told, null, blanked, all_seen),
                (other, null, blanked, all_seen),
                (told, chroma, inputs, all_seen),
                (told, chroma.roll(1, 0), inputs, all_seen),
                (told, null, blanked, last),
            ]
            with autocast():
                totals += [
                    losses(prefixes(model, *text, tune).float(), heard, labels, unseen).mean().item()
                    for text, tune, heard, unseen in cases
                ]
        right, wrong, blind, blind_wrong, hummed, misled, at_last = totals / math.ceil(256 / batch)
        return {
            "held-out": right,
            "text gain": wrong - right,
            "text gain, blanked": blind_wrong - blind,
            "text gain, last token": blind_wrong - at_last,
            "melody gain": misled - hummed,
        }

    fit(
        model, step, folder, steps=steps, learning_rate=learning_rate, warmup=120, weight_decay=0.05,
        hidden=[p for p in model.decoder.model.decoder.layers.parameters() if p.ndim == 2],
        average=0.999, evaluate=evaluate, evaluate_every=400,
    )  # fmt: skip
    return model
