"""Floods against the running processes, from a third host: forged first messages, lies, noise, ESP, giants.

Everything goes between namespaces of the lab and is bounded in number; each flooder ends by itself.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from secd.ike.speaker import STARTING
from secd.lab.commands import wait_until
from secd.lab.namespaces import Host, Lab
from secd.lab.processes import Daemon
from secd.lab.secd import Secd
from secd.lab.strongswan import Charon, Tunnel

pytestmark = pytest.mark.root

US, THEM, EVIL = "192.0.2.1", "192.0.2.2", "192.0.2.66"
INNER_US, INNER_THEM = "169.254.64.94", "169.254.64.93"
SUITE = "auth hmac-sha2-256 enc aes-256 group modp2048"
#: Mebibytes by which a process may grow, and lines that the log may have, whatever comes.
GROWTH, LINES = 24.0, 80


def rule(peer: str) -> str:
    return f'ike passive interface sec0 local {US} peer {peer} main {SUITE} quick {SUITE} psk "a secret"\n'


@dataclass
class Scene:
    """Us, them, and somebody else on the same cable."""

    us: Host
    them: Host
    evil: Host
    secd: Secd
    charon: Charon

    def load(self, peer: str) -> None:
        """Start anew with this rule."""
        self.charon.terminate()
        self.secd.ipsecctl("-d", "-f", "-", text=rule("any"))
        self.secd.ipsecctl("-f", "-", text=rule(peer))

    def up(self) -> float:
        """Let them initiate; give how long it took."""
        began = time.monotonic()
        self.charon.initiate(timeout=15)
        return time.monotonic() - began

    def flood(self, kind: str, count: int, *, rate: float = 10_000, port: int = 500, source: str = "",
              env: dict[str, str] | None = None) -> Daemon:  # fmt: skip
        """Start a flooder."""
        extra = ["--source", source] if source else []
        program, number = Path(__file__).parent / "flood.py", time.monotonic_ns()
        return Daemon(self.evil, f"flood-{kind}-{number}", sys.executable, str(program), kind, "--to", US,
                      "--count", str(count), "--rate", str(rate), "--port", str(port), *extra, env=env)  # fmt: skip

    def memory(self) -> dict[str, float]:
        """Give what each process holds, in MiB."""
        pids = {"secd": self.secd.daemon.pid, **self.secd.processes()}
        return {name: rss(pid) for name, pid in pids.items()}

    def counters(self) -> dict[str, int]:
        """Give the data plane's counters."""
        return {
            line.split()[1]: int(line.split()[0]) for line in self.secd.sec("counters").splitlines() if line.strip()
        }

    def pings(self, count: int = 20) -> int:
        """Give how many of so many pings through the tunnel came back."""
        result = self.us.run("ping", "-n", "-i", "0.05", "-c", str(count), "-W", "2", INNER_THEM, check=False)
        found = re.search(r"(\d+) received", result.stdout)
        return int(found.group(1)) if found else 0


def rss(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found.group(1)) / 1024 if found else 0.0


@pytest.fixture(scope="module")
def scene(lab: Lab) -> Iterator[Scene]:
    us, them, evil = lab.host("us"), lab.host("them"), lab.host("evil")
    lab.bridge("lan", {us: f"{US}/24", them: f"{THEM}/24", evil: f"{EVIL}/24"})
    us.ip("route", "add", "default", "via", EVIL)  # answers to forged addresses go where they came from
    tunnel = Tunnel(local=THEM, remote=US, psk="a secret", ike="aes256-sha256-modp2048", esp="aes256-sha256-modp2048")
    hostname = f"inet {INNER_US} 255.255.255.252 {INNER_THEM}\nup\n"
    with Charon(them, tunnel) as charon, Secd(us, "", {"sec0": hostname}) as secd:
        charon.inner(INNER_THEM, INNER_US)
        time.sleep(STARTING)  # then it leaves it to a passive rule's peer to begin
        yield Scene(us, them, evil, secd, charon)


@pytest.fixture
def quiet(scene: Scene) -> Iterator[Scene]:
    """The scene, and that a test leaves it bounded, as talkative as is good, and alive."""
    before, written, pids = scene.memory(), len(scene.secd.daemon.text()), scene.secd.processes()
    yield scene
    grown = {name: now - before[name] for name, now in scene.memory().items()}
    lines = scene.secd.daemon.text()[written:].splitlines()
    print(f"grown by {', '.join(f'{name} {more:.1f}' for name, more in grown.items())} MiB, {len(lines)} lines")
    assert scene.secd.processes() == pids
    assert all(more < GROWTH for more in grown.values()), grown
    assert len(lines) < LINES
    assert "internal error" not in "\n".join(lines)


def ended(flooder: Daemon) -> None:
    wait_until(lambda: not flooder.running, 70, "the end of the flood")
    assert re.match(r"\d+ in ", flooder.text()), flooder.text()


