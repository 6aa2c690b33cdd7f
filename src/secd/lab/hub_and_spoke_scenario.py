"""A hub of strongSwan and five spokes of ours; the addresses exist in the lab's namespaces alone.

     10.0.0.1                                             10.1.0.1 in 10.1.0.0/24
    +---------+  10.254.1.0/30  +-------+              +----------+
    |   hub   +-----------------+ gate1 +---+      +---+  spoke1  |  sec0: 10.255.0.11
    |  bird   |                 +-------+   |      |   +----------+
    |         |                    ...      +------+      ...
    |         |                 +-------+   |      |   +----------+
    |         +-----------------+ gate5 +---+      +---+  spoke5  |  sec0: 10.255.0.15
    +---------+                 +-------+  internet    +----------+
    10.255.0.1                   charon   198.51.100.0/24   secd, bird

Every tunnel is for 0.0.0.0/0 to 0.0.0.0/0, as a hub with tunnel interfaces makes them.  Two such tunnels do not go
into one charon with kernel-libipsec: outward all packets take the SA of the last one.  So the hub has a charon for
each spoke, in a gate of its own between the internet and the hub: what the hub sends there enters the tunnel, what
leaves the tunnel goes to the hub.  (Selectors narrowed to what is behind each spoke would do with one charon, but then
the hub says who has which networks, and not BGP.)

Spokes have pre-shared keys and are known by their names.  None of them knows its address in the overlay: the hub gives
it by the configuration payload, with a netmask that leads the whole overlay into sec0.  BGP is one AS, the hub reflects
routes from spoke to spoke and leaves their next hops as they are, which a spoke finds by that netmask.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from secd.lab.bird import Bird
from secd.lab.namespaces import Host, Lab
from secd.lab.secd import Secd
from secd.lab.strongswan import DEVICE, Charon, Tunnel

HUB_NAME, HUB_INNER, HUB_LAN = "hub.example.com", "10.255.0.1", "10.0.0.1"
NETMASK, AS = "255.255.255.0", 65000
HOLD_TIME = 9


@dataclass(frozen=True)
class Spoke:
    """Number `number` of the spokes, with its gate."""

    number: int

    @property
    def name(self) -> str:
        """Its host's name."""
        return f"spoke{self.number}"

    @property
    def identity(self) -> str:
        """Who it says it is."""
        return f"{self.name}.example.com"

    @property
    def psk(self) -> str:
        """What it shares with the hub and with no other."""
        return f"the secret of {self.name}"

    @property
    def outer(self) -> str:
        """Its address in the internet."""
        return f"198.51.100.{100 + self.number}"

    @property
    def gate(self) -> str:
        """The hub's address for it."""
        return f"198.51.100.{10 + self.number}"

    @property
    def inner(self) -> str:
        """Its address in the overlay, which the hub gives it."""
        return f"10.255.0.{10 + self.number}"

    @property
    def lan(self) -> str:
        """What is behind it; `target` is there."""
        return f"10.{self.number}.0.0/24"

    @property
    def target(self) -> str:
        """An address in `lan`."""
        return f"10.{self.number}.0.1"

    def iked_conf(self) -> str:
        """What secd is told."""
        return (
            f'ikev2 "hub" active from 0.0.0.0/0 to 0.0.0.0/0 local {self.outer} peer {self.gate} \\\n'
            f"        ikesa enc aes-256-gcm prf hmac-sha2-384 group curve25519 \\\n"
            f"        childsa enc aes-256-gcm group curve25519 noesn \\\n"
            f"        srcid {self.identity} dstid {HUB_NAME} \\\n"
            f'        ikelifetime 8h lifetime 1h psk "{self.psk}" request address any iface sec0\n'
        )

    def bird_conf(self) -> str:
        """Its BGP: one neighbour, one network."""
        return (
            f"router id {self.target};\nprotocol device {{ scan time 1; }}\n"
            f"protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; }}\n"
            f'protocol direct overlay {{ ipv4; interface "sec0"; }}\n'
            f"protocol static lan {{ ipv4; route {self.lan} blackhole; }}\n"
            f"protocol bgp hub {{\n"
            f"        local as {AS}; neighbor {HUB_INNER} as {AS}; {_TIMERS}\n"
            f'        ipv4 {{ import all; export where proto = "lan"; next hop self; }};\n}}\n'
        )

    def tunnel(self) -> Tunnel:
        """What the gate's strongSwan is told."""
        return Tunnel(
            local=self.gate, remote="%any", psk=self.psk, version=2, local_id=HUB_NAME, remote_id=self.identity,
            ike="aes256gcm16-prfsha384-curve25519", esp="aes256gcm16-curve25519", dpd_delay=30, unique="replace",
            pools={"overlay": {"addrs": f"{self.inner}/32", "netmask": NETMASK}},
        )  # fmt: skip


