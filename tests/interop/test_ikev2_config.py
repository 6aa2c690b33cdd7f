"""Inner addresses with strongSwan: given by its pools to secd, and out of secd's to it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator

import pytest

from secd.lab.commands import wait_until
from secd.lab.namespaces import Host, Lab
from secd.lab.pair import PSK, THEM, US, Pair
from secd.lab.secd import Secd
from secd.lab.strongswan import DEVICE, Charon, Tunnel, Value

pytestmark = pytest.mark.root

HUB = "10.9.0.1"
IKE, ESP = "enc aes-256-gcm prf hmac-sha2-256 group curve25519", "enc aes-256-gcm group curve25519"
IKE_THEM, ESP_THEM = "aes256gcm16-prfsha256-curve25519", "aes256gcm16-curve25519"


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> tuple[Host, Host]:
    """Two hosts on one cable."""
    us, them = lab.host("us"), lab.host("them")
    lab.link(us, f"{US}/30", them, f"{THEM}/30")
    return us, them


def policy(mode: str, words: str, *, ids: str = f"srcid {US} dstid {THEM}", iface: str = "sec0") -> str:
    """Write a policy of secd's; `words` are those about inner addresses."""
    peer = f"peer {THEM}" if mode == "active" else ""
    return f'ikev2 {mode} from any to any local {US} {peer} ikesa {IKE} childsa {ESP} {ids} psk "{PSK}" {words} ' + (
        f"iface {iface}\n"
    )


def tunnel(pools: dict[str, Value] | None = None, *, pools_there: str = "", **extra: Value) -> Tunnel:
    """Write charon's side; in `extra` stands what a connection has beside, `pools_there` names pools that are not."""
    extra |= {"pools": pools_there} if pools_there else {}
    return Tunnel(THEM, US, PSK, version=2, ike=IKE_THEM, esp=ESP_THEM, pools=pools or {}, extra=extra)


@contextlib.contextmanager
def both(
    hosts: tuple[Host, Host], rules: str, *theirs: Tunnel, interfaces: dict[str, str] | None = None
) -> Iterator[Pair]:
    """Start charon with its tunnels, and secd with `rules` as its iked.conf."""
    us, them = hosts
    us.write("/etc/iked.conf", rules, mode=0o600)
    (us.directory / "log" / "secd.log").unlink(missing_ok=True)
    with Charon(them, *theirs, log_level=2) as charon:
        charon.inner(HUB, "10.9.0.77")
        with Secd(us, "", interfaces or {"sec0": "up\n"}, "-v") as secd:
            yield Pair(us, them, secd, charon, ike=2)


def addresses(host: Host) -> set[str]:
    """Give those of sec0."""
    shown = json.loads(host.ip("-j", "address", "show", "dev", "sec0"))
    return {f"{each['local']}/{each['prefixlen']}" for each in shown[0]["addr_info"]}


# -- secd asks --------------------------------------------------------------------------------------------

POOL: dict[str, Value] = {
    "overlay": {
        "addrs": "10.9.0.77-10.9.0.78",
        "netmask": "255.255.255.0",
        "dns": "10.9.0.53",
        "subnet": "10.20.0.0/16",
    }
}
ASKED = "request address any request name-server any request protected-subnet any"


def test_a_spoke_has_the_address_that_a_hub_gives_it_over_rekeys_and_kills_until_its_policy_goes(
    hosts: tuple[Host, Host],
) -> None:
    us, them = hosts
    with both(hosts, policy("active", ASKED), tunnel(POOL)) as pair:
        pair.secd.wait_up("sec0")
        wait_until(lambda: addresses(us) == {"10.9.0.77/24"}, 5, "the address")
        assert pair.secd.status()["sec0"]["assigned"] == {
            "address": ["10.9.0.77/24"], "name-server": ["10.9.0.53"], "protected-subnet": ["10.20.0.0/16"],
        }  # fmt: skip
        assert "`resolvectl dns sec0 10.9.0.53`" in pair.secd.daemon.text()
        assert "`ip route add 10.20.0.0/16 dev sec0`" in pair.secd.daemon.text()
        sa = pair.charon.established()
        assert sa is not None
        assert sa.inner_remote == ("10.9.0.77",)
        assert _pings(us, HUB)
        assert _pings(them, "10.9.0.77")
        us.ip("route", "add", "10.20.0.0/16", "dev", "sec0")

        us.run("sec", "netstart")
        for what in (["--ike"], []):
            pair.secd.sec("rekey", *what, "sec0")
            time.sleep(1)
        pair.charon.rekey(ike="sec0")
        us.run("kill", "-9", str(pair.secd.processes()["iked"]))
        assert pair.secd.status()["sec0"]["assigned"]["address"] == ["10.9.0.77/24"]
        us.run("kill", "-9", str(pair.secd.processes()["sadb"]))
        wait_until(lambda: _pings(us, HUB), 20, "traffic after sadb was killed")
        assert addresses(us) == {"10.9.0.77/24"}
        assert "10.20.0.0/16" in us.ip("route", "show", "dev", "sec0")

        pair.load("")
        wait_until(lambda: addresses(us) == set(), 5, "the end of the address")


def test_both_versions_of_ip_are_given_at_once(hosts: tuple[Host, Host]) -> None:
    us, _them = hosts
    pools: dict[str, Value] = {"four": {"addrs": "10.9.0.77/32"}, "six": {"addrs": "2001:db8:9::77/128"}}
    with both(hosts, policy("active", "request address any"), tunnel(pools)) as pair:
        pair.secd.wait_up("sec0")
        wait_until(lambda: len(addresses(us)) == 2, 5, "both addresses")
        assert {each.partition("/")[0] for each in addresses(us)} == {"10.9.0.77", "2001:db8:9::77"}


