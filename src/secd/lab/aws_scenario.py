"""The two tunnels of an AWS Site-to-Site VPN connection: parameters that AWS offers, and our files that say them.

The network is `scenario`'s, with other far ends:

    gw0   tunnel 1   inside 169.254.64.92/30    AES256-GCM-16, DH 20             StartupAction add: waits for us
    gw1   tunnel 2   inside 169.254.105.132/30  AES256, SHA2-256, DH 14          StartupAction start: begins too

For both: IKEv2, lifetimes of 28800 and 3600 s that AWS renews 270 s early, DPD that gives up after 30 s, a replay
window of 1024, BGP between AS 64512 and 65001 with a hold time of 30 s.  A pre-shared key has 8 to 64 letters, digits,
dots and underscores, and begins with no 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from secd.lab.namespaces import Host
from secd.lab.scenario import NETWORK, OUR_AS, SELF, THEIR_AS, Gateway
from secd.lab.strongswan import Charon, Tunnel, Value

#: Seconds.
IKE_LIFETIME, LIFETIME, REKEY_MARGIN, HOLD_TIME, KEEPALIVE = 28800, 3600, 270, 30, 10
#: kernel-libipsec cuts what is longer off, so that what it sends back comes in fragments.
CHARON_MTU = 1400
#: Retransmits that end about 30 s after the first question: AWS's DPD timeout.
CHARON: dict[str, Value] = {"retransmit_tries": 3, "retransmit_timeout": "2.5"}


@dataclass(frozen=True)
class Endpoint(Gateway):
    """One of AWS's tunnel endpoints: `startup` is its StartupAction, `words` our transforms, `suite` charon's names."""

    startup: Literal["add", "start"]
    words: str
    ike: str
    esp: str
    suite: tuple[str, ...]
    mtu: int

    def tunnel(self) -> Tunnel:
        """What strongSwan is told."""
        starts = self.startup == "start"
        return Tunnel(
            local=self.outer, remote=self.seen, psk=self.psk, remote_id=SELF, name=self.interface, version=2,
            ike=self.ike, esp=self.esp, ike_rekey=IKE_LIFETIME - REKEY_MARGIN, child_rekey=LIFETIME - REKEY_MARGIN,
            dpd_delay=10, dpd_action="restart" if starts else "clear", start="start" if starts else "none",
            unique="replace", replay_window=1024,
        )  # fmt: skip

    def charon(self, host: Host) -> Charon:
        """Start its strongSwan on `host`."""
        charon = Charon(host, self.tunnel(), charon=CHARON)
        self.number(charon)
        return charon

    def number(self, charon: Charon) -> None:
        """Give the inside address to charon's TUN, which is a new one after each start."""
        charon.inner(self.inner, self.inner_self, mtu=CHARON_MTU)

    def policy(self) -> str:
        """Give our side in iked.conf's words."""
        return (
            f'ikev2 "{self.name}" active from 0.0.0.0/0 to 0.0.0.0/0 local $h_self peer {self.outer} \\\n'
            f"{self.words}"
            f"        srcid $h_self dstid {self.outer} \\\n"
            f"        ikelifetime {IKE_LIFETIME} lifetime {LIFETIME} \\\n"
            f'        psk "{self.psk}" iface {self.interface}\n'
        )

    def hostname(self) -> str:
        """Give our interface's hostname.secN."""
        return f"inet {self.inner_self} 255.255.255.252 {self.inner}\nmtu {self.mtu}\nup\n"

    def bgpd_conf(self) -> str:
        """Give its BGP speaker's configuration: AWS's numbers."""
        return (
            f"AS {THEIR_AS}\nrouter-id {self.inner}\nholdtime {HOLD_TIME}\nnetwork {NETWORK}\n"
            f"neighbor {self.inner_self} {{ remote-as {OUR_AS} }}\n"
            f"allow from any\nallow to any\nmatch to any set med {self.med}\n"
        )


ENDPOINTS = (
    Endpoint(
        name="gw0", interface="sec0", outer="52.65.9.248", router="52.65.9.249", seen=SELF,
        inner="169.254.64.93", inner_self="169.254.64.94", psk="p9XmR2c.7Tq_LwZ4nKd8Vb1sYh6GfJ3e", med=100,
        vpc="100.64.64.2", startup="add", ike="aes256gcm16-prfsha384-ecp384", esp="aes256gcm16-ecp384",
        suite=("AES_GCM_16_256", "", "ECP_384", "AES_GCM_16_256", ""), mtu=1438,
        words=("        ikesa enc aes-256-gcm prf hmac-sha2-384 group ecp384 \\\n"
               "        childsa enc aes-256-gcm group ecp384 noesn \\\n"),
    ),
    Endpoint(
        name="gw1", interface="sec1", outer="54.153.175.223", router="54.153.175.222", seen=SELF,
        inner="169.254.105.133", inner_self="169.254.105.134", psk="Kc5_tB8yQe.2ZrN7wHm4XjU9aPv3LdSg", med=200,
        vpc="100.64.64.3", startup="start", ike="aes256-sha256-modp2048", esp="aes256-sha256-modp2048",
        suite=("AES_CBC_256", "HMAC_SHA2_256_128", "MODP_2048", "AES_CBC_256", "HMAC_SHA2_256_128"), mtu=1422,
        words=("        ikesa enc aes-256 auth hmac-sha2-256 prf hmac-sha2-256 group modp2048 \\\n"
               "        childsa enc aes-256 auth hmac-sha2-256 group modp2048 noesn \\\n"),
    ),
)  # fmt: skip

IKED_CONF = (
    f'# What AWS wants of a customer gateway: one proposal, addresses as identities, keep-alives every 10 s.\n'
    f'h_self = "{SELF}"\nset dpd_check_interval 10\n\n' + "\n".join(end.policy() for end in ENDPOINTS)
)  # fmt: skip
HOSTNAMES = {end.interface: end.hostname() for end in ENDPOINTS}

#: The lower MED wins: tunnel 1 while it is there.  Connecting anew does not wait, as BIRD's defaults would.
BIRD_CONF = f"""\
router id {SELF};
protocol device {{ scan time 1; }}
protocol kernel {{ ipv4 {{ export all; }}; }}
template bgp aws {{
        local as {OUR_AS};
        hold time {HOLD_TIME}; keepalive time {KEEPALIVE};
        connect delay time 1; connect retry time 2; error wait time 1, 2;
        ipv4 {{ import all; export none; }};
}}
""" + "".join(f"protocol bgp {end.interface} from aws {{ neighbor {end.inner} as {THEIR_AS}; }}\n" for end in ENDPOINTS)
