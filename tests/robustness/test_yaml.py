"""YAML files of users: every shape and type is checked, and the message names file and setting."""

import math
import os

import pytest
import yaml

from steerlib.files import check_name, parse_yaml, read_yaml, short
from steerlib.prompts import load_attribute, load_prompts
from steerlib.sweeps.plans import _EXPECTED, SweepPlan, read_plans

from .conftest import ATTRIBUTE, PROMPTS

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join(['*a' + str(n - 1)] * 10)}]\n" for n in range(1, 12)
)
SMALLEST = {"attributes": ["tempo"], "multipliers": [0.1]}

# --- settings of a sweep ------------------------------------------------------------------------------------

ODD = {
    "null": None, "true": True, "minus one": -1, "zero": 0, "a fraction": 1.5, "a word": "x", "nothing": "",
    "an empty list": [], "a list of null": [None], "a list of words": ["x"], "a list of true": [True],
    "a list of fractions": [0.5], "a list of lists": [[1]], "a mapping": {"a": "b"}, "an empty mapping": {},
    "NaN": math.nan, "infinity": math.inf, "80 bits": 2**80, "a list of 80 bits": [2**80],
}  # fmt: skip
NUMBERS = {"a fraction", "80 bits"}
FITTING = {
    "attributes": {"a list of words"},
    "multipliers": {"a list of fractions", "a list of 80 bits"},
    "layers": {"null", "a list of 80 bits", "zero", "80 bits"},
    "metrics": set(),
    "seconds": NUMBERS,
    "guidance_scale": NUMBERS,
    "temperature": NUMBERS,
    **dict.fromkeys(("pairs", "prompt_count", "batch_size", "top_k", "keep"), {"null"}),
    **dict.fromkeys(("revision", "beats"), {"null", "a word"}),
    **dict.fromkeys(("model", "prompts", "device", "dtype"), {"a word"}),
    **dict.fromkeys(("preserve_norm", "do_sample", "exact"), {"true"}),
}
SETTINGS = [(key, kind) for key in _EXPECTED for kind in ODD if kind not in FITTING.get(key, ())]


@pytest.mark.parametrize(("key", "kind"), SETTINGS)
def test_a_setting_of_the_wrong_type_is_refused_by_its_name(tmp_path, key, kind):
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump({"sweeps": {"mine": SMALLEST | {key: ODD[kind]}}}), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"experiment\.yaml: sweep 'mine': {key} must be .*, got"):
        read_plans(path)


