"""`sec lab aws`, run as a user runs it: its checks, and that they were all made."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from secd.lab.aws_scenario import ENDPOINTS
from secd.lab.commands import scripts_directory

pytestmark = pytest.mark.root


def test_two_ikev2_tunnels_with_bgp_and_an_endpoint_that_is_replaced(tmp_path: Path) -> None:
    _passes(tmp_path, "--short", checks=10)


@pytest.mark.long
def test_bgp_fails_over_while_the_endpoint_that_waits_for_us_is_replaced(tmp_path: Path) -> None:
    data = _passes(tmp_path, checks=13)
    assert "traffic is back on sec0" in {check["name"] for check in data["checks"]}


@pytest.mark.parametrize("end", ENDPOINTS, ids=lambda end: end.name)
def test_keys_and_inside_addresses_are_such_as_aws_accepts(end: Any) -> None:
    assert 8 <= len(end.psk) <= 64
    assert end.psk[0] != "0"
    assert set(end.psk) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._")
    last = int(end.inner.rpartition(".")[2])
    assert (end.inner.startswith("169.254."), last % 4) == (True, 1)
    assert end.inner_self == end.inner.rpartition(".")[0] + f".{last + 1}"


def _passes(directory: Path, *options: str, checks: int) -> dict[str, Any]:
    file = directory / "result.json"
    result = subprocess.run(
        [scripts_directory() / "sec", "lab", "aws", *options, "--json", file], capture_output=True, text=True,
        check=False, timeout=200,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    data: dict[str, Any] = json.loads(file.read_text())
    assert len(data["checks"]) == checks
    return data
