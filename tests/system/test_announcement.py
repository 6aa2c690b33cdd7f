"""The demo, run as a user runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from secd.lab import strongswan
from secd.lab.commands import LabError, run, scripts_directory

pytestmark = pytest.mark.root

DEMO = (str(scripts_directory() / "sec"), "lab", "announcement")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, object]]:
    """What the demo printed, and what it wrote."""
    before = _traces()
    file = tmp_path_factory.mktemp("demo") / "result.json"
    started = time.monotonic()
    result = subprocess.run([*DEMO, "--json", str(file)], capture_output=True, text=True, check=False, timeout=100)
    assert result.returncode == 0, result.stdout + result.stderr
    assert time.monotonic() - started < 60
    assert _traces() == before
    return result.stdout, json.loads(file.read_text())


def test_every_check_passes(shown: tuple[str, dict[str, object]]) -> None:
    _, data = shown
    assert data["passed"] is True
    checks = data["checks"]
    assert isinstance(checks, list)
    assert len(checks) >= 20
    assert [check["name"] for check in checks if not check["passed"]] == []


def test_it_shows_in_the_order_of_the_announcement(shown: tuple[str, dict[str, object]]) -> None:
    typed = re.findall(r"^ix# (.+?)(?:   \(.*\))?$", shown[0], re.MULTILINE)
    assert typed == [
        "ipsecctl -sa", "ipsecctl -sa -v", "sec ifconfig sec", "ping -qc4 -i0.25 169.254.64.93",
        "ping -qc4 -i0.25 169.254.105.133", "bgpctl show", "bgpctl show rib in", "ip route get 100.64.64.1",
        "ip route get 100.64.64.1", "ping -n -i 0.1 100.64.64.1",
    ]  # fmt: skip


def test_the_last_table_names_the_peer_and_its_version(shown: tuple[str, dict[str, object]]) -> None:
    last = shown[0][shown[0].rindex("Who was there") :]
    assert "strongSwan 5." in last
    assert "OpenBGPD" in last


def test_our_own_gateways_do_as_well() -> None:
    result = subprocess.run([*DEMO, "--peer", "secd"], capture_output=True, text=True, check=False, timeout=100)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", ["the gateways", "IKEv1 main mode", "the cable"])
def test_nothing_stays_behind_when_it_is_stopped(number: signal.Signals, at: str) -> None:
    before = _traces()
    demo = subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert demo.stdout
    for line in demo.stdout:
        if at in line:
            break
    os.kill(demo.pid, number)
    demo.communicate(timeout=20)
    assert demo.returncode == 128 + number
    assert _traces() == before


def test_without_strongswan_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secd.lab.commands.SYSTEM_PATH", "/nowhere")
    monkeypatch.setattr("secd.lab.strongswan.CHARON", "/nowhere/charon")
    with pytest.raises(LabError, match=r"charon is not installed: .*strongswan-charon"):
        strongswan.version()


def test_without_rights_it_says_which() -> None:
    command = ["setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all", sys.executable, "-m", "secd.lab.main"]
    result = subprocess.run(
        [*command, "announcement"], capture_output=True, text=True, check=False, env={**os.environ, "HOME": "/"}
    )
    assert result.returncode == 1
    assert "this needs root: it makes network namespaces" in result.stdout + result.stderr


def _traces() -> tuple[set[str], set[str], set[str]]:
    """What a run might leave: namespaces, files, processes of its daemons."""
    namespaces = {line.split()[0] for line in run("ip", "netns", "list").stdout.splitlines()}
    files = {path.name for path in Path(tempfile.gettempdir()).glob("secd-l*")}
    daemons = {
        entry.name
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _command(entry) in {"charon", "bgpd", "bird", "secd", "ping"}
    }
    return namespaces, files, daemons


def _command(entry: Path) -> str:
    try:
        if (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return ""
        return (entry / "comm").read_text().strip()
    except OSError:
        return ""
