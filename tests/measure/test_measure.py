"""The names of the package, and what importing it loads."""

import subprocess
import sys

from steerlib import measure


def test_every_name_of_the_package_is_there():
    assert set(measure._HOMES) == set(measure.__all__)
    for name in measure.__all__:
        assert getattr(measure, name) is not None


def test_the_judges_are_loaded_only_when_they_are_asked():
    code = "import sys; from steerlib import measure; measure.METRICS; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    names = {"beat_this", "transformers.models.clap.modeling_clap"}
    assert "steerlib.measure.rhythm" in loaded.split() and not names & set(loaded.split())
