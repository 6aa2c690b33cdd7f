"""A peer that calls while secd still loads its boot files: not refused, but answered as soon as they are in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from secd.lab.commands import wait_until
from secd.lab.namespaces import Host
from secd.lab.pair import INNER_THEM, INNER_US, PSK, THEM, US, Pair, policy, rule
from secd.lab.secd import Secd
from secd.lab.strongswan import Charon, Tunnel

pytestmark = pytest.mark.root

#: It takes seconds until the interface is made, and only then are rules loaded.
SLOW = f"!sleep 3\ninet {INNER_US} 255.255.255.252 {INNER_THEM}\nup\n"


@pytest.mark.parametrize("version", [1, 2])
def test_a_peer_that_calls_during_boot_is_answered_when_the_rules_are_there(
    hosts: tuple[Host, Host], version: int
) -> None:
    us, them = hosts
    us.write("/etc/iked.conf", policy("responder") if version == 2 else "", mode=0o600)
    rules = rule("responder") if version == 1 else ""
    tunnel = Tunnel(
        THEM, US, PSK, version=2 if version == 2 else 1, ike="aes256-sha256-modp2048", esp="aes256-sha256-modp2048"
    )
    with Charon(them, tunnel, log_level=2) as charon, ThreadPoolExecutor(1) as pool:
        charon.inner(INNER_THEM, INNER_US)
        log = us.directory / "log" / "secd.log"
        log.unlink(missing_ok=True)
        starting = pool.submit(Secd, us, rules, {"sec0": SLOW}, "-v")
        wait_until(lambda: log.exists() and "iked is ready" in log.read_text(), 15, "iked")
        charon.initiate()
        with starting.result() as secd:
            secd.wait_up("sec0")
            Pair(us, them, secd, charon).ping(2)
            assert "NO_PROPOSAL_CHOSEN" not in charon.log()
            assert "no-connection" not in secd.daemon.text()
