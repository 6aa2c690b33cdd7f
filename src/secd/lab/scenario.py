"""The network of the sec(4) announcement, with its parameters; the addresses exist in the lab's namespaces alone.

                         secd: sec0, sec1
                         bgpd: AS 65001
                        +----------------+
                        |       ix       |  130.102.96.46
                        +-------+--------+
                                |
                        +-------+--------+
                        |      isp       |  masquerades what goes to gw0:
                        +--+----------+--+  there we are 52.65.9.249
  52.65.9.248              |          |              54.153.175.223
+---------------+          |          |          +---------------+
|      gw0      +----------+          +----------+      gw1      |
+-------+-------+                                +-------+-------+
        |   charon, IKEv1, psk "one"                     |   charon, IKEv1, psk "two"
        |   inside 169.254.64.93 <-> .94 sec0            |   inside 169.254.105.133 <-> .134 sec1
        |   bgpd: AS 64512, MED 200                      |   bgpd: AS 64512, MED 100
        |                 +--------------+               |
        +-----------------+     vpc      +---------------+
                          +--------------+
                       100.64.64.1 in 100.64.64.0/22
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

from secd.lab.namespaces import Host, Lab
from secd.lab.openbgpd import OpenBGPD
from secd.lab.secd import Secd
from secd.lab.strongswan import Charon, Tunnel

PeerKind = Literal["strongswan", "secd"]

SELF = "130.102.96.46"
OUR_AS, THEIR_AS = 65001, 64512
NETWORK = "100.64.64.0/22"
TARGET = "100.64.64.1"
#: Seconds of silence that the failover may cost: the hold time of 3 s, and what it takes to act on it, also when busy.
FAILOVER_LIMIT = 8.0

IPSEC_CONF = """\
h_self="130.102.96.46"
h_s2s1="52.65.9.248"
h_s2s1_key="one"
h_s2s2="54.153.175.223"
h_s2s2_key="two"

ike interface sec0 local $h_self peer $h_s2s1 \\
        main auth hmac-sha2-256 enc aes-256 group modp3072 lifetime 28800 \\
        quick auth hmac-sha2-256 enc aes-256 group modp3072 lifetime 3600 \\
        psk $h_s2s1_key

ike interface sec1 local $h_self peer $h_s2s2 \\
        main auth hmac-sha2-256 enc aes-256 group modp3072 lifetime 28800 \\
        quick auth hmac-sha2-256 enc aes-256 group modp3072 lifetime 3600 \\
        psk $h_s2s2_key
"""

HOSTNAMES = {
    "sec0": "inet 169.254.64.94 255.255.255.252 169.254.64.93\nup\n",
    "sec1": "inet 169.254.105.134 255.255.255.252 169.254.105.133\nup\n",
}

BGPD_CONF = """\
AS 65001
router-id 130.102.96.46

group aws {
        remote-as 64512
        neighbor 169.254.64.93
        neighbor 169.254.105.133
}
"""

#: BIRD in OpenBGPD's place, for it installs routes; short timers, so that a dead tunnel is known within 3 s.
BIRD_CONF = """\
router id 130.102.96.46;
protocol device { scan time 1; }
protocol kernel { ipv4 { export all; }; }
template bgp aws {
        local as 65001;
        hold time 3; keepalive time 1; connect delay time 1; error wait time 1, 2;
        ipv4 { import all; export all; };
}
protocol bgp sec0 from aws { neighbor 169.254.64.93 as 64512; }
protocol bgp sec1 from aws { neighbor 169.254.105.133 as 64512; }
"""


@dataclass(frozen=True)
class Gateway:
    """One of the far ends.  `seen` is the address by which it knows us, `router` its side of the isp."""

    name: str
    interface: str
    outer: str
    router: str
    seen: str
    inner: str
    inner_self: str
    psk: str
    med: int
    vpc: str

    def tunnel(self) -> Tunnel:
        """What strongSwan is told: a gateway like AWS's, which waits for us to begin."""
        return Tunnel(
            local=self.outer, remote=self.seen, psk=self.psk, remote_id=SELF, name=self.interface,
            ike="aes256-sha256-modp3072", esp="aes256-sha256-modp3072", ike_rekey=28800, child_rekey=3600,
            dpd_delay=10, dpd_timeout=30, unique="replace",
        )  # fmt: skip

    def charon(self, host: Host) -> Charon:
        """Start its strongSwan on `host`."""
        charon = Charon(host, self.tunnel())
        charon.inner(self.inner, self.inner_self)
        return charon

    def ipsec_conf(self) -> str:
        """What secd is told when it is the gateway."""
        suite = "auth hmac-sha2-256 enc aes-256 group modp3072"
        return (
            f"ike passive interface sec0 local {self.outer} peer {self.seen} \\\n"
            f"        main {suite} lifetime 28800 quick {suite} lifetime 3600 \\\n"
            f'        dstid {SELF} psk "{self.psk}"\n'
        )

    def bgpd_conf(self) -> str:
        """Its BGP speaker: one neighbour, one network."""
        return (
            f"AS {THEIR_AS}\nrouter-id {self.inner}\nholdtime min 3\nnetwork {NETWORK}\n"
            f"neighbor {self.inner_self} {{ remote-as {OUR_AS} }}\n"
            f"allow from any\nallow to any\nmatch to any set med {self.med}\n"
        )


