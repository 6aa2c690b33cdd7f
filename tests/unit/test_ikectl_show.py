"""`ikectl show sa` and `show stats`: OpenBSD's lines, and the same as data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ikectl_daemon import Daemon

from secd.cli import ikectl
from secd.cli.ikectl_sa import sa_lines
from secd.cli.ikectl_stats import count
from secd.control.messages import Status
from secd.ike.connection import Connection, IKEv2
from secd.ike.contract import ChildStatus, ConnectionStatus, IKEStatus
from secd.sadb.messages import Identity

LINES = """\
iked_sas: H0 rspi 0x2222222222222222 ispi 0x1111111111111111 192.0.2.9:4500->192.0.2.1:4500<FQDN/hq.example.com>[10.0.0.2] ESTABLISHED i natt udpecap nexti 0x0 pol H1
  sa_childsas: H2 ESP 0x0000beef out 192.0.2.9:4500 -> 192.0.2.1:4500 (L) B=0x0 P=H3 @H0
  sa_childsas: H3 ESP 0x00001001 in 192.0.2.1:4500 -> 192.0.2.9:4500 (LA) B=0x0 P=H2 @H0
iked_sas: H4 rspi 0x4444444444444444 ispi 0x3333333333333333 [2001:db8::9]:500->[2001:db8::1]:500<IPV4/192.0.2.7>[] ESTABLISHED r ikev1 nexti 0x0 pol H5
iked_sas: H6 rspi 0x0000000000000000 ispi 0x5555555555555555 0.0.0.0:500->198.51.100.1:500<>[] SA_INIT i nexti 0x0 pol H7
iked_activesas: H2 ESP 0x0000beef out 192.0.2.9:4500 -> 192.0.2.1:4500 (L) B=0x0 P=H3 @H0
iked_activesas: H3 ESP 0x00001001 in 192.0.2.1:4500 -> 192.0.2.9:4500 (LA) B=0x0 P=H2 @H0
iked_dstid_sas: H0 rspi 0x2222222222222222 ispi 0x1111111111111111 192.0.2.9:4500->192.0.2.1:4500<FQDN/hq.example.com>[10.0.0.2] ESTABLISHED i natt udpecap nexti 0x0 pol H1
"""  # noqa: E501


def ike(version: int, role: str, state: str, spis: str, ends: tuple[str, int, str, int], remote_id: str, nat: bool):
    return IKEStatus(
        version, role, state, spis[0] * 16, spis[1] * 16, *ends, "us", remote_id, "aes-256", "sha2-256", "ecp256",  # type: ignore[arg-type]
        10.0, None, None, nat, "",
    )  # fmt: skip


def tunnels() -> list[ConnectionStatus]:
    child = ChildStatus(0x1001, 0xBEEF, "aes-256-gcm", "", "ecp256", 5.0, 100.0, 200.0, True)
    ikev2 = IKEv2((), (), provide=(("address", "10.0.0.0/29"),))
    first = Connection("sec0", "iked.conf: 1", "sec0", version=2, ikev2=ikev2, dstid=Identity("fqdn", "hq.example.com"))
    v4, v6 = ("192.0.2.9", 4500, "192.0.2.1", 4500), ("2001:db8::9", 500, "2001:db8::1", 500)
    established = ike(2, "initiator", "established", "12", v4, "hq.example.com", nat=True)
    old = ike(1, "responder", "established", "34", v6, "192.0.2.7", nat=False)
    begun = ike(2, "initiator", "sa_init", "50", ("", 500, "198.51.100.1", 500), "", nat=False)
    return [
        ConnectionStatus(first, "up", "", [established], [child], None, None, 0, provided=("10.0.0.2",)),
        ConnectionStatus(Connection("sec1", "ipsec.conf: 1", "sec1"), "down", "no", [old], [], None, None, 0),
        ConnectionStatus(
            Connection("sec2", "iked.conf: 2", "sec2", version=2), "connecting", "", [begun], [], None, None, 0
        ),
    ]


def numbered(lines: list[str]) -> str:
    """Put H0, H1, ... in place of the numbers that stand for pointers."""
    seen: dict[str, str] = {}

    def name(match: re.Match[str]) -> str:
        return seen.setdefault(match[0], f"H{len(seen)}")

    return re.sub(r"0x[0-9a-f]{12}\b", name, "\n".join(lines) + "\n")


def test_every_ike_sa_and_its_children_in_openbsds_format():
    assert numbered(list(sa_lines(tunnels()))) == LINES


def test_the_numbers_stay_as_long_as_the_things_do():
    assert list(sa_lines(tunnels())) == list(sa_lines(tunnels()))


def test_what_a_peer_calls_itself_cannot_hurt_a_terminal():
    shown = tunnels()[:1]
    shown[0].ike[0] = ike(2, "initiator", "established", "12", ("a", 1, "b", 2), "x\x1b[2J\u202e", nat=False)
    assert all(line.isprintable() for line in sa_lines(shown))


def test_show_sa_as_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("SECD_RUNDIR", str(tmp_path))
    daemon = Daemon(tmp_path)
    daemon.answers["ShowStatus"] = [Status(tuple(tunnels()[:1]), True), Status(tuple(tunnels()[1:]), False)]
    try:
        assert ikectl.main(["--json", "show", "sa"]) == 0
        said = capsys.readouterr().out
        shown = json.loads(said)["sas"]
        assert ikectl.main(["show", "sa", "--json"]) == 0
        assert capsys.readouterr().out == said
        assert ikectl.main(["sh", "sa"]) == 0
        assert numbered(capsys.readouterr().out.splitlines()) == LINES
    finally:
        daemon.close()
    assert [(sa["tunnel"], sa["version"], sa["state"], len(sa["children"])) for sa in shown] == [
        ("sec0", 2, "established", 1), ("sec1", 1, "established", 0), ("sec2", 2, "sa_init", 0),
    ]  # fmt: skip
    assert [(sa["assigned"], sa["provided"]) for sa in shown] == [({}, ["10.0.0.2"]), ({}, []), ({}, [])]


def test_sas_and_tunnels_are_counted():
    counted = count(tunnels())
    assert counted == {
        "ikev2_sas_established": 1, "ikev2_sas_half_open": 1, "ikev1_sas_established": 1, "ikev1_sas_half_open": 0,
        "child_sas": 1, "tunnels_up": 1, "tunnels_connecting": 1, "tunnels_waiting": 0, "tunnels_down": 1,
    }  # fmt: skip
