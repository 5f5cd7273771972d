import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book import without_make
from book.run import (
    NotebookError,
    before,
    chapters,
    notebook_parameters,
    ordered,
    read_experiment,
    run_notebook,
)

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = """\
model = None  # no model
layer = 5
multipliers = [0.0, 1.0]
scale = 1.5
seed = 3
show = True"""


def write(path, *sources, parameters=PARAMETERS):
    cell = new_code_cell(parameters)
    cell.metadata.tags = ["parameters"]
    cells = [new_markdown_cell("# Chapter"), cell, *(new_code_cell(source) for source in sources)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def experiment(folder, text):
    path = folder / "quick.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_chapter_that_ends_itself_is_done_and_shows_no_error(tmp_path):
    notebook = write(
        tmp_path / "ends.ipynb", "print('no size is allowed')\nraise SystemExit", "print('never')"
    )
    cells = nbformat.read(run_notebook(notebook, tmp_path / "out.ipynb", progress=False), 4).cells
    shown = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    assert [output.get("text") for output in shown if output.get("name") == "stdout"] == [
        "no size is allowed\n"
    ]
    assert not any(output.output_type == "error" for output in shown)
    assert not any("never" in cell.source for cell in cells)
    assert "The rest of this chapter is left out" in cells[-2].source


def test_the_table_of_contents_says_which_notebooks_are_bound_and_in_which_order(tmp_path):
    toc = tmp_path / "_toc.yml"
    toc.write_text(
        "root: book/intro\nparts:\n- chapters:\n  - file: book/chapters/b\n"
        "    sections: [{file: book/chapters/a}]\n  - file: book/glossary\n",
        encoding="utf-8",
    )
    assert chapters(toc) == ["b", "a"]


def test_a_notebooks_own_list_of_parameters_is_its_tagged_cell(tmp_path):
    assert notebook_parameters(write(tmp_path / "x.ipynb")) == {
        "model": None,
        "layer": 5,
        "multipliers": [0.0, 1.0],
        "scale": 1.5,
        "seed": 3,
        "show": True,
    }


def test_a_parameters_cell_that_computes_something_is_refused(tmp_path):
    with pytest.raises(NotebookError, match="plain assignments"):
        notebook_parameters(write(tmp_path / "x.ipynb", parameters="layer = 2 + len('abc')"))
    with pytest.raises(NotebookError, match="line 1 is not an assignment"):
        notebook_parameters(write(tmp_path / "x.ipynb", parameters="import os"))


def test_a_notebook_without_the_tagged_cell_is_refused(tmp_path):
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), tmp_path / "x.ipynb")
    with pytest.raises(NotebookError, match="0 cells tagged 'parameters'"):
        notebook_parameters(tmp_path / "x.ipynb")


def test_an_experiment_is_checked_as_a_whole_and_says_all_that_is_wrong(tmp_path):
    write(tmp_path / "a.ipynb")
    write(tmp_path / "b.ipynb")
    path = experiment(
        tmp_path,
        "notebooks:\n  a: {layers: 3, multipliers: 2.0, seed: 1.5, show: 1}\n  c: {seed: 1}\n",
    )
    with pytest.raises(NotebookError) as failure:
        read_experiment(path, tmp_path, ["a", "b"])
    message = str(failure.value)
    assert "no entry for notebook 'b'" in message
    assert "a has no parameter 'layers'; it has: model, layer, multipliers, scale, seed, show" in message
    assert "a: multipliers = 2.0 should be of the kind of its default, [0.0, 1.0]" in message
    assert "a: seed = 1.5" in message
    assert "a: show = 1" in message
    assert "c.ipynb" in message


def test_values_of_the_right_kind_pass_and_an_empty_entry_means_the_defaults(tmp_path):
    write(tmp_path / "a.ipynb")
    write(tmp_path / "b.ipynb")
    text = "notebooks:\n  a: {model: pocket, scale: 2, layer: null, multipliers: [1]}\n  b:\n"
    path = experiment(tmp_path, text)
    assert read_experiment(path, tmp_path, ["b", "a"]) == {
        "b": {},
        "a": {"model": "pocket", "scale": 2, "layer": None, "multipliers": [1]},
    }


