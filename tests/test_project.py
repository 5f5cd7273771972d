import ast
import json
import re
import statistics
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import pytest
import yaml

from book.run import chapters, notebook_parameters, read_experiment

ROOT = Path(__file__).resolve().parents[1]
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s;#]+)$")


def pins(lines):
    found = [PIN.match(line.strip().removeprefix("- ")) for line in lines]
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}


def lines(name):
    return (ROOT / name).read_text(encoding="utf-8").splitlines()


def test_every_package_that_is_installed_has_an_exact_version_and_hashes():
    text = "\n".join(line for line in lines("constraints.txt") if not line.startswith("#"))
    packages = text.replace("\\\n", " ").splitlines()
    assert len(packages) > 200
    assert all(
        re.fullmatch(r"[\w.-]+==\S+( ;.*)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", each) for each in packages
    )
    assert "      - -r constraints.txt" in lines("environment.yml")
    assert "--require-hashes -r constraints.txt" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_requirement_has_an_exact_version_and_the_constraints_agree():
    named = [line for line in lines("requirements.txt") if line and not line.startswith("#")]
    required, locked = pins(named), pins(line.removesuffix(" \\") for line in lines("constraints.txt"))
    assert len(required) == len(named)
    assert required.items() <= locked.items()


def asked():
    """Names that pyproject.toml asks for: those of the library, and those of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = sum(project["optional-dependencies"].values(), [])
    return [
        {re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-") for requirement in group}
        for group in (project["dependencies"], extras)
    ]


def imported(pattern):
    """Names of the distributions that modules import, at their top or inside a function."""
    found = set()
    for path in sorted(ROOT.glob(pattern)):
        if "chapters" in path.parts and "chapters" not in pattern:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.split(".")[0])
    known = packages_distributions()
    outside = found - sys.stdlib_module_names - {"steerlib", "book"}
    return {name.lower().replace("_", "-") for module in outside for name in known.get(module, [module])}


def test_what_pyproject_asks_for_is_pinned():
    library, extras = asked()
    assert library | extras <= set(pins(lines("requirements.txt")))


def test_the_library_imports_only_what_it_declares_and_nothing_of_an_extra():
    library, extras = asked()
    used = imported("steerlib/**/*.py")
    assert library - used == {"torchaudio"}  # the processor of musicgen-melody needs it
    assert used <= library
    assert not library & extras


def test_the_chapters_and_the_tools_of_the_book_import_only_what_is_declared():
    used = imported("steerlib/chapters/*.py") | imported("book/**/*.py")
    assert used <= set().union(*asked()) | {"docutils", "sphinx"}  # these come with jupyter-book


def test_the_version_is_the_same_everywhere():
    [version] = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_citation_file_cites_this_project_and_both_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["title"]
    assert {reference["title"] for reference in citation["references"]} == {
        yaml.safe_load((ROOT / "data" / "papers" / f"{paper}.yaml").read_text(encoding="utf-8"))["title"]
        for paper in "ab"
    }


def test_the_workflow_runs_pinned_actions_and_none_of_our_packages_with_permission_to_write():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text(encoding="utf-8"))["jobs"]
    for job in jobs.values():
        used = [step["uses"] for step in job["steps"] if "uses" in step]
        assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", each) for each in used)
        if "write" in job["permissions"].values():
            assert len(job["steps"]) == 1 and used[0].startswith("actions/deploy-pages@")
        else:
            [checkout] = [step for step in job["steps"] if "checkout" in step.get("uses", "")]
            assert checkout["with"]["persist-credentials"] is False


def test_the_container_has_the_books_python_and_is_set_up_by_make():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert "python:3.11-" in container["image"]
    [target] = re.findall(r"^make (\S+)$", container["updateContentCommand"])
    assert f"DONE := {target}" in lines("Makefile")


def test_ci_runs_what_the_readme_says():
    assert lines(".ci/run")[-1] == "exec make test"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make book" in readme
    assert "make test" in readme


@pytest.mark.parametrize("profile", ["quick", "paper", "tiny"])
def test_every_profile_gives_every_chapter_parameters_that_it_has(profile):
    names = chapters(ROOT / "_toc.yml")
    assert names
    path = ROOT / "data" / "experiments" / f"{profile}.yaml"
    assert list(read_experiment(path, ROOT / "notebooks", names)) == names


def test_every_page_of_the_table_of_contents_has_a_source():
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    for file in re.findall(r"(?:file|root): (\S+)", toc):
        if file.startswith("book/chapters/"):
            assert (ROOT / "notebooks" / f"{Path(file).name}.ipynb").is_file(), file
        else:
            assert (ROOT / f"{file}.md").is_file(), file


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def is_folded(cell):
    tags = cell.metadata.get("tags", [])
    return any(tag in ("parameters", "solution") or tag.startswith(("hide-", "remove-")) for tag in tags)


def test_every_notebook_is_bound():
    assert {path.stem for path in NOTEBOOKS} == set(chapters(ROOT / "_toc.yml"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_cells_of_a_notebook_have_no_outputs_and_fit_the_page(path):
    content = nbformat.read(path, as_version=4)
    nbformat.validate(content)
    assert notebook_parameters(path)
    cells = [cell for cell in content.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in cells), "clear the outputs"
    assert not [line for cell in cells for line in cell.source.splitlines() if len(line) > 88]
    lengths = [len(cell.source.splitlines()) for cell in cells if not is_folded(cell)]
    assert max(lengths) <= 12 and statistics.median(lengths) <= 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_imports_in_one_folded_cell_and_calls_the_model_model(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    importing = [cell for cell in cells if re.search(r"^(import|from) steerlib", cell.source, re.M)]
    assert len([cell for cell in importing if "solution" not in cell.metadata.get("tags", [])]) == 1
    assert all(is_folded(cell) for cell in importing)
    assert not [cell for cell in cells if "network, processor" in cell.source]


def test_no_two_figures_of_the_book_have_one_name():
    names = [
        figure["name"]
        for path in (ROOT / "notebooks").glob("*.ipynb")
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if (figure := cell["metadata"].get("mystnb", {}).get("figure"))
    ]
    assert len(names) > 30 and sorted(set(names)) == sorted(names)


def test_published_changes_follow_from_the_published_means():
    table = yaml.safe_load((ROOT / "data" / "papers" / "a.yaml").read_text(encoding="utf-8"))["table_1"]
    for attribute, poles in {"tempo": ("slow", "fast"), "timbre": ("bright", "dark")}.items():
        baseline = table[attribute]["baseline"]["mean"]
        for pole in poles:
            row = table[attribute][pole]
            change = 100 * abs(row["mean"] - baseline) / baseline
            expected = row.get("recomputed_relative_percent", row["relative_percent"])
            assert change == pytest.approx(expected, abs=0.11)


def test_published_scores_add_up_to_what_is_noted():
    tables = yaml.safe_load((ROOT / "data" / "papers" / "b.yaml").read_text(encoding="utf-8"))
    for row in tables["table_I"] + tables["table_II"]:
        assert sum(row["steered"]) == pytest.approx(row.get("recomputed_sum", 1.0), abs=0.0015)
        assert sum(row["unsteered"]) == pytest.approx(1.0, abs=0.0015)
        assert row["steered"][1] > row["unsteered"][1]
    for scores in tables["table_III"].values():
        assert sum(scores) == pytest.approx(1.0, abs=0.0015)
