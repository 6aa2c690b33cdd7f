"""`sec lab announcement`: what the sec(4) announcement shows, on this machine, against strongSwan gateways.

The network is drawn in `scenario`.  Everything shown is printed by the command that stands before it.
"""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

from rich.console import Console

from secd.lab import bird, openbgpd, scenario, secd, strongswan
from secd.lab.bird import Bird
from secd.lab.checks import Checks
from secd.lab.commands import LabError, wait_until
from secd.lab.failover import Failover, fail_over
from secd.lab.namespaces import Lab
from secd.lab.openbgpd import OpenBGPD
from secd.lab.scenario import GATEWAYS, Gateway, Gateways, Network, PeerKind
from secd.lab.secd import Secd
from secd.lab.stage import Stage, play

#: Seconds that tunnels, and then BGP, may take to come up.
UP_TIMEOUT = 20.0


def announce(console: Console, *, peer: PeerKind = "strongswan", json_file: Path | None = None) -> int:
    """Run the whole scenario; give the exit status: 0 when every check passed."""
    return play(console, lambda: _facts(peer), lambda lab, stage: _scenario(lab, stage, peer), json_file)


def _facts(peer: PeerKind) -> dict[str, str]:
    """Name the peer first of all, so that its absence is told before anything is built."""
    gateways = strongswan.version() + " (charon, kernel-libipsec)" if peer == "strongswan" else secd.version()
    return {
        "the gateways": gateways,
        "our side": secd.version(),
        "BGP": f"{openbgpd.version()} on both sides, {bird.version()} on ours for the failover",
    }


def _scenario(lab: Lab, stage: Stage, peer: PeerKind) -> None:
    with stage.step("a network of namespaces: ix, the isp, two gateways, their cloud"):
        network = Network(lab)
    with stage.step(f"the gateways: {stage.checks.facts['the gateways']}"):
        gateways = Gateways(network, peer)
    with gateways:
        with stage.step("secd on ix, with the announcement's ipsec.conf and hostname.sec0, hostname.sec1"):
            ours = Secd(network.ix, scenario.IPSEC_CONF, scenario.HOSTNAMES)
        with ours:
            begun = time.monotonic()
            with stage.step("IKEv1 main mode and quick mode with both gateways"):
                ours.wait_up("sec0", "sec1", timeout=UP_TIMEOUT)
            stage.checks.add("both tunnels come up", passed=True, detail=f"{time.monotonic() - begun:.1f} s")
            with stage.step("OpenBGPD on ix, and routes from both gateways"):
                bgpd = OpenBGPD(network.ix, scenario.BGPD_CONF)
                _wait_for_routes(bgpd)
            with bgpd:
                _show(stage, network, gateways)
                _show_bgp(stage, network, bgpd)
            _show_failover(stage, network)
        _check_wire(stage, network)


def _wait_for_routes(bgpd: OpenBGPD) -> None:
    with contextlib.suppress(LabError):  # what is missing then is told by the checks
        wait_until(lambda: len(bgpd.received()) == len(GATEWAYS), UP_TIMEOUT, "routes from both gateways", interval=0.2)


def _show(stage: Stage, network: Network, gateways: Gateways) -> None:
    """Show the SAs, the interfaces and the pings."""
    ix, checks = network.ix, stage.checks
    listed = stage.show(ix, "ipsecctl", "-sa")
    _check_listing(checks, listed)
    _check_detail(checks, stage.show(ix, "ipsecctl", "-sa", "-v"), encapsulated=bool(gateways.charons))
    for gateway in GATEWAYS:
        if gateway.name in gateways.charons:
            _check_against_charon(checks, gateway, gateways, listed)
    _check_interfaces(checks, stage.show(ix, "sec", "ifconfig", "sec"))
    for gateway in GATEWAYS:
        said = stage.show(ix, "ping", "-qc4", "-i0.25", gateway.inner, check=False)
        checks.add(
            f"ping through {gateway.interface}", " 4 received, 0% packet loss" in said, said.splitlines()[-1].strip()
        )


def _check_listing(checks: Checks, listed: str) -> None:
    line = r"^esp tunnel from {} to {} spi 0x[0-9a-f]{{8}} auth hmac-sha2-256 enc aes-256$"
    for gateway in GATEWAYS:
        both = [(gateway.outer, scenario.SELF), (scenario.SELF, gateway.outer)]
        found = [len(re.findall(line.format(*map(re.escape, way)), listed, re.MULTILINE)) for way in both]
        checks.add(f"{gateway.interface}: one SA in, one out", found == [1, 1], f"{found[0]} in, {found[1]} out")
    checks.add("no flows: what is routed decides", "FLOWS:\nNo flows\n" in listed)


