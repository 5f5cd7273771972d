"""The command ``steerlib``: extract directions, steer, sweep and evaluate without a notebook.

Exit codes: 0 done; 1 the message on stderr says what is wrong and what to do; 2 the command line is wrong; 3 it
does not fit into memory or on the disk; 130 interrupted (what was stored stays, and the next run goes on there). An
error is one line; --debug adds Python's traceback.
"""

import argparse
import math
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers

from steerlib import control
from steerlib.activations import extract_activations
from steerlib.directions import diff_mean
from steerlib.engine.clips import Clips
from steerlib.engine.fit import DoesNotFit
from steerlib.engine.generation import Run, generate
from steerlib.engine.recipe import read_recipe
from steerlib.engine.sampling import Sampling
from steerlib.files import one_line, parse_yaml
from steerlib.measure import (
    clap_embeddings,
    clap_scores,
    frechet_distance,
    judges,
    onset_rate,
    spectral_centroid,
    tempo,
)
from steerlib.measure.rhythm import tracker
from steerlib.model import MusicModel, load_model, versions
from steerlib.music.recordings import printable, read_mono
from steerlib.prompts import Attribute, load_attribute, load_prompts
from steerlib.steering import Edit, Steering, SteeringMap, load_edit
from steerlib.sweeps.export import read_table, save_table, save_vector
from steerlib.sweeps.grid import Grid, Strategy, check, cost, shard_of, sweep
from steerlib.sweeps.plans import SweepPlan, read_plans
from steerlib.sweeps.store import Store, merge

__all__ = ["main"]

_TARGETS = {"bpm": "bpm", "centroid": "centroid"}
"""Options that ask for a value, and the metric of each."""
_KAPPAS = (-0.4, -0.2, -0.1, 0.0, 0.1, 0.2, 0.4)
_CALIBRATE_ON = 6
_AUDIO = (".wav", ".flac", ".mp3", ".ogg")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = _parser().parse_args(arguments)
    transformers.logging.set_verbosity_error()
    if args.quiet:
        transformers.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            args.run(args)
    except KeyboardInterrupt:
        print(
            "steerlib: interrupted; what is stored stays, the same command goes on from there",
            file=sys.stderr,
        )
        return 130
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        message = one_line(str(error) or type(error).__name__)
        if isinstance(error, DoesNotFit | MemoryError | torch.OutOfMemoryError):
            print(f"steerlib: does not fit: {message}", file=sys.stderr)
            return 3
        if not isinstance(
            error, ValueError | TypeError | OSError | FloatingPointError
        ):  # these explain themselves
            message = f"{type(error).__name__}: {message}. That was not foreseen: --debug shows where"
        print(f"steerlib: error: {message}", file=sys.stderr)
        return 1
    return 0


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"steerlib: warning: {one_line(str(message))}", file=sys.stderr)


# --- what the commands do -----------------------------------------------------------------------------------


def _info(args: argparse.Namespace) -> None:
    path = Path(args.what)
    if path.suffix == ".safetensors":
        found = load_edit(path)
        norms = [round(norm, 4) for norm in found.directions.norm(dim=1).tolist()]
        _show({"map" if isinstance(found, SteeringMap) else "vector": found, "norms": norms, **found.metadata})
    elif (path / "store.json").is_file():
        rows = Store(path).read()
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        columns = [
            name for name in ("attribute", "source_layer", "multiplier", "prompt", "seed") if name in rows
        ]
        counts = {f"different {name}": rows[name].nunique() for name in columns}
        _show(
            {"store": path, "rows": len(rows), "clips": int(rows["clip"].notna().sum()), "bytes": size}
            | counts
        )
    else:
        model = _load(args, args.what)
        config = model.config
        _show(
            model.identity
            | {
                "class": type(model.network).__name__,
                "text": "prefix of the decoder"
                if model.is_prefix
                else "cross-attention: its EOS is not in the decoder",
                "layers x width": f"{model.depth} x {model.width}",
                "parameters": f"{sum(weight.numel() for weight in model.network.parameters()):,}",
                "codebooks x codes": f"{model.codebooks} x {config.decoder.vocab_size}",
                "frames per second": f"{model.frame_rate:g}",
                "sample rate": f"{model.sample_rate} Hz",
                "chroma frames": config.chroma_length if model.is_prefix else 0,
                "prompt length": f"{model.text_length} tokens",
                "device, dtype": f"{model.device}, {str(model.dtype).removeprefix('torch.')}",
            }
            | versions()
        )


