"""Where proofs happen: secd and charon, each in a host of its own, on one cable or with a host between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from secd.lab.commands import wait_until
from secd.lab.namespaces import Host, Lab
from secd.lab.pair import HOSTNAME, INNER_THEM, INNER_US, THEM, US, Pair
from secd.lab.proofs.evidence import Evidence
from secd.lab.secd import Secd
from secd.lab.strongswan import Charon, IkeSA, Value

ROUTER = "198.51.100.1"
#: Seconds that both sides get to agree on one pair: a replaced one is drained first.
SETTLE = 90.0


@contextmanager
def scene(
    lab: Lab, evidence: Evidence, *, hosts: tuple[Host, Host] | None = None, charon: Mapping[str, Value] | None = None
) -> Iterator[Pair]:
    """Start both daemons, without a tunnel, on `hosts`, or on two new ones with a cable between them.

    `charon` are settings of its strongswan.conf.
    """
    us, them = hosts or cable(lab)
    with Charon(them, charon=charon) as peer, Secd(us, "", {"sec0": HOSTNAME}, "-v") as secd:
        peer.inner(INNER_THEM, INNER_US)
        yield Pair(us, them, secd, peer, evidence.ike)


def cable(lab: Lab) -> tuple[Host, Host]:
    """Two hosts on one cable."""
    us, them = lab.host("us"), lab.host("them")
    lab.link(us, f"{US}/30", them, f"{THEM}/30")
    return us, them


def cables(lab: Lab) -> tuple[Host, Host, Host]:
    """The same two hosts with a router between them: us on its eth0, them on its eth1."""
    us, middle, them = lab.host("us"), lab.host("middle"), lab.host("them")
    lab.link(us, f"{US}/32", middle, None)
    lab.link(them, f"{THEM}/32", middle, None, b_device="eth1")
    middle.address(f"{ROUTER}/32", "lo")
    for host, address, device in ((us, US, "eth0"), (them, THEM, "eth1")):
        host.ip("route", "add", ROUTER, "dev", "eth0")
        host.ip("route", "add", "default", "via", ROUTER, "src", address)
        middle.ip("route", "add", address, "dev", device)
    middle.forward()
    return us, middle, them


def our_spis(pair: Pair) -> set[int]:
    """Every SPI that secd has."""
    return {sa["spi"] for sa in pair.secd.sas()}


def child_spis(sa: IkeSA) -> set[int]:
    """The SPIs of the installed children of one of charon's IKE SAs."""
    return {
        int(spi, 16) for child in sa.children if child.state == "INSTALLED" for spi in (child.spi_in, child.spi_out)
    }


def their_spis(sas: list[IkeSA]) -> set[int]:
    """Every SPI that charon has installed."""
    return {spi for sa in sas for spi in child_spis(sa)}


def established(sas: list[IkeSA]) -> list[IkeSA]:
    """The IKE SAs that are established."""
    return [sa for sa in sas if sa.state == "ESTABLISHED"]


def cookies(sa: IkeSA) -> str:
    """Name an IKE SA by both its SPIs."""
    return f"{sa.initiator_spi}:{sa.responder_spi}"


def wait_single(pair: Pair, timeout: float = SETTLE) -> IkeSA:
    """Wait until both sides have one IKE SA and one and the same pair of ESP SAs; give charon's."""

    def single() -> IkeSA | None:
        sas = pair.charon.list_sas()
        theirs = their_spis(sas)
        if len(sas) == 1 and len(theirs) == 2 and theirs == our_spis(pair):
            return sas[0] if len(pair.secd.status()["sec0"]["ike"]) == 1 else None
        return None

    with pair.told():
        return wait_until(single, timeout, "one IKE SA and one pair of ESP SAs, the same on both sides", interval=0.3)


def drops(pair: Pair) -> dict[str, int]:
    """Every reason to drop that secd has counted, by its name."""
    import json  # noqa: PLC0415

    counted: dict[str, int] = json.loads(pair.secd.sec("counters", "--json"))
    return {name: count for name, count in counted.items() if name.startswith("drop_") and count}
