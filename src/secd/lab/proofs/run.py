"""Runs proofs by name, each in a lab of its own; shows their evidence, and gives it as data."""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from secd.lab import secd, strongswan
from secd.lab.commands import LabError
from secd.lab.namespaces import Lab
from secd.lab.pair import Version
from secd.lab.proofs.evidence import Evidence

#: Each is a module here with a function `prove(lab, evidence)`; the first line of its text says what it is about.
NAMES = ("rekeys", "kills", "restarts", "weather", "mismatches", "reboots", "paths", "quiet")
#: Those that there are of each version of IKE.
OF_VERSION: dict[Version, tuple[str, ...]] = {
    1: NAMES,
    2: ("rekeys", "kills", "restarts", "weather", "reboots", "quiet"),
}


def prove(name: str, *, short: bool, ike: Version = 1) -> Evidence:
    """Run one proof; what keeps it from running to its end is a failed check."""
    module = importlib.import_module(f"secd.lab.proofs.{name}")
    evidence = Evidence(name, title(name), short=short, ike=ike)
    evidence.checks.facts |= {
        "peer": strongswan.version() + " (charon, kernel-libipsec)", "our side": secd.version(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": f"sec lab prove {'--short ' if short else ''}--ike {ike} {name}",
        "machine": f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start",
    }  # fmt: skip
    begun = time.monotonic()
    lab = Lab()
    try:
        with lab:
            module.prove(lab, evidence)
            lab.keep_logs = not evidence.checks.passed
    except LabError as problem:
        evidence.check("it ran to its end", passed=False, detail=str(problem))
    if lab.kept_logs:
        evidence.checks.facts["logs"] = str(lab.kept_logs)
    evidence.checks.facts["took"] = f"{time.monotonic() - begun:.0f} s"
    return evidence


def title(name: str) -> str:
    """Say what a proof is about."""
    module = importlib.import_module(f"secd.lab.proofs.{name}")
    return (module.__doc__ or name).splitlines()[0]


def run(console: Console, names: Sequence[str], *, short: bool, json_file: Path | None, ike: Version = 1) -> int:
    """Run these proofs, or all; give the exit status: 0 when every check passed."""
    if unknown := [name for name in names if name not in OF_VERSION[ike]]:
        raise LabError(f"no proof of IKEv{ike} is called {', '.join(unknown)}; there are: {', '.join(OF_VERSION[ike])}")
    proofs = []
    for name in names or OF_VERSION[ike]:
        console.rule(f"{name}, IKEv{ike}: {title(name)}", align="left")
        evidence = prove(name, short=short, ike=ike)
        evidence.show(console)
        console.print(evidence.checks.facts_table())
        proofs.append(evidence)
        if json_file:
            json_file.write_text(json.dumps([each.data() for each in proofs], indent=2) + "\n")
    failed = [each.name for each in proofs if not each.checks.passed]
    console.print(f"Not proven: {', '.join(failed)}" if failed else "All proven.", highlight=False)
    return 1 if failed else 0
