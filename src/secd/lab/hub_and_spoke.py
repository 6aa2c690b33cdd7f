"""`sec lab hub-and-spoke`: five spokes of ours at a strongSwan hub, iBGP through it, and one spoke that reboots.

`hub_and_spoke_scenario` draws the network.
"""

from __future__ import annotations

import re
import shutil
import signal
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from rich.console import Console

from secd.lab import bird, secd, strongswan
from secd.lab.commands import LabError, wait_until
from secd.lab.hub_and_spoke_scenario import HUB_LAN, SPOKES, Branch, Hub, Network, Spoke, start
from secd.lab.namespaces import Host, Lab, kill_all
from secd.lab.processes import Daemon, send
from secd.lab.stage import Stage, play
from secd.lab.strongswan import IkeSA

#: Seconds that tunnels, and then BGP, may take to come up, also on a busy machine.
UP_TIMEOUT = 30.0
#: A packet from spoke to spoke passes gate, hub and gate.
TTL = 64 - 3


def gather(console: Console, *, json_file: Path | None = None) -> int:
    """Run the scenario; give the exit status."""
    facts = {
        "the hub": strongswan.version() + " (charon, kernel-libipsec), one for each spoke", "spokes": secd.version(),
        "BGP": f"{bird.version()} everywhere, the hub reflects",
        "overlay addresses": "given by the hub (IKEv2's configuration payload)",
    }  # fmt: skip
    return play(console, lambda: facts, _scenario, json_file)


def _scenario(lab: Lab, stage: Stage) -> None:
    with stage.step("a network of namespaces: the hub, its five gates, the internet, five spokes"):
        network = Network(lab)
    with ExitStack() as running:
        with stage.step("the hub: strongSwan in each gate, BIRD that reflects routes"):
            hub = running.enter_context(Hub(network))
        branches: dict[str, Branch] = {}
        for each in SPOKES:
            with stage.step(f"{each.name}: secd and BIRD"):
                branches[each.name] = running.enter_context(start(each, network.spokes[each.name]))
        _tunnels(stage, hub, branches)
        _bgp(stage, network, hub)
        _pings(stage, network)
        _reboot(stage, network, hub, branches, running)


def _tunnels(stage: Stage, hub: Hub, branches: dict[str, Branch]) -> None:
    with stage.step("IKEv2 of all spokes with the hub"), stage.checks.expect("five tunnels come up"):
        for branch in branches.values():
            branch.secd.wait_up("sec0", timeout=UP_TIMEOUT)
    first = next(iter(branches.values())).secd.host
    stage.show(first, "cat", "/etc/iked.conf", "/etc/hostname.sec0")
    stage.show(first, "sec", "status", "sec0", check=False)
    known = {}
    for each in SPOKES:
        sa = hub.charons[each.name].established()
        known[each.identity] = sa is not None and (sa.version, sa.remote_id) == (2, each.identity)
    stage.checks.add("the hub knows every spoke by its name", all(known.values()), ", ".join(known))
    with stage.checks.expect("every spoke has the overlay address that the hub gives it") as details:
        for each in SPOKES:
            wait_until(partial(_has_address, branches[each.name]), UP_TIMEOUT, f"{each.name}'s address")
        details.append(", ".join(each.inner for each in SPOKES))


def _has_address(branch: Branch) -> bool:
    """Whether the hub has given a spoke its address, and it is set."""
    host, inner = branch.secd.host, branch.spoke.inner
    given = branch.secd.status()["sec0"]["assigned"].get("address", [])
    return given == [f"{inner}/24"] and f"inet {inner}/24 " in host.ip("address", "show", "sec0")


def _bgp(stage: Stage, network: Network, hub: Hub) -> None:
    with stage.step("iBGP of all spokes with the hub"), stage.checks.expect("five iBGP sessions") as details:
        wanted = {each.name: "Established" for each in SPOKES}
        wait_until(lambda: hub.bird.sessions() == wanted, UP_TIMEOUT, f"BGP ({hub.bird.sessions()})", interval=0.2)
        details.append(", ".join(wanted))
    with stage.checks.expect("every spoke has routes to all others and to the hub, by sec0"):
        for each in SPOKES:
            _wait_for_routes(network, each)
    stage.show(network.spokes[SPOKES[0].name], "ip", "route")


