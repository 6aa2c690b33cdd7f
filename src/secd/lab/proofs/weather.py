"""Every tenth packet lost, another doubled, another late, of IKE and ESP: tunnels come up, rekey, and stay single."""

from __future__ import annotations

import time
from collections.abc import Callable

from secd.lab.commands import wait_until
from secd.lab.namespaces import Host, Lab
from secd.lab.pair import INNER_THEM, INNER_US, Pair, Role
from secd.lab.probe import Probe
from secd.lab.proofs import scene
from secd.lab.proofs.evidence import Evidence
from secd.lab.proofs.rekeys import Seen
from secd.lab.relay import DEVICE, TABLE, Faults, Relay

BAD = Faults(loss=0.1, duplicate=0.1, reorder=0.1, hold=20.0)
RATE = 200
ROLES: tuple[Role, ...] = ("initiator", "responder")
#: Seconds that a tunnel may take to come up, and a rekey: the fifth repeat of a message of either side comes by then.
PATIENCE = 90.0
#: Seconds until the pairs that were replaced are gone, deletes that are lost included.
SETTLE = 120.0


def prove(lab: Lab, evidence: Evidence) -> None:
    """Bring a tunnel up through a bad network and rekey it from both sides, in both roles, for several seeds."""
    seeds, rekeys = ((1,), 1) if evidence.short else ((1, 2, 3, 4, 5), 4)
    roles = ROLES[1:] if evidence.short else ROLES
    us, middle, them = scene.cables(lab)
    with scene.scene(lab, evidence, hosts=(us, them)) as pair:
        for seed in seeds:
            for role in roles:
                with Relay(middle, seed=seed) as weather:
                    _tunnel(pair, evidence, weather, role, seed=seed, rekeys=rekeys)
                    pair.clear()
                _take_away(middle)


def _take_away(middle: Host) -> None:
    """Undo what a relay has set up, so that another can begin with a seed of its own."""
    for device in ("eth0", "eth1"):
        for family in ("-4", "-6"):
            middle.ip(family, "rule", "del", "iif", device, "lookup", TABLE)
    middle.ip("link", "del", DEVICE)


def _tunnel(pair: Pair, evidence: Evidence, weather: Relay, role: Role, *, seed: int, rekeys: int) -> None:
    name = f"secd {role}, seed {seed}"
    weather.set(BAD)
    begun = time.monotonic()
    pair.charon.load(pair.theirs())
    pair.load(pair.rule(role))
    if role == "responder":
        pair.charon.swanctl("--initiate", "--child", "sec0", "--timeout", "80", check=False, timeout=90)
    pair.secd.wait_up("sec0", timeout=PATIENCE)
    with pair.told():
        wait_until(pair.charon.established, PATIENCE, f"{name}: charon's tunnel")
    up = time.monotonic() - begun
    seen = Seen()
    seen.note(pair.charon.list_sas())
    times = []
    with Probe(pair.us, INNER_US, pair.them, INNER_THEM, rate=RATE) as probe:
        for number in range(rekeys):
            for order in (_ours, _theirs):
                times.append(_rekeyed(pair, seen, order, f"{name}: rekey {number}", settle=not evidence.short))
        time.sleep(2)
        outbound, inbound = probe.stop()
    weather.set(Faults())
    counts = weather.counts()
    with Probe(pair.us, INNER_US, pair.them, INNER_THEM, rate=RATE) as probe:
        sa = scene.wait_single(pair)
        clear = probe.stop()
    evidence.figure(
        name, up_s=round(up, 1), rekeys=len(times), slowest_rekey_s=round(max(times), 1),
        sent=outbound.sent + inbound.sent, lost=outbound.lost + inbound.lost,
        lost_percent=round(100 * (outbound.lost + inbound.lost) / (outbound.sent + inbound.sent), 1),
        doubled=outbound.duplicates + inbound.duplicates, overtaken=outbound.reordered + inbound.reordered,
        relay_lost=counts["lost"], relay_doubled=counts["duplicated"], relay_late=counts["reordered"],
    )  # fmt: skip
    evidence.check(f"{name}: up, rekeyed {len(times)} times, and one pair in the end", sa.state == "ESTABLISHED",
                   f"up in {up:.1f} s, rekeys {', '.join(f'{each:.1f}' for each in times)} s")  # fmt: skip
    evidence.check(f"{name}: nothing comes out doubled", not outbound.duplicates + inbound.duplicates,
                   f"{counts['duplicated']} packets were doubled on the way")  # fmt: skip
    evidence.check(
        f"{name}: the tunnel itself loses nothing", not sum(stream.lost for stream in clear),
        "in good weather afterwards: " + "; ".join(map(str, clear)),
    )  # fmt: skip


def _ours(pair: Pair) -> None:
    pair.secd.sec("rekey", "sec0")


def _theirs(pair: Pair) -> None:
    pair.charon.swanctl("--rekey", "--child", "sec0", check=False)


def _rekeyed(pair: Pair, seen: Seen, order: Callable[[Pair], None], name: str, *, settle: bool) -> float:
    begun = time.monotonic()
    order(pair)
    with pair.told():
        wait_until(lambda: seen.note(pair.charon.list_sas()) or None, PATIENCE, name, interval=0.1)
        seconds = time.monotonic() - begun
        # As in life, the next rekey comes when this one is over: charon follows three exchanges at a time.
        if settle:
            scene.wait_single(pair, SETTLE)
    return seconds