@pytest.mark.parametrize("key", FITTING)
def test_a_setting_of_the_right_type_is_taken(key):
    for kind in FITTING[key]:
        SweepPlan.of("mine", SMALLEST | {key: ODD[kind]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"multiplier": [1]}, "unknown settings multiplier"),
        ({"attributes": ["no_such_attribute"]}, "unknown attribute 'no_such_attribute'"),
        ({"attributes": ["missing.yaml"]}, "no attribute at missing.yaml"),
        ({"attributes": ["tempo", "tempo"]}, "two of its attributes have the name 'tempo'"),
        ({"prompts": "no_such_list"}, "unknown prompt list 'no_such_list'"),
        ({"beats": "nowhere.ckpt"}, "no BeatThis checkpoint at nowhere.ckpt"),
        ({"multipliers": {"timbre": [1]}}, "multipliers has nothing for the attribute 'tempo'"),
        ({"layers": {"timbre": 1}}, "layers has nothing for the attribute 'tempo'"),
        ({"strategy": "all_to_all", "layers": [1]}, "takes each block's own direction"),
        ({"layers": None}, "every other strategy needs layers"),
    ],
)
def test_what_can_be_known_without_the_model_is_checked_without_it(changes, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        SweepPlan.of("mine", SMALLEST | changes).check()


# --- files --------------------------------------------------------------------------------------------------

NO_YAML = {
    "a key twice": "sweeps: {}\nsweeps: {}\n",
    "a key twice inside": "sweeps: {a: {seeds: 1, seeds: 2}}\n",
    "a sweep twice": "sweeps:\n  a: {seeds: 1}\n  a: {seeds: 2}\n",
    "an open bracket": "sweeps: [1,\n",
    "a tab": "sweeps:\n\ta: 1\n",
    "a tag of Python": "sweeps: !!python/object/apply:os.system [ls]\n",
    "an unknown alias": "sweeps: *nowhere\n",
    "a list as key": "? [a]\n: b\n",
    "a date that is none": "sweeps: 2024-13-45\n",
    "two documents": "a: 1\n---\nb: 2\n",
    "a zero byte": "sweeps: \0\n",
    "deep": "[" * 3000,
}


@pytest.mark.parametrize("content", NO_YAML.values(), ids=NO_YAML)
def test_a_file_that_is_no_yaml_is_named(tmp_path, content):
    path = tmp_path / "odd.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"odd\.yaml is not valid YAML"):
        read_yaml(path)
    for load in (read_plans, load_attribute, load_prompts):
        with pytest.raises(ValueError, match=r"odd\.yaml is not valid YAML"):
            load(path)


def test_a_file_in_another_encoding_is_named(tmp_path):
    path = tmp_path / "odd.yaml"
    path.write_bytes("name: Größe".encode("latin-1"))
    with pytest.raises(ValueError, match=r"odd\.yaml is not text in UTF-8"):
        read_yaml(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_and_a_folder_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    for name in ("pipe.yaml", "folder.yaml", "nothing.yaml"):
        with pytest.raises(ValueError, match=f"{name} is not a file"):
            read_yaml(tmp_path / name)


def test_a_mapping_may_take_over_the_keys_of_another_and_change_one():
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}", "it")["b"] == {"x": 3, "y": 2}


@pytest.mark.parametrize(
    "content", ["", "sweeps:", "- a", "42", "text", "sweeps: []", "sweeps: 3", "other: {}"]
)
def test_an_experiment_without_sweeps_is_refused(tmp_path, content):
    (tmp_path / "odd.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"odd\.yaml has no section 'sweeps'"):
        read_plans(tmp_path / "odd.yaml")


@pytest.mark.parametrize(
    "settings", ["*a11", "{attributes: *a11, multipliers: [1]}", "{attributes: [a], multipliers: *a11}"]
)
def test_aliases_that_stand_for_gigabytes_make_a_short_message(tmp_path, settings):
    (tmp_path / "bomb.yaml").write_text(f"{BOMB}sweeps: {{mine: {settings}}}", encoding="utf-8")
    with pytest.raises(ValueError, match="must be") as refused:
        read_plans(tmp_path / "bomb.yaml")
    assert len(str(refused.value)) < 1000
    assert len(short(parse_yaml(BOMB, "it"))) < 500


# --- names that become files --------------------------------------------------------------------------------

PATHS = [
    "../../escape",
    "/abs",
    "a/b",
    "..",
    ".",
    ".hidden",
    "",
    "a b",
    "a;b",
    "$(ls)",
    "a\nb",
    "x" * 200,
    "a\\b",
    "-x",
]


@pytest.mark.parametrize("name", PATHS)
def test_a_name_that_could_leave_its_folder_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="becomes the name of a file"):
        check_name(name, "it")
    path = tmp_path / "names.yaml"
    path.write_text(yaml.safe_dump({"sweeps": {name: SMALLEST}}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"names\.yaml: the sweep .* becomes the name of a file"):
        read_plans(path)
    path.write_text(yaml.safe_dump(ATTRIBUTE | {"attribute": name}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"names\.yaml: .*(becomes the name of a file|must be a word)"):
        load_attribute(path)


# --- prompts ------------------------------------------------------------------------------------------------

ATTRIBUTES = {
    "no pairs": {"pairs": []},
    "pairs of one": {"pairs": [["a fast song"]]},
    "pairs of three": {"pairs": [["a", "b", "c"]]},
    "pairs of numbers": {"pairs": [[1, 2]]},
    "pairs of null": {"pairs": [[None, None]]},
    "pairs of lists": {"pairs": [[["a"], ["b"]]]},
    "a pair of texts": {"pairs": ["a fast song", "a slow song"]},
    "an empty prompt": {"pairs": [["", "a slow song"]]},
    "a blank prompt": {"pairs": [["a fast song", "  "]]},
    "a prompt twice": {"pairs": [["a", "b"], ["a", "c"]]},
    "a prompt at both poles": {"pairs": [["a", "b"], ["b", "c"]]},
    "a mapping of pairs": {"pairs": {"a": "b"}},
    "a text of pairs": {"pairs": "a"},
    "a pole that is true": {"positive": True},
    "a pole that is empty": {"negative": ""},
    "a metric that is a list": {"metric": ["bpm"]},
    "a unit that is a number": {"unit": 3},
    "a name that is null": {"attribute": None},
    "a key too many": {"poles": "x"},
}


@pytest.mark.parametrize("change", ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_an_attribute_that_makes_no_sense_is_refused_with_its_file(tmp_path, change):
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(ATTRIBUTE | change), encoding="utf-8")
    with pytest.raises(ValueError, match=r"odd\.yaml"):
        load_attribute(tmp_path / "odd.yaml")


LISTS = {
    "nothing": [], "null": None, "a text": "a song", "a number": 3, "a mapping": {"a": 1}, "a list of null": [None],
    "a list of numbers": [1], "an empty prompt": [""], "a prompt twice": ["a", "a"], "a list of lists": [["a"]],
}  # fmt: skip


@pytest.mark.parametrize("prompts", LISTS.values(), ids=LISTS)
def test_a_prompt_list_that_makes_no_sense_is_refused_with_its_file(tmp_path, prompts):
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(PROMPTS | {"prompts": prompts}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"odd\.yaml"):
        load_prompts(tmp_path / "odd.yaml")
