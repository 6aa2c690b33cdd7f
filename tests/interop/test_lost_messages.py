"""Single messages of IKEv1 that nftables on secd's host loses, and what strongSwan then makes of the next ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from secd.lab.commands import wait_until
from secd.lab.namespaces import Host
from secd.lab.pair import HOSTNAME, INNER_THEM, INNER_US, Pair, rule, theirs
from secd.lab.secd import Secd
from secd.lab.strongswan import Charon

pytestmark = pytest.mark.root

#: IKE in UDP: no SPI but a marker of four zeros, then the header, whose nineteenth octet is the exchange.
_ENCRYPTED = "udp dport 4500 @th,64,32 0"
_EXCHANGE = f"@th,{(8 + 4 + 18) * 8},8"
MAIN_MODE, QUICK_MODE = 2, 32
#: Message 5 with INITIAL-CONTACT; message 6, which we send when the peer begins, has not got that and is shorter.
MESSAGE_5 = f"{_ENCRYPTED} {_EXCHANGE} {MAIN_MODE} udp length 120"
MESSAGE_2 = f"{_ENCRYPTED} {_EXCHANGE} {QUICK_MODE}"


@pytest.fixture
def pair(hosts: tuple[Host, Host]) -> Iterator[Pair]:
    """Both daemons, which have never heard of each other."""
    us, them = hosts
    with Charon(them, theirs()) as charon, Secd(us, "", {"sec0": HOSTNAME}, "-v") as secd:
        charon.inner(INNER_THEM, INNER_US)
        yield Pair(us, them, secd, charon)


@contextlib.contextmanager
def lost(host: Host, hook: str, what: str) -> Iterator[None]:
    """Let a host lose all that is `what` meanwhile; something must have been lost."""
    chain = f"chain {hook} {{ type filter hook {hook} priority 0; {what} counter name lost drop; }}"
    host.run("nft", "-f", "-", text=f"table ip lost {{\ncounter lost {{ }}\n{chain}\n}}\n")
    try:
        yield
        said = host.run("nft", "list", "counter", "ip", "lost", "lost").stdout
        assert "packets 0 " not in said, "nothing was lost"
    finally:
        host.run("nft", "delete", "table", "ip", "lost")


def test_a_quick_mode_that_charon_cannot_follow_any_more_begins_again(pair: Pair) -> None:
    """charon's message 2 is lost, and the delete of the pair that ends comes before message 1 comes again."""
    pair.load(rule("initiator", quick="quick auth hmac-sha2-256 enc aes-256 group modp2048 lifetime 10"))
    pair.secd.wait_up("sec0")
    pair.ping()
    begun = len(pair.secd.daemon.text())
    with lost(pair.us, "input", MESSAGE_2):
        complaint = "says (PAYLOAD-MALFORMED|INVALID-HASH-INFORMATION): quick mode begins again"
        pair.secd.daemon.wait_for(complaint, 20, after=begun)
    wait_until(lambda: not pair.lost_pings(), 5, "packets on a new pair")


def test_a_pair_that_charon_drops_when_our_initial_contact_comes_late_is_replaced(pair: Pair) -> None:
    """Both begin at once; charon is through with its own main mode and quick mode before our message 5 comes."""
    ours, peers = len(pair.secd.daemon.text()), len(pair.charon.log())
    with lost(pair.us, "output", MESSAGE_5):
        pair.load(rule("initiator"))
        pair.charon.daemon.wait_for(r"generating ID_PROT response 0 \[ KE", after=peers)
        pair.charon.initiate()
        pair.secd.wait_up("sec0")
        pair.ping()
        dropped = {sa["spi"] for sa in pair.secd.sas()}
    pair.secd.daemon.wait_for("finished as initiator", 20, after=ours)
    pair.charon.daemon.wait_for("destroying duplicate IKE_SA .* received INITIAL_CONTACT", after=peers)
    wait_until(lambda: not pair.lost_pings(), 5, "packets on a new pair")
    wait_until(lambda: not dropped & {sa["spi"] for sa in pair.secd.sas()}, 60, "the end of the dropped pair")
    pair.ping()
