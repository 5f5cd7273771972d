"""Commands that make the pocket model again, each resumable: ``python -m steerlib.pocket --help``."""

from __future__ import annotations

import argparse
from pathlib import Path

from steerlib.files import DATA
from steerlib.pocket.second import corpus

_WORK = Path("build/pocket")


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run one stage."""
    parser = argparse.ArgumentParser(
        prog="python -m steerlib.pocket",
        description="Make the pocket model again, in this order: codec, text, encode, lm, beats, clap, export, "
        "thresholds, evaluate. Every stage resumes where it was stopped and loses at most a few minutes. lm, export "
        "and evaluate take --replica for another training of the decoder.",
    )
    stages = parser.add_subparsers(dest="stage", required=True)

    def stage(name: str, text: str) -> argparse.ArgumentParser:
        sub = stages.add_parser(name, help=text, description=text)
        sub.add_argument(
            "--work", type=Path, default=_WORK, help="working folder of the trainings (default: %(default)s)"
        )
        return sub

    def replica(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--replica",
            default="seed0",
            choices=("seed0", "seed1", "seed2", "shallow", "correlated"),
            help="which training of the decoder: of another seed, of half the depth, or on the corpus in which "
            "tempo, brightness and loudness are correlated (default: %(default)s)",
        )

    sub = stage("soundfont", "cut the soundfont of the corpus out of a whole one")
    sub.add_argument("--whole", type=Path, required=True, help="MuseScore_General_Lite.sf3")
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
        ("text", "train the text encoder on captions", 2_500),
        ("lm", "train the decoder on codes (encodes the corpus first)", 5_000),
        ("beats", "train the judge of tempo", 3_000),
        ("clap", "train the judge of style and instrument", 4_000),
    ):
        sub = stage(name, text)
        sub.add_argument(
            "--steps",
            type=int,
            default=steps,
            help="where to stop; more goes on from the state (default: %(default)s)",
        )
        if name in ("codec", "lm"):
            sub.add_argument("--start", type=Path, help="pocket model to start from, such as data/pocket")
        if name == "codec":
            sub.add_argument("--rate", type=float, default=8e-4, help="learning rate (default: %(default)s)")
        if name == "lm":
            replica(sub)
        if name in ("codec", "lm"):
            clips = {"codec": 8_000, "lm": 24_000}[name]
            sub.add_argument("--clips", type=int, default=clips, help="training clips (default: %(default)s)")
    sub = stage("encode", "encode the corpus, as lm would do first")
    replica(sub)
    sub.add_argument("--clips", type=int, default=24_000)
    sub = stage("export", "write a model's folder from the trainings")
    replica(sub)
    sub.add_argument("--to", type=Path, help="default: data/pocket, or data/replicas/NAME")
    stage("thresholds", "fix on composed clips when the judges in data/pocket say that they cannot tell")
    sub = stage("evaluate", "print every figure of the model card, with intervals and thresholds")
    sub.add_argument("--model", type=Path, default=DATA / "pocket")
    sub.add_argument("--clips", type=int, default=200, help="held-out clips (default: %(default)s)")
    sub.add_argument(
        "--prompts", type=int, default=100, help="pairs of prompts per attribute (default: %(default)s)"
    )
    run(parser.parse_args(arguments))


def run(options: argparse.Namespace) -> None:
    """Run the stage that the options name."""
    from steerlib.pocket import lm, train_codec  # not at the top: rendering processes import this module

    work: Path = options.work
    if options.stage == "soundfont":
        from steerlib.pocket.second import soundfont

        print(soundfont.remake(options.whole, corpus.played()))
    elif options.stage == "corpus":
        import soundfile

        (work / "listen").mkdir(parents=True, exist_ok=True)
        for truth, audio in corpus.stream(range(options.first, options.first + options.clips), workers=0):
            path = work / "listen" / f"{truth.seed}.flac"
            soundfile.write(path, audio, corpus.SAMPLE_RATE)
            print(
                f"{path}  {truth.bpm:5.1f} BPM  {truth.cutoff:5.0f} Hz  {truth.style}, {truth.lead}: {truth.caption}"
            )
    elif options.stage == "codec":
        train_codec.train(
            work,
            steps=options.steps,
            clips=options.clips,
            learning_rate=options.rate,
            start=options.start,
        )
    elif options.stage == "text":
        lm.train_text(work, steps=options.steps)
    elif options.stage == "encode":
        correlation = lm.REPLICAS[options.replica].correlation
        lm.encode_corpus(work, options.clips, correlation=correlation)
    elif options.stage == "lm":
        lm.train(
            work,
            lm.REPLICAS[options.replica],
            steps=options.steps,
            clips=options.clips,
            start=options.start,
        )
    elif options.stage == "beats":
        from steerlib.pocket.judges import train_beats

        train_beats(work, steps=options.steps)
    elif options.stage == "clap":
        from steerlib.pocket.judges import train_clap

        train_clap(work, steps=options.steps)
    elif options.stage == "export":
        from steerlib.pocket.export import export

        name = options.replica
        export(work, options.to or (DATA / ("pocket" if name == "seed0" else f"replicas/{name}")), name)
    elif options.stage == "thresholds":
        from steerlib.pocket import thresholds

        print(thresholds.fix())
    elif options.stage == "evaluate":
        from steerlib.pocket.evaluate import evaluate, show

        print(show(evaluate(options.model, clips=options.clips, prompts=options.prompts)))


if __name__ == "__main__":
    main()
