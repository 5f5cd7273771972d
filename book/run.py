"""Run the notebooks of the book: check their parameters, execute them, and finish them for the page.

An *experiment* is a YAML file in ``data/experiments`` that gives every chapter its parameters::

    profile: quick
    description: small samples, so that the whole book runs on two cores
    notebooks:
      steering_sweep: {model: pocket, attributes: [tempo], layer: 5}

A notebook's own list of parameters is the cell tagged ``parameters``: plain assignments of literals. All that
an experiment passes is checked against these lists before the first notebook runs, because papermill only
warns of a name that a notebook does not have. A notebook runs into a temporary file, which takes the place of
the last good one only when every cell has succeeded.

Used by the Snakefile, which has the graph; ``python book/run.py --help`` is the same by hand. This module
imports no other of the library, so that it starts at once.
"""

import argparse
import ast
import hashlib
import logging
import os
import reprlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml  # type: ignore[import-untyped]
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

__all__ = [
    "Experiment",
    "before",
    "chapters",
    "check_parameters",
    "notebook_parameters",
    "ordered",
    "read_experiment",
    "read_section",
    "run_notebook",
]

Experiment = dict[str, dict[str, Any]]
"""Parameters by notebook."""

ROOT = Path(__file__).resolve().parents[1]
_CHAPTERS = "book/chapters/"
_WIDGET = "application/vnd.jupyter.widget-view+json"
_NEVER_STARTED = ("Kernel didn't respond", "Kernel died before replying")
_LABEL = "Parameters of this run"
_MESSAGE = '<p class="figure-message">'
_IDEA = "\n\n**The idea.**"
"""The paragraph of a chapter after its question."""
_AFTER = {
    "steering_sweep": ["layer_scan"],
    "held_out": ["layer_scan", "steering_sweep"],
    "prompt_count": ["layer_scan", "steering_sweep"],
    "where_and_when": ["layer_scan", "steering_sweep"],
    "known_truth": ["layer_scan", "steering_sweep"],
    "superposition": ["known_truth"],
    "control": ["layer_scan", "steering_sweep"],
    "mixtures": ["layer_scan", "steering_sweep", "other_attributes"],
}
"""Chapters that read what others leave in results/, and which."""
_LAST = "scorecard"
"""The chapter that reads what all others leave there."""
_SHORT = "/tmp" if os.path.isdir("/tmp") else None
"""The path of a socket may have about 100 characters only."""


