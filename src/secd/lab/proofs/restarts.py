"""The data plane killed or ended, all of secd restarted, under BGP: the tunnel is soon back, the session stays."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from secd.lab.commands import wait_until
from secd.lab.namespaces import Host, Lab
from secd.lab.openbgpd import OpenBGPD
from secd.lab.pair import INNER_THEM, INNER_US, Pair, Role, Version
from secd.lab.probe import Probe
from secd.lab.proofs import scene
from secd.lab.proofs.evidence import Evidence
from secd.lab.strongswan import Value

#: Seconds within which an active or a passive tunnel with a known peer has to be back.
LIMIT = 5.0
#: Seconds that the peer's dead peer detection takes where it alone can notice, and charon's settings for it: of IKEv1
#: it asks every second and gives up by itself, of IKEv2 when a question was sent five times.
DPD_TIMEOUT = 6
RETRANSMIT: dict[Version, dict[str, Value]] = {
    1: {}, 2: {"retransmit_timeout": 1, "retransmit_base": 1, "retransmit_tries": 4},
}  # fmt: skip
RATE = 200
HOLD_TIME = 90


@dataclass(frozen=True)
class Case:
    """What is done to which process, in which role."""

    name: str
    role: Role
    act: Callable[[Pair], None]
    peer_any: bool = False

    def waits(self, ike: Version) -> bool:
        """Whether the peer has to begin: a passive policy of IKEv2 never does, a rule of IKEv1 once if it can."""
        return self.peer_any or (ike == 2 and self.role == "responder")

    def limit(self, ike: Version) -> float:
        """How long the tunnel may be away, seconds."""
        return LIMIT + (DPD_TIMEOUT if self.waits(ike) else 0)


def prove(lab: Lab, evidence: Evidence) -> None:
    """Do each under numbered traffic and with a BGP session through the tunnel."""
    cases = [
        Case("kill -9 of sadb, secd initiator", "initiator", lambda pair: _signal_sadb(pair, signal.SIGKILL)),
        Case("kill -9 of sadb, secd responder", "responder", lambda pair: _signal_sadb(pair, signal.SIGKILL)),
        Case("SIGTERM to sadb, secd initiator", "initiator", lambda pair: _signal_sadb(pair, signal.SIGTERM)),
        Case("SIGTERM to sadb, secd responder", "responder", lambda pair: _signal_sadb(pair, signal.SIGTERM)),
        Case(
            "kill -9 of sadb, secd responder to `peer any`", "responder",
            lambda pair: _signal_sadb(pair, signal.SIGKILL), peer_any=True,
        ),
        Case("secd restarted, secd initiator", "initiator", _restart),
        Case("secd restarted, secd responder", "responder", _restart),
    ]  # fmt: skip
    with scene.scene(lab, evidence, charon=RETRANSMIT[evidence.ike]) as pair:
        for case in cases[: 3 - evidence.ike] if evidence.short else cases:
            _case(pair, evidence, case)


def _case(pair: Pair, evidence: Evidence, case: Case) -> None:
    ours = pair.rule(case.role, peer="any") if case.peer_any else pair.rule(case.role)
    limit, begins = case.limit(pair.ike), {"dpd_delay": 1, "dpd_timeout": DPD_TIMEOUT, "dpd_action": "restart"}
    if pair.ike == 2:
        begins["close_action"] = "start"
    pair.charon.load(pair.theirs(**(begins if case.waits(pair.ike) else {})))
    pair.load(ours)
    if case.role == "responder":
        pair.charon.initiate()
    pair.secd.wait_up("sec0")
    before = scene.our_spis(pair)
    with (
        _bgpd(pair.us, INNER_US, 65001, INNER_THEM, 64512) as bgpd,
        _bgpd(pair.them, INNER_THEM, 64512, INNER_US, 65001),
    ):
        wait_until(lambda: _session(bgpd)[0] == "Established", 30, "the BGP session", interval=0.3)
        established = time.monotonic() - _session(bgpd)[1]
        with Probe(pair.us, INNER_US, pair.them, INNER_THEM, rate=RATE) as probe:
            wait_until(lambda: min(probe.received()) > RATE / 2, 10, "traffic")
            case.act(pair)
            marks = probe.received()
            wait_until(lambda: _both_more(probe.received(), marks), limit + 30, f"{case.name}: traffic both ways")
            time.sleep(1)
            outbound, inbound = probe.stop()
        away = max(outbound.longest_gap, inbound.longest_gap) / 1000
        time.sleep(1)
        state, age = _session(bgpd)
    since = time.monotonic() - age
    kept = state == "Established" and abs(since - established) < 3
    evidence.figure(
        case.name, away_s=round(away, 2), sent=outbound.sent + inbound.sent, lost=outbound.lost + inbound.lost,
        bgp=f"{state}, {'the same session' if kept else 'another session'}",
    )  # fmt: skip
    evidence.check(f"{case.name}: back within {limit:g} s", away <= limit, f"{away:.2f} s without a packet")
    evidence.check(
        f"{case.name}: the BGP session stays (hold time {HOLD_TIME} s)", kept, f"{state}, up for {age:.0f} s"
    )
    evidence.check(f"{case.name}: all SAs are new", not before & scene.our_spis(pair), "")
    evidence.check(f"{case.name}: one pair on both sides", scene.wait_single(pair), "")
    pair.clear()


def _signal_sadb(pair: Pair, number: signal.Signals) -> None:
    log = len(pair.secd.daemon.text())
    os.kill(pair.secd.processes()["sadb"], number)
    pair.secd.daemon.wait_for("sadb is ready", 10, after=log)


def _restart(pair: Pair) -> None:
    """As `systemctl restart secd` would: the peer is told, interfaces go and come again."""
    log = len(pair.secd.daemon.text())
    pair.secd.stop()
    pair.secd.daemon.restart()
    pair.secd.wait_ready(after=log)


def _both_more(now: tuple[int, int], before: tuple[int, int]) -> bool:
    """Whether a quarter of a second's packets have come each way since."""
    return all(new - old > RATE / 4 for new, old in zip(now, before, strict=True))


def _bgpd(host: Host, address: str, own: int, neighbor: str, remote: int) -> OpenBGPD:
    return OpenBGPD(
        host,
        f"AS {own}\nrouter-id {address}\nlisten on {address}\nholdtime {HOLD_TIME}\nnetwork 198.18.{own % 256}.0/24\n"
        f"neighbor {neighbor} {{ remote-as {remote} }}\nallow from any\nallow to any\n",
    )


def _session(bgpd: OpenBGPD) -> tuple[str, float]:
    """The state of the one session, and for how many seconds it has been so."""
    neighbor = json.loads(bgpd.bgpctl("-j", "show"))["neighbors"][0]
    return str(neighbor["state"]), float(neighbor.get("last_updown_sec", 0))
