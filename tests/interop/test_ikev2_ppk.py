"""Post-quantum pre-shared keys (RFC 8784) with strongSwan, secd in both roles: required, optional, and not the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.interop.signed_ends import NAMES, Ends, policy, signing, them

from secd.lab.commands import wait_until
from secd.lab.pair import PSK, THEM, Role
from secd.lab.strongswan import IkeSA, Tunnel, Value

pytestmark = pytest.mark.root

roles = pytest.mark.parametrize("role", ["initiator", "responder"])

NAME, KEY, OTHER = "from the courier", "0x" + "5a" * 32, "0x" + "a5" * 32


def ours(role: Role, key: str = KEY, name: str = NAME, *, required: bool = True, auth: str = f'psk "{PSK}"') -> str:
    """Secd's policy; without `key` it has no PPK."""
    optional = "" if required else "optional "
    return policy(role, NAMES, auth + (f' ppk {optional}"{key}" ppkid "{name}"' if key else ""))


def yours(key: str = KEY, name: str = NAME, *, required: bool = True, tunnel: Tunnel | None = None) -> Tunnel:
    """Charon's side of it."""
    made = tunnel or them()
    asked: dict[str, Value] = {"ppk_id": f'"{name}"', "ppk_required": required} if key else {}
    secrets = {"ppk-1": {"id": f'"{name}"', "secret": key}} if key else {}
    return replace(made, extra={**made.extra, **asked}, secrets=secrets)


@roles
@pytest.mark.parametrize("we_require", [True, False])
@pytest.mark.parametrize("they_require", [True, False])
def test_both_have_it_and_use_it(ends: Ends, role: Role, we_require: bool, they_require: bool) -> None:
    before = ends.up(role, ours(role, required=we_require), yours(required=they_require))
    assert "using PPK" in ends.said_charon()
    if we_require and they_require:
        _renew(ends, before)


@roles
def test_with_certificates(ends: Ends, role: Role) -> None:
    ends.certify()
    ends.up(role, ours(role, auth=""), yours(tunnel=signing()))
    assert "using PPK" in ends.said_charon()


@roles
@pytest.mark.parametrize("who", ["secd", "charon"])
def test_where_it_is_optional_a_peer_without_it_is_met(ends: Ends, role: Role, who: str) -> None:
    mine, other = (KEY, "") if who == "secd" else ("", KEY)
    ends.up(role, ours(role, mine, required=False), yours(other, required=False))
    assert "using PPK" not in ends.said_charon()


def test_where_it_is_optional_another_name_does_not_matter(ends: Ends) -> None:
    """To us: charon refuses another name than its own even where its PPK is optional."""
    ends.up("responder", ours("responder", required=False), yours(name="another", required=False))
    assert "using PPK" not in ends.said_charon()


@roles
def test_a_peer_without_it_is_refused_where_it_is_required(ends: Ends, role: Role) -> None:
    words = "has not used the PPK" if role == "initiator" else "it has no PPK, and one is required"
    line = ends.refused(role, words, ours(role), yours(""))
    assert "write `ppk optional`" in line
    assert "/etc/iked.conf: 1" in line


@roles
def test_another_key_is_refused(ends: Ends, role: Role) -> None:
    words = "or has another PPK" if role == "initiator" else "the pre-shared keys or the PPKs differ"
    line = ends.refused(role, words, ours(role, OTHER), yours())
    assert "`psk` and `ppk` at /etc/iked.conf: 1" in line


def test_another_key_beside_certificates_is_refused(ends: Ends) -> None:
    ends.certify()
    line = ends.refused("responder", "or the PPKs differ", ours("responder", OTHER, auth=""), yours(tunnel=signing()))
    assert "compare `ppk`" in line


@roles
def test_another_name_is_refused(ends: Ends, role: Role) -> None:
    words = "refuses our authentication" if role == "initiator" else "its PPK 'another' is not known here"
    line = ends.refused(role, words, ours(role), yours(name="another"))
    assert f"{THEM} " in line
    assert "PPK" in line


def _renew(ends: Ends, before: IkeSA) -> None:
    """Renew both kinds of SA: a rekeyed IKE SA has the PPK in its keys without a word (RFC 8784 §3)."""
    charon = ends.pair.charon
    for rekey in (lambda: ends.pair.secd.sec("rekey", "--ike", "sec0"), lambda: charon.rekey(ike="sec0")):
        spis = {sa.initiator_spi for sa in charon.list_sas()}
        rekey()
        wait_until(
            lambda old=spis: any(
                sa.state == "ESTABLISHED" and sa.initiator_spi not in old and sa.children for sa in charon.list_sas()
            ),
            10,
            "a new IKE SA at charon",
        )
    spi_in = {child.spi_in for sa in charon.list_sas() for child in sa.children}
    charon.rekey(child="sec0")
    wait_until(
        lambda: any(c.state == "INSTALLED" and c.spi_in not in spi_in for sa in charon.list_sas() for c in sa.children),
        10,
        "a new pair at charon",
    )
    ends.pair.ping(2)
