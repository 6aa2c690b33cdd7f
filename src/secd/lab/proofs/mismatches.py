"""What does not fit is said, by what both sides have and what to write: keys, names, proposals, networks, files."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from secd.lab.commands import wait_until
from secd.lab.namespaces import Lab
from secd.lab.pair import PSK, THEM, US, Pair, Role, rule, theirs
from secd.lab.proofs import scene
from secd.lab.proofs.evidence import Evidence
from secd.lab.strongswan import Tunnel

FILE = "/etc/ipsec.conf"
OTHER_KEY = "another key than the peer's"
WEAK_MAIN = "main auth hmac-sha1 enc aes-128 group modp1024"
WEAK_QUICK = "quick auth hmac-sha1 enc aes-128 group modp1024"
MAIN, QUICK = (f"{phase} auth hmac-sha2-256 enc aes-256 group modp2048" for phase in ("main", "quick"))
#: Seconds until a message has to be in the log; of a peer that is silent: all repeats of a message, and a pause.
SOON, SILENCE = 20.0, 90.0


#: Seconds after its start in which secd tries a passive rule once, and then is an initiator too.
STARTING = 11.0
#: Those that the short version tries.
SHORT = {"wrong key", "wrong proposal, phase 2"}


@dataclass(frozen=True)
class Case:
    """A mismatch: the rule, the peer's side, and what one line of the log has to hold."""

    name: str
    role: Role
    ours: str
    theirs: Tunnel
    needles: tuple[str, ...]
    within: float = SOON


def prove(lab: Lab, evidence: Evidence) -> None:
    """Try every mismatch in every role in which it can be seen."""
    with scene.scene(lab, evidence) as pair:
        settled = time.monotonic() + STARTING
        for case in _cases():
            if not evidence.short or case.name in SHORT:
                if case.role == "responder":
                    time.sleep(max(0.0, settled - time.monotonic()))
                _case(pair, evidence, case)
        _files(pair, evidence)
        _secrets(pair, evidence)


def _cases() -> list[Case]:
    at = f"{FILE}: 1"
    policy = {**theirs().connection()["children"]["sec0"], "local_ts": "10.1.0.0/16", "remote_ts": "10.2.0.0/16"}  # type: ignore[index,dict-item]
    policy_based = theirs(extra={"children": {"sec0": policy}})
    networks = "asks for traffic 10.1.0.0/16 <-> 10.2.0.0/16, a sec interface carries 0.0.0.0/0 <-> 0.0.0.0/0"
    cases = []
    for role in ("initiator", "responder"):
        first: Role = "initiator" if role == "initiator" else "responder"
        mine = first == "initiator"
        cases += [
            Case("wrong key", first, rule(first, psk=OTHER_KEY), theirs(),
                 (THEM, "pre-shared keys differ", "compare `psk` at " + at)),
            Case("the peer has another name", first, rule(first, ids="dstid hq.example.com"), theirs(),
                 (f"{THEM} calls itself address {THEM}", "expected fqdn hq.example.com",
                  f"write `dstid {THEM}` at {at}")),
            Case("the peer expects another name of us", first, rule(first, ids="srcid branch.example.com"), theirs(),
                 ("our identity fqdn branch.example.com", f"write at {at} `srcid NAME`")),
            Case("wrong proposal, phase 1", first, rule(first, WEAK_MAIN), theirs(),
                 (WEAK_MAIN, *([] if mine else [MAIN, f"write `{MAIN}` at {at}"]),
                  *(["NO-PROPOSAL-CHOSEN", f"write at {at}"] if mine else []))),
            Case("wrong proposal, phase 2", first, rule(first, quick=WEAK_QUICK), theirs(),
                 (WEAK_QUICK, *([] if mine else [QUICK, f"write `{QUICK}` at {at}"]),
                  *(["NO-PROPOSAL-CHOSEN", f"write at {at}"] if mine else []))),
            Case("a policy-based peer", first, rule(first), policy_based,
                 (networks, "make the peer route-based (local and remote network 0.0.0.0/0)")),
        ]  # fmt: skip
    cases.append(
        Case("no rule for this peer", "responder", rule("responder", peer="192.0.2.9"), theirs(),
             (f"main mode from {THEM} to {US}: no rule", f"write `ike interface secN local {US} peer {THEM} psk KEY`"))
    )  # fmt: skip
    cases.append(
        Case("no way to the peer", "initiator", rule("initiator", peer="198.18.0.1"), theirs(),
             ("198.18.0.1 port 500", "Network is unreachable", "`ip route get 198.18.0.1`"))
    )  # fmt: skip
    cases.append(
        Case("a silent peer", "initiator", rule("initiator", peer="192.0.2.3"), theirs(),
             ("192.0.2.3 port 500", "no answer", "UDP port 500"), within=SILENCE)
    )  # fmt: skip
    return cases