def _extract(args: argparse.Namespace) -> None:
    if args.out.suffix != ".safetensors":
        raise ValueError(f"--out must end in .safetensors, got {args.out}")
    attribute = load_attribute(args.attribute)
    attribute = attribute if args.pairs is None else attribute.first(args.pairs)
    _try_folder(args.out.parent, "--out")
    acts = extract_activations(
        _load(args), attribute, position=args.position, site=args.site, progress=not args.quiet
    )
    vector = diff_mean(acts)
    card = save_vector(vector, args.out)
    print(one_line(f"{vector} in {args.out}, its card in {card}"))


def _steer(args: argparse.Namespace) -> None:
    asked = [name for name in ("multiplier", *_TARGETS) if getattr(args, name)]
    if not args.recipe and not (args.vector and args.prompt and len(asked) == 1):
        args.parser.error(
            "give a vector, --prompt and one of --multiplier, --bpm and --centroid, or all of them in one file: "
            "--from clip.json"
        )
    _try_folder(args.out, "--out")
    if any(args.out.glob("*.flac")) or (args.out / "clips.csv").exists():
        raise ValueError(f"--out {args.out} has clips already: name a new folder")
    if args.recipe:
        _follow(args)
        return
    # what can be known without the model is said before it is loaded
    wanted = [(prompt, value) for prompt in args.prompt for value in getattr(args, asked[0])]
    options = {
        name: getattr(args, name) for name in ("steps", "branches", "site", "preserve_norm", "positions")
    }
    vector = load_edit(args.vector)
    tried = [0.0 if asked[0] in _TARGETS or value == "auto" else value for _, value in wanted]
    for factor in tried:
        Steering(vector, factor, source_layer=args.layer, **options)
    sampling = Sampling(args.guidance)
    if not all(map(str.strip, args.prompt)):
        raise ValueError("--prompt: one is empty: describe some music, such as 'a folk song'")
    if asked[0] in _TARGETS and not all(0 < value < math.inf for _, value in wanted):
        raise ValueError(f"--{asked[0]} must be positive numbers, got {[value for _, value in wanted]}")
    if not 0 < args.seconds < math.inf:
        raise ValueError(f"--seconds must be a positive number, got {args.seconds:g}")
    if args.branches == "unconditional" and args.guidance <= 1:
        raise ValueError(
            "--branches unconditional: with --guidance up to 1 there is no such branch, raise it"
        )
    model = _load(args)
    load_edit(args.vector, model=model)  # which looks whether it fits
    schedule = control.schedule(args.schedule, model, args.seconds) if args.schedule else None
    how: dict[str, Any] = {"seconds": args.seconds, "sampling": sampling, "run": Run(progress=not args.quiet)}
    metric = _TARGETS.get(asked[0])
    if metric:
        factors, found = _aim(args, model, vector, metric, wanted, options, how)
    else:
        factors, found = _sizes(args, model, vector, wanted, options, how), {}
    steering = [
        Steering(vector, factor, source_layer=args.layer, schedule=schedule, **options) for factor in factors
    ]
    prompts = [prompt for prompt, _ in wanted]
    clips = generate(model, prompts, seed=args.seed, steering=steering, **how)
    paths = clips.save(args.out)
    if metric:
        found["measured"] = _measured(model, clips, metric)
    columns = {"prompt": prompts, "multiplier": factors, **found}
    table = pd.DataFrame({"clip": [path.name for path in paths], **columns, "seed": args.seed})
    save_table(table, args.out / "clips.csv")
    print(_printed(table))
    print(f"{len(paths)} clips and clips.csv in {args.out}")


def _sizes(
    args: argparse.Namespace, model: MusicModel, vector: Edit, wanted: Sequence[tuple[str, Any]],
    options: dict[str, Any], how: dict[str, Any],
) -> list[float]:  # fmt: skip
    """Each λ as given; for "auto" the strongest that quality affords."""
    if not any(value == "auto" for _, value in wanted):
        return [value for _, value in wanted]
    strength = control.strongest(
        model, vector, attribute=_attribute_of(vector), source_layer=args.layer, seed=args.seed,
        sampling=how["sampling"], **options,
    )  # fmt: skip
    print(f"auto: {strength}")
    return [strength.multiplier if value == "auto" else value for _, value in wanted]


