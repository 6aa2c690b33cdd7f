"""Ctrl-C in the first moments of a command: no traceback, whichever module is being loaded."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

#: SIGINT comes when `{module}` is looked for.
_PROGRAM = """
import os, signal, sys
class Interrupter:
    def find_spec(self, name, *_):
        if name == "{module}":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupter())
signal.signal(signal.SIGINT, signal.{before})
from secd.cli.entry import {command} as main
sys.argv = ["{command}", *"{arguments}".split()]
sys.exit(main())
"""


def interrupted(command: str, arguments: str, module: str, before: str = "default_int_handler") -> tuple[int, str]:
    """Give the exit code of a command interrupted at `module`, and what it wrote to standard error."""
    program = _PROGRAM.format(command=command, arguments=arguments, module=module, before=before)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False,
        env={"SECD_RUNDIR": "/nonexistent"},
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("command", "arguments", "module"),
    [
        ("secd", "-n", "secd.cli.secd"),
        ("secd", "-n", "asyncio"),
        ("secd", "-n", "secd.parent.supervisor"),
        ("sec", "status", "secd.cli.output"),
        ("ipsecctl", "-sa", "msgspec"),
        ("ikectl", "show sa", "secd.cli.ikectl"),
    ],
)
def test_while_a_command_is_loaded_the_signal_just_ends_it(command: str, arguments: str, module: str) -> None:
    assert interrupted(command, arguments, module) == (-signal.SIGINT, "")


@pytest.mark.parametrize(
    ("command", "arguments", "module"),
    [
        ("sec", "status", "secd.cli.sec_status"),
        ("sec", "lab aws", "rich"),
        ("ipsecctl", "-sa", "secd.cli.ipsecctl_sad"),
        ("ikectl", "show sa", "secd.cli.ikectl_show"),
    ],
)
def test_once_a_command_runs_it_may_put_things_in_order_and_says_130(command: str, arguments: str, module: str) -> None:
    assert interrupted(command, arguments, module) == (130, "")


def test_a_job_in_the_background_goes_on_ignoring_it() -> None:
    code, said = interrupted("ipsecctl", "-sa", "secd.cli.ipsecctl_sad", before="SIG_IGN")
    assert code == 1
    assert said.startswith("ipsecctl: secd is not running")