def _wait_for_routes(network: Network, spoke: Spoke) -> None:
    wait_until(lambda: not _lacking(network, spoke), UP_TIMEOUT, f"routes of {spoke.name}")


def _lacking(network: Network, spoke: Spoke) -> set[str]:
    """Give the networks that a spoke has no route by sec0 to."""
    table = network.spokes[spoke.name].ip("route", "show", "proto", "bird", "dev", "sec0")
    return {*(each.lan for each in SPOKES if each != spoke), HUB_LAN} - set(table.split())


def _pings(stage: Stage, network: Network) -> None:
    with stage.step("every spoke pings every other through the hub"):
        for each in SPOKES:
            host = network.spokes[each.name]
            others = [*(other.target for other in SPOKES if other != each), HUB_LAN]
            lost = [target for target in others if not _reaches(host, each, target)]
            stage.checks.add(
                f"{each.name} reaches the other spokes and the hub's network", not lost,
                f"no answer of {', '.join(lost)}" if lost else f"{len(others)} of {len(others)}",
            )  # fmt: skip
    first, second = SPOKES[0], SPOKES[1]
    said = stage.show(
        network.spokes[first.name], "ping", "-c2", "-i0.2", "-I", first.target, second.target, check=False
    )
    ttls = set(re.findall(r"ttl=(\d+)", said))
    stage.checks.add("the way from spoke to spoke leads through the hub", ttls == {str(TTL)}, f"TTL {', '.join(ttls)}")


def _reaches(host: Host, spoke: Spoke, target: str) -> bool:
    said = host.run("ping", "-qc2", "-i0.1", "-W2", "-I", spoke.target, target, check=False).stdout
    return " 2 received" in said


def _same(old: IkeSA | None, new: IkeSA | None) -> bool:
    return old is not None and new is not None and old.unique_id == new.unique_id


def _reboot(
    stage: Stage, network: Network, hub: Hub, branches: dict[str, Branch], running: ExitStack
) -> None:  # fmt: skip
    """Take one spoke's power away and give it back, while two others talk."""
    first, second, victim = SPOKES[0], SPOKES[1], SPOKES[2]
    host = network.spokes[victim.name]
    old = hub.charons[victim.name].established()
    ping = Daemon(
        network.spokes[first.name], "ping", "ping", "-n", "-i", "0.2", "-I", first.target, second.target
    )  # fmt: skip
    ping.wait_until(lambda: " bytes from " in ping.text(), UP_TIMEOUT, "answers")
    with stage.step(f"{victim.name} loses power, and boots again"):
        kill_all(host.pids())
        for left in host.path("/run").iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        begun = time.monotonic()
        branches[victim.name] = running.enter_context(start(victim, host))
    with stage.step("its tunnel, its routes, its traffic"):
        with stage.checks.expect(f"{victim.name} boots again: its tunnel is back by itself") as details:
            branches[victim.name].secd.wait_up("sec0", timeout=UP_TIMEOUT)
            if _same(old, hub.charons[victim.name].established()):
                raise LabError("the hub still has the IKE SA of before")
            wait_until(lambda: _has_address(branches[victim.name]), UP_TIMEOUT, "its address")
            details.append(f"after {time.monotonic() - begun:.1f} s, with another IKE SA and its address of before")
        with stage.checks.expect(f"{victim.name}'s routes and traffic are back") as details:
            _wait_for_routes(network, victim)
            source = network.spokes[first.name]
            wait_until(lambda: _reaches(source, first, victim.target), UP_TIMEOUT, "ping to it")
            details.append(f"after {time.monotonic() - begun:.1f} s")
    send(ping.pid, signal.SIGINT)
    wait_until(lambda: not ping.running, 5, "end of ping")
    summary = next((line for line in ping.text().splitlines() if "packet loss" in line), "no summary")
    stage.checks.add("meanwhile two other spokes lost no packet", " 0% packet loss" in summary, summary)