def _check_detail(checks: Checks, detail: str, *, encapsulated: bool) -> None:
    """Compare each SA with the announcement's; strongSwan's userspace ESP is always in UDP, ours behind NAT."""
    for gateway in GATEWAYS:
        for way in ("in", "out"):
            sa = next((s for s in re.split(r"^(?=esp )", detail, flags=re.MULTILINE)
                       if f"interface: {gateway.interface} direction {way}" in s), "")  # fmt: skip
            in_udp = encapsulated or gateway.seen != scenario.SELF
            wanted = (
                "state mature", "lifetime_hard: alloc 0 bytes 0 add 3600 first 0", f"{scenario.SELF}/32",
                f"{gateway.outer}/32", f"flow_type: type use direction {way}",
                *(("0x204<tunnel,udpencap>", "udpencap: udpencap port 4500") if in_udp else ("0x4<tunnel>",)),
            )  # fmt: skip
            missing = [text for text in wanted if text not in sa]
            checks.add(f"{gateway.interface} {way}: the SA as announced", not missing, ", ".join(missing))


def _check_against_charon(checks: Checks, gateway: Gateway, gateways: Gateways, listed: str) -> None:
    """Compare with what the gateway says of the same tunnel."""
    sa = gateways.charons[gateway.name].established(gateway.interface)
    name = f"{gateway.name} agrees: SPIs, suites, our address"
    if not sa:
        checks.add(name, passed=False, detail="it has no established IKE SA")
        return
    ours = set(re.findall(rf"{re.escape(gateway.outer)}.* spi 0x([0-9a-f]{{8}})", listed))
    theirs = {spi for child in sa.children for spi in (child.spi_in.zfill(8), child.spi_out.zfill(8))}
    suites = {sa.encryption, sa.integrity, sa.group} | {
        part for c in sa.children for part in (c.encryption, c.integrity)
    }
    agrees = ours == theirs and sa.version == 1 and sa.remote_host == gateway.seen
    checks.add(
        name, agrees and suites == {"AES_CBC_256", "HMAC_SHA2_256_128", "MODP_3072"},
        f"IKEv{sa.version} {sa.encryption}/{sa.integrity}/{sa.group}, knows us as {sa.remote_host}, "
        f"SPIs {' '.join(sorted(theirs))}",
    )  # fmt: skip


def _check_interfaces(checks: Checks, shown: str) -> None:
    for gateway in GATEWAYS:
        wanted = (
            f"{gateway.interface}: flags=8051<UP,POINTOPOINT,RUNNING,MULTICAST> mtu 1280",
            f"inet {gateway.inner_self} --> {gateway.inner} netmask 0xfffffffc",
        )
        missing = [text for text in wanted if text not in shown]
        checks.add(f"{gateway.interface}: the interface as announced", not missing, ", ".join(missing))


def _show_bgp(stage: Stage, network: Network, bgpd: OpenBGPD) -> None:
    stage.show(network.ix, "bgpctl", "show")
    stage.show(network.ix, "bgpctl", "show", "rib", "in")
    sessions = bgpd.sessions()
    routes = {(route.prefix, route.neighbor): route.med for route in bgpd.received()}
    for gateway in GATEWAYS:
        state = sessions.get(gateway.inner, "unknown")
        med = routes.get((scenario.NETWORK, gateway.inner))
        stage.checks.add(
            f"BGP over {gateway.interface}: {scenario.NETWORK} with MED {gateway.med}",
            state == "Established" and med == gateway.med, f"{state}, MED {med}",
        )  # fmt: skip


def _show_failover(stage: Stage, network: Network) -> None:
    """Cut the preferred tunnel's path under a running ping."""
    preferred, other = sorted(GATEWAYS, key=lambda gateway: gateway.med)
    stage.console.print()
    with stage.step("BIRD in OpenBGPD's place on ix: it installs routes (hold time 3 s instead of 90)"):
        daemon = Bird(network.ix, scenario.BIRD_CONF)
    with daemon:
        with stage.step(f"ping {scenario.TARGET}; the cable to {preferred.name} is pulled"):
            result: Failover = fail_over(network, preferred, other)
        stage.console.out(f"\nix# ip route get {scenario.TARGET}   (before)\n{result.before}", highlight=False)
        stage.console.out(f"ix# ip route get {scenario.TARGET}   (after)\n{result.after}", highlight=False)
        stage.console.out(f"ix# ping -n -i 0.1 {scenario.TARGET}\n{result.ping}", highlight=False)
        stage.checks.add(
            f"traffic prefers {preferred.interface}, MED {preferred.med}", preferred.interface in result.before.split(),
            result.before,
        )  # fmt: skip
        stage.checks.add(
            f"{preferred.interface}'s path is cut: traffic moves to {other.interface}",
            other.interface in result.after.split() and result.silence < scenario.FAILOVER_LIMIT,
            f"{result.lost} of {result.sent} pings lost, silence of {result.silence:.1f} s, BGP hold time 3 s",
        )


def _check_wire(stage: Stage, network: Network) -> None:
    protected, other = network.crossed("protected"), network.crossed("other")
    stage.checks.add(
        "nothing but IKE and ESP crossed the isp", protected and not other,
        f"{protected} packets of IKE and ESP, {other} others",
    )  # fmt: skip
