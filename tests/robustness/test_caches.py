"""What can be made again is kept in the user's cache, not among the modules or where others can plant it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import steerlib
from steerlib.files import cache_folder
from steerlib.music.soundfont import tuned_soundfont


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, for this process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for made in (cache_folder, tuned_soundfont):
        made.cache_clear()
    yield tmp_path / "cache" / "steerlib"
    for made in (cache_folder, tuned_soundfont):
        made.cache_clear()


def test_the_cache_is_the_users(cache):
    assert cache_folder() == cache and cache.is_dir()


def test_without_a_home_the_cache_lasts_as_long_as_the_process(cache, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    folder = cache_folder()
    assert folder.is_dir() and folder.stat().st_mode & 0o077 == 0


COMPILE = (
    "from steerlib.engine.sampling import _uniform\n"
    "import numpy as np\n"
    "_uniform(np.zeros((1, 1, 2), np.int64), np.zeros((1, 1, 1), np.float32))\n"
    "print(_uniform._cache.cache_path)\n"
)


def run(program, **environment):
    named = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=named | environment | {"PYTHONPATH": str(Path(steerlib.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_compiled_code_is_kept_in_the_cache(tmp_path):
    folder = Path(run(COMPILE, XDG_CACHE_HOME=str(tmp_path)).strip())
    assert folder.is_relative_to(tmp_path / "steerlib" / "numba") and list(folder.glob("*.nbi"))


def test_compiled_code_is_kept_in_the_cache_although_numba_was_imported_before(tmp_path):
    folder = Path(run("import numba\n" + COMPILE, XDG_CACHE_HOME=str(tmp_path)).strip())
    assert folder.is_relative_to(tmp_path / "steerlib" / "numba")


def test_compiled_code_is_kept_where_the_user_says(tmp_path):
    folder = Path(run(COMPILE, NUMBA_CACHE_DIR=str(tmp_path / "mine")).strip())
    assert folder.is_relative_to(tmp_path / "mine")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no folder here that nobody can write to")
def test_the_library_works_without_a_home_that_can_be_written_to():
    folder = Path(run(COMPILE, HOME="/proc/nohome", XDG_CACHE_HOME="").strip())
    assert "steerlib-" in str(folder) and not folder.exists()  # it went with the process


def test_a_damaged_soundfont_in_the_cache_is_made_again(cache):
    good = tuned_soundfont()
    assert good.is_relative_to(cache)
    content = good.read_bytes()
    good.write_bytes(bytes(len(content)))
    tuned_soundfont.cache_clear()
    assert tuned_soundfont().read_bytes() == content