class NotebookError(Exception):
    """A notebook that cannot run, or that failed; the message says which, why, and what to do.

    Attributes
    ----------
    kind : str
        Name of the error that a cell raised; empty if none did.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


def chapters(toc: str | Path) -> list[str]:
    """Names of the notebooks that the table of contents binds, in its order.

    Parameters
    ----------
    toc : path-like
        ``_toc.yml``; a notebook is a ``file:`` below ``book/chapters/``.

    Returns
    -------
    list of str
    """

    def files(node: Any) -> list[str]:
        if isinstance(node, Mapping):
            found = [node["file"]] if "file" in node else []
            return found + [file for value in node.values() for file in files(value)]
        return [file for part in node for file in files(part)] if isinstance(node, list) else []

    content = yaml.safe_load(Path(toc).read_text(encoding="utf-8"))
    return [Path(file).stem for file in files(content) if file.startswith(_CHAPTERS)]


def before(chapter: str, names: Sequence[str]) -> list[str]:
    """Those of `names` that leave in results/ what a chapter reads, and so run first."""
    return [
        name for name in names if name != chapter and (chapter == _LAST or name in _AFTER.get(chapter, ()))
    ]


def ordered(names: Sequence[str]) -> list[str]:
    """Chapters in an order in which each finds what it reads."""
    return list(TopologicalSorter({name: before(name, names) for name in names}).static_order())


def notebook_parameters(notebook: str | Path) -> dict[str, Any]:
    """Parameters that a notebook has, with their defaults, from its cell tagged ``parameters``.

    Parameters
    ----------
    notebook : path-like
        The ``.ipynb``.

    Returns
    -------
    dict
        Default by name, in the order of the cell.

    Raises
    ------
    NotebookError
        If the file is missing or no notebook, or the cell is missing, or holds anything but assignments of
        literals.
    """
    path = Path(notebook)
    if not path.is_file():
        raise NotebookError(f"there is no notebook {path}; notebooks live in notebooks/")
    try:
        content = nbformat.read(path, as_version=4)
    except Exception as error:
        raise NotebookError(f"{path} is not a notebook that can be read: {error}") from error
    cells = [cell for cell in content.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise NotebookError(f"{path} has {len(cells)} cells tagged 'parameters', expected exactly one")
    parameters: dict[str, Any] = {}
    try:
        for statement in ast.parse(cells[0].source).body:
            if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                target, value = statement.targets[0], statement.value
            elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
                target, value = statement.target, statement.value
            else:
                raise ValueError(f"line {statement.lineno} is not an assignment")
            parameters[ast.unparse(target)] = ast.literal_eval(value)
    except (SyntaxError, ValueError) as error:
        raise NotebookError(
            f"{path}: its parameters cell may hold plain assignments such as 'seed = 0' only: {error}"
        ) from error
    return parameters


def read_experiment(experiment: str | Path, notebooks: str | Path, names: Sequence[str]) -> Experiment:
    """Read the parameters of all chapters and check every one against its notebook's own list.

    Parameters
    ----------
    experiment : path-like
        YAML file as described at the top of this module.
    notebooks : path-like
        Folder of the notebooks.
    names : sequence of str
        Notebooks to run; each needs an entry, if only an empty one.

    Returns
    -------
    dict
        Parameters by notebook, in the order of `names`.

    Raises
    ------
    NotebookError
        With *all* that is wrong: a missing entry, an unknown notebook, an unknown parameter, a value whose
        type is not that of the notebook's default.
    """
    path = Path(experiment)
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.yaml"))
        raise NotebookError(f"there is no experiment {path}; profiles are: {', '.join(known) or 'none'}")
    given = read_section(path, "notebooks")
    missing = [name for name in names if name not in given]
    wrong = [f"no entry for notebook {name!r}; add one, if only '{name}: {{}}'" for name in missing]
    for name, parameters in given.items():
        if not isinstance(parameters, Mapping | None):
            wrong.append(f"{name}: its parameters must be a mapping, got a {type(parameters).__name__}")
            continue
        notebook = Path(notebooks) / f"{name}.ipynb"
        try:
            wrong += _misfits(str(name), parameters or {}, notebook_parameters(notebook))
        except NotebookError as error:
            wrong.append(str(error))
    if wrong:
        raise NotebookError("\n  ".join([f"{path} does not fit the notebooks:", *wrong]))
    return {name: given[name] or {} for name in names}


def read_section(experiment: str | Path, section: str) -> dict[Any, Any]:
    """One section of an experiment, empty if it has none.

    Raises
    ------
    NotebookError
        If the file is no YAML in UTF-8, has a key twice in one mapping, or the section is no mapping.
    """
    try:
        content = yaml.load(Path(experiment).read_text(encoding="utf-8"), _StrictLoader)
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise NotebookError(f"{experiment} cannot be read as YAML: {error}") from error
    if not isinstance(content, Mapping | None):
        raise NotebookError(
            f"{experiment} must hold a mapping with a section {section!r}, not a {type(content).__name__}"
        )
    found = (content or {}).get(section)
    if not isinstance(found, Mapping | None):
        raise NotebookError(f"{experiment}: {section!r} must be a mapping, not a {type(found).__name__}")
    return dict(found or {})


class _StrictLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Refuses a mapping with a key twice, as `steerlib.files.read_yaml` does."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"{key.value!r} stands there twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def run_notebook(
    notebook: str | Path,
    output: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    profile: str = "by hand",
    failures: str | Path = "logs",
    progress: bool = True,
) -> Path:
    """Execute a notebook and put it, finished for the page, in the place of the last good one.

    It runs in the folder of `output`, into which it writes sounds and pictures. The injected parameters are
    folded away under a label of their own, and a last cell says how the page was made. Outputs that only a
    running kernel could serve (widgets) are left out.

    Parameters
    ----------
    notebook : path-like
        The parameterised ``.ipynb``.
    output : path-like
        The executed ``.ipynb``; untouched if anything fails.
    parameters : mapping, optional
        Values that replace the notebook's defaults.
    profile : str, default "by hand"
        Name of the experiment, for the last cell.
    failures : path-like, default "logs"
        Folder into which a notebook that failed is put, as far as it got.
    progress : bool, default True
        Show a progress bar over the cells, and what the cells print.

    Returns
    -------
    Path
        The executed notebook.

    Raises
    ------
    NotebookError
        Before anything runs, for a parameter that does not fit or a folder that cannot be written to;
        afterwards, if a cell fails, with the notebook, the cell and the error.
    """
    notebook, output, parameters = Path(notebook), Path(output), dict(parameters or {})
    defaults = notebook_parameters(notebook)
    check_parameters(notebook, parameters)
    part = output.with_name(f".{output.stem}.part.ipynb")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        part.write_text("", encoding="utf-8")
    except OSError as error:
        raise NotebookError(f"cannot write the executed notebook to {output.parent}: {error}") from error
    began = time.monotonic()
    try:
        os.environ["STEERLIB_PROFILE"] = profile  # the kernel inherits it; the scorecard writes it down
        _execute(notebook, part, parameters, progress=progress)
        content = nbformat.read(part, as_version=4)
        settings = {**defaults, **parameters}
        _finish(content, settings, notebook=notebook, profile=profile, seconds=time.monotonic() - began)
        nbformat.write(content, part)
        part.replace(output)
    except PapermillExecutionError as error:
        kept = Path(failures) / f"{notebook.stem}.failed.ipynb"
        kept.parent.mkdir(parents=True, exist_ok=True)
        part.replace(kept)
        raise NotebookError(
            f"{notebook} failed in cell {error.cell_index} with {error.ename}: {error.evalue}\n"
            f"  as far as it got: {kept}\n  {output} was left as it was",
            error.ename,
        ) from error
    except RuntimeError as error:
        raise NotebookError(f"{notebook} failed: its kernel stopped ({error}); short of memory?") from error
    finally:
        part.unlink(missing_ok=True)
    return output


def check_parameters(notebook: str | Path, parameters: Mapping[str, Any]) -> None:
    """Raise `NotebookError` if the notebook lacks a parameter, or one is of another kind than its default."""
    wrong = _misfits(Path(notebook).stem, parameters, notebook_parameters(notebook))
    if wrong:
        raise NotebookError("\n  ".join(["the parameters do not fit the notebook:", *wrong]))


def _misfits(name: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """What is wrong with parameters, in words; empty if all is well."""
    wrong = []
    for key, value in given.items():
        if key not in defaults:
            wrong.append(f"{name} has no parameter {key!r}; it has: {', '.join(defaults) or 'none'}")
            continue
        default = defaults[key]
        kinds: tuple[type, ...] = (type(default),)
        if isinstance(default, list | tuple):
            kinds = (list, tuple)
        elif isinstance(default, float):
            kinds = (float, int)
        fits = isinstance(value, kinds) and isinstance(value, bool) == isinstance(default, bool)
        if fits and type(default) is int and default >= 0 and value < 0:  # a slice would count from the end
            wrong.append(f"{name}: {key} = {value} must not be negative; its default is {default}")
        if not (fits or default is None or value is None):
            wrong.append(
                f"{name}: {key} = {reprlib.repr(value)} should be of the kind of its default, {default!r}"
            )
    return wrong


def _execute(notebook: Path, part: Path, parameters: Mapping[str, Any], *, progress: bool) -> None:
    """Papermill, over sockets in a folder of our own: kernels that start at once otherwise race for ports."""
    logging.getLogger("papermill").setLevel(logging.ERROR)
    streams = {"stdout_file": sys.stdout, "stderr_file": sys.stderr} if progress else {}
    for attempts_left in (2, 1, 0):
        with tempfile.TemporaryDirectory(prefix="book-", dir=_SHORT) as folder:
            sockets = {} if sys.platform == "win32" else {"transport": "ipc", "ip": f"{folder}/kernel"}
            try:
                papermill.execute_notebook(
                    notebook,
                    part,
                    parameters,
                    cwd=part.parent,
                    kernel_name="python3",
                    progress_bar={"desc": notebook.stem} if progress else False,
                    store_widget_state=False,
                    config=Config({"KernelManager": sockets}),
                    **streams,
                )
                return
            except RuntimeError as error:
                if not (attempts_left and str(error).startswith(_NEVER_STARTED)):
                    raise


def _finish(
    content: nbformat.NotebookNode,
    settings: Mapping[str, Any],
    *,
    notebook: Path,
    profile: str,
    seconds: float,
) -> None:
    """Make an executed notebook a page: fold the injected cell, drop dead widgets, say how it was made."""
    content.metadata.pop("papermill", None)
    _end_where_it_ended(content)
    for cell in content.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags:
            cell.metadata.tags = [*tags, "hide-input"]
            cell.metadata.mystnb = {"code_prompt_show": _LABEL, "code_prompt_hide": _LABEL}
            cell.source = cell.source.replace("# Parameters", f"# {_LABEL} (profile: {profile})", 1)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _WIDGET not in output.get("data", {})]
    _lift_bottom_line(content)
    _lift_messages(content)
    rows = {
        "notebook": f"`notebooks/{notebook.name}`",
        "code": _commit(),
        "model": _model(settings.get("model")),
        "profile": profile,
        "seed": f"`{settings['seed']}`" if "seed" in settings else "none",
        "time taken": f"{seconds // 60:.0f} min {seconds % 60:.0f} s",
    }
    table = "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())])
    made = nbformat.v4.new_markdown_cell(
        f"```{{admonition}} How this page was made\n:class: dropdown made\n\n{table}\n```",
        metadata={"tags": ["made"]},
    )
    made.id = "how-this-page-was-made"
    content.cells.append(made)


def _end_where_it_ended(content: nbformat.NotebookNode) -> None:
    """Leave out what comes after a SystemExit: a chapter that has nothing to measure ends so, having said why.

    What follows would speak of figures that there are not.
    """
    for index, cell in enumerate(content.cells):
        kept = [output for output in cell.get("outputs", []) if output.get("ename") != "SystemExit"]
        if len(kept) < len(cell.get("outputs", [])):
            cell.outputs = kept
            rest = nbformat.v4.new_markdown_cell(
                "The rest of this chapter is left out: there is nothing to measure."
            )
            content.cells[index + 1 :] = [rest]
            return


def _lift_bottom_line(content: nbformat.NotebookNode) -> None:
    """Show what the cell tagged ``bottom-line`` made where a reader wants it: below the chapter's question."""
    cells = content.cells
    made = [cell for cell in cells if "bottom-line" in cell.metadata.get("tags", [])]
    if not made or cells[0].cell_type != "markdown":
        return
    shown = nbformat.v4.new_code_cell(
        "# made by the last cell", outputs=made[-1].outputs, execution_count=made[-1].execution_count
    )
    shown.metadata.tags = ["remove-input", "bottom-line"]
    made[-1].metadata.tags = ["remove-cell"]  # still there, so that the notebook runs as it stands
    question, mark, rest = cells[0].source.partition(_IDEA)
    cells[0].source = question
    cells.insert(1, shown)
    if mark:
        cells.insert(2, nbformat.v4.new_markdown_cell(mark.strip() + rest))


