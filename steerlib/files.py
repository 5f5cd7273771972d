"""Where the project's data is: inside the package if it was installed from a wheel, beside it in a checkout."""

from pathlib import Path

__all__ = ["DATA"]

_PACKAGE = Path(__file__).resolve().parent
DATA = _PACKAGE / "data" if (_PACKAGE / "data").is_dir() else _PACKAGE.parent / "data"
"""Folder of the prompts, the papers' figures and claims, the experiments and the pocket model."""
