"""A guest's kernel and strongSwan on it: ESP as protocol 50, extended sequence numbers.

A skip proves nothing here, so what is missing is a failure: `make test-long` installs it.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator

import pytest

from secd.ipc.channel import BlockingChannel
from secd.lab.commands import wait_until
from secd.lab.guest import Guest
from secd.lab.guest_peers import GuestCharon
from secd.lab.namespaces import Host, Lab
from secd.lab.pair import HOSTNAME, INNER_THEM, INNER_US, PSK, Role, rule
from secd.lab.secd import Secd
from secd.lab.strongswan import Tunnel
from secd.sadb.messages import AUTH_KEY_OCTETS, ENCRYPTION_KEY_OCTETS, SA, Add, Direction, Done, Flush, FromServer

pytestmark = [pytest.mark.root, pytest.mark.long]

US, GUEST = "192.0.2.1", "192.0.2.2"

#: The seam's names, and what `ip xfrm state` calls the same.
AEAD = {
    "aes-128-gcm": "rfc4106(gcm(aes))", "aes-192-gcm": "rfc4106(gcm(aes))", "aes-256-gcm": "rfc4106(gcm(aes))",
    "chacha20-poly1305": "rfc7539esp(chacha20,poly1305)",
}  # fmt: skip
CBC = ("aes-128", "aes-192", "aes-256")
HMAC = {
    "hmac-sha1": ("hmac(sha1)", 96), "hmac-sha2-256": ("hmac(sha256)", 128), "hmac-sha2-384": ("hmac(sha384)", 192),
    "hmac-sha2-512": ("hmac(sha512)", 256),
}  # fmt: skip
SUITES = [*((name, "") for name in AEAD), *itertools.product(CBC, HMAC)]


@pytest.fixture(scope="module")
def host(lab: Lab) -> Host:
    """Our host; the guest hangs on it."""
    return lab.host("us")


@pytest.fixture(scope="module")
def guest(host: Host) -> Iterator[Guest]:
    """A guest on our host's TAP."""
    with Guest(host, f"{GUEST}/24", f"{US}/24") as running:
        yield running


@pytest.fixture(scope="module")
def secd(host: Host, guest: Guest) -> Iterator[Secd]:
    """secd on our host."""
    with Secd(host, "", {"sec0": HOSTNAME}, "-v") as running:
        yield running


@pytest.mark.parametrize("esn", [False, True], ids=["32 bits", "esn"])
@pytest.mark.parametrize(("encryption", "auth"), SUITES)
def test_raw_esp_with_the_kernel(
    host: Host, guest: Guest, secd: Secd, encryption: str, auth: str, esn: bool
) -> None:  # fmt: skip
    out, into = (_sa(way, encryption, auth, esn=esn) for way in ("out", "in"))
    guest.shell(
        f"ip xfrm state flush; ip xfrm policy flush; ip address replace {INNER_THEM}/32 dev lo\n"
        f"ip route replace {INNER_US}/32 via {US}\n{_state(out)}\n{_state(into)}\n"
        + "\n".join(
            f"ip xfrm policy add src {a}/32 dst {b}/32 dir {way} tmpl src {c} dst {d} proto esp reqid 1 mode tunnel"
            for a, b, way, c, d in (
                (INNER_THEM, INNER_US, "out", GUEST, US), (INNER_US, INNER_THEM, "in", US, GUEST)
            )
        )
    )  # fmt: skip
    channel: BlockingChannel[FromServer] = BlockingChannel.connect(str(host.path("/run/secd/sadb.sock")), FromServer)
    try:
        for number, request in enumerate((Add(1, out), Add(2, into)), 1):
            channel.send(request)
            assert channel.receive() == Done(number)
        said = host.run("ping", "-q", "-n", "-c5", "-i0.05", "-W2", "-s1200", INNER_THEM, check=False).stdout
        assert " 5 received" in said, said + guest.shell("cat /proc/net/xfrm_stat").stdout
        assert {sa["counters"]["input_packets"] + sa["counters"]["output_packets"] for sa in secd.sas()} == {5}
    finally:
        channel.send(Flush(3))
        channel.receive()
        channel.close()


@pytest.mark.parametrize("role", ["initiator", "responder"])
@pytest.mark.parametrize(
    ("quick", "esp"),
    [
        ("enc aes-256-gcm group modp2048", "aes256gcm16-modp2048"),
        ("auth hmac-sha2-256 enc aes-128 group ecp256", "aes128-sha256-ecp256"),
    ],
)
def test_strongswan_over_the_kernel_negotiates_raw_esp(
    host: Host, guest: Guest, secd: Secd, role: Role, quick: str, esp: str
) -> None:  # fmt: skip
    guest.shell(f"ip xfrm state flush; ip xfrm policy flush; ip address del {INNER_THEM}/32 dev lo; true")
    tunnel = Tunnel(local=GUEST, remote=US, psk=PSK, ike="aes256-sha256-modp2048", esp=esp)
    charon = GuestCharon(guest, tunnel, INNER_THEM, INNER_US)
    try:
        secd.ipsecctl("-f", "-", text=rule(role, quick=f"quick {quick}"))
        if role == "responder":
            charon.initiate()
        secd.wait_up("sec0")
        assert {sa["udpencap"] for sa in secd.sas()} == {None}
        wait_until(lambda: _answers(host), 5, "the guest's kernel to have the SA too")
        said = host.run("ping", "-q", "-n", "-c5", "-i0.05", "-W2", INNER_THEM, check=False).stdout
        assert " 5 received" in said, said
        assert {child.encap for sa in charon.list_sas() for child in sa.children} == {False}
    finally:
        secd.ipsecctl("-f", "-", text="")
        charon.stop()


def _answers(host: Host) -> bool:
    return " 1 received" in host.run("ping", "-q", "-n", "-c1", "-W1", INNER_THEM, check=False).stdout


def _sa(way: Direction, encryption: str, auth: str, *, esn: bool) -> SA:
    ends = (US, GUEST) if way == "out" else (GUEST, US)
    return SA(
        spi=0x1001 if way == "out" else 0x1002, direction=way, iface="sec0", source=ends[0], destination=ends[1],
        encryption=encryption, encryption_key=secrets.token_bytes(ENCRYPTION_KEY_OCTETS[encryption]),
        auth=auth, auth_key=secrets.token_bytes(AUTH_KEY_OCTETS[auth]), esn=esn,
    )  # fmt: skip


def _state(sa: SA) -> str:
    """Write the command that gives the guest's kernel the same SA."""
    if sa.encryption in AEAD:
        algorithm = f"aead '{AEAD[sa.encryption]}' 0x{sa.encryption_key.hex()} 128"
    else:
        name, bits = HMAC[sa.auth]
        algorithm = f"enc 'cbc(aes)' 0x{sa.encryption_key.hex()} auth-trunc '{name}' 0x{sa.auth_key.hex()} {bits}"
    esn = "flag esn replay-window 64" if sa.esn else "replay-window 32"
    return (
        f"ip xfrm state add src {sa.source} dst {sa.destination} proto esp spi {sa.spi:#x} mode tunnel reqid 1 "
        f"{esn} {algorithm}"
    )
