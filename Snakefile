# The graph of the book: prompts, weights and parameters -> executed notebooks -> pages.
#
#   snakemake --cores all                          the book of the profile `quick`
#   snakemake --cores all --config profile=paper   with the papers' sample sizes
#   snakemake --cores all book/chapters/x.ipynb    one chapter
#   snakemake --cores all sweeps --config sweeps=data/experiments/sweeps.yaml      sweeps cut into shards
#
# Every path to the project's own files is absolute, so that `--directory elsewhere` builds a book elsewhere
# from the same sources. A chapter runs again when its notebook, one of its parameters, the library, the prompts
# or the weights have changed, and not otherwise.
import os
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
# The runner imports nothing of the library: a run with nothing to do is quick.
sys.path.insert(0, str(ROOT))
from book.run import NotebookError, before, chapters, read_experiment

sys.path.pop(0)
EXPERIMENT = ROOT / "data" / "experiments" / f"{config.get('profile', 'quick')}.yaml"
CHAPTERS = chapters(ROOT / "_toc.yml")
try:
    PARAMETERS = read_experiment(EXPERIMENT, ROOT / "notebooks", CHAPTERS)
except NotebookError as error:
    raise WorkflowError(str(error))

RUN = ROOT / "book" / "run.py"
JUPYTER_BOOK = Path(sys.executable).parent / "jupyter-book"
PROSE = [
    path.relative_to(ROOT).as_posix()
    for path in [
        *(ROOT / "_config.yml", ROOT / "_toc.yml"),
        *sorted((ROOT / "book").rglob("*")),
        *sorted((ROOT / "data" / "examples").iterdir()),  # which a page prints
    ]
    if path.is_file() and "chapters" not in path.parts and "__pycache__" not in path.parts
]
# What every chapter uses: the library but for its commands, its workshop and the modules of single chapters.
NOT_FOR_ALL = ["cli.py", "__main__.py", "sweeps/plans.py", "pocket/*", "chapters/*"]
APART = {path for pattern in NOT_FOR_ALL for path in (ROOT / "steerlib").glob(pattern)}
INPUTS = [
    path.as_posix()
    for pattern in ("steerlib/**/*.py", "steerlib/page/*", "data/pocket/**/*", "data/prompts/*", "data/papers/*")
    for path in sorted({*ROOT.glob(pattern)} - APART)
    if path.is_file()
]
# What one chapter uses beside these: its own module, if it has one; what somebody has measured or recorded, which
# it shows; and of the workshop, what a row of the model card is.
OWN = ["steerlib/chapters/__init__.py", "steerlib/chapters/{chapter}.py"]
ALSO = {
    "engine": ["data/benchmarks/*"],
    "pocket_model": ["steerlib/pocket/__init__.py", "steerlib/pocket/card.py"],
    "scorecard": ["data/scores/*.json", "data/scores/paper/*.*", "data/experiments/frozen.yaml", "data/benchmarks/coverage.json"],
}
IN_PLACE = Path.cwd() == ROOT


wildcard_constraints:
    chapter="[a-z0-9_]+",


rule all:
    input:
        "_build/html/.complete",


rule chapter:
    input:
        notebook=f"{ROOT}/notebooks/{{chapter}}.ipynb",
        runner=str(RUN),
        uses=INPUTS,
        own=lambda wildcards: [
            path.as_posix()
            for pattern in [*OWN, *ALSO.get(wildcards.chapter, [])]
            for path in sorted(ROOT.glob(pattern.format(chapter=wildcards.chapter)))
        ],
        before=lambda wildcards: [
            f"book/chapters/{name}.ipynb" for name in before(wildcards.chapter, CHAPTERS)
        ],
    output:
        # "update": the last good one stays where it is until the new one takes its place.
        update("book/chapters/{chapter}.ipynb"),
    params:
        parameters=lambda wildcards: PARAMETERS[wildcards.chapter],
    threads: 1
    shell:
        "OMP_NUM_THREADS={threads} PYTHONPATH={ROOT:q} {sys.executable:q} -P {RUN:q}"
        " {input.notebook:q} {output:q} --experiment {EXPERIMENT:q}"


if not IN_PLACE:

    rule prose:
        input:
            f"{ROOT}/{{path}}",
        output:
            "{path}",
        wildcard_constraints:
            path="_config.yml|_toc.yml|book/(?!chapters/).+|data/examples/.+",
        shell:
            "cp {input:q} {output:q}"


# What the page "Play" runs on: the model's weights and the book's directions, as scripts.
rule live:
    input:
        "_build/live/model-fp16.js",
        "_build/live/directions.js",


rule live_weights:
    input:
        f"{ROOT}/book/live/weights.py",
        [path.as_posix() for path in sorted((ROOT / "data" / "pocket").glob("*.*"))],
    output:
        "_build/live/model-fp16.js",
        "_build/live/model-int8.js",
    shell:
        "{sys.executable:q} {ROOT:q}/book/live/weights.py {ROOT:q}/data/pocket _build/live"


rule live_directions:
    input:
        f"{ROOT}/book/live/directions.py",
        INPUTS,
        # which choose the layer and say how large λ may be
        [f"book/chapters/{name}.ipynb" for name in ("layer_scan", "steering_sweep") if name in CHAPTERS],
    output:
        "_build/live/directions.js",
    threads: 1
    shell:
        "OMP_NUM_THREADS={threads} PYTHONPATH={ROOT:q} {sys.executable:q} {ROOT:q}/book/live/directions.py _build/live"


rule book:
    input:
        chapters=expand("book/chapters/{chapter}.ipynb", chapter=CHAPTERS),
        prose=PROSE,
        library=[path.as_posix() for path in sorted((ROOT / "steerlib").rglob("*.py"))],  # the reference prints it
        live=rules.live.input,
    output:
        touch("_build/html/.complete"),
    shell:
        # Built aside from nothing: no page of a chapter that is gone stays, and a good book only gives way to one.
        "rm -rf _build/new && {JUPYTER_BOOK:q} build . -W --keep-going --path-output _build/new"
        " && rm -rf _build/html && mv _build/new/_build/html _build/html && rm -rf _build/new"


include: "workflow/sweep.smk"
