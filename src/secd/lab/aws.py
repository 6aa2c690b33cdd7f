"""`sec lab aws`: two IKEv2 tunnels as AWS Site-to-Site VPN makes them, BGP over both, and endpoints that are replaced.

`aws_scenario` has the parameters.  AWS's own endpoints are not at hand; strongSwan plays them.
"""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

from rich.console import Console

from secd.lab import bird, openbgpd, secd, strongswan
from secd.lab.aws_scenario import BIRD_CONF, ENDPOINTS, HOLD_TIME, HOSTNAMES, IKED_CONF, Endpoint
from secd.lab.bird import Bird
from secd.lab.commands import wait_until
from secd.lab.namespaces import Lab
from secd.lab.processes import Daemon, send
from secd.lab.scenario import NETWORK, SELF, TARGET, Gateways, Network
from secd.lab.secd import Secd
from secd.lab.stage import Stage, play

#: Seconds that tunnels, and then BGP, may take to come up.
UP_TIMEOUT = 20.0
#: Seconds after which silence is a dead peer: asked after 10, and 5 questions 5 apart; then a negotiation.
DPD = 10 + 5 * 5
BACK_TIMEOUT = DPD + 15.0


def connect(console: Console, *, short: bool = False, json_file: Path | None = None) -> int:
    """Run the scenario; give the exit status.  `short` leaves out the endpoint that only DPD tells dead, a minute."""
    facts = {
        "AWS's endpoints": strongswan.version() + " (charon, kernel-libipsec)", "our side": secd.version(),
        "BGP": f"{openbgpd.version()} there, {bird.version()} on our side",
    }  # fmt: skip
    return play(console, lambda: facts, lambda lab, stage: _scenario(lab, stage, short=short), json_file)


def _scenario(lab: Lab, stage: Stage, *, short: bool) -> None:
    with stage.step("a network of namespaces: ix, the isp, two endpoints, their cloud"):
        network = Network(lab, ENDPOINTS)
    network.ix.write("/etc/iked.conf", IKED_CONF, mode=0o600)
    with stage.step("the endpoints: strongSwan, one that waits (add), one that begins (start)"):
        gateways = Gateways(network)
    with gateways:
        with stage.step("secd on ix, with the iked.conf below and hostname.sec0, hostname.sec1"):
            ours = Secd(network.ix, "", HOSTNAMES)
        with ours:
            with stage.step("IKEv2 with both endpoints"), stage.checks.expect("both tunnels come up"):
                ours.wait_up("sec0", "sec1", timeout=UP_TIMEOUT)
            with stage.step("BIRD on ix"), Bird(network.ix, BIRD_CONF) as daemon:
                _wait_for_bgp(daemon)
                stage.show(network.ix, "cat", "/etc/iked.conf")
                _show(stage, network, gateways, ours)
                _show_bgp(stage, network, daemon)
                _replace_start(stage, network, gateways, ours)
                if not short:
                    _replace_add(stage, network, gateways, ours)
        _check_wire(stage, network)


def _wait_for_bgp(daemon: Bird) -> None:
    wanted = {end.interface: "Established" for end in ENDPOINTS}
    wait_until(lambda: daemon.sessions() == wanted, UP_TIMEOUT, "BGP with both endpoints", interval=0.2)


def _show(stage: Stage, network: Network, gateways: Gateways, ours: Secd) -> None:
    stage.show(network.ix, "ikectl", "show", "sa")
    stage.show(network.ix, "ipsecctl", "-sa")
    stage.show(network.ix, "sec", "ifconfig", "sec")
    for end in ENDPOINTS:
        _check_sa(stage, end, gateways, ours)
        size = end.mtu - 28  # of an ICMP echo that fills the interface's MTU
        said = stage.show(
            network.ix, "ping", "-qc4", "-i0.25", "-Mdo", f"-s{size}", end.inner, check=False
        )  # fmt: skip
        stage.checks.add(
            f"ping through {end.interface}, packets of {end.mtu} octets", " 4 received, 0% packet loss" in said,
            said.splitlines()[-1].strip(),
        )  # fmt: skip


def _check_sa(stage: Stage, end: Endpoint, gateways: Gateways, ours: Secd) -> None:
    """Compare what both ends say of one tunnel."""
    name = f"{end.interface}: AWS's suite, lifetimes, identities; the endpoint agrees"
    found = [sa for sa in gateways.charons[end.name].list_sas() if sa.state == "ESTABLISHED" and sa.children]
    if not found:
        stage.checks.add(name, passed=False, detail=f"{end.name} has no established IKE SA")
        return
    theirs = {int(spi, 16) for sa in found for child in sa.children for spi in (child.spi_in, child.spi_out)}
    pairs = [each for each in ours.sas() if each["iface"] == end.interface]  # two, if both ends began at once
    sa, child = found[0], found[0].children[-1]
    suite = (sa.encryption, sa.integrity, sa.group, child.encryption, child.integrity)
    agrees = (
        sa.version == 2 and suite == end.suite and sa.remote_id == SELF
        and {each["spi"] for each in pairs} <= theirs and {each["hard"]["addtime"] for each in pairs} == {3600}
    )  # fmt: skip
    stage.checks.add(name, agrees, f"IKEv{sa.version} {' '.join(filter(None, suite))}, we are {sa.remote_id}")


