"""What is compared: each a tunnel between two hosts of its own, joined by a veth pair.

a: inner 10.66.N.1 ---- eth0 192.0.2.1 ======== eth0 192.0.2.2 ---- inner 10.66.N.2 :b
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench import tools
from secd.lab import strongswan
from secd.lab.commands import LabError, run, wait_until
from secd.lab.namespaces import Host, Lab
from secd.lab.processes import Daemon
from secd.lab.secd import Secd, version
from secd.lab.strongswan import Charon
from secd.sadb.client import SADB
from secd.sadb.messages import AUTH_KEY_OCTETS, ENCRYPTION_KEY_OCTETS, SA, UdpEncap

A, B = "192.0.2.1", "192.0.2.2"
A6, B6 = "2001:db8::1", "2001:db8::2"
PSK = "correct horse battery staple"
_serial = itertools.count(1)


@dataclass
class Tunnel:
    """One tunnel, up: `device` at both ends, `address` of its far end, which `source` reaches through it."""

    name: str
    version: str
    suite: str
    a: Host
    b: Host
    device: str
    source: str
    address: str
    daemons: list[Daemon] = field(default_factory=list)
    #: Inner packets beyond this size are dropped by the peer's own limits.
    mtu_limit: int = 65_535
    mtu: int = 0
    #: Take it down, and give the command that brings it up, at end a.
    down: Callable[[], object] | None = None
    up: Callable[[], object] | None = None

    def set_mtu(self, mtu: int) -> None:
        """Set the MTU at both ends."""
        if mtu != self.mtu:
            for host in (self.a, self.b):
                host.ip("link", "set", self.device, "mtu", str(min(mtu, self.mtu_limit)))
            self.mtu = mtu

    def check(self) -> None:
        """See that it carries packets."""

        def answered() -> bool:
            return self.a.run("ping", "-c1", "-W1", self.address, check=False).returncode == 0

        wait_until(answered, 20, f"{self.name}: an answer through the tunnel")


def hosts(lab: Lab, name: str, *, wire_mtu: int = 1500) -> tuple[Host, Host]:
    """Make two hosts on one cable."""
    a, b = lab.host(f"{name}-a"), lab.host(f"{name}-b")
    lab.link(a, f"{A}/24", b, f"{B}/24", mtu=wire_mtu)
    for host, address in ((a, A6), (b, B6)):
        host.address(f"{address}/64", "eth0")
    return a, b


def inner() -> tuple[str, str]:
    """Give the next pair of inner addresses."""
    net = next(_serial)
    return f"10.66.{net}.1", f"10.66.{net}.2"


# -- secd --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Suite:
    """How one secN protects its packets."""

    encryption: str = "aes-256-gcm"
    auth: str = ""
    udp: bool = True
    outer6: bool = False
    inner6: bool = False

    @property
    def text(self) -> str:
        """Say it in one word: `aes-256-gcm/udp`."""
        algorithms = "+".join(filter(None, (self.encryption, self.auth)))
        families = "/outer6" * self.outer6 + "/inner6" * self.inner6
        return f"{algorithms}/{'udp' if self.udp else 'esp'}{families}"


GCM = Suite()
CBC = Suite("aes-256", "hmac-sha2-256")
CHACHA = Suite("chacha20-poly1305")
PLAIN_ESP = Suite(udp=False)
OUTER6, INNER6 = Suite(outer6=True), Suite(inner6=True)


#: Rules for the one tunnel whose keys are negotiated.
_NEGOTIATED = (
    "ike {mode} interface sec{number} peer {peer} main auth hmac-sha2-256 enc aes-256 group modp2048 "
    f'quick enc aes-256-gcm group none psk "{PSK}"\n'
)


def secd(lab: Lab, suites: list[Suite], *, name: str = "secd") -> tuple[list[Tunnel], Tunnel]:
    """Make secd on both ends, and a secN with static random keys for each of `suites`, and one with IKE."""
    a, b = hosts(lab, name)
    pairs = [inner() for _ in [*suites, None]]
    last = len(suites)
    for host, here, there in ((a, 0, 1), (b, 1, 0)):
        files = {f"sec{i}": f"inet {pair[here]} 255.255.255.252 {pair[there]}\nup\n" for i, pair in enumerate(pairs)}
        lab.on_exit(Secd(host, _NEGOTIATED.format(mode="passive", number=last, peer=A) if host is b else "", files))
    for i, suite in enumerate(suites):
        install(a, b, f"sec{i}", 0x1000 + 2 * i, suite)
    tunnels = []
    for i, (suite, ends4) in enumerate(zip(suites, pairs[:last], strict=True)):
        ends = (f"fd66::{i}:1", f"fd66::{i}:2") if suite.inner6 else ends4
        if suite.inner6:
            for host, mine in zip((a, b), ends, strict=True):
                host.address(f"{mine}/112", f"sec{i}")
        tunnels.append(Tunnel("secd", version(), suite.text, a, b, f"sec{i}", *ends))
    rule = _NEGOTIATED.format(mode="active", number=last, peer=B)
    negotiated = Tunnel("secd", version(), "aes-256-gcm/esp/ikev1", a, b, f"sec{last}", *pairs[last])
    negotiated.up = lambda: a.run("ipsecctl", "-f", "-", text=rule)
    negotiated.down = lambda: a.run("ipsecctl", "-d", "-f", "-", text=rule)
    negotiated.up()
    return tunnels, negotiated


def install(a: Host, b: Host, iface: str, spi: int, suite: Suite) -> None:
    """Install an SA each way with random keys, by the seam, as a key-exchange daemon would."""
    there, back = (A6, B6) if suite.outer6 else (A, B)
    for number, source, destination, sender, receiver in ((spi, there, back, a, b), (spi + 1, back, there, b, a)):
        sa = SA(
            spi=number, direction="out", iface=iface, source=source, destination=destination,
            encryption=suite.encryption, encryption_key=os.urandom(ENCRYPTION_KEY_OCTETS[suite.encryption]),
            auth=suite.auth, auth_key=os.urandom(AUTH_KEY_OCTETS[suite.auth]), replay=1024,
            udpencap=UdpEncap() if suite.udp else None,
        )  # fmt: skip
        for host, direction in ((sender, "out"), (receiver, "in")):
            with SADB.connect(str(host.path("/run/secd/sadb.sock"))) as sadb:
                sadb.add(SA(**{name: getattr(sa, name) for name in sa.__struct_fields__} | {"direction": direction}))


# -- the others --------------------------------------------------------------------------------------------


def wireguard(lab: Lab) -> Tunnel:
    """Make wireguard-go on both ends."""
    program, its_version = tools.wireguard_go()
    a, b = hosts(lab, "wg")
    source, address = inner()
    keys = {host: run("wg", "genkey").stdout.strip() for host in (a, b)}
    public = {host: run("wg", "pubkey", text=key).stdout.strip() for host, key in keys.items()}
    tunnel = Tunnel("wireguard-go", its_version, "chacha20-poly1305", a, b, "wg0", source, address)
    for host, other, endpoint, mine, theirs in ((a, b, B, source, address), (b, a, A, address, source)):
        daemon = Daemon(host, "wireguard-go", program, "-f", "wg0", env={"LOG_LEVEL": "error"})
        lab.on_exit(daemon)
        daemon.wait_until(host.path("/run/wireguard/wg0.sock").exists, 5, "its control socket")
        configuration = (
            f"[Interface]\nPrivateKey = {keys[host]}\nListenPort = 51820\n"
            f"[Peer]\nPublicKey = {public[other]}\nAllowedIPs = 0.0.0.0/0\nEndpoint = {endpoint}:51820\n"
        )
        host.run("wg", "setconf", "wg0", "/dev/stdin", text=configuration)
        host.address(mine, "wg0", peer=theirs)
        host.ip("link", "set", "wg0", "up")
        tunnel.daemons.append(daemon)
    tunnel.down = lambda: a.ip("link", "set", "wg0", "down")
    tunnel.up = lambda: a.ip("link", "set", "wg0", "up")
    return tunnel


def libipsec(lab: Lab) -> Tunnel:
    """Make strongSwan with ESP in user space on both ends."""
    a, b = hosts(lab, "ss")
    source, address = inner()
    charons = []
    for host, local, remote, mine, theirs in ((a, A, B, source, address), (b, B, A, address, source)):
        connection = strongswan.Tunnel(
            local=local, remote=remote, psk=PSK, version=2, ike="aes256gcm16-prfsha256-modp2048", esp="aes256gcm16",
            ike_rekey=0, child_rekey=86400,
        )  # fmt: skip
        charon = Charon(host, connection, log_level=0)
        lab.on_exit(charon)
        charon.inner(mine, theirs)
        charons.append(charon)
    charons[0].initiate()
    # Its userspace ESP drops inner packets of more than 1400 octets.
    return Tunnel(
        "strongswan-libipsec", strongswan.version(), "aes-256-gcm/udp", a, b, strongswan.DEVICE, source, address,
        daemons=[charon.daemon for charon in charons], mtu_limit=1400, down=charons[0].terminate,
        up=charons[0].initiate,
    )  # fmt: skip


def openvpn(lab: Lab) -> Tunnel:
    """Make OpenVPN without kernel offload on both ends."""
    a, b = hosts(lab, "ovpn")
    source, address = inner()
    prints = {}
    for host in (a, b):
        key, certificate = host.directory / "key.pem", host.directory / "certificate.pem"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", f"/CN={host.name}", "-keyout", str(key), "-out", str(certificate))  # fmt: skip
        said = run("openssl", "x509", "-in", str(certificate), "-noout", "-fingerprint", "-sha256").stdout
        prints[host] = said.partition("=")[2].strip()
    tunnel = Tunnel("openvpn", _openvpn_version(), "aes-256-gcm", a, b, "tun0", source, address)
    ends = ((b, a, A, address, source, ["--tls-server", "--dh", "none"]), (a, b, B, source, address, ["--tls-client"]))
    for host, other, remote, mine, theirs, role in ends:
        daemon = Daemon(
            host, "openvpn", "openvpn", "--dev", "tun0", "--dev-type", "tun", "--proto", "udp", "--remote", remote,
            "--port", "1194", "--ifconfig", mine, theirs, "--disable-dco", "--cipher", "AES-256-GCM",
            "--data-ciphers", "AES-256-GCM", "--fast-io", "--verb", "1", *role,
            "--cert", str(host.directory / "certificate.pem"), "--key", str(host.directory / "key.pem"),
            "--peer-fingerprint", prints[other],
        )  # fmt: skip
        lab.on_exit(daemon)
        tunnel.daemons.append(daemon)
    for daemon in tunnel.daemons:
        daemon.wait_for("Initialization Sequence Completed", 20)
    tunnel.down, tunnel.up = tunnel.daemons[1].stop, tunnel.daemons[1].restart
    return tunnel


def _openvpn_version() -> str:
    words = run("openvpn", "--version", check=False).stdout.split()
    return f"OpenVPN {words[1]}" if len(words) > 1 else "OpenVPN"


def forwarder(lab: Lab) -> Tunnel:
    """Join two TUN interfaces by a process that only copies: the practical limit."""
    a, b = hosts(lab, "fwd")
    source, address = inner()
    holder = Daemon(
        b, "holder", "sh", "-c", "echo here; exec sleep 86400"
    )  # by which the other host's network is found
    lab.on_exit(holder)
    holder.wait_for("here", 5)
    daemon = Daemon(a, "forward", *tools.load("forward", "/proc/self/ns/net", f"{source}/30",
                                              f"/proc/{holder.pid}/ns/net", f"{address}/30", "1420"))  # fmt: skip
    lab.on_exit(daemon)
    daemon.wait_for("ready", 5)
    return Tunnel("forwarder", "engine/examples/load", "none", a, b, "fwd0", source, address, daemons=[daemon])


def wait_gone(host: Host, address: str, timeout: float = 10) -> None:
    """Wait until `address` does not answer."""
    end = time.monotonic() + timeout
    while host.run("ping", "-c1", "-W0.3", address, check=False).returncode == 0:
        if time.monotonic() > end:
            raise LabError(f"{address} still answers")
