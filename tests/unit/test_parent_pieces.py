"""The parent's small pieces: log, run directory, accounts, back-off, notification, boot files."""

import asyncio
import io
import os
import socket
import stat

import pytest

from secd.control.family import IkedToParent
from secd.parent import accounts, boot, preflight
from secd.parent.children import MAX_DELAY, Backoff, Child
from secd.parent.log import Log
from secd.parent.notify import Notifier
from secd.parent.rundir import RunDirectory, RunDirectoryError


def test_a_log_line_names_who_said_it():
    stream = io.StringIO()
    log = Log(stream=stream)
    log("info", "sec0: up", "iked")
    log("error", "ready")
    log("debug", "not shown")
    pid = os.getpid()
    assert stream.getvalue() == f"secd[{pid}]: iked: sec0: up\nsecd[{pid}]: ready\n"


def test_a_log_line_stays_one_line_whatever_a_peer_sent():
    stream = io.StringIO()
    Log(stream=stream)("info", "id \x1b[31m\nsecd[1]: forged", "iked")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


def test_a_log_that_cannot_be_written_stops_nothing():
    stream = io.StringIO()
    stream.close()
    Log(stream=stream)("info", "nobody reads this")


def test_a_child_that_dies_young_again_and_again_waits_longer_but_never_for_ever():
    backoff = Backoff()
    delays = [backoff.after(0.5) for _ in range(20)]
    assert delays[0] == 0.0
    assert delays == sorted(delays)
    assert delays[-1] == MAX_DELAY
    assert backoff.after(3600.0) == 0.0
    assert backoff.after(0.5) == 0.0


def test_the_last_words_of_a_child_are_heard_and_how_it_ended():
    lines, ends = [], []

    async def live():
        ended = asyncio.Event()

        def on_exit(how):
            ends.append(how)
            ended.set()

        Child("iked", ["secd.iked"], [], IkedToParent, on_message=print, on_exit=on_exit, on_error_line=lines.append)
        await asyncio.wait_for(ended.wait(), 20)

    asyncio.run(live())
    assert ends == ["ended with status 2"]
    assert any("--listen" in line and "required" in line for line in lines)


@pytest.fixture
def run_directory(tmp_path, monkeypatch):
    path = tmp_path / "run"
    monkeypatch.setenv("SECD_RUNDIR", str(path))
    return path


def test_the_run_directory_is_roots_alone_and_is_left_clean(run_directory):
    directory = RunDirectory()
    assert stat.S_IMODE(run_directory.stat().st_mode) == 0o700
    (run_directory / "secd.sock").touch()
    directory.close()
    assert not run_directory.exists()


def test_a_run_directory_that_was_there_stays_but_empty(run_directory):
    run_directory.mkdir(mode=0o755)
    directory = RunDirectory()
    assert stat.S_IMODE(run_directory.stat().st_mode) == 0o700
    directory.close()
    assert list(run_directory.iterdir()) == []


def test_a_second_instance_is_told_the_pid_of_the_first(run_directory):
    directory = RunDirectory()
    with pytest.raises(RunDirectoryError, match=rf"already running \(pid {os.getpid()}\)"):
        RunDirectory()
    directory.close()
    RunDirectory().close()


def test_a_run_directory_that_cannot_be_made_says_why(tmp_path, monkeypatch):
    monkeypatch.setenv("SECD_RUNDIR", str(tmp_path / "no" / "such"))
    with pytest.raises(RunDirectoryError, match="No such file or directory"):
        RunDirectory()


def test_users_that_do_not_exist_have_numbers_of_their_own():
    found = {name: accounts.account(name)[0] for name in ("_secd", "_iked")}
    assert found["_secd"].uid != found["_iked"].uid


def test_a_user_that_the_namespace_does_not_map_is_remarked(monkeypatch):
    monkeypatch.setattr(accounts, "_maps", lambda kind, number: False)
    who, remark = accounts.account("_iked")
    assert who.uid == os.geteuid()
    assert "does not exist in this user namespace" in remark


def test_a_port_in_use_is_said_in_one_line():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        port = taken.getsockname()[1]
        line = preflight._port(port)
    assert line.startswith(f"UDP port {port} is in use")
    assert preflight._port(port) == ""


def test_systemd_is_told(tmp_path, monkeypatch):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        Notifier()("READY=1", "STATUS=2 tunnels configured")
        assert systemd.recv(4096) == b"READY=1\nSTATUS=2 tunnels configured"
    assert "NOTIFY_SOCKET" not in os.environ


def test_without_systemd_nothing_is_told(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier()("READY=1")


def test_boot_runs_only_what_there_are_files_for(tmp_path):
    assert boot.commands(tmp_path) == []
    (tmp_path / "ipsec.conf").touch()
    (tmp_path / "hostname.sec0").touch()
    (tmp_path / "hostname.em0").touch()
    assert [name for name, _ in boot.commands(tmp_path)] == ["sec netstart", "ipsecctl"]


def test_boot_names_a_command_once_a_line_and_where_to_look(tmp_path):
    (tmp_path / "hostname.sec0").write_text("upp\n")
    (tmp_path / "hostname.sec0").chmod(0o640)
    told = []
    assert not asyncio.run(boot.load(tmp_path, lambda *line: told.append(line)))
    assert [(level, name) for level, _, name in told] == [("error", "sec netstart")] * 2
    assert told[0][1].startswith(f"{tmp_path}/hostname.sec0: 1: upp: unknown")
    assert told[1][1] == "failed (status 1); `sec doctor` says what is wrong with the files"
