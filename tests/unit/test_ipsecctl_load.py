"""`ipsecctl -f` against a parent that records what it is told."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from secd.cli import ipsecctl
from secd.control import client
from secd.control.messages import (
    Accepted,
    AddConnection,
    AddManual,
    LoadBegin,
    LoadCommit,
    Processes,
    ProcessStatus,
    Refused,
    Reply,
    Rules,
    ShowProcesses,
    ShowRules,
    ToParent,
)
from secd.ipc.channel import BlockingChannel, ChannelError, listen
from secd.sadb.messages import UdpEncap

RULE = 'ike interface sec0 local 192.0.2.9 peer 192.0.2.1 psk "two words"\n'


class Parent:
    """The parent's end of secd.sock: takes everything, answers with what it is given."""

    def __init__(self, path: Path) -> None:
        self.got: list[Any] = []
        self.answers: list[Reply] = [Accepted()]
        self.hang_up_after: int | None = None
        self._socket = listen(str(path))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            channel: BlockingChannel[Any] = BlockingChannel(sock, ToParent, timeout=5)
            try:
                while True:
                    self.got.append(channel.receive())
                    last = isinstance(self.got[-1], LoadCommit | ShowRules | ShowProcesses)
                    if last or len(self.got) == self.hang_up_after:
                        for answer in self.answers:
                            channel.send(answer)
                        break
            except ChannelError:
                pass
            channel.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parent]:
    monkeypatch.setenv("SECD_RUNDIR", str(tmp_path))
    running = Parent(tmp_path / "secd.sock")
    yield running
    running.close()


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "ipsec.conf"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_a_file_replaces_the_rules_of_its_real_path(parent: Parent, tmp_path: Path) -> None:
    real = write(tmp_path, RULE)
    link = tmp_path / "link.conf"
    link.symlink_to(real)
    assert ipsecctl.main(["-f", str(link)]) == 0
    begin, connection, commit = parent.got
    assert begin == LoadBegin(os.path.realpath(real), "replace")
    assert isinstance(connection, AddConnection)
    assert connection.secret == b"two words"
    assert connection.connection.name == connection.connection.iface == "sec0"
    assert (connection.connection.local, connection.connection.peer) == ("192.0.2.9", "192.0.2.1")
    assert connection.connection.origin == f"{link}: 1"
    assert isinstance(commit, LoadCommit)


def test_d_deletes_the_rules_that_are_listed(parent: Parent, tmp_path: Path) -> None:
    for options in (["-d", "-f"], ["-df"], ["-vdf"]):
        parent.got.clear()
        assert ipsecctl.main([*options, write(tmp_path, RULE)]) == 0
        assert parent.got[0].mode == "delete"


def test_manual_keys_become_an_sa_for_each_direction(parent: Parent, tmp_path: Path) -> None:
    text = (
        "esp interface sec3 from 192.0.2.9 to 192.0.2.1 spi 0x1001:0x1002 udpencap port 4501 enc aes "
        f"authkey {'aa' * 32}:{'bb' * 32} enckey {'cc' * 32}:{'dd' * 32}\n"
    )
    assert ipsecctl.main(["-f", write(tmp_path, text)]) == 0
    manual = [message.sa for message in parent.got if isinstance(message, AddManual)]
    out, inbound = manual
    assert (out.direction, out.spi, out.source, out.destination) == ("out", 0x1001, "192.0.2.9", "192.0.2.1")
    assert (inbound.direction, inbound.spi, inbound.source, inbound.destination) == (
        "in", 0x1002, "192.0.2.1", "192.0.2.9",
    )  # fmt: skip
    assert (out.auth_key, inbound.auth_key) == (b"\xaa" * 32, b"\xbb" * 32)
    assert (out.encryption, out.encryption_key, inbound.encryption_key) == ("aes-256", b"\xcc" * 32, b"\xdd" * 32)
    assert out.udpencap == inbound.udpencap == UdpEncap(4500, 4501)


def test_after_an_error_nothing_is_sent(parent: Parent, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, RULE + "ike interface em0 psk x\n")
    assert ipsecctl.main(["-f", path]) == 1
    assert capsys.readouterr().err == (
        f"{path}: 2: invalid sec interface name\nipsecctl: Syntax error in config file: ipsec rules not loaded\n"
    )
    path = write(tmp_path, RULE + "flow from 10.0.0.1 to 10.0.0.2\n")
    assert ipsecctl.main(["-f", path]) == 1
    assert "this system is route-based" in capsys.readouterr().err
    assert ipsecctl.main(["-n", "-f", write(tmp_path, RULE)]) == 0
    assert parent.got == []


