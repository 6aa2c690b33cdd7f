"""Key exchange by ML-KEM with strongSwan 6, secd in both roles.

A skip proves nothing here, so what is missing is a failure: `make test-long` installs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.interop.fragments import Wire

from secd.lab.commands import LabError, wait_until
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
@pytest.mark.parametrize("method", ["mlkem512", "mlkem768", "mlkem1024"])
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


# -- additional key exchanges (RFC 9370) ------------------------------------------------------------------

#: iked.conf's words after the cipher, strongSwan's after its, and what strongSwan then tells of the exchanges.
ADDITIONAL = [
    ("group curve25519 addke1 mlkem768", "x25519-ke1_mlkem768", ["CURVE_25519", "ML_KEM_768"]),
    ("group ecp384 addke1 mlkem1024", "ecp384-ke1_mlkem1024", ["ECP_384", "ML_KEM_1024"]),
    ("group ecp384 addke1 mlkem1024 addke2 curve25519 addke3 mlkem768",
     "ecp384-ke1_mlkem1024-ke2_x25519-ke3_mlkem768", ["ECP_384", "ML_KEM_1024", "CURVE_25519", "ML_KEM_768"]),
    ("group mlkem768 addke1 curve25519", "mlkem768-ke1_x25519", ["ML_KEM_768", "CURVE_25519"]),
]  # fmt: skip


@roles
@pytest.mark.parametrize(("ours", "theirs", "names"), ADDITIONAL, ids=["768", "1024", "three rounds", "768 first"])
def test_ml_kem_after_a_first_exchange_and_at_renewals(
    pair: IKEv2Pair, role: Role, ours: str, theirs: str, names: list[str]
) -> None:
    pair.up(
        role, f"enc aes-256-gcm prf hmac-sha2-384 {ours}", f"enc aes-256-gcm {ours}",
        f"aes256gcm16-prfsha384-{theirs}", f"aes256gcm16-{theirs}",
    )  # fmt: skip
    assert pair.exchanged() == (names, [])
    followed_up = len(re.findall("parsed IKE_FOLLOWUP_KE", pair.charon.log()))
    _rekey(pair)
    assert pair.exchanged() == (names, names)
    _rekey_the_ike_sa(pair)
    assert pair.exchanged() == (names, names)
    rounds = len(names) - 1
    assert len(re.findall("parsed IKE_FOLLOWUP_KE", pair.charon.log())) - followed_up >= 4 * rounds


@roles
def test_what_no_datagram_holds_goes_in_fragments_between_the_first_exchange_and_ike_auth(
    pair: IKEv2Pair, role: Role
) -> None:
    wire = Wire(pair.us)
    ours = "enc aes-256-gcm prf hmac-sha2-384 group ecp384 addke1 mlkem1024"
    pair.up(role, ours, "enc aes-256-gcm", "aes256gcm16-prfsha384-ecp384-ke1_mlkem1024", "aes256gcm16")
    assert wire.fragments() == (2, 2)


@roles
def test_an_additional_exchange_that_the_peer_does_not_know_may_be_left_out(pair: IKEv2Pair, role: Role) -> None:
    ours = "group curve25519 addke1 mlkem768 addke1 none"
    pair.up(
        role, f"enc aes-256-gcm prf hmac-sha2-384 {ours}", f"enc aes-256-gcm {ours}",
        "aes256gcm16-prfsha384-x25519", "aes256gcm16-x25519",
    )  # fmt: skip
    assert pair.exchanged() == (["CURVE_25519"], [])


@roles
def test_a_peer_without_an_additional_exchange_that_is_required_is_refused(pair: IKEv2Pair, role: Role) -> None:
    mode = "active" if role == "initiator" else "passive"
    pair.charon.load(replace(THEIRS, ike="aes256gcm16-prfsha384-x25519", esp="aes256gcm16"))
    pair.load(
        f'set {mode}\nikev2 {mode} from any to any local {US} peer {THEM} ikesa enc aes-256-gcm prf hmac-sha2-384 '
        f'group curve25519 addke1 mlkem768 srcid {US} psk "{PSK}" iface sec0\n'
    )  # fmt: skip
    if role == "responder":
        with pytest.raises(LabError):
            pair.charon.initiate(timeout=3)

    def told() -> bool:
        return "addke1 mlkem768" in pair.secd.status()["sec0"]["reason"]

    wait_until(told, 10, "what is missing")


# -- helpers ----------------------------------------------------------------------------------------------


def _rekey(pair: IKEv2Pair) -> None:
    """Renew the pair by our request, then by theirs; packets pass after each."""
    for by_us in (True, False):
        old = {sa["spi"] for sa in pair.secd.sas()}
        if by_us:
            pair.secd.sec("rekey", "sec0")
        else:
            pair.charon.rekey(child="sec0")
        wait_until(lambda old=old: len({sa["spi"] for sa in pair.secd.sas()} - old) == 2, 10, "another pair")  # type: ignore[misc]
        pair.ping()


def _rekey_the_ike_sa(pair: IKEv2Pair) -> None:
    """Renew the keys of the IKE SA by our request, then by theirs; the pair stays, and packets pass after each."""
    pairs = {sa["spi"] for sa in pair.secd.sas()}
    for by_us in (True, False):
        old = _ike_spis(pair)
        if by_us:
            pair.secd.sec("rekey", "--ike", "sec0")
        else:
            pair.charon.rekey(ike="sec0")
        wait_until(lambda old=old: len(_ike_spis(pair)) == 1 and not _ike_spis(pair) & old, 10, "another IKE SA")  # type: ignore[misc]
        pair.ping()
    assert {sa["spi"] for sa in pair.secd.sas()} <= pairs


def _ike_spis(pair: IKEv2Pair) -> set[str]:
    return {sa.initiator_spi for sa in pair.charon.list_sas()}