def _first_messages(scene: Scene, peer: str, count: int) -> None:
    scene.load(peer)
    scene.up()  # from now on it is no stranger, wherever its address comes from
    scene.charon.terminate()
    flooder = scene.flood("offer", count)
    time.sleep(0.5)
    took = []
    while flooder.running and len(took) < 3:
        took.append(scene.up())
        scene.charon.terminate()
    ended(flooder)
    print(f"{flooder.text().strip()}: up in {', '.join(f'{each:.2f}' for each in took)} s, {scene.counters()}")
    assert took
    assert sorted(took)[len(took) // 2] < 2.0


@pytest.mark.parametrize("peer", [THEM, "any"])
def test_a_peer_comes_up_while_first_messages_come_from_everywhere(quiet: Scene, peer: str) -> None:
    _first_messages(quiet, peer, 30_000)


@pytest.mark.long
@pytest.mark.parametrize("peer", [THEM, "any"])
def test_a_peer_comes_up_during_a_hundred_thousand_first_messages(quiet: Scene, peer: str) -> None:
    _first_messages(quiet, peer, 100_000)


def test_a_stranger_comes_up_as_soon_as_the_flood_is_over(quiet: Scene) -> None:
    quiet.load("any")
    flooder = quiet.flood("offer", 20_000)
    ended(flooder)
    assert quiet.up() < 2.0


@pytest.fixture
def tunnel(quiet: Scene) -> Iterator[tuple[Scene, dict[str, str]]]:
    """A tunnel that is up, and what somebody who listens on the cable knows of it."""
    quiet.load(THEM)
    quiet.up()
    wait_until(lambda: quiet.pings(1) == 1, 10, "a first ping")
    (ike,) = quiet.secd.status()["sec0"]["ike"]
    (inbound,) = (sa for sa in quiet.secd.sas() if sa["direction"] == "in")
    known = {"COOKIES": ike["initiator_spi"] + ike["responder_spi"], "SPI": f"{inbound['spi']:08x}"}
    spis = sorted(sa["spi"] for sa in quiet.secd.sas())
    yield quiet, known
    assert sorted(sa["spi"] for sa in quiet.secd.sas()) == spis
    assert "peer-moved" not in quiet.secd.daemon.text()
    assert quiet.pings() == 20


@pytest.mark.parametrize("port", [500, 4500])
def test_lies_in_clear_hurt_no_tunnel(tunnel: tuple[Scene, dict[str, str]], port: int) -> None:
    """INVALID-SPI, INVALID-COOKIE, INITIAL-CONTACT and deletes, in the peer's name and with the SA's cookies."""
    scene, known = tunnel
    flooder = scene.flood("lies", 3000, rate=2000, port=port, source=THEM, env=known)
    assert scene.pings() == 20
    ended(flooder)


def test_messages_sealed_with_no_key_hurt_no_tunnel(tunnel: tuple[Scene, dict[str, str]]) -> None:
    scene, known = tunnel
    flooder = scene.flood("unknown", 6000, rate=3000, port=4500, source=THEM, env=known)
    assert scene.pings() == 20
    ended(flooder)


def test_esp_with_wrong_spis_and_check_values_is_dropped_and_counted(tunnel: tuple[Scene, dict[str, str]]) -> None:
    scene, known = tunnel
    before = scene.counters()
    flooder = scene.flood("esp", 30_000, port=4500, source=THEM, env=known)
    assert scene.pings() == 20
    ended(flooder)
    after = scene.counters()
    dropped = {
        name: after.get(name, 0) - before.get(name, 0) for name in ("drop_unknown_spi", "drop_auth", "drop_replay")
    }
    assert dropped["drop_unknown_spi"] > 10_000
    assert sum(dropped.values()) > 28_000


@pytest.mark.parametrize("port", [500, 4500])
def test_noise_from_everywhere_is_borne(tunnel: tuple[Scene, dict[str, str]], port: int) -> None:
    scene, _ = tunnel
    flooder = scene.flood("noise", 20_000, port=port)
    assert scene.pings() == 20
    ended(flooder)


def test_the_largest_datagrams_are_borne(tunnel: tuple[Scene, dict[str, str]]) -> None:
    """65,507 octets, in fragments, that say they are an ISAKMP message of many payloads."""
    scene, _ = tunnel
    script = (
        "import socket, struct; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 0))\n"
        "for n in range(300):\n"
        "    size = (65507, 65000, 40000, 9000)[n % 4]; mark = bytes(4) if n % 2 else b''\n"
        "    body = b'\\r\\0\\0\\4' * ((size - 32) // 4)\n"
        "    head = bytes([n & 255] * 8) + bytes(8) + struct.pack('!BBBBII', 13, 16, 2, 0, 0, 28 + len(body))\n"
        f"    s.sendto(mark + head + body, ('{US}', 4500 if n % 2 else 500))\n"
    )
    scene.evil.run("python3", "-c", script)
    assert scene.pings() == 20


def test_main_mode_of_an_earlier_life_played_again_changes_nothing(quiet: Scene, tmp_path: Path) -> None:
    scene = quiet
    scene.load(THEM)
    capture = tmp_path / "earlier.pcap"
    argv = ["-Z", "root", "--immediate-mode", "-U", "-i", "eth0", "-w", str(capture), "udp", "and", "src", THEM]
    with Daemon(scene.them, "tcpdump", "tcpdump", *argv) as dump:
        dump.wait_for("listening on", 10)
        scene.up()
        scene.charon.terminate()
        time.sleep(0.5)
    scene.up()
    wait_until(lambda: scene.pings(1) == 1, 10, "a first ping")
    spis = sorted(sa["spi"] for sa in scene.secd.sas())
    replay = (
        "import socket, sys; from scapy.utils import rdpcap; from scapy.layers.inet import IP\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)\n"
        "packets = [bytes(p[IP]) for p in rdpcap(sys.argv[1]) if IP in p]\n"
        "assert len(packets) > 4\n"
        f"for _ in range(50):\n    for p in packets:\n        s.sendto(p, ('{US}', 0))\n"
    )
    scene.evil.run(sys.executable, "-c", replay, str(capture), timeout=60)
    assert scene.pings() == 20
    assert sorted(sa["spi"] for sa in scene.secd.sas()) == spis
    wait_until(lambda: json.loads(scene.secd.sec("status", "--json"))["tunnels"][0]["state"] == "up", 5, "its state")
