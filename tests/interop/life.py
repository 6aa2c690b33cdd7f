"""What tests of a tunnel's life with strongSwan have in common, in either version of IKE."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest

from secd.lab.commands import wait_until
from secd.lab.namespaces import Host, Lab
from secd.lab.pair import INNER_THEM, INNER_US, Pair, Role
from secd.lab.probe import Probe
from secd.lab.strongswan import IkeSA

roles = pytest.mark.parametrize("role", ["initiator", "responder"])

#: A host behind a NAT, the NAT's outside, a host there.
BEHIND, BEFORE, OUTSIDE = "10.0.0.1", "203.0.113.1", "203.0.113.2"


def ike_spis(sa: IkeSA) -> tuple[str, ...]:
    """Of the IKE SA itself."""
    return sa.initiator_spi, sa.responder_spi


def child_spis(sa: IkeSA) -> tuple[str, ...]:
    """Of its pairs that are in use."""
    return tuple(spi for each in sa.children if each.state == "INSTALLED" for spi in (each.spi_in, each.spi_out))


def wait_for_new(pair: Pair, before: IkeSA, spis: Callable[[IkeSA], tuple[str, ...]], timeout: float = 15) -> IkeSA:
    """Wait until charon has a tunnel whose SPIs are all others than `before`."""

    def new() -> IkeSA | None:
        found = [sa for sa in pair.charon.list_sas() if sa.state == "ESTABLISHED" and spis(sa)]
        return next((sa for sa in found if not set(spis(sa)) & set(spis(before))), None)

    with pair.told():
        return wait_until(new, timeout, "new SAs at charon")


def comes_back_or_waits(pair: Pair, role: Role, before: IkeSA) -> None:
    """The peer has ended the tunnel: an active one comes back by itself, a passive one waits for the peer."""
    if role == "initiator":
        wait_for_new(pair, before, child_spis)
        pair.ping(1)
    else:
        wait_until(lambda: not pair.secd.sas(), 5, "end of the SAs")


def reboot(pair: Pair) -> None:
    """Charon's host goes without a word, and is back."""
    pair.charon.kill()
    pair.charon.restart()
    pair.charon.inner(INNER_THEM, INNER_US)


@contextlib.contextmanager
def nothing_lost(pair: Pair, settle: float = 0.3) -> Iterator[None]:
    """Packets both ways while something happens, and for `settle` seconds after it; all of them arrive, once."""
    with Probe(pair.us, INNER_US, pair.them, INNER_THEM, rate=200) as probe:
        time.sleep(0.2)
        yield
        time.sleep(settle)
        for stream in probe.stop():
            assert (stream.lost, stream.duplicates) == (0, 0), str(stream)


def behind_a_nat(lab: Lab) -> tuple[Host, Host, Host]:
    """One host behind a NAT that also changes ports, the NAT, one host outside."""
    number = len(lab.hosts)
    behind, nat, outside = (lab.host(f"{name}{number}") for name in ("behind", "nat", "outside"))
    lab.link(behind, f"{BEHIND}/30", nat, "10.0.0.2/30")
    lab.link(nat, f"{BEFORE}/24", outside, f"{OUTSIDE}/24", a_device="eth1")
    behind.route("default", "10.0.0.2")
    nat.forward()
    nat.masquerade("eth1", random_ports=True)
    return behind, nat, outside


def move(nat: Host, address: str) -> None:
    """Give the NAT another address: it forgets its mappings, and makes new ones."""
    nat.ip("address", "flush", "dev", "eth1")
    nat.address(f"{address}/24", "eth1")
