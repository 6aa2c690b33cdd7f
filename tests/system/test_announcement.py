"""The demo, run as a user runs it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
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
    file = tmp_path_factory.mktemp("result") / "result.json"
    started = time.monotonic()
    demo = Run(tmp_path_factory.mktemp("demo"), "--json", str(file))
    printed, _ = demo.process.communicate(timeout=100)
    assert demo.process.returncode == 0, printed
    assert time.monotonic() - started < 60
    assert demo.left_behind() == []
    return printed, json.loads(file.read_text())


def test_every_check_passes(shown: tuple[str, dict[str, object]]) -> None:
    _, data = shown
    assert data["passed"] is True
    checks = data["checks"]
    assert isinstance(checks, list)
    assert len(checks) >= 19
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


@pytest.mark.parametrize(
    ("number", "at"),
    [
        (signal.SIGINT, "the gateways"),
        (signal.SIGINT, "IKEv1 main mode"),
        (signal.SIGINT, "the cable"),
        (signal.SIGTERM, "the cable"),
    ],
)
def test_nothing_stays_behind_when_it_is_stopped(number: signal.Signals, at: str, tmp_path: Path) -> None:
    demo = Run(tmp_path)
    assert demo.process.stdout
    for line in demo.process.stdout:
        if at in line:
            break
    names = {path.name.removeprefix("secd-lab.") for path in tmp_path.iterdir()}
    demo.process.send_signal(number)
    demo.process.communicate(timeout=20)
    assert demo.process.returncode == 128 + number
    assert demo.left_behind() == []
    assert len(names) == 1
    assert names.pop() not in run("ip", "netns", "list").stdout


def test_without_strongswan_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secd.lab.commands.SYSTEM_PATH", "/nowhere")
    monkeypatch.setattr("secd.lab.strongswan.CHARON", "/nowhere/charon")
    with pytest.raises(LabError, match=r"charon is not installed: .*strongswan-charon"):
        strongswan.version()


def test_without_rights_it_says_which() -> None:
    as_nobody = "import os, sys; from secd.lab import main; os.setuid(65534); sys.exit(main.main(['announcement']))"
    result = subprocess.run([sys.executable, "-c", as_nobody], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "this needs root: it makes network namespaces" in result.stdout + result.stderr


class Run:
    """The demo in a temporary directory of its own, by which everything that it starts is known."""

    def __init__(self, directory: Path, *options: str) -> None:
        """Start it."""
        self._directory = directory
        self.process = subprocess.Popen(
            [*DEMO, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "TMPDIR": str(directory)},
        )  # fmt: skip

    def left_behind(self) -> list[str]:
        """Files, processes, and namespaces with a process of its."""
        mark = f"TMPDIR={self._directory}".encode()
        found = [path.name for path in self._directory.iterdir()]
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(f"process {entry.name} {(entry / 'comm').read_text().strip()}")
        return found