def test_a_hub_that_has_no_address_left_is_told_of_and_asked_again(hosts: tuple[Host, Host]) -> None:
    us, _them = hosts
    with both(hosts, policy("active", "request address any"), tunnel(pools_there="nowhere")) as pair:
        wait_until(lambda: "INTERNAL_ADDRESS_FAILURE" in pair.secd.daemon.text(), 10, "the reason")
        reason = pair.secd.status()["sec0"]["reason"]
        assert "has no inner address for us (INTERNAL_ADDRESS_FAILURE): its pool is used up, or is not for us" in reason
        pair.charon.load(tunnel(POOL))
        pair.secd.wait_up("sec0")
        wait_until(lambda: addresses(us) == {"10.9.0.77/24"}, 5, "the address")


def test_a_hub_that_carries_the_inner_address_alone_is_no_fault_and_is_said(hosts: tuple[Host, Host]) -> None:
    us, _them = hosts
    child: dict[str, Value] = {"local_ts": "0.0.0.0/0", "esp_proposals": ESP_THEM}
    with both(hosts, policy("active", "request address any"), tunnel(POOL, children={"sec0": child})) as pair:
        pair.secd.wait_up("sec0")
        wait_until(lambda: _pings(us, HUB), 5, "traffic")
        assert "carries only what is from and to the inner address 10.9.0.77" in pair.secd.daemon.text()
        assert "it drops whatever else" not in pair.secd.daemon.text()


# -- secd gives -------------------------------------------------------------------------------------------


def test_a_client_gets_an_address_out_of_our_pool_and_is_routed_to(hosts: tuple[Host, Host]) -> None:
    us, them = hosts
    words = f"config address {HUB}/24 config address 2001:db8:9::1/64 config name-server 10.9.0.53"
    here = {"sec0": f"inet {HUB} 255.255.255.255\ninet6 2001:db8:9::1 128\nup\n"}
    everything = "0.0.0.0/0, ::/0"
    child: dict[str, Value] = {"local_ts": everything, "remote_ts": everything, "esp_proposals": ESP_THEM}
    client = tunnel(vips="0.0.0.0, ::", children={"sec0": child})
    with both(hosts, policy("passive", words), client, interfaces=here) as pair:
        them.ip("address", "flush", "dev", DEVICE)
        pair.charon.initiate()
        pair.secd.wait_up("sec0")
        given = {"10.9.0.2", "2001:db8:9::2"}
        sa = wait_until(pair.charon.established, 5, "charon's IKE SA")
        assert set(sa.inner_local) == given
        assert set(pair.secd.status()["sec0"]["provided"]) == given
        assert "[10.9.0.2]" in us.run("ikectl", "show", "sa").stdout
        pair.charon.inner("10.9.0.2", HUB)
        assert "10.9.0.2 " in us.ip("route", "show", "dev", "sec0")
        them.address("2001:db8:9::2/64", DEVICE)
        assert _pings(us, "10.9.0.2", source=HUB)
        assert _pings(them, HUB)
        assert _pings(us, "2001:db8:9::2", source="2001:db8:9::1")
        assert _pings(them, "2001:db8:9::1")

        us.run("kill", "-9", str(pair.secd.processes()["iked"]))
        pair.secd.sec("rekey", "--ike", "sec0")
        time.sleep(1)
        assert set(pair.secd.status()["sec0"]["provided"]) == given
        pair.charon.terminate()
        pair.charon.initiate()
        assert set(wait_until(pair.charon.established, 5, "charon's IKE SA").inner_local) == given
        pair.load("")
        wait_until(lambda: "10.9.0.2 " not in us.ip("route", "show", "dev", "sec0"), 5, "the end of the route")


def test_a_pool_that_is_used_up_refuses_a_client_with_the_words_to_write(hosts: tuple[Host, Host]) -> None:
    clients = [
        Tunnel(
            THEM, US, PSK, name=name, version=2, local_id=name, ike=IKE_THEM, esp=ESP_THEM, extra={"vips": "0.0.0.0"}
        )
        for name in ("first", "second")
    ]
    rules = "".join(
        policy("passive", f"config address {HUB}/30", ids=f"srcid {US} dstid {name}", iface=f"sec{number}")
        for number, name in enumerate(("first", "second"))
    )
    with both(hosts, rules, *clients, interfaces={"sec0": "up\n", "sec1": "up\n"}) as pair:
        pair.charon.initiate("first")
        pair.secd.wait_up("sec0")
        pair.charon.swanctl("--initiate", "--child", "second", "--timeout", "3", check=False)
        line = next(line for line in pair.secd.daemon.text().splitlines() if "INTERNAL_ADDRESS_FAILURE" in line)
        assert "10.9.0.1/30 of `config address` at /etc/iked.conf: 2 is with sec0; write a larger network" in line
        assert "INTERNAL_ADDRESS_FAILURE" in pair.charon.log()
        assert not [sa for sa in pair.secd.sas() if sa["iface"] == "sec1"]
        pair.charon.terminate("first")
        wait_until(lambda: not [sa for sa in pair.secd.sas() if sa["iface"] == "sec0"], 10, "the end of the first")
        pair.charon.initiate("second")
        pair.secd.wait_up("sec1")
        assert pair.secd.status()["sec1"]["provided"] == ["10.9.0.2"]


def _pings(host: Host, address: str, source: str = "") -> bool:
    words = ["ping", "-qnc2", "-i0.2", "-W2", *(["-I", source] if source else []), address]
    return " 2 received" in host.run(*words, check=False).stdout
