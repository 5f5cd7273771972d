"""Load a model, and say of it what the rest of the library asks: sizes, rates, prompts, parts to hook into.

Everything works on transformers' own classes: `MusicgenMelodyForConditionalGeneration`, which paper A and
paper B study (its text is a prefix of the decoder's sequence), and `MusicgenForConditionalGeneration`
(text through cross-attention: no prefix). The pocket model in ``data/pocket`` is a small one of the first
class, trained from scratch by this project.

Layers are 0-based: layer k is the residual stream at the OUTPUT of decoder block k. In transformers that is
``hidden_states[k + 1]``, but for the last layer: there transformers gives the stream after the final
normalisation, and we the stream itself.

The decoder's sequence is ``[chroma | text | codes]`` (paper A section 2.2): ``config.chroma_length``
positions of melody, the prompt padded to one fixed length, then the codes, of which the first is the start
token. Padding is zeroed but attended to: two prompts padded to different lengths are different inputs, so
one experiment uses one length.
"""

import hashlib
import importlib.metadata
import json
import logging
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import (
    MusicgenForConditionalGeneration,
    MusicgenMelodyForConditionalGeneration,
    MusicgenMelodyProcessor,
    MusicgenProcessor,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import cached_file

from steerlib.files import DATA, short

__all__ = [
    "MusicModel",
    "decoder_blocks",
    "decoder_stack",
    "load_model",
    "model_id",
    "network_of",
    "versions",
]

POCKET = DATA / "pocket"
_REPLICAS = DATA / "replicas"
TEXT_LENGTH = 64
"""Length in tokens to which prompts are padded, unless the tokenizer states a shorter one."""

_CLASSES: dict[str, tuple[Any, Any]] = {
    "musicgen_melody": (MusicgenMelodyForConditionalGeneration, MusicgenMelodyProcessor),
    "musicgen": (MusicgenForConditionalGeneration, MusicgenProcessor),
}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_BLOCK = re.compile(r"decoder\.model\.decoder\.layers\.(\d+)\.")
_FOLDER_HINT = "Expected a folder written by save_pretrained of both model and processor"
_POCKET_HINT = (
    "The pocket model comes with steerlib: install it anew, or use a complete clone of the repository"
)


class MusicModel:
    """A MusicGen and its processor. Unpacks into the two: ``network, processor = load_model()``.

    Parameters
    ----------
    network : MusicgenMelodyForConditionalGeneration or MusicgenForConditionalGeneration
    processor : MusicgenMelodyProcessor or MusicgenProcessor
    name : str, optional
        What `load_model` was asked for; by default the name in `identity`.

    Attributes
    ----------
    network, processor, name
    sample_rate : int
        Hz, of the audio that it makes.
    frame_rate : float
        Frames of the codec a second.
    depth, width, codebooks : int
        Decoder blocks, numbers in a state, codebooks.
    text_length : int
        Tokens to which `encode` pads.
    is_prefix : bool
        Whether the text is part of the decoder's sequence (MusicGen-Melody), rather than read by cross-attention.
    prefix_length : int
        Positions of the decoder's sequence before the codes.
    start_token : int

    Raises
    ------
    TypeError
        If the network is not built like MusicGen.
    """

    def __init__(self, network: Any, processor: MusicgenMelodyProcessor, *, name: str | None = None) -> None:
        self.network, self.processor = network, processor
        self.stack: Any = decoder_stack(network)
        config, ids = network.config, network.generation_config
        self.config: Any = config
        self.sample_rate = int(config.audio_encoder.sampling_rate)
        self.frame_rate = config.audio_encoder.frame_rate
        self.depth, self.width = len(self.stack.layers), int(self.stack.config.hidden_size)
        self.codebooks = int(config.decoder.num_codebooks)
        self.text_length = min(int(processor.tokenizer.model_max_length), TEXT_LENGTH)
        self.is_prefix = not hasattr(self.stack.layers[0], "encoder_attn")
        self.prefix_length = config.chroma_length + self.text_length if self.is_prefix else 0
        start = ids.decoder_start_token_id
        self.start_token = int(ids.bos_token_id if start is None else start)
        self.name = name or model_id(network)["model"]
        self._digest: tuple[tuple[int, ...], str] | None = None

    def __iter__(self) -> Iterator[Any]:
        return iter((self.network, self.processor))

    def __repr__(self) -> str:
        sizes = f"{self.depth} blocks x {self.width}, {self.codebooks} codebooks, {self.sample_rate} Hz"
        return f"MusicModel({self.name!r}: {sizes}, {self.device.type})"

    @property
    def device(self) -> torch.device:
        return self.stack.layer_norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The decoder's."""
        return self.stack.layer_norm.weight.dtype

    @property
    def identity(self) -> dict[str, str]:
        """See `model_id`."""
        return model_id(self.network)

    def frames(self, seconds: float) -> int:
        """Frames of the codec in so many seconds.

        Raises
        ------
        ValueError
            If that is less than one frame, or more than the model has positions for after its prompt.
        """
        rate = self.frame_rate
        most = self.config.decoder.max_position_embeddings - self.prefix_length - self.codebooks + 1
        if not 0 < seconds < math.inf or round(seconds * rate) < 1:
            raise ValueError(f"seconds must be positive, at least one frame of {1 / rate:g} s; got {seconds}")
        if round(seconds * rate) > most:
            raise ValueError(
                f"seconds={seconds:g} is {round(seconds * rate)} frames, but this model has positions for {most} "
                f"after its prompt: ask for at most {most / rate:g} s"
            )
        return round(seconds * rate)

    def check_eval(self, what: str) -> None:
        """Raise ValueError if the network is in training mode, where dropout makes `what` random."""
        if self.network.training:
            raise ValueError(
                f"the model is in training mode, where dropout makes {what} random: call model.network.eval()"
            )

    def read_text(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """States (prompts, text, width) that the decoder reads of prompts; zero where the mask is."""
        text = self.network.text_encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state
        if hasattr(self.network, "enc_to_dec_proj"):
            text = self.network.enc_to_dec_proj(text)
        return text * mask[..., None]

    def read_melody(self, chroma: Tensor) -> Tensor:
        """States (..., frames, width) that the decoder reads of chroma (..., frames, num_chroma)."""
        if hasattr(self.network, "audio_enc_to_dec_proj"):
            return self.network.audio_enc_to_dec_proj(chroma)
        return chroma

    def weights_digest(self) -> str:
        """SHA-256 of every weight, in hexadecimal; computed anew only after a weight was changed or replaced.

        Torch counts changes, but not those through ``weight.data``, which go unnoticed.
        """
        state = sorted(self.network.state_dict(keep_vars=True).items())  # not copies, which are new each time
        versions_now = tuple(number for _, tensor in state for number in (tensor.data_ptr(), tensor._version))
        if self._digest is None or self._digest[0] != versions_now:
            digest = hashlib.sha256()
            for name, tensor in state:
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
                digest.update(
                    memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
                )
            self._digest = versions_now, digest.hexdigest()
        return self._digest[1]

    def encode(self, prompts: Sequence[str], *, text_length: int | None = None) -> dict[str, Tensor]:
        """Tokenise prompts and pad them to one fixed length.

        Parameters
        ----------
        prompts : sequence of str
        text_length : int, optional
            Tokens to pad to, the end-of-sequence token included; the attribute by default.

        Returns
        -------
        dict
            ``input_ids`` and ``attention_mask``, int64 of shape (prompts, text_length), on the model's device.

        Raises
        ------
        TypeError
            If `prompts` is one string, or holds something else than strings.
        ValueError
            If there are no prompts, or one is empty or longer than `text_length`.

        Warns
        -----
        UserWarning
            Once per call, of words that the model cannot know: those missing from the model folder's
            ``vocabulary.txt`` (the pocket model was trained on few words), or unknown to the tokenizer.
        """
        if isinstance(prompts, str):
            raise TypeError(f"prompts must be a sequence of strings, got one string: write [{prompts!r}]")
        prompts = list(prompts)
        if not prompts:
            raise ValueError("there are no prompts: give at least one")
        for index, prompt in enumerate(prompts):
            if not isinstance(prompt, str):
                raise TypeError(f"prompts[{index}] must be a string, got {type(prompt).__name__}")
            if not prompt.strip():
                raise ValueError(f"prompts[{index}] is empty: describe some music, such as 'a folk song'")
        length = self.text_length if text_length is None else text_length
        tokenizer = self.processor.tokenizer
        ids = tokenizer(prompts)["input_ids"]
        longest = max(range(len(ids)), key=lambda index: len(ids[index]))
        if len(ids[longest]) > length:
            raise ValueError(
                f"prompts[{longest}] has {len(ids[longest])} tokens, but prompts are padded to {length}: "
                f"shorten {prompts[longest]!r}, or give a larger text_length (the same for the whole experiment)"
            )
        _warn_of_unknown_words(self.network, tokenizer, prompts, ids)
        encoded = tokenizer(
            prompts, padding="max_length", max_length=length, padding_side="right", return_tensors="pt"
        ).to(self.network.device)
        return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}


def load_model(
    name: str | Path = "pocket",
    *,
    revision: str | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
) -> MusicModel:
    """Load a model and its processor, ready for inference: in eval mode, without gradients.

    Only safetensors are read: nothing is ever unpickled, and no code of a folder or of the Hub is run.

    Parameters
    ----------
    name : str or Path, default "pocket"
        "pocket" (comes with the project), "pocket:seed1" (another training of it, see
        ``python -m steerlib.pocket lm --help``), a folder written by ``save_pretrained``, or the id of a model on
        the Hugging Face Hub, such as "facebook/musicgen-melody". The Hub's cache and ``HF_HUB_OFFLINE=1``
        work as they do in transformers.
    revision : str, optional
        Branch, tag or commit of a model on the Hub.
    device : str or torch.device, default "auto"
        "auto" is a CUDA device if there is one, else the CPU.
    dtype : str or torch.dtype, default "auto"
        Such as "float32" or "bfloat16". "auto" is float32 on the CPU and the stored type elsewhere.

    Returns
    -------
    MusicModel

    Raises
    ------
    ValueError
        If the name is neither "pocket" nor a folder nor a Hub id; if the folder lacks its configuration,
        processor or weights, holds a model of another kind, or its weights do not fit its configuration.
    OSError
        If the Hub cannot be reached, or has no such model. The message says what to download and where to
        put it.

    Examples
    --------
    >>> model = load_model("facebook/musicgen-melody", dtype="bfloat16")     # doctest: +SKIP
    """
    torch_device = _device(device)
    torch_dtype = _dtype(dtype, torch_device)
    source = _source(name)
    if isinstance(source, Path):
        _check_folder(source, name)
        if revision is not None:
            raise ValueError(f"revision={revision!r} means something on the Hub only, but {name} is a folder")

    commit = None
    try:
        if isinstance(source, str):
            # one commit for all files, and for the metadata of what is made with them
            file = cached_file(source, "config.json", revision=revision)
            commit = revision = Path(str(file)).parent.name
        config, _ = PreTrainedConfig.get_config_dict(source, revision=revision)
    except OSError as error:
        raise _no_files(source, error) from error
    model_class, processor_class = _classes(config, name)
    parts: dict[str, Any] = {part: config.get(part) for part in ("audio_encoder", "text_encoder", "decoder")}
    odd = [part for part, value in parts.items() if not isinstance(value, dict)]
    if odd:
        raise ValueError(f"the config.json of {name} has no object {odd[0]!r}. {_FOLDER_HINT}")
    try:
        codec = parts["audio_encoder"].get("model_type")
        if codec not in CONFIG_MAPPING:
            import steerlib.music.codec  # noqa: F401  (registers the pocket model's codec with transformers)
        with _without_token_warning():
            processor = processor_class.from_pretrained(source, revision=revision, trust_remote_code=False)
            network, report = model_class.from_pretrained(
                source,
                revision=revision,
                dtype=torch_dtype,
                use_safetensors=True,
                trust_remote_code=False,  # None would ask, and run it on a "y"
                ignore_mismatched_sizes=True,  # _check_report raises, and names every shape
                output_loading_info=True,
            )
    except OSError as error:
        raise _no_files(source, error) from error
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # files that are odd make transformers raise anything
        if "trust_remote_code" in str(error):
            raise ValueError(
                f"{name} wants to run code that it brings along, which is never done here: expected a MusicGen of "
                "transformers' own classes"
            ) from None
        raise ValueError(
            f"cannot load {name}: its files make no MusicGen ({type(error).__name__}: {short(str(error))}). "
            f"{_FOLDER_HINT}"
        ) from error
    _check_report(report, name)
    network.config._commit_hash = commit
    network.requires_grad_(False)
    network = network.to(torch_device).eval()
    network.audio_encoder.float()  # the codec finds nearest codes: with 8 bits of mantissa it finds others
    return MusicModel(network, processor, name=str(name))


@contextmanager
def _without_token_warning() -> Iterator[None]:
    """Silence one warning: MusicGen's start and padding token is by design the first number after its vocabulary."""
    log = logging.getLogger("transformers.configuration_utils")

    def keep(record: logging.LogRecord) -> bool:
        return "_token_id must be `None` or an integer within the vocabulary" not in record.getMessage()

    log.addFilter(keep)
    try:
        yield
    finally:
        log.removeFilter(keep)


def network_of(model: Any) -> Any:
    """The transformers model of a `MusicModel`; any other model is returned as it is."""
    return model.network if isinstance(model, MusicModel) else model


def decoder_stack(model: Any) -> Any:
    """The module that runs the decoder blocks (``MusicgenMelodyDecoder`` or ``MusicgenDecoder``).

    Raises
    ------
    TypeError
        If the model is not built like MusicGen.
    """
    try:
        stack = network_of(model).decoder.model.decoder
        _ = stack.layers[0].self_attn
    except (AttributeError, IndexError, TypeError):
        raise TypeError(
            f"{type(model).__name__} has no blocks at model.decoder.model.decoder.layers: "
            "expected a MusicGen or MusicGen-Melody model, as load_model returns"
        ) from None
    return stack


def check_shape(model: Any, directions: Tensor, what: str) -> None:
    """Raise ValueError unless `directions` has the model's shape (layers, hidden); `what` opens the message."""
    stack = decoder_stack(model)
    expected = (len(stack.layers), stack.config.hidden_size)
    if tuple(directions.shape) != expected:
        raise ValueError(
            f"{what} has shape {tuple(directions.shape)}, but the model needs (layers, hidden) = {expected}: "
            "take the vector from this model"
        )


def decoder_blocks(model: Any) -> nn.ModuleList:
    """The decoder blocks of a model, of which block k writes layer k of the residual stream.

    Raises
    ------
    TypeError
        If the model is not built like MusicGen.
    """
    return decoder_stack(model).layers


def model_id(model: Any) -> dict[str, str]:
    """Say which model this is, for the metadata of vectors and results.

    Returns
    -------
    dict
        ``model`` ("pocket", a Hub id, or the name of the folder), ``revision`` (commit on the Hub, or
        "local") and ``weights``: the SHA-256 (first 16 hexadecimal digits) of every tensor's name, shape
        and 32 evenly spaced values as float32. It takes milliseconds, does not depend on the device, and
        changes with any training; it is no protection against someone who wants to deceive.
    """
    model = network_of(model)
    name = str(model.name_or_path) or "unnamed"
    if Path(name).is_dir():
        folder = Path(name).resolve()
        is_replica = folder.parent == _REPLICAS
        name = "pocket" if folder == POCKET else f"pocket:{folder.name}" if is_replica else folder.name
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        flat = tensor.flatten()
        count = min(32, len(flat))  # whole numbers: float32 cannot count the weights of a large layer
        sample = flat[torch.arange(count, device=flat.device) * (len(flat) - 1) // max(count - 1, 1)]
        digest.update(f"{key} {tuple(tensor.shape)} ".encode() + sample.float().cpu().numpy().tobytes())
    revision = getattr(model.config, "_commit_hash", None) or "local"
    return {"model": name, "revision": revision, "weights": digest.hexdigest()[:16]}


def versions() -> dict[str, str]:
    """Versions of what generates and measures, for metadata."""
    found = {}
    for name in ("steerlib", "torch", "transformers", "numpy", "librosa", "soxr", "beat-this"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # a checkout on the path
            found[name] = "not installed"
    return found


def _source(name: str | Path) -> str | Path:
    """The folder, or the Hub id, that a name means."""
    if str(name) == "pocket":
        return POCKET
    if str(name).startswith("pocket:"):
        replica = str(name).removeprefix("pocket:")
        folder = _REPLICAS / replica
        if not folder.is_dir():
            raise ValueError(
                f"the replica {replica!r} of the pocket model is not at {folder}. Put its folder there, or make it "
                f"again: python -m steerlib.pocket lm --replica {replica}, then export --replica {replica}"
            )
        return folder
    with suppress(RuntimeError, ValueError, OSError):  # "~nobody", a zero byte, a name that is too long
        if str(name) and Path(name).expanduser().is_dir():
            return Path(name).expanduser()
    if isinstance(name, str) and _HUB_ID.fullmatch(name):
        return name
    raise ValueError(
        f"unknown model {str(name)!r}: expected 'pocket', an existing folder, or a model on the Hugging Face "
        "Hub as 'organisation/name', such as 'facebook/musicgen-melody'"
    )


def _check_folder(folder: Path, name: str | Path) -> None:
    """Raise unless the folder has a configuration and all weights, for as many blocks as configured."""
    hint = _POCKET_HINT if str(name) == "pocket" else _FOLDER_HINT
    for file in ("config.json", "tokenizer_config.json"):  # without the second, prompts have another length
        if not (folder / file).is_file():
            raise ValueError(f"{folder} has no {file}. {hint}")
    config = _read_json(folder / "config.json")
    single, index = (folder / file for file in _WEIGHTS)
    if single.is_file():
        files = {single.name}
    elif index.is_file():
        listed = _read_json(index).get("weight_map")
        if not isinstance(listed, dict) or not all(isinstance(file, str) for file in listed.values()):
            raise ValueError(f"{index} has no 'weight_map' of tensors to files: copy or download it again")
        files = set(listed.values())
    else:
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        refused = (
            f"; {pickled[0]} is a pickle, which is not read: convert it to safetensors" if pickled else ""
        )
        raise ValueError(f"{folder} has no weights ({' or '.join(_WEIGHTS)}){refused}. {hint}")
    missing = sorted(file for file in files if not (folder / file).is_file())
    if missing:
        raise ValueError(
            f"{folder} lacks {len(missing)} of {len(files)} shards of its weights: {', '.join(missing)}"
        )
    keys: list[str] = []
    for file in sorted(files):
        try:
            with safe_open(folder / file, framework="pt") as weights:
                keys += weights.keys()
        except SafetensorError as error:
            raise ValueError(f"{folder / file} is damaged ({error}): copy or download it again") from error
    # transformers drops the weights of blocks that the configuration lacks, and says nothing
    decoder = config.get("decoder")
    configured = decoder.get("num_hidden_layers") if isinstance(decoder, dict) else None
    stored = 1 + max((int(match[1]) for match in map(_BLOCK.match, keys) if match), default=-1)
    if isinstance(configured, int) and stored > configured:
        raise ValueError(
            f"the weights of {name} have {stored} decoder blocks, its config.json {configured}: "
            "take both from the same save_pretrained"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}): copy or download it again") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, not a {type(content).__name__}")
    return content


def _classes(config: dict[str, Any], name: str | Path) -> tuple[Any, Any]:
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in _CLASSES:
        raise ValueError(f"{name} is a model of type {kind!r}: expected one of {', '.join(_CLASSES)}")
    return _CLASSES[kind]


def _check_report(report: dict[str, Any], name: str | Path) -> None:
    """Raise if weights are missing or have another shape than the configuration says."""
    problems = [
        f"{key} has shape {tuple(stored)} in the file, {tuple(expected)} in the configuration"
        for key, stored, expected in sorted(report["mismatched_keys"])
    ]
    problems += [f"{key} is not in the file" for key in sorted(report["missing_keys"])]
    if problems:
        more = f" (and {len(problems) - 4} more)" if len(problems) > 4 else ""
        raise ValueError(
            f"the weights of {name} do not fit its config.json: {'; '.join(problems[:4])}{more}. "
            "Take config.json and weights from the same save_pretrained"
        )


def _no_files(source: str | Path, error: OSError) -> OSError:
    if isinstance(source, Path):
        return OSError(f"cannot load {source}: {error}. {_FOLDER_HINT}")
    return OSError(
        f"cannot get {source!r} from the Hugging Face Hub, and it is neither in the local cache nor a folder "
        f"here. Where there is a network, run 'hf download {source} --local-dir FOLDER' (config.json, "
        f"*.safetensors, processor and tokenizer files from https://huggingface.co/{source}), copy FOLDER to "
        "this machine and load_model('FOLDER'); or copy the cache (HF_HOME) and set HF_HUB_OFFLINE=1, which "
        f"also stops transformers from asking the network for what is cached. transformers said: {error}"
    )


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"unknown device {device!r}: expected 'auto', 'cpu', 'cuda' or 'cuda:0'") from error
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise ValueError(
            f"device={str(device)!r} cannot hold a model: expected 'auto', 'cpu', 'cuda' or 'cuda:0'"
        )
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"device={str(device)!r}, but torch sees no such device here: use device='cpu'")
    if chosen.type == "cuda" and (chosen.index or 0) >= max(torch.cuda.device_count(), 1):
        raise ValueError(
            f"device={str(device)!r}, but torch sees {torch.cuda.device_count()} CUDA devices, counted from 0"
        )
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={str(device)!r}, but torch sees no CUDA device here: use device='auto' or 'cpu'"
        )
    return chosen