GATEWAYS = (
    Gateway(
        name="gw0", interface="sec0", outer="52.65.9.248", router="52.65.9.249", seen="52.65.9.249",
        inner="169.254.64.93", inner_self="169.254.64.94", psk="one", med=200, vpc="100.64.64.2",
    ),
    Gateway(
        name="gw1", interface="sec1", outer="54.153.175.223", router="54.153.175.222", seen=SELF,
        inner="169.254.105.133", inner_self="169.254.105.134", psk="two", med=100, vpc="100.64.64.3",
    ),
)  # fmt: skip


class Network:
    """The hosts and their cables, without a daemon."""

    def __init__(self, lab: Lab, ends: Sequence[Gateway] = GATEWAYS) -> None:
        """Build it with `ends` as the far ends."""
        self.ends = ends
        self.ix, self.isp = lab.host("ix"), lab.host("isp")
        self.gateways = {gateway.name: lab.host(gateway.name) for gateway in ends}
        self.vpc = lab.host("vpc")
        lab.link(self.ix, f"{SELF}/30", self.isp, "130.102.96.45/30", b_device="ix")
        self.ix.route("default", "130.102.96.45")
        for gateway in ends:
            host = self.gateways[gateway.name]
            lab.link(host, f"{gateway.outer}/31", self.isp, f"{gateway.router}/31", b_device=gateway.name)
            host.route("default", gateway.router)
            host.forward()
            if gateway.seen != SELF:
                self.isp.masquerade(gateway.name)
        self.isp.forward()
        self._watch_wire()
        self._cloud(lab)

    def _cloud(self, lab: Lab) -> None:
        switch = lab.host("switch")
        switch.ip("link", "add", "br0", "type", "bridge")
        switch.ip("link", "set", "br0", "up")
        ends = [(self.gateways[g.name], f"{g.vpc}/22", "vpc", g.name) for g in self.ends]
        for host, address, device, port in [*ends, (self.vpc, f"{TARGET}/22", "eth0", "vpc")]:
            lab.link(host, address, switch, None, a_device=device, b_device=port)
            switch.ip("link", "set", port, "master", "br0")
        for gateway in self.ends:
            self.vpc.route(f"{gateway.inner_self}/32", gateway.vpc)

    def _watch_wire(self) -> None:
        """Count at the isp what is IPsec (and ICMP errors that quote it), and what should not be there."""
        inside = f"{{ 169.254.0.0/16, {NETWORK} }}"
        rules = [
            f'ip saddr {inside} counter name "other" accept', f'ip daddr {inside} counter name "other" accept',
            'udp dport { 500, 4500 } counter name "protected" accept',
            'udp sport { 500, 4500 } counter name "protected" accept',
            'ip protocol esp counter name "protected" accept',
            "icmp type { destination-unreachable, time-exceeded } accept", 'counter name "other"',
        ]  # fmt: skip
        chain = "\n".join(["type filter hook forward priority filter", *rules])
        counters = "counter protected { }\ncounter other { }\n"
        self.isp.run("nft", "-f", "-", text=f"table ip watch {{\n{counters}chain forward {{\n{chain}\n}}\n}}\n")

    def crossed(self, what: Literal["protected", "other"]) -> int:
        """Give how many packets crossed the isp: IKE and ESP, or anything else."""
        words = self.isp.run("nft", "list", "counter", "ip", "watch", what).stdout.split()
        return int(words[words.index("packets") + 1])

    def cut(self, gateway: Gateway) -> None:
        """Pull the cable between the isp and a gateway."""
        self.isp.ip("link", "set", gateway.name, "down")


class Gateways:
    """The daemons of both gateways: an IKE daemon with ESP, and OpenBGPD.  Leaving the context stops them."""

    def __init__(self, network: Network, kind: PeerKind = "strongswan") -> None:
        """Start them."""
        self.charons: dict[str, Charon] = {}
        self.bgp: dict[str, OpenBGPD] = {}
        self._stack = ExitStack()
        with ExitStack() as starting:
            for gateway in network.ends:
                host = network.gateways[gateway.name]
                if kind == "strongswan":
                    self.charons[gateway.name] = starting.enter_context(gateway.charon(host))
                else:
                    hostname = f"inet {gateway.inner} 255.255.255.252 {gateway.inner_self}\nup\n"
                    starting.enter_context(Secd(host, gateway.ipsec_conf(), {"sec0": hostname}))
            for gateway in network.ends:
                host = network.gateways[gateway.name]
                self.bgp[gateway.name] = starting.enter_context(OpenBGPD(host, gateway.bgpd_conf()))
            self._stack = starting.pop_all()

    def __enter__(self) -> Gateways:
        """Nothing more to do: they run."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them."""
        self._stack.close()