def _case(pair: Pair, evidence: Evidence, case: Case) -> None:
    name = f"{case.name}, secd {case.role}"
    log = len(pair.secd.daemon.text())
    pair.charon.load(case.theirs)
    pair.load(case.ours)
    begun = time.monotonic()

    def said() -> str | None:
        lines = re.findall(r"^secd\[\d+\]: (.*)$", pair.secd.daemon.text()[log:], re.MULTILINE)
        return next((line for line in lines if all(needle in line for needle in case.needles)), None)

    while not (line := said()) and time.monotonic() - begun < case.within:
        if case.role == "responder":
            pair.charon.swanctl("--initiate", "--child", "sec0", "--timeout", "2", check=False)
        time.sleep(0.3)
    seconds = time.monotonic() - begun
    if evidence.check(f"{name}: said", line, line or "missing: " + pair.secd.daemon.text()[log:]):
        evidence.figure(name, said_after_s=round(seconds, 1), line=line or "")
        if case.name not in {"no rule for this peer", "no way to the peer"}:  # which are no tunnel's, or not iked's
            reason = pair.secd.status()["sec0"]["reason"] or ""
            evidence.check(f"{name}: `sec status` says it too", reason and reason in (line or ""), reason)
    pair.load("")
    for sa in pair.charon.list_sas():
        pair.charon.swanctl("--terminate", "--ike-id", str(sa.unique_id), "--force", check=False)
    wait_until(lambda: not pair.charon.list_sas(), 5, "charon's end of all SAs")


#: What is wrong with a file, and what ipsecctl has to say of it on standard error.
FILES = {
    "a word that is none": (f"ike interface sec0 peer {THEM} pks \"x\"\n", f"{FILE}: 1: "),
    "a cipher that is none": (f'\nike interface sec0 peer {THEM} main enc aes-512 psk "x"\n', f"{FILE}: 2: "),
    "a missing quote": (f'ike interface sec0 peer {THEM} psk "x\n', f"{FILE}: 1: "),
    "a macro that is not set": ('\n\nike interface sec0 peer $hq psk "x"\n', f"{FILE}: 3: macro 'hq' not defined"),
    "a flow": ("flow esp from 10.1.0.0/16 to 10.2.0.0/16 peer 192.0.2.2\n", "route-based"),
}  # fmt: skip


def _files(pair: Pair, evidence: Evidence) -> None:
    """A file with a mistake changes nothing; standard error says where it is."""
    pair.load(rule("responder"))
    before = sorted(pair.secd.status())
    for name, (text, expected) in FILES.items():
        pair.us.write(FILE, text, mode=0o600)
        done = pair.us.run("ipsecctl", "-f", FILE, check=False)
        evidence.figure(f"file: {name}", said_after_s=0.0, line=done.stderr.strip())
        evidence.check(
            f"file: {name}: said, exit code 1, nothing loaded",
            done.returncode == 1 and expected in done.stderr and sorted(pair.secd.status()) == before,
            f"exit code {done.returncode}: {done.stderr.strip()}",
        )  # fmt: skip
    pair.us.write(FILE, rule("responder"), mode=0o644)
    done = pair.us.run("ipsecctl", "-f", FILE, check=False)
    evidence.check("file: readable by others: refused", done.returncode == 1 and "chmod" in done.stderr, done.stderr)


def _secrets(pair: Pair, evidence: Evidence) -> None:
    log = pair.secd.daemon.text()
    evidence.check("no key is in the log", PSK not in log and OTHER_KEY not in log, f"{len(log)} octets of log")