def test_an_unknown_profile_is_answered_with_the_known_ones(tmp_path):
    experiment(tmp_path, "notebooks: {}\n")
    with pytest.raises(NotebookError, match=r"no experiment .*slow.yaml; profiles are: quick"):
        read_experiment(tmp_path / "slow.yaml", tmp_path, [])


def test_an_executed_notebook_is_finished_for_the_page(tmp_path):
    notebook = write(
        tmp_path / "notebooks" / "x.ipynb",
        "from pathlib import Path\nPath('audio').mkdir()\nprint(layer, multipliers)",
        "import ipywidgets\nipywidgets.IntSlider()",
    )
    output = tmp_path / "book" / "x.ipynb"
    run_notebook(notebook, output, {"layer": 7}, profile="quick", progress=False)
    cells = nbformat.read(output, as_version=4).cells

    injected = next(cell for cell in cells if "injected-parameters" in cell.metadata.get("tags", []))
    assert "hide-input" in injected.metadata.tags
    assert injected.metadata.mystnb.code_prompt_show == "Parameters of this run"
    assert injected.source.splitlines() == ["# Parameters of this run (profile: quick)", "layer = 7"]
    assert cells[3].outputs[0].text == "7 [0.0, 1.0]\n"
    assert cells[4].outputs == []
    made = cells[-1].source
    assert "How this page was made" in made
    assert "| profile | quick |" in made
    assert "| seed | `3` |" in made
    assert "| model | none |" in made
    assert (output.parent / "audio").is_dir(), "a notebook runs in the folder of its output"
    assert [path.name for path in output.parent.iterdir() if path.is_file()] == ["x.ipynb"]


def test_the_bottom_line_stands_below_the_question_and_is_still_computed_last(tmp_path):
    notebook = write(tmp_path / "x.ipynb", "answer = 6 * 7", "print('Bottom line:', answer)")
    content = nbformat.read(notebook, as_version=4)
    content.cells[0].source = "# Chapter\n\n**The question.** How much?\n\n**The idea.** Multiply."
    content.cells[-1].metadata.tags = ["bottom-line", "hide-input"]
    nbformat.write(content, notebook)
    run_notebook(notebook, tmp_path / "out.ipynb", progress=False)
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    assert cells[0].source == "# Chapter\n\n**The question.** How much?"
    assert cells[1].outputs[0].text == "Bottom line: 42\n"
    assert cells[1].execution_count  # a cell with outputs that never ran would be damaged
    assert cells[2].source == "**The idea.** Multiply."
    [computed] = [cell for cell in cells if "print('Bottom line" in cell.source]
    assert computed.metadata.tags == ["remove-cell"]
    run_notebook(tmp_path / "out.ipynb", tmp_path / "twice.ipynb", progress=False)  # runs as it stands


def test_what_a_figure_shows_stands_above_its_cell_and_the_figure_alone_is_in_it(tmp_path):
    draw = "from steerlib.page import figures\nfigures.message('Tempo rises')\nprint('figure')"
    run_notebook(write(tmp_path / "x.ipynb", "1", draw), tmp_path / "out.ipynb", progress=False)
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    at = next(k for k, cell in enumerate(cells) if "figures.message" in cell.source)
    assert cells[at - 1].cell_type == "markdown"
    assert cells[at - 1].source == '<p class="figure-message">Tempo rises</p>'
    assert [output.output_type for output in cells[at].outputs] == ["stream"]
    run_notebook(tmp_path / "out.ipynb", tmp_path / "twice.ipynb", progress=False)  # runs as it stands


def test_a_notebook_that_fails_is_named_with_its_error_and_replaces_nothing(tmp_path):
    broken = "raise ValueError('layer 99 of 12')"
    notebook = write(tmp_path / "x.ipynb", "print('so far')", broken, "print('never')")
    output = tmp_path / "book" / "x.ipynb"
    output.parent.mkdir()
    output.write_text("the last good one", encoding="utf-8")
    with pytest.raises(
        NotebookError, match=r"x\.ipynb failed in cell \d+ with ValueError: layer 99 of 12"
    ) as failure:
        run_notebook(notebook, output, failures=tmp_path / "logs", progress=False)
    assert failure.value.kind == "ValueError"
    assert output.read_text(encoding="utf-8") == "the last good one"
    assert [path.name for path in output.parent.iterdir()] == ["x.ipynb"]
    kept = (tmp_path / "logs" / "x.failed.ipynb").read_text(encoding="utf-8")
    assert "so far" in kept
    assert "layer 99 of 12" in kept


