"""OpenBSD's own cases for ipsecctl(8), where they are at hand: in conformance/ beside the project's directory.

They are not part of the tree; our own cases of the same kind are in tests/golden.  Each `X.in` is given to `ipsecctl`
as standard input, with DIR replaced by the directory of the key files; what it prints must equal `X.ok`.
"""

from __future__ import annotations

import io
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from secd.cli import ipsecctl
from secd.conf import source

_PROJECT = Path(__file__).resolve().parents[2]
_PLACES = (_PROJECT.parent / "shared/conformance/ipsecctl", _PROJECT.parent / "conformance/ipsecctl")
CASES = next((place for place in _PLACES if place.is_dir()), None)
FLAGS = {
    "ike": "-nv", "ipsec": "-nv", "tcpmd5": "-nkv", "sa": "-nkv", "ikedel": "-dnv", "ikefail": "-nv",
    "ipsecfail": "-nv", "safail": "-nv",
}  # fmt: skip


def _kind(name: str) -> str:
    return "tcpmd5" if name.startswith("tcpmd5") else re.sub(r"[0-9]+$", "", name)


def _names() -> list[str]:
    found = CASES.glob("*.ok") if CASES else ()
    return sorted(path.stem for path in found if _kind(path.stem) in FLAGS and path.with_suffix(".in").exists())


@pytest.mark.skipif(CASES is None, reason="OpenBSD's cases are not here")
@pytest.mark.parametrize("name", _names())
def test_ipsecctl_prints_what_openbsd_prints(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One case."""
    assert CASES is not None
    text = (CASES / f"{name}.in").read_text().replace("DIR", str(CASES))
    wanted = (CASES / f"{name}.ok").read_text().replace("DIR", str(CASES))
    monkeypatch.setattr(source, "_read_stdin", text.encode)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        ipsecctl.main([FLAGS[_kind(name)], "-f", "-"])
    failing = _kind(name).endswith("fail")
    assert (err.getvalue() + out.getvalue() if failing else out.getvalue()) == wanted, err.getvalue()
