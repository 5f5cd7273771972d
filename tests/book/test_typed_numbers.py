"""No number with a unit is typed into a page by hand, but for those that are listed here with the reason.

What a run has found is computed where it is shown: by a cell, a bottom line, or a directive that reads the records. A
number in prose stays as it is when the run changes, and then says what is no longer so.
"""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [path for path in sorted((ROOT / "book").rglob("*.md")) if not {"vendor", "chapters"} & {*path.parts}]
PAGES += sorted((ROOT / "notebooks").glob("*.ipynb"))

UNITS = (
    r"%|percent|BPM|k?Hz|dB|LUFS|ms|s|seconds?|minutes?|min|hours?|h|octaves?|cents?|nats?|bits|clips?|prompts?|pairs?"
    r"|songs?|tunes?|pieces?|samples?|draws?|tracks?|listeners?|tokens?|frames?|layers?|blocks?|codebooks?|parameters"
    r"|dimensions?|genres?|instruments?|notes?|beats?|[kMG]i?B|million|billion|times|standard deviations?"
)
NUMBER = r"(?<![\w.#/-])[±~+−-]?\d+(?:,\d{3})*(?:\.\d+)?(?:\s?(?:[–-]|to)\s?\d+(?:\.\d+)?)?"
TYPED = re.compile(rf"({NUMBER})\s?({UNITS})(?![\w-])")

DEFINED, PUBLISHED, TRUE_SHAPE, MACHINE, SETTING, SUPPOSED = (
    "the level of every interval, the default of steerlib.evidence.stats",
    "printed in a paper that is cited beside it",
    "published shape of facebook/musicgen-melody, which tests/test_true_shape.py builds",
    "what a machine must have, or how a lesson is planned",
    "a setting or a rule of ours, held by the code or by a test",
    "supposed in an exercise or an example, measured nowhere",
)
EVERYWHERE = {"95 %": DEFINED}
ALLOWED = {
    "book/how_to_run.md": {"8 GB": MACHINE, "16 GiB": MACHINE, "4 GB": MACHINE},
    "book/many_machines.md": {
        "20,000 samples": PUBLISHED, "48 blocks": TRUE_SHAPE, "4 codebooks": TRUE_SHAPE, "32 kHz": TRUE_SHAPE,
        "16 GiB": MACHINE, "4 GB": MACHINE,
    },
    "book/play.md": {"300 MB": MACHINE, "8 bits": SETTING},
    "book/teachers.md": {"90 minutes": MACHINE},
    "notebooks/audio_concepts.ipynb": {"92 instruments": PUBLISHED, "80 dB": SETTING},
    "notebooks/class_results.ipynb": {"60 %": SUPPOSED},
    "notebooks/control.ipynb": {"128 BPM": SUPPOSED},
    "notebooks/diffmean_directions.ipynb": {"48 layers": TRUE_SHAPE},
    "notebooks/emotion.ipynb": {"0.2 standard deviations": SETTING},
    "notebooks/engine.ipynb": {"20,000 clips": PUBLISHED, "16 clips": SETTING},
    "notebooks/held_out.ipynb": {
        "20 %": PUBLISHED, "20 % to 40 %": PUBLISHED, "40 %": PUBLISHED, "30-50 BPM": PUBLISHED,
        "0.26 octaves": SETTING, "100 %": SUPPOSED,
    },
    "notebooks/judges.ipynb": {
        "120 BPM": SUPPOSED, "128 BPM": SUPPOSED, "60 %": SUPPOSED, "95 %": SUPPOSED, "200 clips": SUPPOSED,
        "4 %": SETTING,
    },
    "notebooks/known_truth.ipynb": {"137 BPM": SUPPOSED},
    "notebooks/layer_scan.ipynb": {"48 layers": TRUE_SHAPE},
    "notebooks/meet_the_model.ipynb": {"48 blocks": TRUE_SHAPE, "50 frames": TRUE_SHAPE, "16 kHz": SETTING},
    "notebooks/other_attributes.ipynb": {"0.2 standard deviations": SETTING, "50 %": SUPPOSED, "90 %": SUPPOSED},
    "notebooks/pocket_model.ipynb": {"30 %": SETTING, "16 kHz": SETTING},
    "notebooks/prompt_count.ipynb": {"10 prompts": PUBLISHED, "10-25 samples": PUBLISHED},
    "notebooks/scorecard.ipynb": {"100 prompts": PUBLISHED},
    "notebooks/timbre_transfer.ipynb": {"80 %": SETTING},
    "notebooks/where_and_when.ipynb": {"0.5 times": SUPPOSED},
}  # fmt: skip


def prose(text):
    """Markdown without code, formulas, addresses, and directives that compute what they show."""
    fence = r"^(`{3,})(?!\{(?:glossary|figure|admonition|note|tip|warning|dropdown)\}).*?^\1\s*$"
    for noise in (fence, r"\$\$.*?\$\$", r"\$[^$]*\$", r"`[^`\n]*`", r"\]\([^)]*\)"):
        text = re.sub(noise, " ", text, flags=re.S | re.M)
    return text


def words(path):
    """What a reader reads of a page that nobody has computed; of a notebook the captions of its figures as well."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return prose(text)
    cells = json.loads(text)["cells"]
    captions = [
        cell["metadata"].get("mystnb", {}).get("figure", {}).get("caption", "")
        for cell in cells
        if cell["cell_type"] == "code"
    ]
    return "\n".join(captions + [prose("".join(c["source"])) for c in cells if c["cell_type"] == "markdown"])


def typed(text):
    """Numbers with units, in one form: "30-50 BPM"."""
    plain = text.replace("\N{EN DASH}", "-").replace("\N{MINUS SIGN}", "-")
    return [f"{number.lstrip('±~+-')} {unit}" for number, unit in TYPED.findall(plain)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_has_no_number_that_nobody_computed(path):
    allowed = EVERYWHERE | ALLOWED.get(path.relative_to(ROOT).as_posix(), {})
    found = [each for each in typed(words(path)) if each not in allowed]
    assert not found, f"{path.name}: compute {found}, cut the sentence, or list the number with a reason"


def test_the_list_names_pages_that_there_are():
    assert {*ALLOWED} <= {path.relative_to(ROOT).as_posix() for path in PAGES}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It rises by 36 BPM, or by 18.4 %.", ["36 BPM", "18.4 %"]),
        ("from −3 dB to 30–50 Hz", ["3 dB", "30-50 Hz"]),
        ("about 2,500 clips", ["2,500 clips"]),
        ("`-p seconds 8` and $\\lambda = 3$ s", []),
        ("```bash\nrun 12 clips\n```\n\n```{glossary}\nx\n  Of 12 clips.\n```", ["12 clips"]),
        ("chapter 5, section 4.2, layer 12", []),
    ],
)
def test_a_number_with_a_unit_is_found_where_a_reader_would_read_it(text, found):
    assert typed(prose(text)) == found
