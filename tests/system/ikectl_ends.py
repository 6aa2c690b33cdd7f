"""Two secds on one cable that speak IKEv2 by what stands in /etc/iked.conf: what the tests of ikectl(8) share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from secd.lab.namespaces import Lab
from secd.lab.secd import Secd

US, THEM = ("192.0.2.1", "169.254.64.94"), ("192.0.2.2", "169.254.64.93")
SUITE = "ikesa enc aes-256-gcm group curve25519 childsa enc aes-256-gcm noesn"


def policy(mode: str, local: str, peer: str, words: str, iface: str = "sec0") -> str:
    return f"ikev2 {mode} from any to any local {local} peer {peer} {SUITE} {words} iface {iface}\n"


BEGINNING = (
    policy("active", US[0], THEM[0], 'srcid here dstid there psk "two words"'),
    policy("passive", THEM[0], US[0], 'srcid there dstid here psk "two words"'),
)


@dataclass
class Ends:
    """Two secds on one cable; `us` begins."""

    us: Secd
    them: Secd

    def ikectl(self, *words: str, text: str | None = None, check: bool = True) -> str:
        """Run ikectl at our end; give what it says."""
        done = self.us.host.run("ikectl", *words, text=text, check=check)
        return done.stdout + done.stderr

    def begin(self) -> None:
        """Load the policies that both started with."""
        self.load(*BEGINNING)

    def load(self, ours: str, theirs: str) -> None:
        """Load policies at both ends."""
        for secd, text in ((self.them, theirs), (self.us, ours)):
            secd.host.write("/etc/iked.conf", text, mode=0o600)
            secd.host.run("ikectl", "reload")

    def up(self) -> None:
        """Wait until packets pass."""
        self.us.wait_up("sec0")
        self.them.wait_up("sec0")
        self.ping()

    def ping(self) -> None:
        said = self.us.host.run("ping", "-q", "-n", "-c3", "-i0.05", "-W2", THEM[1], check=False).stdout
        assert " 3 received" in said, (said, self.us.daemon.tail(), self.them.daemon.tail())

    def spis(self) -> set[int]:
        return {sa["spi"] for sa in self.us.sas()}


@contextmanager
def two_secds(lab: Lab, name: str) -> Iterator[Ends]:
    """Start both; the policies are there before secd is, which loads them as it starts."""
    here, there = lab.host(f"{name}1"), lab.host(f"{name}2")
    lab.link(here, f"{US[0]}/24", there, f"{THEM[0]}/24")
    for host, text in ((here, BEGINNING[0]), (there, BEGINNING[1])):
        host.write("/etc/iked.conf", text, mode=0o600)

    def hostname(us: tuple[str, str], them: tuple[str, str]) -> dict[str, str]:
        return {"sec0": f"inet {us[1]} 255.255.255.252 {them[1]}\nup\n"}

    with Secd(there, "", hostname(THEM, US)) as them, Secd(here, "", hostname(US, THEM)) as us:
        yield Ends(us, them)
