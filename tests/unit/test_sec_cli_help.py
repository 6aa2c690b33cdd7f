"""The `sec` command itself: help, mistakes, exit codes, and a quick start."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from secd.cli import sec
from secd.cli.output import clean, duration, octets, table


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SECD_RUNDIR": "/nonexistent/secd"}
    command = [sys.executable, "-m", "secd.cli.sec", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


def test_without_a_command_it_lists_them_all_and_the_first_steps():
    done = run()
    assert done.returncode == 0
    for name in ("netstart", "ifconfig", "up", "down", "status", "rekey", "reset", "doctor", "counters", "lab"):
        assert f"\n  {name} " in done.stdout
    assert "ike interface sec0 peer" in done.stdout
    assert done.stdout == run("--help").stdout


def test_help_is_there_well_within_a_third_of_a_second():
    assert min(timed() for _ in range(5)) < 0.3


def timed() -> float:
    """Seconds of processor time, which other tests at the same time do not lengthen."""
    before = os.times()
    run("--help")
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_help_imports_nothing_that_is_slow():
    program = "import sys; from secd.cli import sec; sec.main([]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"asyncio", "rich", "pyroute2", "cryptography", "secd.netlink", "secd.ike.contract"} & set(
        done.stderr.split()
    )


@pytest.mark.parametrize(
    "name", ["netstart", "ifconfig", "up", "down", "status", "rekey", "reset", "doctor", "counters"]
)
def test_every_command_has_help_with_its_exit_codes_or_what_lasts(name: str):
    done = run(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: sec {name}")
    assert "xit codes:" in done.stdout or "next start" in done.stdout
    assert run("help", name).stdout == done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["statsu"], 2, "sec: statsu: no such command (did you mean status?); `sec --help` lists them\n"),
        (["status", "--jsn"], 2, "sec status: unrecognized arguments: --jsn (see `sec status --help`)\n"),
        (["up"], 2, "sec up: the following arguments are required: secN (see `sec up --help`)\n"),
        (["up", "gif0"], 2, "sec up: gif0: not a sec interface: its name is `sec` and a number (sec0)\n"),
        (["ifconfig", "gif0"], 2, "sec ifconfig: gif0: not a sec interface: its name is `sec` and a number (sec0)\n"),
        (
            ["ifconfig", "sec77777"],
            1,
            "sec ifconfig: sec77777: no such interface: sec ifconfig sec77777 create, or sec netstart sec77777\n",
        ),
        (
            ["counters"],
            1,
            "sec counters: secd is not running (nobody answers at /nonexistent/secd/sadb.sock): systemctl start secd\n",
        ),
    ],
)
def test_a_mistake_takes_one_line_and_has_its_exit_code(arguments: list[str], code: int, message: str):
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", message)


@pytest.mark.parametrize("command", ["status", "reset"])
def test_a_secd_that_does_not_run_is_named_with_what_to_do(command: str):
    done = run(command)
    assert done.returncode == 1
    assert done.stderr.startswith(f"sec {command}: secd is not running (no /nonexistent/secd/iked.sock): start it with")
    assert done.stderr.count("\n") == 1


def test_netstart_checks_files_without_a_running_secd(tmp_path):
    (tmp_path / "hostname.sec0").write_text("inet 10.0.0.1/30 10.0.0.2\nup\n")
    (tmp_path / "hostname.sec1").write_text("mtu 9000\n")
    (tmp_path / "hostname.sec1.bak").write_text("rubbish\n")
    for path in tmp_path.iterdir():
        path.chmod(0o640)
    done = run("netstart", "-n", "--etc", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"sec netstart: {tmp_path}/hostname.sec1: no line `up`, so sec1 stays as it is; a new one is down",
        f"sec netstart: {tmp_path}/hostname.sec0: 1: after an address with a prefix length 10.0.0.2 means a netmask: "
        "write inet 10.0.0.1 255.255.255.252 10.0.0.2",
    ]


def test_a_reader_that_has_had_enough_is_no_error():
    program = f"{sys.executable} -c 'import sys; from secd.cli.sec import run; " + (
        'sys.exit(run("sec x", lambda a: [print("line") for _ in range(100000)] and 0, []))\' | head -1'
    )
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("line\n", "")


def test_the_whole_of_the_help_fits_a_terminal():
    lines = sec.help_text().splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 115


def test_text_from_elsewhere_cannot_steer_the_terminal():
    assert clean("a\x1b[2Jb\n") == "a?[2Jb?"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.9, "59s"), (725, "12m05s"), (12000, "3h20m"), (187200, "2d04h"), (-1, "0s")]
)
def test_a_duration_has_two_units_at_most(seconds: float, text: str):
    assert duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0"), (752, "752"), (1500, "1.5K"), (12_000_000, "12.0M")])
def test_octets_are_short(count: int, text: str):
    assert octets(count) == text


def test_a_table_is_aligned_and_ends_each_line_with_its_last_word():
    assert table(("A", "BB", "C"), [("one", "2", "x"), ("3", "four", "")]) == [
        "A    BB    C",
        "one  2     x",
        "3    four",
    ]


def test_netstart_says_when_there_is_nothing_to_make(tmp_path: Path):
    nowhere = run("netstart", "--etc", str(tmp_path / "typo"))
    assert (nowhere.returncode, nowhere.stderr) == (1, f"sec netstart: {tmp_path}/typo: no such directory\n")
    empty = run("netstart", "--etc", str(tmp_path))
    assert (empty.returncode, empty.stderr) == (
        0,
        f"sec netstart: there is no hostname.secN in {tmp_path}, so there is nothing to make: hostname.sec(5)\n",
    )


def test_secd_refuses_a_configuration_directory_that_is_not_there(tmp_path: Path):
    command = [sys.executable, "-m", "secd.cli.secd", "-n", "--etc", str(tmp_path / "typo")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, f"secd: --etc {tmp_path}/typo: no such directory\n")


def test_an_interrupt_while_a_command_is_imported_shows_no_traceback(monkeypatch: pytest.MonkeyPatch):
    def interrupted(_name: str) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", interrupted)
    assert sec.main(["status"]) == 130