def _dtype(dtype: str | torch.dtype, device: torch.device) -> str | torch.dtype:
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    chosen = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(chosen, torch.dtype) or not chosen.is_floating_point:
        raise ValueError(f"unknown dtype {dtype!r}: expected 'auto', 'float32', 'bfloat16' or 'float16'")
    return chosen


def _warn_of_unknown_words(
    model: PreTrainedModel, tokenizer: Any, prompts: list[str], ids: list[list[int]]
) -> None:
    vocabulary = Path(str(model.name_or_path)) / "vocabulary.txt"
    words = dict.fromkeys(word for prompt in prompts for word in _WORD.findall(prompt.lower()))
    if model.name_or_path and vocabulary.is_file():
        known = set(vocabulary.read_text(encoding="utf-8").lower().split())
        unknown = [word for word in words if word not in known and not set(re.split("['’-]", word)) <= known]
        why = "were never seen in training, so the model cannot follow them"
    elif any(tokenizer.unk_token_id in row for row in ids):
        unknown = [word for word in words if tokenizer.unk_token_id in tokenizer(word)["input_ids"]]
        why = "are unknown to the tokenizer, so the model cannot follow them"
    else:
        return
    if unknown:
        warnings.warn(f"these words of the prompts {why}: {', '.join(unknown)}", UserWarning, stacklevel=3)
