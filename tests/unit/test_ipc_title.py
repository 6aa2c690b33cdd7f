"""What ps(1) shows."""

from __future__ import annotations

import subprocess
import sys


def test_ps_shows_the_title_in_place_of_the_arguments() -> None:
    script = "from secd.ipc.title import show_as; show_as('secd: sadb'); print('set', flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", script, "--argument"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout
        process.stdout.readline()
        with open(f"/proc/{process.pid}/cmdline", "rb") as cmdline, open(f"/proc/{process.pid}/comm") as comm:
            assert cmdline.read().strip(b"\0") == b"secd: sadb"
            assert comm.read().strip() == "secd: sadb"
    finally:
        process.communicate(b"\n")
    assert process.returncode == 0
