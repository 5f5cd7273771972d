import shutil

import pandas as pd
import pytest

from steerlib.chapters.class_results import COIN, draw, read_answers, shares


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(COIN, tmp_path / "answers")


def test_the_files_of_a_class_become_one_table_and_a_file_that_is_there_twice_counts_once(folder):
    answers = read_answers(folder)
    files = list(folder.glob("*.csv"))
    assert len(answers) == sum(len(pd.read_csv(file)) for file in files)
    shutil.copy(files[0], folder / "again.csv")
    assert len(read_answers(folder)) == len(answers)


def test_the_shares_are_those_of_the_right_answers_and_a_coin_hears_nothing(folder):
    answers = read_answers(folder)
    table = shares(answers).set_index(["question", "size"])
    assert table["answers"].sum() == len(answers)
    own = answers[(answers["question"] == "abx") & (answers["size"] == 0.03)]
    row = table.loc["abx", 0.03]
    assert row["share"] == pytest.approx(own["right"].mean())
    assert row["files"] == own["file"].nunique() == 3
    assert ((table["low"] < 0.5) & (table["high"] > 0.5)).all()
    sure = shares(answers.assign(right=1))
    assert (sure["low"] > 0.5).all()
    assert (sure["high"] == 1).all()


def test_the_figure_has_a_row_for_each_question_and_size(folder, monkeypatch):
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda: None)
    answers = read_answers(folder)
    draw(answers)
    labels = [label.get_text() for label in plt.gca().get_yticklabels()]
    assert labels == ["is X A or B?, |λ| = 0.03 (12 answers)", "tempo, |λ| = 0.1 (12 answers)"]
    plt.close("all")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as CSV"),
        (b"\xff\xfe\x00\xd8", "cannot be read as CSV"),
        (b"name,mark\nAnn,1\n", "no file of the blind test: it has no column question"),
        (
            b"question,attribute,lambda,prompt,seed,answer,right\ntempo,tempo,0.1,a song,1,A,yes\n",
            "was changed",
        ),
        (b"question,attribute,lambda,prompt,seed,answer,right\ntempo,tempo,x,a song,1,A,1\n", "was changed"),
    ],
)
def test_a_file_of_another_kind_is_named(folder, content, message):
    (folder / "other.csv").write_bytes(content)
    with pytest.raises(ValueError, match=f"other.csv.*{message}"):
        read_answers(folder)


def test_an_empty_folder_is_said_to_be_empty(tmp_path):
    with pytest.raises(FileNotFoundError, match="no CSV file in .*put everyone's"):
        read_answers(tmp_path)
