"""A tunnel's life with strongSwan, secd in both roles: identities, rekeying, dead peers, deletes, reboots."""

from __future__ import annotations

import re
import time

import pytest
from tests.interop.life import (
    child_spis,
    comes_back_or_waits,
    ike_spis,
    nothing_lost,
    reboot,
    roles,
    wait_for_new,
)

from secd.lab.commands import wait_until
from secd.lab.pair import PSK, THEM, US, Pair, Role, rule, theirs

pytestmark = pytest.mark.root


@roles
@pytest.mark.parametrize(
    ("srcid", "dstid"),
    [
        ("branch.example.com", "hq.example.com"),
        ("admin@example.com", "root@example.org"),
        (US, THEM),
        ("branch.example.com", THEM),
    ],
)
def test_identities(pair: Pair, role: Role, srcid: str, dstid: str) -> None:
    sa = pair.negotiate(role, rule(role, ids=f"srcid {srcid} dstid {dstid}"), theirs(remote_id=srcid, local_id=dstid))
    assert sa.remote_id == srcid
    pair.ping(1)


@roles
@pytest.mark.parametrize("what", ["ike", "child"])
@pytest.mark.parametrize("by", ["charon", "both"])
def test_a_rekeying_by_the_peer_loses_nothing(pair: Pair, role: Role, what: str, by: str) -> None:
    before = pair.negotiate(role, rule(role), theirs())
    with nothing_lost(pair):
        pair.charon.rekey(**{what: "sec0"})
        if by == "both":  # and again, at once
            time.sleep(0.3)
            pair.charon.rekey(**{what: "sec0"})
        after = wait_for_new(pair, before, ike_spis if what == "ike" else child_spis)
    assert after
    _wait_for_agreement(pair)


@roles
def test_a_rekeying_by_secd_loses_nothing(pair: Pair, role: Role) -> None:
    """Lifetimes so short that secd's soft limit, 85 to 95 %, comes within the test, in both phases."""
    main = "main auth hmac-sha2-256 enc aes-256 group modp2048 lifetime 8"
    quick = "quick auth hmac-sha2-256 enc aes-256 group modp2048 lifetime 6"
    before = pair.negotiate(role, rule(role, main, quick), theirs())
    with nothing_lost(pair, settle=0.5):
        after = wait_for_new(pair, before, child_spis, timeout=15)
        wait_for_new(pair, before, ike_spis, timeout=15)
    assert after


@roles
@pytest.mark.parametrize("child_only", [False, True])
def test_the_peer_deletes_the_tunnel_or_the_child_alone(pair: Pair, role: Role, child_only: bool) -> None:
    before = pair.negotiate(role, rule(role), theirs())
    pair.charon.terminate(child_only=child_only)
    comes_back_or_waits(pair, role, before)


@roles
def test_a_rule_that_goes_takes_the_tunnel_along_on_both_sides(pair: Pair, role: Role) -> None:
    pair.negotiate(role, rule(role), theirs())
    pair.load("")
    wait_until(lambda: not pair.charon.list_sas(), 5, "charon's end of the tunnel")
    assert pair.secd.sas() == []


@roles
def test_charon_asks_whether_secd_lives(pair: Pair, role: Role) -> None:
    sa = pair.negotiate(role, rule(role), theirs(dpd_delay=1, dpd_timeout=5))
    seen = len(pair.charon.log())
    time.sleep(3.5)
    said = pair.charon.log()[seen:]
    assert len(re.findall(r"sending DPD request", said)) >= 2
    assert len(re.findall(r"parsed INFORMATIONAL_V1 request \d+ \[ HASH N\(DPD_ACK\) \]", said)) >= 2
    assert pair.charon.established() == sa


@pytest.mark.parametrize("role", ["initiator"])
def test_a_peer_that_rebooted_is_back_within_the_time_of_dpd(pair: Pair, role: Role) -> None:
    """Default DPD: asked after 10 s of silence, given up after 5 more questions, 5 s apart."""
    before = pair.negotiate(role, rule(role), theirs())
    reboot(pair)
    wait_for_new(pair, before, child_spis, timeout=60)
    pair.ping(1)


def test_a_peer_that_rebooted_and_initiates_replaces_what_was(pair: Pair) -> None:
    before = pair.negotiate("responder", rule("responder"), theirs())
    reboot(pair)
    pair.charon.initiate()
    wait_for_new(pair, before, child_spis)
    pair.ping(1)
    _wait_for_agreement(pair)


def test_aggressive_mode_with_a_secret_needs_an_explicit_word(pair: Pair) -> None:
    with pytest.raises(Exception, match="aggressive"):
        pair.load(f'ike interface sec0 peer {THEM} aggressive auth hmac-sha2-256 enc aes psk "{PSK}"\n')


def _wait_for_agreement(pair: Pair) -> None:
    """Wait until both sides have the same SPIs and the newest pair is the same.

    charon keeps what it has rekeyed until its lifetime ends (`delete_rekeyed`), so there may be more than one pair.
    """

    def agree() -> bool:
        kept = [c for sa in pair.charon.list_sas() for c in sa.children if c.state in {"INSTALLED", "REKEYED"}]
        return {int(spi, 16) for c in kept for spi in (c.spi_in, c.spi_out)} == {sa["spi"] for sa in pair.secd.sas()}

    with pair.told():
        wait_until(agree, 10, "the same SAs on both sides")
