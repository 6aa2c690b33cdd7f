"""`sec lab hub-and-spoke`, run as a user runs it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from secd.lab.commands import scripts_directory

pytestmark = pytest.mark.root


def test_five_spokes_reach_each_other_through_the_hub_and_one_may_reboot(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    result = subprocess.run(
        [scripts_directory() / "sec", "lab", "hub-and-spoke", "--json", file], capture_output=True, text=True,
        check=False, timeout=200,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    names = [check["name"] for check in json.loads(file.read_text())["checks"]]
    assert len(names) == 14
    assert "every spoke has the overlay address that the hub gives it" in names
    assert names[-1] == "meanwhile two other spokes lost no packet"
