import os

import pytest

from steerlib.files import DATA, digest, write_whole


def test_the_data_of_the_package_are_where_the_library_looks_for_them():
    assert (DATA / "pocket" / "config.json").is_file() and (DATA / "papers" / "a.yaml").is_file()


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("content", [b"new", lambda path: path.write_bytes(b"new")])
def test_a_file_is_replaced_as_a_whole_and_nothing_else_is_left(tmp_path, content, durable):
    path = tmp_path / "table.csv"
    path.write_bytes(b"old, and longer")
    write_whole(path, content, durable=durable)
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["table.csv"]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    def fail(path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    path = tmp_path / "table.csv"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, fail)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["table.csv"]


def test_the_digest_is_sha_256():
    assert digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
