"""Key exchange by ML-KEM with strongSwan 6, secd in both roles.

A skip proves nothing here, so what is missing is a failure: `make test-long` installs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from secd.lab.commands import wait_until
from secd.lab.namespaces import Lab
from secd.lab.pair import HOSTNAME, INNER_THEM, INNER_US, PSK, THEM, US, Pair, Role
from secd.lab.secd import Secd
from secd.lab.strongswan import Tunnel, parse_raw
from secd.lab.strongswan6 import Charon6

pytestmark = [pytest.mark.root, pytest.mark.long]

THEIRS = Tunnel(local=THEM, remote=US, psk=PSK, version=2, unique="replace")
roles = pytest.mark.parametrize("role", ["initiator", "responder"])


class IKEv2Pair(Pair):
    """secd and strongSwan 6, with iked.conf."""

    def load(self, rules: str) -> None:
        """Load `rules` in place of those of before."""
        self.us.run("ikectl", "load", "-", text=rules)

    def up(self, role: Role, ikesa: str, childsa: str, ike: str, esp: str) -> None:
        """Bring a tunnel up by our words and by theirs."""
        mode = "active" if role == "initiator" else "passive"
        self.negotiate(
            role,
            f'set {mode}\nikev2 "test" {mode} from any to any local {US} peer {THEM} ikesa {ikesa} childsa {childsa} '
            f'srcid {US} dstid {THEM} psk "{PSK}" iface sec0\n',
            replace(THEIRS, ike=ike, esp=esp),
        )
        self.ping()

    def exchanged(self) -> tuple[list[str], list[str]]:
        """Give charon's names for the key exchanges of the IKE SA and of the newest pair, first and additional."""
        [sa] = [
            raw
            for message in parse_raw(self.charon.swanctl("--list-sas", "--raw"))
            for raw in message.values()
            if isinstance(raw, dict) and raw.get("state") == "ESTABLISHED"
        ]
        child = max(
            (each for each in sa["child-sas"].values() if each["state"] == "INSTALLED"),
            key=lambda each: int(each["uniqueid"]),
        )
        names = ("dh-group", *(f"ake{number}" for number in range(1, 8)))
        return tuple([raw[name] for name in names if name in raw] for raw in (sa, child))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def daemons(lab: Lab) -> Iterator[IKEv2Pair]:
    """Both daemons running, without a tunnel."""
    us, them = lab.host("pq1"), lab.host("pq2")
    lab.link(us, f"{US}/30", them, f"{THEM}/30")
    us.write("/etc/iked.conf", "", mode=0o600)
    with Charon6(them) as charon, Secd(us, "", {"sec0": HOSTNAME}, "-v") as secd:
        charon.inner(INNER_THEM, INNER_US)
        yield IKEv2Pair(us, them, secd, charon)


@pytest.fixture
def pair(daemons: IKEv2Pair) -> Iterator[IKEv2Pair]:
    """Both daemons; whatever tunnel a test makes is gone before the next."""
    yield daemons
    daemons.clear()


@roles
@pytest.mark.parametrize("method", ["mlkem768", "mlkem1024"])
def test_ml_kem_alone(pair: IKEv2Pair, role: Role, method: str) -> None:
    name = method.upper().replace("MLKEM", "ML_KEM_")
    enc = "enc aes-256-gcm"
    pair.up(
        role, f"{enc} prf hmac-sha2-384 group {method}", f"{enc} group {method}",
        f"aes256gcm16-prfsha384-{method}", f"aes256gcm16-{method}",
    )  # fmt: skip
    assert pair.exchanged() == ([name], [])
    _rekey(pair)
    assert pair.exchanged() == ([name], [name])


def _rekey(pair: IKEv2Pair) -> None:
    """Renew the pair by our request, then by theirs; packets pass after each."""
    for by_us in (True, False):
        old = {sa["spi"] for sa in pair.secd.sas()}
        if by_us:
            pair.secd.sec("rekey", "sec0")
        else:
            pair.charon.rekey(child="sec0")
        _wait_for_another(pair, old)
        pair.ping()


def _wait_for_another(pair: IKEv2Pair, old: set[int]) -> None:
    wait_until(lambda: len({sa["spi"] for sa in pair.secd.sas()} - old) == 2, 10, "another pair")
