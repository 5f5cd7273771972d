# Sweeps on many machines: vectors once, shards side by side, one table.
#
#   snakemake sweeps --cores all --config sweeps=data/experiments/sweeps.yaml         here
#   snakemake sweeps --profile workflow/profiles/slurm --config sweeps=...            on a cluster
#   snakemake -s workflow/sweep.smk --cores all --config sweeps=...                   without the book
#
# A shard's results are in a store of its own, which is no output of its rule: when a job dies, Snakemake removes
# its outputs, and the retry must find what the dead one had finished. The marker beside it is the output.
import sys
from pathlib import Path

import yaml

SWEEP_ROOT = Path(str(workflow.current_basedir)).parent
SWEEP_FILE = Path(
    config.get("sweeps", SWEEP_ROOT / "data" / "experiments" / f"{config.get('profile', 'quick')}.yaml")
).resolve()
SWEEPS = (yaml.safe_load(SWEEP_FILE.read_text(encoding="utf-8")) or {}).get("sweeps") or {}
STEERLIB = f"OMP_NUM_THREADS={{threads}} PYTHONPATH={SWEEP_ROOT} {sys.executable} -m steerlib sweep --quiet {SWEEP_FILE}"


def sweep_settings(wildcards):
    return {key: value for key, value in SWEEPS[wildcards.sweep].items() if key != "shards"}


def sweep_shards(wildcards):
    count = int(SWEEPS[wildcards.sweep].get("shards", 1))
    return [f"results/sweeps/{wildcards.sweep}/shards/{number}-of-{count}.done" for number in range(1, count + 1)]


localrules:
    sweeps,


wildcard_constraints:
    sweep="[A-Za-z0-9_-]+",
    shard=r"\d+",
    shards=r"\d+",


rule sweeps:
    input:
        expand("results/sweeps/{sweep}/table.parquet", sweep=SWEEPS),


rule sweep_vectors:
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
