"""What rc(8) would do once the daemon is there: interfaces from hostname.secN, rules from ipsec.conf and iked.conf.

The parent parses no configuration: the commands do, as short-lived children.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

#: Seconds that one command may take before it is ended.
TIMEOUT = 60.0
_MAX_OUTPUT = 64 * 1024


async def load(etc: Path, log: Callable[[str, str, str], None]) -> bool:
    """Run `sec netstart`, `ipsecctl` and `ikectl` if `etc` has something for them; say whether all went well."""
    good = True
    for name, command in commands(etc):
        good = await _run(name, command, log) and good
    return good


def commands(etc: Path) -> list[tuple[str, list[str]]]:
    """List what has to be run, by name."""
    wanted = []
    if any(etc.glob("hostname.sec[0-9]*")):
        wanted.append(("sec netstart", [*_python("secd.cli.sec"), "netstart", "--etc", str(etc)]))
    rules = etc / "ipsec.conf"
    if rules.exists():
        wanted.append(("ipsecctl", [*_python("secd.cli.ipsecctl"), "--etc", str(etc), "-f", str(rules)]))
    if (etc / "iked.conf").exists():
        wanted.append(("ikectl", [*_python("secd.cli.ikectl"), "--etc", str(etc), "reload"]))
    return wanted


def _python(module: str) -> list[str]:
    return [sys.executable, "-I", "-c", f"import sys; from {module} import main; sys.exit(main())"]


async def _run(name: str, command: list[str], log: Callable[[str, str, str], None]) -> bool:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ,
        cwd="/",
        limit=_MAX_OUTPUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            output, _ = await process.communicate()
    except TimeoutError:
        log("error", f"did not end within {TIMEOUT:g} s: ended by us", name)
        return False
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    for line in output.decode(errors="replace").splitlines():
        log("info" if process.returncode == 0 else "error", line.removeprefix(f"{name}: "), name)
    if process.returncode:
        log("error", f"failed (status {process.returncode}); `sec doctor` says what is wrong with the files", name)
    return process.returncode == 0