_TIMERS = f"hold time {HOLD_TIME}; connect delay time 1; connect retry time 1; error wait time 1, 2;"
SPOKES = tuple(Spoke(number) for number in range(1, 6))


def hub_bird_conf() -> str:
    """The hub's BGP: it reflects every spoke's routes to all others."""
    statics = "".join(f"        route {each.inner}/32 via 10.254.{each.number}.2;\n" for each in SPOKES)
    sessions = "".join(
        f"protocol bgp {each.name} from spokes {{ neighbor {each.inner} as {AS}; }}\n" for each in SPOKES
    )
    return (
        f"router id {HUB_INNER};\nprotocol device {{ scan time 1; }}\n"
        f"protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; }}\n"
        f"protocol static overlay {{\n        ipv4;\n{statics}}}\n"
        f"protocol static lan {{ ipv4; route {HUB_LAN}/32 blackhole; }}\n"
        f"template bgp spokes {{\n        local {HUB_INNER} as {AS}; rr client; {_TIMERS}\n"
        f'        ipv4 {{ import all; export where source = RTS_BGP || proto = "lan"; }};\n}}\n{sessions}'
    )


class Network:
    """The hosts and their cables, without a daemon."""

    def __init__(self, lab: Lab) -> None:
        """Build it."""
        self.hub = lab.host("hub")
        self.gates = {each.name: lab.host(f"gate{each.number}") for each in SPOKES}
        self.spokes = {each.name: lab.host(each.name) for each in SPOKES}
        members = {self.gates[each.name]: f"{each.gate}/24" for each in SPOKES}
        lab.bridge("internet", members | {self.spokes[each.name]: f"{each.outer}/24" for each in SPOKES})
        for address in (HUB_INNER, HUB_LAN):
            self.hub.address(f"{address}/32", "lo")
        self.hub.forward()
        for each in SPOKES:
            self.spokes[each.name].address(f"{each.target}/32", "lo")
            self._join(lab, each)

    def _join(self, lab: Lab, spoke: Spoke) -> None:
        """Put a gate beside the hub; what comes from its inner side belongs into the tunnel, whatever it is."""
        gate, device, net = self.gates[spoke.name], f"gate{spoke.number}", f"10.254.{spoke.number}"
        lab.link(self.hub, f"{net}.1/30", gate, f"{net}.2/30", a_device=device, b_device="hub")
        gate.forward()
        gate.sysctl(net__ipv4__conf__all__rp_filter=0, net__ipv4__conf__default__rp_filter=0)
        gate.ip("rule", "add", "iif", "hub", "lookup", "100", "priority", "100")
        gate.ip("rule", "add", "iif", DEVICE, "lookup", "101", "priority", "101")
        gate.ip("route", "add", "default", "via", f"{net}.1", "table", "101")
        self.hub.ip("route", "add", f"{spoke.inner}/32", "via", f"{net}.2", "src", HUB_INNER)


class Hub:
    """The hub's daemons: a charon for each spoke, and BIRD.  Leaving the context stops them."""

    def __init__(self, network: Network) -> None:
        """Start them."""
        self.charons: dict[str, Charon] = {}
        with ExitStack() as starting:
            for each in SPOKES:
                gate = network.gates[each.name]
                self.charons[each.name] = starting.enter_context(Charon(gate, each.tunnel()))
                gate.ip("link", "set", DEVICE, "mtu", "1400", "up")
                gate.ip("route", "add", "default", "dev", DEVICE, "table", "100")
            self.bird = starting.enter_context(Bird(network.hub, hub_bird_conf()))
            self._stack = starting.pop_all()

    def __enter__(self) -> Hub:
        """Nothing more to do: they run."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them."""
        self._stack.close()


@dataclass
class Branch:
    """A spoke's daemons, running: started by `start`, stopped with the context."""

    spoke: Spoke
    secd: Secd
    bird: Bird

    def __enter__(self) -> Branch:
        """Nothing more to do: they run."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them."""
        self.bird.stop()
        self.secd.stop()


def start(spoke: Spoke, host: Host) -> Branch:
    """Start a spoke's secd and BIRD, as at boot."""
    host.write("/etc/iked.conf", spoke.iked_conf(), mode=0o600)
    secd = Secd(host, "", {"sec0": "up\n"})
    try:
        return Branch(spoke, secd, Bird(host, spoke.bird_conf()))
    except BaseException:
        secd.stop()
        raise
