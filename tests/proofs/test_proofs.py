"""The proofs of `sec lab prove`: short ones with every run, in full with `make test-long`; what they show is exact."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from secd.lab.commands import LabError
from secd.lab.pair import Version
from secd.lab.proofs.evidence import Evidence
from secd.lab.proofs.run import NAMES, OF_VERSION, prove, run, title

pytestmark = pytest.mark.root


def show(evidence: Evidence) -> None:
    """Print the figures, so that a failure's report and `pytest -s` have them."""
    console = Console(width=180)
    evidence.show(console)
    console.print(evidence.checks.facts_table())


def check(evidence: Evidence) -> None:
    """Every promise kept, and of what was counted nothing lost that must not be."""
    show(evidence)
    assert evidence.failures == []
    assert evidence.figures
    if evidence.name in {"rekeys", "kills"}:
        streams = [figure for figure in evidence.figures if "lost" in figure]
        assert streams
        assert {(figure["lost"], figure["doubled"]) for figure in streams} == {(0, 0)}


#: Every proof of each version, and those that are also run in short; a bad line in short is tests/system/test_relay.py.
ALL = [(ike, name) for ike, names in OF_VERSION.items() for name in names]
SHORT = [
    (ike, name)
    for ike, name in ALL
    if name in {"rekeys", "kills", "restarts", "reboots"} or (ike == 1 and name != "weather")
]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("ike", "name"), SHORT)
def test_in_short(ike: Version, name: str) -> None:
    check(prove(name, short=True, ike=ike))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("ike", "name"), ALL)
def test_in_full(ike: Version, name: str) -> None:
    evidence = prove(name, short=False, ike=ike)
    check(evidence)
    if name == "rekeys":
        assert [figure["rekeys"] for figure in evidence.figures if "rekeys" in figure] == [100, 100]
    if name == "kills":
        assert [figure["kills"] for figure in evidence.figures if "kills" in figure] == [10] * 4


def test_every_proof_says_what_it_is_about() -> None:
    assert all(title(name)[0].isupper() or title(name).startswith("kill -9") for name in NAMES)
    with pytest.raises(LabError, match="no proof of IKEv1 is called nothing; there are: rekeys, "):
        run(Console(), ["nothing"], short=True, json_file=None)


def test_what_was_shown_is_also_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = Evidence("rekeys", "Rekeys")
    evidence.figure("a [case]", rekeys=1, lost=0)
    evidence.check("a promise", passed=False, detail="[seen]")
    monkeypatch.setattr("secd.lab.proofs.run.prove", lambda name, short, ike: evidence)
    with (tmp_path / "shown").open("w") as shown:
        status = run(Console(file=shown, width=100), ["rekeys"], short=True, json_file=tmp_path / "data.json")
    assert status == 1
    text = (tmp_path / "shown").read_text()
    assert "a [case]" in text
    assert "[seen]" in text
    assert "Not proven: rekeys" in text
    (data,) = json.loads((tmp_path / "data.json").read_text())
    assert data["figures"] == [{"case": "a [case]", "rekeys": 1, "lost": 0}]
    assert data["passed"] is False
