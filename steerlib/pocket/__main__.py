"""Commands that make the pocket model again, each resumable: ``python -m steerlib.pocket --help``."""

from __future__ import annotations

import argparse
from pathlib import Path

from steerlib.files import DATA
from steerlib.music import corpus

_WORK = Path("build/pocket")
_FOLDER = DATA / "pocket"


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run one stage."""
    parser = argparse.ArgumentParser(
        prog="python -m steerlib.pocket",
        description="Make the pocket model again, in this order: codec, text, encode, lm, beats, clap, export, "
        "evaluate. Every stage resumes where it was stopped and loses at most a few minutes.",
    )
    stages = parser.add_subparsers(dest="stage", required=True)

    def stage(name: str, text: str) -> argparse.ArgumentParser:
        sub = stages.add_parser(name, help=text, description=text)
        sub.add_argument(
            "--work", type=Path, default=_WORK, help="working folder of the trainings (default: %(default)s)"
        )
        return sub

    sub = stage("corpus", "render a few clips with their truth, to listen to")
    sub.add_argument("--clips", type=int, default=10)
    sub.add_argument(
        "--first",
        type=int,
        default=corpus.HELD_OUT,
        help="first seed (default: %(default)s, never trained on)",
    )
    for name, text, steps in (
        ("codec", "train the spectral codec (renders its clips first)", 10_000),
        ("text", "train tokenizer and text encoder on captions", 1_000),
        ("lm", "train the decoder on codes (encodes the corpus first)", 6_000),
        ("beats", "train the judge of tempo", 2_500),
        ("clap", "train the judge of style and instrument", 3_000),
    ):
        sub = stage(name, text)
        sub.add_argument(
            "--steps",
            type=int,
            default=steps,
            help="where to stop; more goes on from the state (default: %(default)s)",
        )
        if name == "lm":
            sub.add_argument("--start", type=Path, help="pocket model to start from, such as data/pocket")
            sub.add_argument(
                "--clips", type=int, default=20_000, help="training clips (default: %(default)s)"
            )
    sub = stage("encode", "encode the corpus, as lm would do first")
    sub.add_argument("--clips", type=int, default=20_000)
    sub = stage("export", "write data/pocket from the trainings")
    sub.add_argument("--to", type=Path, default=_FOLDER)
    sub = stage("evaluate", "print every figure of the model card, with intervals and thresholds")
    sub.add_argument("--model", type=Path, default=_FOLDER)
    sub.add_argument("--clips", type=int, default=200, help="held-out clips (default: %(default)s)")
    sub.add_argument(
        "--prompts", type=int, default=100, help="pairs of prompts per attribute (default: %(default)s)"
    )
    run(parser.parse_args(arguments))


def run(options: argparse.Namespace) -> None:
    """Run the stage that the options name."""
    from steerlib.pocket import lm, train_codec  # not at the top: rendering processes import this module

    work: Path = options.work
    if options.stage == "corpus":
        import soundfile

        (work / "listen").mkdir(parents=True, exist_ok=True)
        for truth, audio in corpus.stream(range(options.first, options.first + options.clips), workers=0):
            path = work / "listen" / f"{truth.seed}.flac"
            soundfile.write(path, audio, corpus.SAMPLE_RATE)
            print(
                f"{path}  {truth.bpm:5.1f} BPM  {truth.cutoff:5.0f} Hz  {truth.style}, {truth.lead}: {truth.caption}"
            )
    elif options.stage == "codec":
        train_codec.train(work, steps=options.steps)
    elif options.stage == "text":
        lm.train_text(work, steps=options.steps)
    elif options.stage == "encode":
        lm.encode_corpus(work, options.clips)
    elif options.stage == "lm":
        lm.train(work, steps=options.steps, clips=options.clips, start=options.start)
    elif options.stage == "beats":
        from steerlib.pocket.judges import train_beats

        train_beats(work, steps=options.steps)
    elif options.stage == "clap":
        from steerlib.pocket.judges import train_clap

        train_clap(work, steps=options.steps)
    elif options.stage == "export":
        from steerlib.pocket.export import export

        export(work, options.to)
    elif options.stage == "evaluate":
        from steerlib.pocket.evaluate import evaluate, show

        print(show(evaluate(options.model, clips=options.clips, prompts=options.prompts)))


if __name__ == "__main__":
    main()
