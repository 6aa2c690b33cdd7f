"""The way changes under traffic: a narrow link under TCP, a NAT that forgets its mappings, deletes by either side."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial

from secd.lab.commands import wait_until
from secd.lab.namespaces import Host, Lab
from secd.lab.pair import INNER_THEM, INNER_US, Pair, Role, rule, theirs
from secd.lab.probe import Probe
from secd.lab.processes import Daemon
from secd.lab.proofs import scene
from secd.lab.proofs.evidence import Evidence

NARROW = 1300
RATE = 500
#: Seconds that TCP may stand still when the link becomes narrow, and that anything else may take to be well again.
STALL, SOON = 3.0, 5.0


#: The cable that becomes narrow: ours, or the one beyond the router; each with both of its ends.
CABLES = {"ours": (("us", "eth0"), ("middle", "eth0")), "the far one": (("middle", "eth1"), ("them", "eth0"))}


def prove(lab: Lab, evidence: Evidence) -> None:
    """Try each against charon, with a router between."""
    us, middle, them = scene.cables(lab)
    with scene.scene(lab, evidence, hosts=(us, them)) as pair:
        pair.negotiate("initiator", rule("initiator"), theirs())
        for tunneldf in (True,) if evidence.short else (False, True):
            for cable in ("the far one",) if evidence.short else CABLES:
                for reverse in (False,) if evidence.short else (False, True):
                    _narrow(lab, pair, evidence, cable, tunneldf=tunneldf, reverse=reverse)
        pair.clear()
        roles: tuple[Role, ...] = ("initiator", "responder")
        for role in () if evidence.short else roles:
            _deletes(pair, evidence, role)
        middle.masquerade("eth0", random_ports=True)  # charon is behind it
        _rebound(pair, evidence, middle)


# -- a narrow link ----------------------------------------------------------------------------------------


def _narrow(lab: Lab, pair: Pair, evidence: Evidence, cable: str, *, tunneldf: bool, reverse: bool) -> None:
    way = "from" if reverse else "to"
    name = f"TCP {way} charon, {cable} narrowed to {NARROW}, {'' if tunneldf else '-'}tunneldf"
    pair.secd.sec("ifconfig", "sec0", "tunneldf" if tunneldf else "-tunneldf")
    relayed = _counter(pair, "pmtu_relayed")
    seconds = 4 if evidence.short else 10
    log = f"iperf3-{cable.rsplit(maxsplit=1)[-1]}-{way}-{tunneldf}"
    with Daemon(pair.them, f"{log}-server", "iperf3", "-s", "-1", "--forceflush") as server:
        server.wait_for("listening", 10)
        command = ["iperf3", "-c", INNER_THEM, "-t", str(seconds), "-i", "0.5", "-J", *(["-R"] if reverse else [])]
        client = Daemon(pair.us, log, *command)
        time.sleep(seconds / 2 - 0.5)
        _set_mtu(lab, cable, NARROW)
        wait_until(lambda: not client.running, 30, "end of iperf3")
    _set_mtu(lab, cable, 1500)
    rates = [each["sum"]["bits_per_second"] / 1e6 for each in json.loads(client.text())["intervals"]]
    still = max(_runs_of_nothing(rates), default=0) * 0.5
    evidence.figure(
        name, before_mbit=round(sum(rates[:2]) / 2), after_mbit=round(sum(rates[-3:]) / 3), stood_still_s=still,
        too_bigs_relayed=_counter(pair, "pmtu_relayed") - relayed,
    )  # fmt: skip
    seen = " ".join(f"{each:.0f}" for each in rates) + " Mbit/s, every half second"
    evidence.check(f"{name}: goes on", min(rates[-3:]) > 0 and still <= STALL, seen)


def _set_mtu(lab: Lab, cable: str, mtu: int) -> None:
    for name, device in CABLES[cable]:
        lab.hosts[name].ip("link", "set", device, "mtu", str(mtu))
    for host in lab.hosts.values():
        host.ip("route", "flush", "cache")


def _runs_of_nothing(rates: list[float]) -> list[int]:
    runs, run = [], 0
    for rate in rates:
        run = run + 1 if rate < 0.01 else 0
        runs.append(run)
    return runs


def _counter(pair: Pair, name: str) -> int:
    return int(json.loads(pair.secd.sec("counters", "--json")).get(name, 0))


# -- a NAT that forgets -----------------------------------------------------------------------------------


def _rebound(pair: Pair, evidence: Evidence, middle: Host) -> None:
    """The NAT before charon forgets its mappings and gives another port to the next packet."""
    name = "the NAT before charon forgets its mapping"
    pair.charon.load(theirs(local_id="branch.example.com"))
    pair.load(rule("responder", peer="any", ids="dstid branch.example.com"))
    pair.charon.initiate()
    pair.secd.wait_up("sec0")
    spis, was = scene.our_spis(pair), _where(pair)
    with Probe(pair.us, INNER_US, pair.them, INNER_THEM, rate=RATE) as probe:
        wait_until(lambda: min(probe.received()) > RATE / 2, 10, "traffic")
        middle.forget_connections()
        begun = time.monotonic()
        wait_until(lambda: _where(pair) != was, 30, "the new port")
        seconds = time.monotonic() - begun
        time.sleep(1)
        to_charon, from_charon = probe.stop()
    evidence.figure(
        name, was=was, is_now=_where(pair), lost_to_charon=to_charon.lost, lost_from_charon=from_charon.lost,
        longest_gap_ms=round(max(to_charon.longest_gap, from_charon.longest_gap)),
    )  # fmt: skip
    evidence.check(f"{name}: followed within {SOON:g} s, by the SAs of before",
                   seconds <= SOON and scene.our_spis(pair) == spis, f"{was}, then {_where(pair)}")  # fmt: skip
    evidence.check(f"{name}: nothing lost from charon", not from_charon.lost, str(from_charon))
    pair.clear()


def _where(pair: Pair) -> str:
    """Where our outbound SA sends to."""
    out = next(sa for sa in pair.secd.sas() if sa["direction"] == "out")
    return f"{out['destination']} port {out['udpencap']['remote_port']}"


# -- deletes ----------------------------------------------------------------------------------------------


def _deletes(pair: Pair, evidence: Evidence, role: Role) -> None:
    acts: list[tuple[str, bool, Callable[[], object]]] = [
        ("charon deletes the pair", role == "initiator", lambda: pair.charon.terminate(child_only=True)),
        ("charon deletes everything", role == "initiator", pair.charon.terminate),
        ("sec reset", role == "initiator", lambda: pair.secd.sec("reset", "sec0")),
        ("ipsecctl -F", False, lambda: pair.secd.ipsecctl("-F")),
        ("the rule goes", False, lambda: pair.load("")),
    ]
    for what, back, act in acts:
        name = f"{what}, secd {role}"
        before = pair.negotiate(role, rule(role), theirs())
        begun = time.monotonic()
        act()
        done = partial(_fresh, pair, scene.child_spis(before)) if back else partial(_nothing, pair)
        with pair.told():
            wait_until(done, 30, name)
        seconds = time.monotonic() - begun
        evidence.figure(name, outcome="a new pair" if back else "gone on both sides", after_s=round(seconds, 1))
        word = "back" if back else "gone"
        evidence.check(f"{name}: {word} within {SOON:g} s", seconds <= SOON, f"{seconds:.1f} s")
        pair.clear()


def _nothing(pair: Pair) -> bool:
    return not pair.secd.sas() and not scene.their_spis(pair.charon.list_sas())


def _fresh(pair: Pair, old: set[int]) -> bool:
    theirs_now = scene.their_spis(scene.established(pair.charon.list_sas()))
    return len(theirs_now) == 2 and not theirs_now & old and theirs_now <= scene.our_spis(pair)