def _attribute_of(vector: Edit) -> Attribute | None:
    """The attribute that a vector says it is of, if it comes with the project and its poles are the same."""
    told = [vector.metadata.get(key) for key in ("attribute", "positive", "negative")]
    try:
        found = load_attribute(str(told[0]))
    except ValueError:
        return None
    return found if [found.name, found.positive, found.negative] == told else None


def _aim(
    args: argparse.Namespace, model: MusicModel, vector: Edit, metric: str,
    wanted: Sequence[tuple[str, float]], options: dict[str, Any], how: dict[str, Any],
) -> tuple[list[float], dict[str, Any]]:  # fmt: skip
    """λ for each target, from a calibration and the prompt's own unsteered clip; and what that clip measures."""
    if args.calibration:
        table = read_table(args.calibration)
    else:
        print(
            f"calibrating on {_CALIBRATE_ON} neutral prompts; the table is kept as {args.out / 'calibration.csv'}"
        )
        unit = control.largest_multiplier(model, vector, 1.0, source_layer=args.layer)
        factors = [unit * kappa for kappa in _KAPPAS]
        strategy: Strategy = "all_to_all" if args.layer is None else "one_to_all"
        layers = None if args.layer is None else [args.layer]
        grid = Grid({"vector": vector}, factors, layers, strategy, **options)
        prompts, beats = load_prompts("neutral")[:_CALIBRATE_ON], _beats(model) if metric == "bpm" else None
        with tempfile.TemporaryDirectory() as store:
            table = sweep(model, prompts, grid, store=store, metrics=[metric], beats=beats, keep=None, **how)
        save_table(table, args.out / "calibration.csv")
    scale = control.calibrate(table, metric)
    plain = _measured(model, generate(model, args.prompt, seed=args.seed, **how), metric)
    own = dict(zip(args.prompt, [None if np.isnan(value) else float(value) for value in plain], strict=True))
    chosen = [scale.multiplier_for(target, own[prompt], strict=args.strict) for prompt, target in wanted]
    return chosen, {
        "target": [target for _, target in wanted],
        "unsteered": [own[prompt] for prompt, _ in wanted],
    }


def _measured(model: MusicModel, clips: Clips, metric: str) -> Any:
    return tempo(clips, checkpoint=_beats(model)) if metric == "bpm" else spectral_centroid(clips)


def _beats(model: MusicModel) -> str | None:
    return judges(model.name)[0]


def _follow(args: argparse.Namespace) -> None:
    """Make the clip of a recipe."""
    with warnings.catch_warnings(action="ignore"):  # it is read again, and says so then
        read_recipe(args.recipe)
    model = _load(args)
    recipe = read_recipe(args.recipe, model=model)
    clips = generate(
        model,
        [recipe.prompt],
        seconds=recipe.seconds,
        seed=recipe.seed,
        steering=[recipe.steering],
        melody=recipe.melody,
        sampling=recipe.sampling,
        run=Run(progress=not args.quiet),
    )
    [path] = clips.save(args.out)
    print(f"{recipe.prompt!r}, seed {recipe.seed}, {len(recipe.steering)} directions: {path}")


def _sweep(args: argparse.Namespace) -> None:
    plans = read_plans(args.experiment)
    unknown = [name for name in args.names if name not in plans]
    if unknown:
        raise ValueError(f"{args.experiment} has no sweep {unknown[0]!r}; it has {', '.join(plans)}")
    changes = {name: parse_yaml(value, f"-p {name}") for name, value in args.parameter}
    try:
        chosen = [plans[name].changed(changes) for name in dict.fromkeys(args.names or plans)]
    except ValueError as error:
        raise ValueError(f"{args.experiment}: {error}") from None
    if args.shard is not None:
        shard_of(args.shard)
    for plan in chosen:
        with _named(args, plan):
            plan.check()
    _try_folder(args.output, "--output")
    loaded: dict[Any, MusicModel] = {}
    for plan in chosen:
        key = (plan.model, plan.revision, plan.device, plan.dtype)
        if key not in loaded:
            name, revision, device, dtype = key
            with _named(args, plan):  # one model at a time
                loaded = {key: load_model(name, revision=revision, device=device, dtype=dtype)}
        _run_plan(plan, loaded[key], args)


