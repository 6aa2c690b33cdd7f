"""ikectl against a secd that records what it is told: loads, modes, resets, the log."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ikectl_daemon import Daemon
from msgspec.structs import replace

from secd.cli import ikectl
from secd.control.messages import (
    AddConnection,
    Behaviour,
    LoadBegin,
    LoadCommit,
    Logged,
    Refused,
    Reset,
    Rules,
    SetBehaviour,
    Status,
)
from secd.ike.connection import Connection, Signature
from secd.ike.contract import ConnectionStatus, IKEStatus, Log

POLICY = 'ikev2 "hq" active from any to any peer 192.0.2.1 psk "two words" ppk z ppkid me iface sec0\n'


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.setenv("SECD_RUNDIR", str(tmp_path))
    running = Daemon(tmp_path)
    yield running
    running.close()


def write(tmp_path: Path, text: str, name: str = "iked.conf") -> str:
    path = tmp_path / name
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def run(*words: str, etc: Path | None = None) -> int:
    return ikectl.main([*(["--etc", str(etc)] if etc else []), *words])


def tunnel(name: str, remote_id: str = "", *, version: int = 2) -> ConnectionStatus:
    connection = Connection(name, "iked.conf: 1", name, version=version)  # type: ignore[arg-type]
    ike = IKEStatus(
        version, "initiator", "established", "aa" * 8, "bb" * 8, "192.0.2.9", 500, "192.0.2.1", 500, "us", remote_id,
        "aes-256", "sha2-256", "ecp256", 1.0, None, None, False, "",
    )  # fmt: skip
    return ConnectionStatus(connection, "up", "", [ike], [], None, None, 0)


# -- loading ----------------------------------------------------------------------------------------------


def test_a_file_replaces_the_policies_of_its_real_path(daemon: Daemon, tmp_path: Path):
    real = write(tmp_path, "set passive\n" + POLICY, "real.conf")
    link = tmp_path / "link.conf"
    link.symlink_to(real)
    assert run("load", str(link)) == 0
    begin, added, commit = daemon.got
    assert begin == LoadBegin(os.path.realpath(real), "replace", Behaviour(passive=True, decoupled=False))
    assert isinstance(added, AddConnection)
    assert (added.secret, added.ppk) == (b"two words", b"z")
    assert (added.connection.name, added.connection.version, added.connection.mode) == ("sec0", 2, "active")
    assert added.connection.origin == f"{link}: 2"
    assert isinstance(commit, LoadCommit)


def test_reload_is_of_iked_conf(daemon: Daemon, tmp_path: Path):
    path = write(tmp_path, POLICY)
    assert run("reload", etc=tmp_path) == 0
    assert daemon.got[0].source == os.path.realpath(path)


def test_after_an_error_nothing_is_sent(daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write(tmp_path, POLICY + "nonsense\n")
    assert run("load", path) == 1
    assert capsys.readouterr().err == (
        f"{path}: 2: syntax error\nikectl: syntax error in the configuration file: policies not loaded\n"
    )
    path = write(tmp_path, POLICY + "ikev2 from any to any psk x iface lo0\n")
    assert run("load", path) == 1
    assert capsys.readouterr().err == (
        f"{path}: 2: iface lo0: write secN: traffic goes through sec interfaces only\nikectl: policies not loaded\n"
    )
    assert run("check", write(tmp_path, POLICY)) == 0
    assert daemon.got == []


def test_a_refusal_is_told_and_is_an_error(daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    daemon.answers["load"] = [Refused(("iked.conf: 1: sec0 is already used by the rule at ipsec.conf: 3",))]
    assert run("load", write(tmp_path, POLICY)) == 1
    assert capsys.readouterr().err == (
        "iked.conf: 1: sec0 is already used by the rule at ipsec.conf: 3\nikectl: policies not loaded\n"
    )


def test_macros_may_come_from_the_command_line(daemon: Daemon, tmp_path: Path):
    path = write(tmp_path, "ikev2 active from any to any peer $gw psk x iface sec0\n")
    assert run("load", "-D", "gw=192.0.2.7", path) == 0
    assert daemon.got[1].connection.peer == "192.0.2.7"


def test_without_secd_the_answer_says_how_to_start_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("SECD_RUNDIR", str(tmp_path))
    missing = f"ikectl: secd is not running (no {tmp_path}/{{}}.sock): start it with `systemctl start secd` or `secd`\n"
    for words, name in ((("load", write(tmp_path, POLICY)), "secd"), (("show", "sa"), "iked"), (("active",), "secd")):
        assert run(*words) == 1
        assert capsys.readouterr().err == missing.format(name)


# -- the command line -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], ""),
        (["-x"], "ikectl: unknown option -- x\n"),
        (["nonsense"], "ikectl: unknown argument: nonsense; valid: active ca check"),
        (["c"], "ikectl: ambiguous argument: c; it could be ca or check or couple\n"),
        (["active", "now"], "ikectl: superfluous argument: now\n"),
        (["log"], "ikectl: missing argument: log brief or log verbose\n"),
        (["reset"], "ikectl: missing argument: reset all | ca | id | policy | sa | user\n"),
        (["reset", "id"], "ikectl: missing argument: reset id IKEID\n"),
        (["show"], "ikectl: missing argument: show ca | certstore | sa | stats\n"),
        (["load"], "ikectl: missing argument: load FILE\n"),
        (["load", "-D", "x", "y"], "ikectl: could not parse macro definition x\n"),
        (["ca", "vpn"], "ikectl: missing argument: ca name certificate | create"),
    ],
)
def test_a_command_that_cannot_be_meant_shows_the_usage(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
):
    assert run(*words) == 1
    said = capsys.readouterr()
    assert said.err.startswith(told)
    assert "usage: ikectl" in said.err
    assert said.out == ""


def test_words_may_be_shortened_and_s_names_the_instance(daemon: Daemon, tmp_path: Path):
    assert run("-s", f"{tmp_path}/iked.sock", "pas") == 0
    assert run("-q", "log", "v") == 0
    assert daemon.got == [SetBehaviour(Behaviour(passive=True)), SetBehaviour(Behaviour(verbose=True))]


def test_modes_are_told_to_the_parent_which_keeps_them(daemon: Daemon):
    for word in ("active", "couple", "decouple"):
        assert run(word) == 0
    assert run("log", "brief") == 0
    assert [each.behaviour for each in daemon.got] == [
        Behaviour(passive=False), Behaviour(decoupled=False), Behaviour(decoupled=True), Behaviour(verbose=False),
    ]  # fmt: skip


# -- reset, monitor ---------------------------------------------------------------------------------------


def test_reset_sa_is_of_the_tunnels_of_ikev2(daemon: Daemon):
    tunnels = (tunnel("sec0"), tunnel("sec1", version=1), tunnel("sec2"))
    daemon.answers["ShowStatus"] = [Status(tunnels, False)]
    assert run("reset", "sa") == 0
    assert daemon.got[1:] == [Reset("sec0"), Reset("sec2")]


def test_reset_id_is_of_the_tunnels_whose_peer_that_is(daemon: Daemon, capsys: pytest.CaptureFixture[str]):
    tunnels = (tunnel("sec0", "a.example.com"), tunnel("sec1", "b@example.com"), tunnel("sec2", "192.0.2.1"))
    daemon.answers["ShowStatus"] = [Status(tunnels, False)]
    assert run("reset", "id", "b@example.com") == 0
    assert daemon.got[1:] == [Reset("sec1")]
    assert run("reset", "id", "nobody") == 1
    assert capsys.readouterr().err == "ikectl: no IKE SA with a peer of the identity nobody\n"


def test_reset_policy_takes_away_what_was_loaded_from_files_of_policies(daemon: Daemon):
    policies = Rules("/etc/iked.conf", (tunnel("sec0").connection,), (), True)
    rules = Rules("/etc/ipsec.conf", (tunnel("sec1", version=1).connection,), (), False)
    daemon.answers["ShowRules"] = [policies, rules]
    assert run("reset", "policy") == 0
    assert daemon.got[1:] == [LoadBegin("/etc/iked.conf"), LoadCommit()]


def test_reset_ca_reads_the_files_again_that_use_certificates(daemon: Daemon, tmp_path: Path):
    signed = write(tmp_path, POLICY, "signed.conf")
    connection = replace(tunnel("sec0").connection, auth=Signature("x"))
    daemon.answers["ShowRules"] = [
        Rules(signed, (connection,), (), True), Rules("/nonexistent", (tunnel("sec1").connection,), (), False),
    ]  # fmt: skip
    assert run("reset", "ca") == 0
    assert [type(each).__name__ for each in daemon.got[1:]] == ["LoadBegin", "AddConnection", "LoadCommit"]
    assert daemon.got[1].source == signed


def test_there_are_no_users_to_reset(daemon: Daemon, capsys: pytest.CaptureFixture[str]):
    assert run("reset", "user") == 1
    assert capsys.readouterr().err == "ikectl: there are no users to forget: there is no EAP here\n"
    assert daemon.got == []


def test_the_log_is_shown_line_by_line(daemon: Daemon, capsys: pytest.CaptureFixture[str]):
    lines: list = [
        Logged(0.0, Log("info", "sec0", "up", "up\x1b[31m")),
        Logged(1.0, Log("debug", "", "x", "of nobody")),
    ]
    daemon.answers["Monitor"] = [*lines, Refused(("that was all",))]
    assert run("monitor") == 1  # secd ends
    said = capsys.readouterr()
    assert [line.partition(" ")[2] for line in said.out.splitlines()] == ["info: sec0: up?[31m", "debug: of nobody"]
    assert said.err == "ikectl: that was all\n"
    assert run("--json", "monitor") == 1
    assert [json.loads(line)["log"]["code"] for line in capsys.readouterr().out.splitlines()] == ["up", "x"]
