"""Every collision of RFC 7296 §2.8 and §2.25 on a virtual clock, and what is left: `ikev2/collisions.txt`.

Two sides that are up do something each, at the same time or one after the other but before it has heard of it; none or
one of the first datagrams is lost.  Whatever it was, in the end there is one IKE SA and one pair, and while neither
side has ended what carried the traffic, no packet is lost.  `SECD_UPDATE_GOLDEN=1 pytest tests/golden` writes the table
anew: read the difference before it is committed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

from tests.pair.network import Network, Node, matches, start, traffic
from tests.pair.v2_support import pair

from secd.ike.v2 import pairs

TABLE = Path(__file__).parent / "ikev2" / "collisions.txt"
UPDATE = "SECD_UPDATE_GOLDEN"

#: Seconds: one way; between the two when one is first; until all is over, with repeats, lingering and duplicates.
LATENCY, BEFORE, LONG = 0.05, 0.03, 220.0
LOSSES = ("none", "1st", "2nd", "3rd", "4th")


def renew_child(node: Node) -> None:
    """Renew the pair."""
    node.speaker.rekey("sec0", "child", node.net.now)


def renew_ike(node: Node) -> None:
    """Renew the IKE SA."""
    node.speaker.rekey("sec0", "ike", node.net.now)


def delete_child(node: Node) -> None:
    """End the pair."""
    machine = node.speaker._v2
    found = machine.ctx.newest_pair("sec0")
    assert found is not None
    pairs.end(machine.ctx, *found)
    machine.settle()


def delete_ike(node: Node) -> None:
    """End the IKE SA."""
    machine = node.speaker._v2
    session = machine.ctx.newest("sec0")
    assert session is not None
    session.sa.delete_at = node.net.now
    machine.ctx.touch(session)
    machine.settle()


ACTIONS: dict[str, Callable[[Node], None]] = {
    "renew pair": renew_child,
    "renew IKE": renew_ike,
    "delete pair": delete_child,
    "delete IKE": delete_ike,
}


def play(first: str, second: str, order: str, loss: str, seed: int) -> str:
    """Play one collision and tell what is left."""
    net, alice, bob = pair({"mode": "active"}, {"mode": "active"}, dpd=None, ike_lifetime=0, lifetime=0)
    alice.rng.seed(seed)
    bob.rng.seed(100 + seed)
    start(net, alice, bob)
    traffic(net, alice, bob, 40)
    net.latency, carried = LATENCY, net.carried
    number = LOSSES.index(loss)
    net.drop = lambda count, send: count == carried + number
    gap = {"same time": (0.0, 0.0), "A first": (0.0, BEFORE), "B first": (BEFORE, 0.0)}[order]
    for node, action, at in ((alice, first, gap[0]), (bob, second, gap[1])):
        net.after(at, lambda node=node, action=action: node.do(lambda: ACTIONS[action](node)))  # type: ignore[misc]
    lost = traffic(net, alice, bob, LONG, step=0.02)
    return f"{left(net, alice, bob)} lost {lost}"


def left(net: Network, alice: Node, bob: Node) -> str:
    """Whose IKE SA and whose pair are left, and its SPIs as Alice sees them."""
    session, child = alice.speaker._v2.ctx.newest_pair("sec0") or (None, None)
    assert session is not None
    assert child is not None
    assert matches(alice, bob), "the two sides do not fit"
    for node in (alice, bob):
        assert len(node.checkpoints) == 1, f"{node.address} has {len(node.checkpoints)} IKE SAs"
        assert len(node.sas) == 2, f"{node.address} has {len(node.sas)} ESP SAs"
    redundant = {
        name: side
        for side, node in (("A", alice), ("B", bob))
        for name in ("child-redundant", "ike-redundant")
        if node.said(name)
    }
    words = "".join(f" redundant {name.partition('-')[0]} of {side}" for name, side in redundant.items())
    ike = "A" if session.initiator else "B"
    return f"IKE {ike} pair {'A' if child.ours else 'B'} 0x{child.spi_in:x} 0x{child.spi_out:x}{words}"


def rows() -> Iterator[tuple[str, str]]:
    """Every case and what is left of it."""
    for (first, second), order, loss in product(product(ACTIONS, ACTIONS), ("same time", "A first", "B first"), LOSSES):
        for seed in (1, 3) if first == second and first.startswith("renew") else (1,):
            case = f"A {first:<12} B {second:<12} {order:<10} loses {loss:<5} seed {seed}"
            yield case, play(first, second, order, loss, seed)


def test_every_collision_ends_as_the_table_says() -> None:
    """The whole table; traffic suffers only where somebody has ended it."""
    made = list(rows())
    for case, result in made:
        if "delete" not in case:
            assert result.endswith("lost 0"), f"{case}: {result}"
    text = "".join(f"{case} -> {result}\n" for case, result in made)
    if os.environ.get(UPDATE):
        TABLE.write_text(text)
    assert text == TABLE.read_text()