def test_a_refusal_is_told_and_is_an_error(parent: Parent, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parent.answers = [Refused(("ipsec.conf: 1: sec0 is already used by the rule at other.conf: 3",))]
    assert ipsecctl.main(["-f", write(tmp_path, RULE)]) == 1
    assert capsys.readouterr().err == (
        "ipsec.conf: 1: sec0 is already used by the rule at other.conf: 3\nipsecctl: ipsec rules not loaded\n"
    )


def test_a_refusal_in_the_middle_of_a_load_is_told_too(parent: Parent, tmp_path: Path) -> None:
    parent.answers = [Refused(("enough",))]
    parent.hang_up_after = 2
    rules = [AddConnection(connection, b"x") for connection in _connections(5000)]
    answer = client.load("-", rules, ())
    assert answer == Refused(("enough",))


def test_warnings_are_told_and_are_no_error(parent: Parent, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parent.answers = [Accepted(("sec0: hmac-sha1 is weak",))]
    assert ipsecctl.main(["-f", write(tmp_path, RULE)]) == 0
    assert capsys.readouterr().err == "ipsecctl: sec0: hmac-sha1 is weak\n"


def test_without_secd_the_answer_says_how_to_start_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SECD_RUNDIR", str(tmp_path))
    assert ipsecctl.main(["-f", write(tmp_path, RULE)]) == 1
    assert capsys.readouterr().err == (
        f"ipsecctl: secd is not running (no {tmp_path}/secd.sock): start it with `systemctl start secd` or `secd`\n"
    )
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stale.bind(str(tmp_path / "secd.sock"))
    stale.close()
    assert ipsecctl.main(["-f", write(tmp_path, RULE)]) == 1
    assert "secd is not running (nobody listens at" in capsys.readouterr().err


def test_what_is_loaded_comes_in_parts(parent: Parent) -> None:
    connections = _connections(3)
    parent.answers = [Rules("a", tuple(connections[:2]), (), True), Rules("b", (connections[2],), (), False)]
    assert [part.source for part in client.rules()] == ["a", "b"]
    parent.answers = [Processes((ProcessStatus("iked", 7, 0, 1.5),))]
    assert client.processes() == (ProcessStatus("iked", 7, 0, 1.5),)
    parent.answers = [Accepted()]
    with pytest.raises(client.ControlError, match="fits no question"):
        client.processes()
    parent.answers = []
    with pytest.raises(client.ControlError, match="closed the connection"):
        client.processes()


def _connections(number: int) -> list[Any]:
    from secd.conf.ipsec.compile import compile_rules
    from secd.conf.ipsec.grammar import parse_text

    text = "".join(f"ike interface sec{n} peer 10.0.{n >> 8}.{n & 255} psk x\n" for n in range(number))
    return [rule.connection for rule in compile_rules(parse_text(text).rules).connections]


# -- the command line -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], ""),
        (["-q"], "ipsecctl: unknown option -- q\n"),
        (["-f"], "ipsecctl: option requires an argument -- f\n"),
        (["-df"], "ipsecctl: option requires an argument -- f\n"),
        (["-d", "file"], "ipsecctl: unknown command line argument: file ...\n"),
        (["-s", "x"], "ipsecctl: Unknown show modifier 'x'\n"),
        (["-s", ""], "ipsecctl: Unknown show modifier ''\n"),
        (["-n", "file"], "ipsecctl: unknown command line argument: file ...\n"),
        (["-D", "x"], "ipsecctl: could not parse macro definition x\n"),
        (["-D", "=x"], "ipsecctl: could not parse macro definition =x\n"),
        (["--help"], ""),
    ],
)
def test_a_command_line_that_cannot_be_meant_is_told(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ipsecctl.main(argv) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"{message}usage: ipsecctl [-cdFkmnv] [-D macro=value] [-f file] [-i fifo] [-s modifier]\n")


@pytest.mark.root
def test_without_a_name_server_the_file_is_not_called_wrong(tmp_path: Path) -> None:
    path = write(tmp_path, "ike interface sec0 peer gw.example psk x\n")
    command = ["unshare", "-n", str(Path(sys.executable).parent / "ipsecctl"), "-nf", path]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines() == [
        f"{path}: 1: cannot look up gw.example: Temporary failure in name resolution",
        "ipsecctl: ipsec rules not loaded",
    ]
    assert done.returncode == 1


def test_a_thousand_rules_are_checked_within_a_second_and_little_is_imported(tmp_path: Path) -> None:
    rules = "".join(
        f"ike interface sec{n} local 192.0.2.9 peer 10.0.{n >> 8}.{n & 255} \\\n"
        "\tmain auth hmac-sha2-256 enc aes-256 group modp3072 lifetime 28800 \\\n"
        f'\tquick auth hmac-sha2-256 enc aes-256 group modp3072 lifetime 3600 psk "number {n}"\n'
        for n in range(1000)
    )
    path = write(tmp_path, rules)
    command = shutil.which("ipsecctl", path=str(Path(sys.executable).parent)) or "ipsecctl"
    took = []
    for _ in range(3):
        start = time.monotonic()
        subprocess.run([command, "-n", "-f", path], check=True)
        took.append(time.monotonic() - start)
    assert min(took) < 1.0
    slow = "import sys, secd.cli.ipsecctl_rules; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", slow], check=True, capture_output=True, text=True).stdout.split()
    assert not {"asyncio", "rich", "cryptography", "pyroute2", "argparse", "secd._engine"} & set(loaded)
