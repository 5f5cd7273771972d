"""What the benchmarks share: models of a given shape, timing in fresh processes, limits of the machine.

Cost does not depend on what the weights are, so random ones serve. Every measurement runs in a process of its
own, so that neither memory nor warm caches of one contender count for the other.
"""

import contextlib
import ctypes
import multiprocessing
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    EncodecConfig,
    MusicgenMelodyConfig,
    MusicgenMelodyFeatureExtractor,
    MusicgenMelodyForConditionalGeneration,
    MusicgenMelodyProcessor,
    PreTrainedTokenizerFast,
    T5Config,
)

from steerlib import SteeringVector, load_model
from steerlib.model import MusicModel

WORDS = ["a", "calm", "loud", "folk", "rock", "jazz", "song", "with", "drums", "piano"]
PROMPTS = [f"a {mood} {style} song with {one} {two}" for mood in WORDS[1:3] for style in WORDS[3:6]
           for one in WORDS[8:] for two in WORDS[3:10]]  # fmt: skip


def get_model(name: str, dtype: str = "float32") -> MusicModel:
    """A model by name, or one of random weights by shape: "16x384" is 16 layers, 384 wide."""
    layers, cross, hidden = name.partition("x")
    if not (cross and layers.isdigit() and hidden.isdigit()):
        return load_model(name, dtype=dtype)
    return MusicModel(random_model(int(layers), int(hidden)).to(getattr(torch, dtype)), word_processor())


def random_model(layers: int, hidden: int) -> MusicgenMelodyForConditionalGeneration:
    """8 codebooks of 1024 codes at 25 Hz, 32 chroma positions; from 1536 wide, those of musicgen-melody."""
    torch.manual_seed(0)
    full = hidden >= 1536
    vocab = 2048 if full else 1024
    config = MusicgenMelodyConfig(
        text_encoder=T5Config(
            vocab_size=64, d_model=64, d_kv=32, d_ff=128, num_layers=2, num_heads=2, decoder_start_token_id=0
        ).to_dict() | {"model_type": "t5"},
        audio_encoder=EncodecConfig(
            sampling_rate=16000, num_filters=8, hidden_size=32, codebook_size=vocab, num_lstm_layers=1,
            upsampling_ratios=[8, 8, 5, 2], target_bandwidths=[2.2],
        ).to_dict() | {"model_type": "encodec"},
        decoder={
            "vocab_size": vocab, "hidden_size": hidden, "num_hidden_layers": layers, "ffn_dim": 4 * hidden,
            "num_attention_heads": hidden // 64, "num_codebooks": 4 if full else 8, "pad_token_id": vocab,
            "max_position_embeddings": 2048, "bos_token_id": vocab,
        },
        chroma_length=235 if full else 32,
    )  # fmt: skip
    model = MusicgenMelodyForConditionalGeneration(config).requires_grad_(False).eval()
    model.generation_config.update(decoder_start_token_id=vocab, bos_token_id=vocab, pad_token_id=vocab)
    return model


def word_processor() -> MusicgenMelodyProcessor:
    """A tokenizer of `WORDS`, with prompts of 32 tokens."""
    vocabulary = {word: index for index, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=32
    )
    return MusicgenMelodyProcessor(MusicgenMelodyFeatureExtractor(sampling_rate=16000), tokenizer)


def random_vector(model: MusicModel) -> SteeringVector:
    """A direction per layer, of length 1."""
    generator = torch.Generator().manual_seed(0)
    return SteeringVector(torch.randn(model.depth, model.width, generator=generator)).unit()


def measured(task: Callable[..., Callable[[], Any]], **settings: Any) -> dict[str, Any]:
    """Run ``task(**settings)()`` in a fresh process.

    Returns
    -------
    dict
        ``seconds``, ``added_bytes`` of memory at the peak, workers and all (None where /proc cannot tell), and
        ``value``.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:  # `Pool`'s may have no workers
        return pool.submit(_measure, task, settings).result()


def _measure(task: Callable[..., Callable[[], Any]], settings: dict[str, Any]) -> dict[str, Any]:
    run = task(**settings)
    with contextlib.suppress(OSError, AttributeError):  # what was freed before is not to be had for nothing
        ctypes.CDLL(None).malloc_trim(0)
    before = _reset_peak()
    done, grown = threading.Event(), [0]
    watch = threading.Thread(target=_watch_workers, args=(done, grown))
    watch.start()
    begin = time.perf_counter()
    value = run()
    seconds = time.perf_counter() - begin
    done.set()
    watch.join()
    peak = _status("VmHWM")
    added = None if before is None or peak is None else peak - before + max(grown)
    return {"seconds": seconds, "added_bytes": added, "value": value}


def _watch_workers(done: threading.Event, grown: list[int]) -> None:
    """Note now and then by how many bytes this process's workers have grown since they were first seen."""
    page, main, begun = os.sysconf("SC_PAGE_SIZE"), os.getpid(), dict[str, int]()
    while not done.wait(0.1):
        with contextlib.suppress(OSError):  # of a worker that has just ended, or of a system without /proc
            total = 0
            for worker in Path(f"/proc/{main}/task/{main}/children").read_text(encoding="ascii").split():
                resident, shared = Path(f"/proc/{worker}/statm").read_text(encoding="ascii").split()[1:3]
                own = (int(resident) - int(shared)) * page
                total += own - begun.setdefault(worker, own)
            grown.append(total)


def _status(name: str) -> int | None:
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))
    except OSError:
        return None


def _reset_peak() -> int | None:
    """Let the peak of resident memory start from now; bytes resident."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return None
    return _status("VmRSS")


def machine_limits(dtype: str, threads: int) -> dict[str, float]:
    """Operations per second of a large matrix product, and bytes per second of reading what fits no cache."""
    torch.set_num_threads(threads)
    kind = getattr(torch, dtype)
    a = torch.randn(1536, 1536).to(kind)
    rate = 2 * 1536**3 / _best(lambda: a @ a)
    memory = torch.ones(2**30, dtype=torch.uint8).view(torch.int64)  # more than any cache holds
    return {"operations": rate, "bytes": memory.nbytes / _best(memory.sum)}


def _best(run: Callable[[], Any], repeats: int = 7) -> float:
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


def summary(results: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Median seconds, their spread (largest over smallest), and the highest peak in GB."""
    seconds = [result["seconds"] for result in results]
    peak = max(result["added_bytes"] or 0 for result in results)
    return statistics.median(seconds), max(seconds) / min(seconds), peak / 1e9


def machine() -> str:
    return f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
