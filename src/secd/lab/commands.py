"""Run a command, wait for something, and say plainly what is missing."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from secd.parent import tun

T = TypeVar("T")

#: Debian keeps daemons where a user's PATH does not look.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Seconds after which a command that should take milliseconds is given up.
COMMAND_TIMEOUT = 30.0


class LabError(Exception):
    """The lab could not do what it was asked; the text is for the person at the terminal."""


class CommandError(LabError):
    """A command failed; `result` holds its output."""

    def __init__(self, argv: Sequence[str], result: subprocess.CompletedProcess[str]) -> None:
        """Keep the result; make its last lines the message."""
        output = (result.stderr.strip() or result.stdout.strip()).splitlines()[-8:]
        super().__init__(
            f"`{shlex.join(argv)}` exited with {result.returncode}: " + "\n  ".join(output or ["no output"])
        )
        self.result = result


class WaitTimeout(LabError):
    """What was waited for did not happen in time."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the environment that every command of the lab gets: C locale, system PATH, secd's own commands first."""
    kept = {name: value for name, value in os.environ.items() if name in {"HOME", "TERM", "TMPDIR", "COLUMNS"}}
    return {**kept, "PATH": f"{scripts_directory()}:{SYSTEM_PATH}", "LC_ALL": "C.UTF-8", **(extra or {})}


def scripts_directory() -> Path:
    """Give the directory of the interpreter that runs us: `secd`, `ipsecctl` and `sec` are installed beside it."""
    return Path(sys.executable).parent


def run(
    *argv: str, check: bool = True, text: str | None = None, timeout: float = COMMAND_TIMEOUT,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run `argv` with `text` on its standard input and give its result.

    Raises `CommandError` on a non-zero exit when `check`, `LabError` when it does not exist or takes more than
    `timeout` seconds.
    """
    try:
        result = subprocess.run(
            argv, input=text, capture_output=True, text=True, timeout=timeout, check=False, env=environment(env),
            stdin=None if text is not None else subprocess.DEVNULL, start_new_session=True, errors="replace",
        )  # fmt: skip
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed: run `tools/install peers`") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{shlex.join(argv)}` did not end within {timeout:g} s") from error
    if check and result.returncode:
        raise CommandError(argv, result)
    return result


def wait_until(condition: Callable[[], T | None], timeout: float, what: str, *, interval: float = 0.05) -> T:
    """Poll `condition` every `interval` seconds until it gives something true, and give that.

    Raises `WaitTimeout`, which says `what` did not happen, after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        if time.monotonic() >= deadline:
            raise WaitTimeout(f"{what}: not within {timeout:g} s")
        time.sleep(interval)
    return result


def find(program: str, *, package: str, also: Sequence[str] = ()) -> str:
    """Give the path of `program`, looked for on the system's PATH and at `also`; say which package has it."""
    found = shutil.which(program, path=SYSTEM_PATH)
    for path in also:
        found = found or (path if os.access(path, os.X_OK) else None)
    if not found:
        raise LabError(f"{program} is not installed: `tools/install peers` installs it (Debian package {package})")
    return found


def missing_rights() -> str | None:
    """Say in one line which right or device the lab needs and lacks here; None when it can run."""
    if os.geteuid() != 0:
        return "this needs root: it makes network namespaces (try `sudo make demo`)"
    if fault := tun.fault():
        return str(fault)
    probe = subprocess.run(
        ["unshare", "--net", "--mount", "true"], capture_output=True, text=True, check=False, env=environment()
    )
    if probe.returncode:
        return f"network namespaces cannot be made here (CAP_SYS_ADMIN): {probe.stderr.strip()}"
    return None
