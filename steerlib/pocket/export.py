"""From training states to ``data/pocket``: half-precision safetensors that `load_model` reads."""

from __future__ import annotations

import shutil
from pathlib import Path

from transformers import MusicgenMelodyProcessor

from steerlib.pocket import lm
from steerlib.pocket.second.captions import known_words


def export(work: Path, folder: Path, replica: str = "seed0") -> None:
    """Assemble the model from the trainings in `work` and write it to `folder`.

    Parameters
    ----------
    work : Path
        Holds the trainings of codec, text encoder, decoder and judges.
    folder : Path
        Receives ``config.json``, ``model.safetensors``, tokenizer, ``vocabulary.txt`` and the judges.
    replica : str
        Which training of the decoder, see `lm.REPLICAS`.

    Raises
    ------
    FileNotFoundError
        If one of the trainings has not begun.
    """
    wanted = lm.REPLICAS[replica]
    model = lm.load(work, wanted)
    model.half().save_pretrained(folder)
    MusicgenMelodyProcessor.from_pretrained(work / "text").save_pretrained(folder)
    (folder / "vocabulary.txt").write_text("\n".join(known_words()) + "\n")
    beats, clap = work / "beats" / "beats.ckpt", work / "clap" / "model"
    if beats.exists():
        shutil.copyfile(beats, folder / beats.name)
    if clap.exists():
        shutil.copytree(clap, folder / "clap", dirs_exist_ok=True)
    logs = {name: work / name / "log.jsonl" for name in ("codec", "text", "beats", "clap")}
    for name, log in (logs | {"lm": wanted.folder(work) / "log.jsonl"}).items():
        if log.exists():
            (folder / "training").mkdir(exist_ok=True)
            shutil.copyfile(log, folder / "training" / f"{name}.jsonl")
