"""Settings that were frozen before the run: of each claim, which check, parameters and prompts.

``data/experiments/frozen.yaml`` is a log. Each entry has a date, a reason, and for each profile the digests of the
settings of the claims that were frozen on that day; a later entry for a claim takes the place of an earlier one. A
record on the scorecard carries the digest of the settings that it was made with, so that anybody can see whether it
was made with those that had been frozen.

    python -m steerlib.evidence.frozen "why"       freeze what has changed since

The digest of a claim covers its entry ``check`` in ``data/papers``, the parameters of its chapter in
``data/experiments/<profile>.yaml`` (but for names of files and folders) and the prompts of
``data/prompts`` that it uses.
"""

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import yaml  # type: ignore[import-untyped]

from steerlib.evidence.claims import claims, unchanged
from steerlib.files import DATA, digest, read_yaml, write_whole

__all__ = ["PROFILES", "freeze", "frozen", "settings"]

PROFILES = ("quick", "paper")
"""Profiles of which the settings are frozen; `tiny` only shows that the notebooks run."""

_LOG = DATA / "experiments" / "frozen.yaml"
_HEAD = "# Settings, frozen before the run: see steerlib/evidence/frozen.py, which writes this file.\n"
_PLACES = {"output", "scores", "contributed", "larger"}


def settings(claim: str, profile: str) -> str:
    """Digest, 12 hexadecimal digits, of the settings of a claim now: its check, its chapter's parameters, the prompts.

    A profile that ``data/experiments`` does not have, such as "by hand", has no parameters.
    """
    check = claims().set_index("claim")["check"].get(claim) or {}
    experiment = DATA / "experiments" / f"{profile}.yaml"
    chapters = unchanged(experiment)["notebooks"] if experiment.is_file() else {}
    parameters = chapters.get(check.get("chapter")) or {}
    parameters = {
        name: value
        for name, value in parameters.items()
        if name not in _PLACES and not name.endswith("_from")
    }
    used = {"neutral", "held_out", parameters.get("attribute"), *(parameters.get("attributes") or [])}
    prompts = {
        path.stem: digest(path.read_bytes())
        for path in sorted((DATA / "prompts").glob("*.yaml"))
        if path.stem in used
    }
    content = {"check": check, "parameters": parameters, "prompts": prompts}
    return digest(json.dumps(content, sort_keys=True, default=str).encode())[:12]


def frozen() -> dict[tuple[str, str], tuple[str, str]]:
    """Date and digest that were last frozen, by claim and profile."""
    entries = read_yaml(_LOG)["frozen"] if _LOG.is_file() else []
    return {
        (claim, profile): (str(entry["date"]), value)
        for entry in entries
        for profile in PROFILES
        for claim, value in (entry.get(profile) or {}).items()
    }


def freeze(why: str) -> Mapping[str, Mapping[str, str]]:
    """Add an entry for all claims of which the settings have changed since they were frozen; by profile."""
    known, before = claims()["claim"], frozen()
    now = {profile: {claim: settings(claim, profile) for claim in known} for profile in PROFILES}
    changed = {
        profile: {
            claim: value
            for claim, value in each.items()
            if before.get((claim, profile), ("", ""))[1] != value
        }
        for profile, each in now.items()
    }
    changed = {profile: each for profile, each in changed.items() if each}
    if changed:
        entries: list[Any] = read_yaml(_LOG)["frozen"] if _LOG.is_file() else []
        entry = {"date": datetime.now(UTC).date().isoformat(), "why": why, **changed}
        text = yaml.safe_dump({"frozen": [*entries, entry]}, sort_keys=False, allow_unicode=True, width=100)
        write_whole(_LOG, (_HEAD + text).encode())
    return changed


if __name__ == "__main__":
    for profile, each in freeze(" ".join(sys.argv[1:]) or "settings").items():
        print(f"{profile}: frozen {', '.join(each)}")
