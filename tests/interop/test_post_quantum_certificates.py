"""Certificates and PPKs after an additional key exchange, with strongSwan 6: AUTH covers IKE_INTERMEDIATE, too.

A skip proves nothing here, so what is missing is a failure: `make test-long` installs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.interop.pki import KINDS
from tests.interop.signed_ends import NAMES, Ends, Pair2, policy, signing

from secd.lab.namespaces import Host
from secd.lab.pair import HOSTNAME, INNER_THEM, INNER_US, Role
from secd.lab.secd import Secd
from secd.lab.strongswan6 import Charon6

pytestmark = [pytest.mark.root, pytest.mark.long]

roles = pytest.mark.parametrize("role", ["initiator", "responder"])

IKE = "enc aes-256-gcm prf hmac-sha2-384 group curve25519 addke1 mlkem768"
IKE_THEM = "aes256gcm16-prfsha384-x25519-ke1_mlkem768"
PPK = "0x" + "5a" * 32


@pytest.fixture(scope="module")
def daemons2(hosts: tuple[Host, Host]) -> Iterator[Pair2]:
    """Both daemons, without a tunnel."""
    us, them = hosts
    us.write("/etc/iked.conf", "", mode=0o600)
    with Charon6(them, log_level=2) as charon, Secd(us, "", {"sec0": HOSTNAME}, "-v") as secd:
        charon.inner(INNER_THEM, INNER_US)
        yield Pair2(us, them, secd, charon)


@roles
@pytest.mark.parametrize("kind", KINDS)
def test_certificates_of_every_kind_of_key(ends: Ends, role: Role, kind: str) -> None:
    ends.certify(kind)
    ends.up(role, policy(role, ike=IKE), replace(signing(), ike=IKE_THEM))
    assert "parsed IKE_INTERMEDIATE" in ends.said_charon()


@roles
def test_a_ppk_beside_certificates(ends: Ends, role: Role) -> None:
    ends.certify()
    tunnel = signing(ppk_id="p", ppk_required=True)
    tunnel = replace(tunnel, ike=IKE_THEM, secrets={"ppk-1": {"id": "p", "secret": PPK}})
    ends.up(role, policy(role, NAMES, f"ppk {PPK} ppkid p", ike=IKE), tunnel)
    assert "using PPK" in ends.said_charon()


@roles
def test_a_certificate_that_must_not_be_believed(ends: Ends, role: Role) -> None:
    ends.certify_us()
    ends.certify_them(expired=True)
    ends.refused(role, "was valid until 2021-01-01", policy(role, ike=IKE), replace(signing(), ike=IKE_THEM))
