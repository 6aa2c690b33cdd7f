"""iked.conf in, what `ikectl check` says out: `X.in` and `X.ok`, as for ipsecctl.

The first line of `X.in` is the command; the whole file is its standard input.  In `X.ok`, lines of standard error
begin with `2> `, the last line is the exit code.  `SECD_UPDATE_GOLDEN=1 pytest tests/golden` writes the `.ok` files
anew: read the difference before it is committed.
"""

from __future__ import annotations

import io
import os
import shlex
import socket
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from secd.cli import ikectl
from secd.conf import source

CASES = Path(__file__).parent / "ikectl"
UPDATE = "SECD_UPDATE_GOLDEN"


def _run(text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    words = shlex.split(text.splitlines()[0].removeprefix("#! "))
    assert words[0] == "ikectl"
    monkeypatch.setattr(source, "_read_stdin", text.encode)
    monkeypatch.setattr(socket, "gethostname", lambda: "gw.example.com")
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = ikectl.main(["--etc", "/nonexistent", *words[1:], "-"])
    errors = "".join(f"2> {line}\n" for line in err.getvalue().splitlines())
    return f"{errors}{out.getvalue()}exit {code}\n"


@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.in")))
def test_ikectl_says_what_is_written_down(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One case."""
    told = _run((CASES / f"{name}.in").read_text(), monkeypatch)
    expected = CASES / f"{name}.ok"
    if os.environ.get(UPDATE):
        expected.write_text(told)
    assert told == expected.read_text()
