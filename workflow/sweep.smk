# Sweeps on many machines: vectors once, shards side by side, one table.
#
#   snakemake sweeps --cores all --config sweeps=data/experiments/sweeps.yaml         here
#   snakemake sweeps --profile workflow/profiles/slurm --config sweeps=...            on a cluster
#   snakemake -s workflow/sweep.smk --cores all --config sweeps=...                   without the book
#
# A shard's results are in a store of its own, which is no output of its rule: when a job dies, Snakemake removes
# its outputs, and the retry must find what the dead one had finished. The marker beside it is the output.
import re
import shlex
import sys
from pathlib import Path

SWEEP_ROOT = Path(str(workflow.current_basedir)).parent
SWEEP_FILE = Path(
    config.get("sweeps", SWEEP_ROOT / "data" / "experiments" / f"{config.get('profile', 'quick')}.yaml")
).resolve()
sys.path.insert(0, str(SWEEP_ROOT))
from book.run import NotebookError, read_section

sys.path.pop(0)
try:
    SWEEPS = read_section(SWEEP_FILE, "sweeps")
except NotebookError as error:
    raise WorkflowError(str(error))
# A name is part of paths and of shell lines. `steerlib sweep` checks all else.
for name, settings in SWEEPS.items():
    if not re.fullmatch("[A-Za-z0-9_][A-Za-z0-9_.-]*", str(name)) or not isinstance(settings, dict):
        raise WorkflowError(f"{SWEEP_FILE}: the sweep {name!r} must be a plain name with a mapping of settings")
    if not isinstance(settings.get("shards", 1), int):
        raise WorkflowError(f"{SWEEP_FILE}: sweep {name!r}: shards must be a whole number")
STEERLIB = (
    f"OMP_NUM_THREADS={{threads}} PYTHONPATH={shlex.quote(str(SWEEP_ROOT))} {shlex.quote(sys.executable)}"
    f" -m steerlib sweep --quiet {shlex.quote(str(SWEEP_FILE))}"
).replace("{", "{{").replace("}", "}}").replace("{{threads}}", "{threads}")
# What a row's numbers come from, beside the settings: a sweep looks again when it changes, and makes what has changed.
CODE = [
    path.as_posix()
    for pattern in (
        "engine/*", "measure/*", "sweeps/*", "music/codec", "activations", "cli", "directions", "files", "model", "prompts",
        "steering",
    )
    for path in sorted((SWEEP_ROOT / "steerlib").glob(f"{pattern}.py"))
] + [path.as_posix() for path in sorted((SWEEP_ROOT / "data" / "pocket").glob("*.*")) if path.suffix != ".md"]


def sweep_prompts(wildcards):
    """The files of prompts that a sweep reads; missing ones are left to `steerlib sweep`, which says what there is."""
    settings = SWEEPS[wildcards.sweep]
    names = [*(settings.get("attributes") or []), settings.get("prompts", "neutral")]
    named = SWEEP_ROOT / "data" / "prompts"
    paths = [Path(name) if str(name).endswith((".yaml", ".yml")) else named / f"{name}.yaml" for name in names]
    return [path.as_posix() for path in paths if path.is_file()]


def sweep_judges(wildcards):
    """The files of a model and of a beat tracker that the sweep takes from a folder of its own."""
    settings = SWEEPS[wildcards.sweep]
    named = [Path(str(settings[key])) for key in ("model", "beats") if settings.get(key)]
    files = [path for place in named for path in (sorted(place.glob("*")) if place.is_dir() else [place])]
    return [path.as_posix() for path in files if path.is_file()]


def sweep_settings(wildcards):
    return {key: value for key, value in SWEEPS[wildcards.sweep].items() if key != "shards"}


def sweep_shards(wildcards):
    count = int(SWEEPS[wildcards.sweep].get("shards", 1))
    return [f"results/sweeps/{wildcards.sweep}/shards/{number}-of-{count}.done" for number in range(1, count + 1)]


localrules:
    sweeps,


wildcard_constraints:
    sweep="[A-Za-z0-9_.-]+",
    shard=r"\d+",
    shards=r"\d+",


rule sweeps:
    input:
        expand("results/sweeps/{sweep}/table.parquet", sweep=SWEEPS),


rule sweep_vectors:
    input:
        prompts=sweep_prompts,
        judges=sweep_judges,
        code=CODE,
    output:
        touch("results/sweeps/{sweep}/vectors/.done"),
    params:
        settings=sweep_settings,
    threads: config.get("threads", 1)
    retries: 2
    shell:
        STEERLIB + " {wildcards.sweep} --vectors"


rule sweep_shard:
    input:
        "results/sweeps/{sweep}/vectors/.done",
    output:
        touch("results/sweeps/{sweep}/shards/{shard}-of-{shards}.done"),
    params:
        settings=sweep_settings,
    threads: config.get("threads", 1)
    retries: 2
    shell:
        STEERLIB + " {wildcards.sweep} --shard {wildcards.shard}/{wildcards.shards}"


rule sweep_table:
    input:
        sweep_shards,
    output:
        "results/sweeps/{sweep}/table.parquet",
        "results/sweeps/{sweep}/table.csv",
    params:
        settings=sweep_settings,
    threads: config.get("threads", 1)
    retries: 2
    shell:
        STEERLIB + " {wildcards.sweep} --merge"
