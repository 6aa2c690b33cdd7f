"""secd and strongSwan, each in a host of its own, on one cable: what the tests of both have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from secd.lab.commands import LabError, wait_until
from secd.lab.namespaces import Host
from secd.lab.secd import Secd
from secd.lab.strongswan import Charon, IkeSA, Tunnel

US, THEM = "192.0.2.1", "192.0.2.2"
INNER_US, INNER_THEM = "169.254.64.94", "169.254.64.93"
PSK = "correct horse battery staple"
HOSTNAME = f"inet {INNER_US} 255.255.255.252 {INNER_THEM}\nup\n"

Role = Literal["initiator", "responder"]
Version = Literal[1, 2]


def rule(
    role: Role, main: str = "main auth hmac-sha2-256 enc aes-256 group modp2048",
    quick: str = "quick auth hmac-sha2-256 enc aes-256 group modp2048", *, peer: str = THEM, ids: str = "",
    psk: str = PSK, iface: str = "sec0",
) -> str:  # fmt: skip
    """Write secd's rule; `role` is secd's."""
    mode = "active" if role == "initiator" else "passive"
    return f'ike {mode} interface {iface} local {US} peer {peer} {main} {quick} {ids} psk "{psk}"\n'


def policy(role: Role, *, peer: str = THEM, ids: str = "", lifetime: int = 0) -> str:
    """Write secd's iked.conf with one policy; `role` is secd's, `lifetime` both SAs' in seconds, 0 for the defaults."""
    mode = "active" if role == "initiator" else "passive"
    times = f"ikelifetime {lifetime} lifetime {lifetime}" if lifetime else ""
    return (
        f'set dpd_check_interval 10\nikev2 "sec0" {mode} from any to any local {US} peer {peer} '
        "ikesa enc aes-256 prf hmac-sha2-256 auth hmac-sha2-256 group modp2048 "
        "childsa enc aes-256 auth hmac-sha2-256 group modp2048 "
        f'srcid {US} {ids or f"dstid {THEM}"} {times} psk "{PSK}" iface sec0\n'
    )


THEIRS = Tunnel(
    local=THEM, remote=US, psk=PSK, ike="aes256-sha256-modp2048", esp="aes256-sha256-modp2048", unique="replace"
)


@dataclass
class Pair:
    """secd on `us`, charon on `them`; `ike` is the version that `rule` and `theirs` are for."""

    us: Host
    them: Host
    secd: Secd
    charon: Charon
    ike: Version = 1

    def negotiate(self, role: Role, ours: str, theirs: Tunnel) -> IkeSA:
        """Bring a tunnel up, secd in `role`; give what charon says of it."""
        self.charon.load(theirs)
        self.load(ours)
        if role == "responder":
            self.charon.initiate()
        self.secd.wait_up("sec0")
        return wait_until(self.charon.established, 5, "charon's IKE SA with a child")

    def rule(self, role: Role, *, peer: str = THEM, ids: str = "", lifetime: int = 0) -> str:
        """Write the usual rule of this version; `lifetime` is that of both SAs in seconds, 0 for the defaults."""
        if self.ike == 2:
            return policy(role, peer=peer, ids=ids, lifetime=lifetime)
        suite = "auth hmac-sha2-256 enc aes-256 group modp2048" + (f" lifetime {lifetime}" if lifetime else "")
        return rule(role, f"main {suite}", f"quick {suite}", peer=peer, ids=ids)

    def theirs(self, **changes: object) -> Tunnel:
        """Give charon's side of the usual tunnel of this version with `changes`."""
        return theirs(version=self.ike, **changes)

    def load(self, rules: str) -> None:
        """Load `rules` in place of those of before, as the boot file, which a restarted secd finds again."""
        if self.ike == 2:
            self.us.write("/etc/iked.conf", rules, mode=0o600)
            self.us.run("ikectl", "load", "/etc/iked.conf")
        else:
            self.us.write("/etc/ipsec.conf", rules, mode=0o600)
            self.secd.ipsecctl("-f", "/etc/ipsec.conf")

    def ping(self, count: int = 3) -> None:
        """See that packets pass both ways; raises when one of `count` is lost."""
        if lost := self.lost_pings(count):
            raise LabError(lost)

    def lost_pings(self, count: int = 1) -> str:
        """Give what ping says when one of `count` is lost, either way; nothing when all pass."""
        for host, address in ((self.us, INNER_THEM), (self.them, INNER_US)):
            said = host.run("ping", "-q", "-n", f"-c{count}", "-i0.05", "-W2", address, check=False).stdout
            if f" {count} received" not in said:
                return f"{host.name}: {said}"
        return ""

    def clear(self) -> None:
        """Forget the tunnel on both sides."""
        self.load("")
        for sa in self.charon.list_sas():
            self.charon.swanctl("--terminate", "--ike-id", str(sa.unique_id), "--force", check=False)
        with self.told():
            wait_until(lambda: not self.secd.sas() and not self.charon.list_sas(), 15, "end of all SAs")

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Add what both sides know to an error."""
        try:
            yield
        except LabError as error:
            ours = [(sa["spi"], sa["direction"], sa["state"]) for sa in self.secd.sas()]
            raise LabError(f"{error}\nsecd: {ours}\ncharon: {self.charon.list_sas()}") from error


def theirs(**changes: object) -> Tunnel:
    """Give charon's side of the usual tunnel with `changes`."""
    return replace(THEIRS, **changes)  # type: ignore[arg-type]
