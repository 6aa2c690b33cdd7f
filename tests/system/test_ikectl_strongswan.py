"""Policies of iked.conf against strongSwan: each end in both roles, with transforms by our names and by theirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from secd.lab.namespaces import Host, Lab
from secd.lab.pair import HOSTNAME, INNER_THEM, INNER_US, PSK, THEM, US, Pair
from secd.lab.secd import Secd
from secd.lab.strongswan import Charon, Tunnel

pytestmark = pytest.mark.root

THEIRS = Tunnel(local=THEM, remote=US, psk=PSK, version=2, unique="replace")


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Iterator[Pair]:
    us, them = lab.host("ikes1"), lab.host("ikes2")
    lab.link(us, f"{US}/24", them, f"{THEM}/24")
    us.write("/etc/iked.conf", "", mode=0o600)
    with Charon(them) as charon, Secd(us, "", {"sec0": HOSTNAME}) as secd:
        charon.inner(INNER_THEM, INNER_US)
        yield Pair(us, them, secd, charon)


def load(host: Host, mode: str, words: str, *, peer: str = THEM) -> None:
    # Without `set passive` a passive policy is tried once as secd starts.
    text = "set passive\n" if mode == "passive" else ""
    text += f'ikev2 "test" {mode} from any to any local {US} peer {peer} {words} psk "{PSK}" iface sec0\n'
    host.run("ikectl", "load", "-", text=text)


def up(pair: Pair, mode: str, words: str, theirs: Tunnel, *, peer: str = THEM) -> None:
    """Bring the tunnel up and see packets pass both ways."""
    pair.charon.load(theirs)
    load(pair.us, mode, words, peer=peer)
    if mode == "passive":
        pair.charon.initiate()
    pair.secd.wait_up("sec0")
    pair.ping()


@pytest.fixture(autouse=True)
def _clear(pair: Pair) -> Iterator[None]:
    yield
    pair.us.run("ikectl", "load", "-", text="")
    pair.clear()


SUITES = [
    (
        "ikesa enc aes-256-gcm prf hmac-sha2-384 group ecp384 childsa enc aes-256-gcm group ecp384 noesn",
        "aes256gcm16-prfsha384-ecp384", "aes256gcm16-ecp384",
    ),
    (
        "ikesa enc chacha20-poly1305 prf hmac-sha2-512 group curve25519 childsa enc chacha20-poly1305 noesn",
        "chacha20poly1305-prfsha512-x25519", "chacha20poly1305",
    ),
    (
        "ikesa enc aes-192 auth hmac-sha2-384 prf hmac-sha2-384 group modp3072 childsa enc aes-256 auth hmac-sha2-512",
        "aes192-sha384-modp3072", "aes256-sha512",
    ),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["active", "passive"])
@pytest.mark.parametrize(("words", "ike", "esp"), SUITES, ids=["gcm", "chacha", "cbc"])
def test_transforms_are_what_strongswan_calls_them(pair: Pair, mode: str, words: str, ike: str, esp: str):
    ids = f"{words} srcid here.example.com dstid there.example.com"
    up(pair, mode, ids, replace(THEIRS, ike=ike, esp=esp, local_id="there.example.com", remote_id="here.example.com"))
    sa = pair.charon.established()
    assert sa is not None
    assert (sa.version, sa.remote_id, sa.initiator) == (2, "here.example.com", mode == "passive")
    assert f"<FQDN/there.example.com>[] ESTABLISHED {'i' if mode == 'active' else 'r'}" in _show(pair)


@pytest.mark.parametrize("mode", ["active", "passive"])
def test_with_nothing_said_both_ends_agree_on_their_defaults(pair: Pair, mode: str):
    up(pair, mode, f"srcid {US} dstid {THEM}", replace(THEIRS, ike="default", esp="default"))


def test_a_policy_for_any_peer_takes_the_one_whose_name_is_expected(pair: Pair):
    theirs = replace(THEIRS, ike="default", esp="default", local_id="me@example.com", remote_id=US)
    up(pair, "passive", f"srcid {US} dstid me@example.com", theirs, peer="any")
    assert "<UFQDN/me@example.com>" in _show(pair)


def test_a_key_may_be_hexadecimal(pair: Pair):
    pair.charon.load(replace(THEIRS, ike="default", esp="default"))
    text = f"ikev2 active from any to any peer {THEM} srcid {US} psk 0x{PSK.encode().hex()} iface sec0\n"
    pair.us.run("ikectl", "load", "-", text=text)
    pair.secd.wait_up("sec0")
    pair.ping()


def test_a_peer_with_another_proposal_is_told_apart(pair: Pair):
    pair.charon.load(replace(THEIRS, ike="aes128-sha256-modp2048", esp="aes128-sha256"))
    load(pair.us, "active", "ikesa enc aes-256-gcm group ecp384 childsa enc aes-256-gcm")
    pair.secd.daemon.wait_for("NO_PROPOSAL_CHOSEN", 10)


def _show(pair: Pair) -> str:
    return pair.us.run("ikectl", "show", "sa").stdout