def test_a_wrong_parameter_is_refused_before_anything_runs(tmp_path):
    notebook = write(tmp_path / "x.ipynb", f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(NotebookError, match="has no parameter 'lamda'") as failure:
        run_notebook(notebook, tmp_path / "book" / "x.ipynb", {"lamda": 1.0}, progress=False)
    assert failure.value.kind == ""
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "book").exists()


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_runs(tmp_path):
    notebook = write(tmp_path / "x.ipynb", f"open({str(tmp_path / 'ran')!r}, 'w')")
    (tmp_path / "taken").write_text("a file, not a folder", encoding="utf-8")
    with pytest.raises(NotebookError, match="cannot write the executed notebook"):
        run_notebook(notebook, tmp_path / "taken" / "x.ipynb", progress=False)
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="kernels talk over sockets in the file system")
def test_a_kernel_that_dies_is_reported_and_not_tried_again(tmp_path):
    count = f"open({str(tmp_path / 'ran')!r}, 'a').write('once ')"
    notebook = write(tmp_path / "x.ipynb", count, "import os; os._exit(1)")
    with pytest.raises(NotebookError, match="its kernel stopped"):
        run_notebook(notebook, tmp_path / "book" / "x.ipynb", progress=False)
    assert Path(tmp_path / "ran").read_text() == "once "


def test_chapters_that_read_what_others_leave_run_after_them(tmp_path):
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "snakemake", "--snakefile", root / "Snakefile", "--directory", tmp_path]
    plan = subprocess.run(
        [*command, "--dry-run", "--printshellcmds", "book/chapters/held_out.ipynb"],
        capture_output=True,
        text=True,
    )
    planned = re.findall(r"notebooks/(\w+)\.ipynb book/chapters/", plan.stdout + plan.stderr)
    assert sorted(planned) == ["held_out", "layer_scan", "steering_sweep"], plan.stdout + plan.stderr


def test_every_chapter_comes_after_those_whose_results_it_reads():
    names = chapters(ROOT / "_toc.yml")
    order = ordered(names)
    assert sorted(order) == sorted(names) and order[-1] == "scorecard"
    assert order.index("layer_scan") < order.index("steering_sweep") < order.index("held_out")
    for name in names:  # what a chapter takes from another's store, its experiment says
        given = str(read_experiment(ROOT / "data/experiments/quick.yaml", ROOT / "notebooks", names)[name])
        read = set(re.findall(r"\.\./results/(\w+)/best_", given))
        assert read <= set(before(name, names)), name
        assert all(order.index(other) < order.index(name) for other in before(name, names))


def test_a_book_without_make_runs_what_is_missing_and_then_makes_the_pages(tmp_path, monkeypatch):
    ran, called = [], []
    for name in ("_toc.yml", "data", "notebooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "book" / "chapters").mkdir(parents=True)
    (tmp_path / "book" / "chapters" / "layer_scan.ipynb").touch()
    (tmp_path / "_build" / "new" / "_build" / "html").mkdir(parents=True)
    monkeypatch.setattr(without_make, "ROOT", tmp_path)
    monkeypatch.setattr(without_make, "run_notebook", lambda source, *_, **__: ran.append(source.stem))
    monkeypatch.setattr(without_make.subprocess, "run", lambda command, **_: called.append(command[1]))
    assert without_make.main(["tiny"]) == 0
    assert "layer_scan" not in ran and ran[-1] == "scorecard"
    assert len(ran) == len(chapters(ROOT / "_toc.yml")) - 1
    assert called == ["book/live/weights.py", "book/live/directions.py", "-c"]
    assert all((ROOT / command).is_file() for command in called[:2])
    assert (tmp_path / "_build" / "html").is_dir()


def test_a_book_without_make_stops_at_a_chapter_that_fails(tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise NotebookError("cell 3 failed")

    for name in ("_toc.yml", "data", "notebooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setattr(without_make, "ROOT", tmp_path)
    monkeypatch.setattr(without_make, "run_notebook", fail)
    assert without_make.main(["tiny"]) == 1
    assert "cell 3 failed" in capsys.readouterr().err
    assert without_make.main(["nothing"]) == 1
    assert "profiles are" in capsys.readouterr().err