@contextmanager
def _named(args: argparse.Namespace, plan: SweepPlan) -> Iterator[None]:
    """Errors that name the experiment and the sweep."""
    try:
        yield
    except DoesNotFit:  # which has an exit code of its own
        raise
    except ValueError as error:
        raise ValueError(f"{args.experiment}: sweep {plan.name!r}: {error}") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{args.experiment}: sweep {plan.name!r}: {error}") from error


def _run_plan(plan: SweepPlan, model: MusicModel, args: argparse.Namespace) -> None:
    folder = args.output / plan.name
    store = folder / "store"
    if args.shard is not None:
        store = folder / "shards" / args.shard.replace("/", "-of-")

    def arguments(stand_ins: bool) -> dict[str, Any]:
        vectors = plan.vectors(model, folder / "vectors", stand_ins=stand_ins, progress=not args.quiet)
        return plan.arguments(model, vectors, shard=args.shard, progress=not args.quiet)

    with _named(args, plan):
        if args.dry_run:
            print(f"sweep   {plan.name}\n{cost(model, store=store, **arguments(True))}\n", flush=True)
            return
        # before vectors are made, which takes a large model minutes
        check(model, store=store, **arguments(True))
        settings = arguments(False)
    if args.vectors:
        return
    if args.shard is not None:
        table = sweep(model, store=store, **settings)
        print(f"{plan.name}: shard {args.shard} is done, {table['key'].nunique()} clips in {store}")
        return
    if args.merge:
        shards = sorted(path.parent for path in (folder / "shards").glob("*/store.json"))
        with _named(args, plan):
            merge(store, shards)
    table = sweep(model, store=store, **settings)
    about = {"sweep": dict(plan.given), "model": model.identity, "versions": versions()}
    for suffix in (".parquet", ".csv"):
        save_table(table, folder / f"table{suffix}", about=about)
    print(f"{plan.name}: {len(table)} rows in {folder / 'table.parquet'} and .csv, clips in {store}")


def _evaluate(args: argparse.Namespace) -> None:
    for path in args.table:
        if path.suffix not in (".parquet", ".csv"):
            raise ValueError(f"--table {path} must end in .parquet or .csv")
        _try_folder(path.parent, "--table")
    labels = args.labels or []
    if args.labels and (len(set(labels)) < max(len(labels), 2) or not all(map(str.strip, labels))):
        raise ValueError(f"--labels needs two or more different labels that are not empty, got {labels}")
    if "bpm" in args.metrics:
        tracker(args.beats)
    files = _audio_files(args.audio)
    reference = _audio_files([args.reference]) if args.reference else []

    def measure(file: Path) -> tuple[dict[str, Any], Any]:
        samples, rate = read_mono(file)
        samples = samples[None]
        row: dict[str, Any] = {"file": printable(file), "seconds": samples.shape[1] / rate}
        if "bpm" in args.metrics:
            row["bpm"] = tempo(samples, sample_rate=rate, checkpoint=args.beats)[0]
        if "centroid" in args.metrics:
            row["centroid"] = spectral_centroid(samples, sample_rate=rate)[0]
        if "onset_rate" in args.metrics:
            row["onset_rate"] = onset_rate(samples, sample_rate=rate)[0]
        if labels:
            scores = clap_scores(samples, labels, sample_rate=rate, model=args.clap)[0]
            row |= {f"clap {label}": score for label, score in zip(labels, scores, strict=True)}
        return row, embed(file) if reference else None

    def embed(file: Path) -> Any:
        samples, rate = read_mono(file)
        return clap_embeddings(samples[None], sample_rate=rate, model=args.clap)[0]

    rows = _each(files, measure)
    table = pd.DataFrame([row for row, _ in rows])
    print(_printed(table))
    for path in args.table:
        save_table(table, path)
    if reference:
        ours = np.concatenate([embedding for _, embedding in rows])
        theirs = _each(reference, embed)
        distance = frechet_distance(ours, np.concatenate(theirs))
        print(f"Fréchet audio distance to {len(theirs)} files: {distance:.4g} ({len(ours)} windows of 2 s)")


def _each(files: Sequence[Path], work: Callable[[Path], Any]) -> list[Any]:
    """What work makes of each file; a warning for a file of which it makes nothing, an error if it is all of them."""
    done = []
    for file in files:
        try:
            done.append(work(file))
        except ValueError as error:
            warnings.warn(f"left out: {printable(file)}: {error}", stacklevel=1)
    if not done:
        raise ValueError(f"none of the {len(files)} files can be measured: the warnings say why")
    return done