def _lift_messages(content: nbformat.NotebookNode) -> None:
    """Put what a figure shows (`steerlib.page.figures.message`) into a cell of its own, above the figure.

    The page would make a figure, with its number and caption, of every output of the figure's cell.
    """
    cells = []
    for cell in content.cells:
        said = [page for page in map(_html, cell.get("outputs", [])) if page.startswith(_MESSAGE)]
        if said:
            cell.outputs = [output for output in cell.outputs if _html(output) not in said]
            above = nbformat.v4.new_markdown_cell("\n".join(said))
            above.id = f"message-{len(cells)}"
            cells.append(above)
        cells.append(cell)
    content.cells = cells


def _html(output: nbformat.NotebookNode) -> str:
    return "".join(output.get("data", {}).get("text/html", ""))


def _commit() -> str:
    """The commit that is checked out, and whether files differ from it."""
    git = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True, stderr=subprocess.DEVNULL)
        changes = subprocess.check_output([*git, "status", "--porcelain"], text=True)
    except (OSError, subprocess.CalledProcessError):
        return "not under version control"
    return f"commit `{commit.strip()[:12]}`" + (" with local changes" if changes.strip() else "")


def _model(name: str | None) -> str:
    """The model, and the hash of its weights if they are in a folder here."""
    if name is None:
        return "none"
    folder = ROOT / "data" / "pocket" if name == "pocket" else Path(name)
    weights = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not weights:
        return f"`{name}`"
    digest = hashlib.sha256()
    for file in weights:
        digest.update(file.read_bytes())
    return f"`{name}`, SHA-256 of its weights `{digest.hexdigest()[:16]}`"


def _main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python book/run.py", description="Run one notebook.")
    parser.add_argument("notebook", type=Path, help="notebooks/<name>.ipynb")
    parser.add_argument("output", type=Path, help="executed notebook, such as book/chapters/<name>.ipynb")
    parser.add_argument("--experiment", type=Path, help="YAML file with the parameters of all notebooks")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    name, parameters, profile = options.notebook.stem, {}, "by hand"
    try:
        if options.experiment:
            parameters = read_experiment(options.experiment, options.notebook.parent, [name])[name]
            profile = options.experiment.stem
        progress = not options.quiet
        run_notebook(options.notebook, options.output, parameters, profile=profile, progress=progress)
    except NotebookError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