def _show_bgp(stage: Stage, network: Network, daemon: Bird) -> None:
    stage.show(network.ix, "birdc", "-s", "/run/bird/bird.ctl", "show", "route", "for", TARGET)
    said = stage.show(network.ix, "ip", "route", "get", TARGET)
    stage.checks.add("traffic takes tunnel 1, MED 100", "sec0" in said.split(), said.splitlines()[0].strip())
    for end in ENDPOINTS:
        detail = daemon.birdc("show", "protocols", "all", end.interface)
        route = daemon.birdc("show", "route", "protocol", end.interface, "all")
        hold = re.search(r"Hold timer:\s+\S+/(\d+)", detail)
        med = re.search(r"BGP.med: (\d+)", route)
        stage.checks.add(
            f"BGP over {end.interface}: {NETWORK} with MED {end.med}, hold time {HOLD_TIME} s",
            NETWORK in route and med and int(med[1]) == end.med and hold and int(hold[1]) == HOLD_TIME,
            f"MED {med[1] if med else 'none'}, hold time {hold[1] if hold else 'none'}",
        )


def _replace_start(stage: Stage, network: Network, gateways: Gateways, ours: Secd) -> None:
    """AWS replaces an endpoint that begins by itself: the tunnel must not wait until we find the old one dead."""
    end = ENDPOINTS[1]
    charon = gateways.charons[end.name]
    old = {sa["spi"] for sa in ours.sas() if sa["iface"] == end.interface}
    with stage.step(f"{end.name} (start) loses power and is replaced"):
        charon.kill()
        begun = time.monotonic()
        charon.restart()
        end.number(charon)
        with stage.checks.expect(f"{end.name} (start) is replaced: its tunnel is back by itself") as details:
            wait_until(lambda: _renewed(ours, end, old), UP_TIMEOUT, f"new SAs of {end.interface}")
            wait_until(lambda: _answers(network, end), UP_TIMEOUT, f"ping through {end.interface}")
            sa = charon.established(end.interface)
            who = "the endpoint" if sa and sa.initiator else "we"
            details.append(f"after {time.monotonic() - begun:.1f} s; {who} began")


def _replace_add(stage: Stage, network: Network, gateways: Gateways, ours: Secd) -> None:
    """AWS replaces the endpoint that traffic goes through and that waits for us: BGP fails over, DPD brings it back."""
    end, other = ENDPOINTS
    charon, bgp = gateways.charons[end.name], gateways.bgp[end.name]
    old = {sa["spi"] for sa in ours.sas() if sa["iface"] == end.interface}
    ping = Daemon(network.ix, "ping", "ping", "-n", "-D", "-i", "0.2", TARGET)
    ping.wait_until(lambda: ping.text().count(" bytes from ") >= 5, UP_TIMEOUT, "answers")
    begun = time.monotonic()
    with stage.step(f"{end.name} (add) loses power under a ping; 2 s later another is in its place"):
        charon.kill()
        bgp.daemon.kill()
        time.sleep(2)
        charon.restart()
        end.number(charon)
        bgp.daemon.restart()
    with (
        stage.step(f"BGP finds out within its hold time of {HOLD_TIME} s"),
        stage.checks.expect(f"traffic moves to {other.interface}, within the hold time") as details,
    ):
        wait_until(lambda: _leads_by(network, other), HOLD_TIME + 5.0, f"route by {other.interface}")
        details.append(f"after {time.monotonic() - begun:.1f} s")
    with stage.step(f"our DPD finds out within {DPD} s and begins anew"):
        with stage.checks.expect(f"{end.name} (add) is replaced: its tunnel is back by itself") as details:
            wait_until(lambda: _renewed(ours, end, old), BACK_TIMEOUT, f"new SAs of {end.interface}")
            details.append(f"after {time.monotonic() - begun:.1f} s")
        with stage.checks.expect(f"traffic is back on {end.interface}") as details:
            wait_until(lambda: _leads_by(network, end), BACK_TIMEOUT, f"route by {end.interface}")
            so_far = ping.text().count(" bytes from ")
            ping.wait_until(lambda: ping.text().count(" bytes from ") >= so_far + 5, UP_TIMEOUT, "answers")
            details.append(f"after {time.monotonic() - begun:.1f} s")
    send(ping.pid, signal.SIGINT)
    wait_until(lambda: not ping.running, 5, "end of ping")
    stage.console.out("\n" + "\n".join(ping.text().splitlines()[-2:]), highlight=False)


def _renewed(ours: Secd, end: Endpoint, old: set[int]) -> bool:
    """Whether the tunnel has a pair of SAs that it had not before."""
    new = [sa["direction"] for sa in ours.sas() if sa["iface"] == end.interface and sa["spi"] not in old]
    return {"in", "out"} <= set(new)


def _answers(network: Network, end: Endpoint) -> bool:
    return " 1 received" in network.ix.run("ping", "-qc1", "-W1", end.inner, check=False).stdout


def _leads_by(network: Network, end: Endpoint) -> bool:
    return end.interface in network.ix.run("ip", "route", "get", TARGET, check=False).stdout.split()


def _check_wire(stage: Stage, network: Network) -> None:
    protected, other = network.crossed("protected"), network.crossed("other")
    stage.checks.add(
        "nothing but IKE and ESP crossed the isp", protected and not other,
        f"{protected} packets of IKE and ESP, {other} others",
    )  # fmt: skip