def _audio_files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"there is no file or folder {path}")
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        found = [file for file in inside if file.suffix.lower() in _AUDIO and file.is_file()]
        if not found:
            raise ValueError(f"{path} has no audio: expected {', '.join(_AUDIO)}")
        files += found
    return list(dict.fromkeys(files))


def _try_folder(folder: Path, option: str) -> None:
    """Make a folder and write to it, before work that would be lost."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(
            f"{option}: cannot write to {folder} ({error.strerror or error}): name another folder"
        ) from error


def _load(args: argparse.Namespace, name: str | None = None) -> Any:
    return load_model(
        args.model if name is None else name, revision=args.revision, device=args.device, dtype=args.dtype
    )


def _printed(table: pd.DataFrame) -> str:
    return table.map(lambda value: one_line(value) if isinstance(value, str) else value).to_string(
        index=False
    )


def _show(facts: dict[str, Any]) -> None:
    facts = {one_line(name): value for name, value in facts.items()}
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:{width}}  {one_line(str(value))}")


# --- the command line ---------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="steerlib", description="Activation steering of music models.", epilog="Exit codes: " +
        str(__doc__).split("Exit codes: ")[1].replace("\n", " "),
    )  # fmt: skip
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], about: str, example: str) -> Any:
        added = commands.add_parser(
            name, help=about, description=about[0].upper() + about[1:] + ".", epilog=f"examples:\n{example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        added.set_defaults(run=run)
        added.add_argument("--quiet", action="store_true", help="no progress bars")
        added.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return added

    info = command(
        "info", _info, "say what a model, a vector or a result store is",
        "  steerlib info pocket\n  steerlib info facebook/musicgen-melody --dtype bfloat16\n"
        "  steerlib info tempo.safetensors\n  steerlib info results/sweeps/layers/store",
    )  # fmt: skip
    info.add_argument(
        "what", help="a model (pocket, a folder, a name on the Hub), a .safetensors vector or map, a store"
    )
    _model_options(info, named=False)

    extract = command(
        "extract", _extract, "make the steering vector of an attribute (DiffMean), with a model card beside it",
        "  steerlib extract tempo --out tempo.safetensors\n"
        "  steerlib extract my_prompts.yaml --pairs 50 --model facebook/musicgen-melody --out mine.safetensors",
    )  # fmt: skip
    extract.add_argument(
        "attribute", help="name in data/prompts (tempo, timbre, ...) or a YAML file of pairs"
    )
    extract.add_argument("--out", type=Path, required=True, help="the .safetensors file")
    extract.add_argument("--pairs", type=int, help="take the first pairs only")
    extract.add_argument("--position", default="eos", choices=["eos", "start"])
    extract.add_argument("--site", default="residual", choices=["residual", "attention"])
    _model_options(extract)

    steer = command(
        "steer", _steer, "generate clips with a vector, one for each prompt and multiplier",
        "  steerlib steer tempo.safetensors --prompt 'a folk song' --layer 5 --multiplier -0.1 0 0.1 --out clips\n"
        "  steerlib steer tempo.safetensors --prompt 'a folk song' --layer 5 --bpm 90 128 --out clips\n"
        "  steerlib steer tempo.safetensors --prompt 'a song' --layer 5 --multiplier auto --schedule 4:0 4:1 --out x\n"
        "  steerlib steer --from clip.json --out clips        a clip that the page Play made, again",
    )  # fmt: skip
    steer.set_defaults(parser=steer)
    steer.add_argument("vector", type=Path, nargs="?", help="a .safetensors file: a SteeringVector or a SteeringMap")
    steer.add_argument(
        "--from", dest="recipe", type=Path, metavar="JSON", help="a clip's file from the page Play"
    )
    steer.add_argument("--prompt", nargs="+")
    steer.add_argument(
        "--multiplier",
        nargs="+",
        type=_multiplier,
        help="0 is the unsteered clip; auto the strongest that quality affords",
    )
    steer.add_argument("--bpm", nargs="+", type=float, help="tempi to reach, in place of multipliers")
    steer.add_argument(
        "--centroid", nargs="+", type=float, metavar="HZ", help="brightness to reach, likewise"
    )
    steer.add_argument(
        "--calibration", type=Path, metavar="TABLE",
        help="table of a sweep of this vector and layer; left out: a small sweep is made",
    )  # fmt: skip
    steer.add_argument("--strict", action="store_true", help="refuse targets out of reach")
    steer.add_argument(
        "--schedule", nargs="+", type=_point, metavar="SECONDS:FACTOR",
        help="factor of the multiplier over time: straight lines between the points, two at one time for a step",
    )  # fmt: skip
    steer.add_argument("--layer", type=int, help="source layer (One-to-All); left out: All-to-All")
    steer.add_argument("--out", type=Path, required=True, help="folder for the clips (FLAC) and clips.csv")
    steer.add_argument("--seconds", type=float, default=8.0)
    steer.add_argument("--seed", type=int, default=0)
    steer.add_argument("--guidance", type=float, default=3.0)
    steer.add_argument("--steps", default="all", choices=["all", "first"])
    steer.add_argument("--branches", default="both", choices=["both", "conditional", "unconditional"])
    steer.add_argument("--site", default="residual", choices=["residual", "attention"])
    steer.add_argument("--preserve-norm", action="store_true")
    steer.add_argument("--positions", default="all", choices=["all", "prefix", "audio"])
    _model_options(steer)

    sweep = command(
        "sweep", _sweep, "run the sweeps of an experiment, resuming where they stopped; table as Parquet and CSV",
        "  steerlib sweep data/experiments/sweeps.yaml --dry-run        what it would cost, and whether it fits\n"
        "  steerlib sweep data/experiments/sweeps.yaml layers -p prompt_count 4 -p multipliers '[-0.1, 0.1]'\n"
        "  steerlib sweep data/experiments/sweeps.yaml layers --shard 3/16\n"
        "  steerlib sweep data/experiments/sweeps.yaml layers --merge   bring the shards together, fill, write",
    )  # fmt: skip
    sweep.add_argument("experiment", type=Path, help="YAML file with a section 'sweeps'")
    sweep.add_argument("names", nargs="*", metavar="NAME", help="sweeps of the file; all of them by default")
    sweep.add_argument("--output", type=Path, default=Path("results/sweeps"), help="default: results/sweeps")
    sweep.add_argument(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("KEY", "VALUE"),
        help="change a setting",
    )
    what = sweep.add_mutually_exclusive_group()
    what.add_argument("--vectors", action="store_true", help="make the vectors only")
    what.add_argument("--merge", action="store_true", help="take over the finished shards first")
    what.add_argument(
        "--dry-run", action="store_true", help="count, measure one step, make no clip; 3 if it won't fit"
    )
    sweep.add_argument(
        "--shard", metavar="3/16", help="make the third of sixteen parts, in a store of its own"
    )

    evaluate = command(
        "evaluate", _evaluate, "measure audio files: tempo, brightness, onsets, CLAP scores, Fréchet distance",
        "  steerlib evaluate clips\n  steerlib evaluate clips --labels rock folk --table scores.csv\n"
        "  steerlib evaluate clips --reference originals --clap laion/clap-htsat-unfused --beats final0",
    )  # fmt: skip
    evaluate.add_argument("audio", nargs="+", type=Path, help="files, or folders that hold some")
    evaluate.add_argument(
        "--metrics",
        nargs="*",
        default=["bpm", "centroid", "onset_rate"],
        choices=["bpm", "centroid", "onset_rate"],
    )
    evaluate.add_argument("--labels", nargs="+", help="two or more: CLAP's probability of each")
    evaluate.add_argument(
        "--reference", type=Path, help="folder to take the Fréchet audio distance to (CLAP, 2 s)"
    )
    evaluate.add_argument(
        "--beats", help="BeatThis checkpoint: a file, or final0; default: the pocket model's"
    )
    evaluate.add_argument(
        "--clap", help="CLAP model: a folder, or laion/clap-htsat-unfused; default: the pocket's"
    )
    evaluate.add_argument("--table", nargs="+", type=Path, default=[], help=".parquet or .csv files to write")
    return parser


def _multiplier(text: str) -> float | str:
    return "auto" if text == "auto" else float(text)


def _point(text: str) -> tuple[float, float]:
    seconds, factor = map(float, text.split(":"))
    return seconds, factor


_multiplier.__name__, _point.__name__ = "multiplier", "point"  # argparse: "invalid point value: '4'"


def _model_options(parser: argparse.ArgumentParser, *, named: bool = True) -> None:
    if named:
        parser.add_argument(
            "--model", default="pocket", help="pocket, a folder, or a name on the Hugging Face Hub"
        )
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16, float16")


if __name__ == "__main__":
    sys.exit(main())
