"""strongSwan's charon as a peer: one daemon in a host, its configuration as Python values.

The userspace ESP of `kernel-libipsec` has manners of its own (5.9.8): it always claims to be behind a NAT, so ESP is
in UDP 4500; one TUN, `ipsec0`, and one 0.0.0.0/0 tunnel for each charon; no ESN.  The marks below keep IKE out of the
tunnel, and a late rule for its routing table lets the main table decide: what is routed to `ipsec0` is encrypted.
`netlink` uses the kernel's ESP, where there is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from secd.lab.commands import LabError, find, run
from secd.lab.namespaces import Host
from secd.lab.processes import Daemon, read_log

Backend = Literal["libipsec", "netlink"]
Value = str | int | bool | Mapping[str, "Value"]

PLUGINS = (
    "random nonce aes md5 sha1 sha2 hmac kdf openssl curve25519 gcm chapoly gmp pem pkcs1 pkcs8 x509 pubkey"
    " revocation constraints {kernel} socket-default vici updown"
)
MARK = "0x42"
DEVICE = "ipsec0"
#: Where Debian has it; it is on nobody's PATH.
CHARON = "/usr/lib/ipsec/charon"


@dataclass(frozen=True)
class Tunnel:
    """One connection with one 0.0.0.0/0 child; times in seconds, 0 for never.

    `extra` adds to the connection or replaces parts of it, `secrets` to the secrets; `pools` are what it has of inner
    addresses, by name: `{"overlay": {"addrs": "10.9.0.0/24", "dns": "10.9.0.1"}}`.
    """

    local: str
    remote: str
    psk: str
    name: str = "sec0"
    version: Literal[1, 2] = 1
    ike: str = "aes256-sha256-modp3072"
    esp: str = "aes256-sha256-modp3072"
    local_id: str = ""
    remote_id: str = ""
    aggressive: bool = False
    encap: bool = False
    mobike: bool = False
    dpd_delay: int = 0
    dpd_timeout: int = 0
    dpd_action: Literal["clear", "restart", "trap"] = "clear"
    close_action: Literal["none", "start", "trap"] = "none"
    ike_rekey: int = 14400
    child_rekey: int = 3600
    start: Literal["none", "start", "trap"] = "none"
    unique: Literal["no", "keep", "replace", "never"] = "no"
    if_id: int = 0
    mark: int = 0
    replay_window: int = 0
    extra: Mapping[str, Value] = field(default_factory=dict)
    secrets: Mapping[str, Value] = field(default_factory=dict)
    pools: Mapping[str, Value] = field(default_factory=dict)

    def connection(self) -> dict[str, Value]:
        """Give the connection as swanctl.conf has it."""
        child: dict[str, Value] = {
            "local_ts": "0.0.0.0/0", "remote_ts": "0.0.0.0/0", "esp_proposals": self.esp,
            "rekey_time": f"{self.child_rekey}s", "dpd_action": self.dpd_action, "start_action": self.start,
            "close_action": self.close_action,
        }  # fmt: skip
        if self.child_rekey:
            child["rand_time"] = "0s"
        if self.if_id:
            child |= {"if_id_in": self.if_id, "if_id_out": self.if_id}
        if self.replay_window:
            child["replay_window"] = self.replay_window
        if self.mark:
            child |= {"mark_in": self.mark, "mark_out": self.mark}
        return {
            "version": self.version, "local_addrs": self.local, "remote_addrs": self.remote, "proposals": self.ike,
            "aggressive": self.aggressive, "encap": self.encap, "mobike": self.mobike, "unique": self.unique,
            "dpd_delay": f"{self.dpd_delay}s", "rekey_time": f"{self.ike_rekey}s",
            "reauth_time": "0s", "rand_time": "0s",
            **({"dpd_timeout": f"{self.dpd_timeout}s"} if self.dpd_timeout else {}),
            "local": {"auth": "psk", "id": self.local_id or self.local},
            "remote": {"auth": "psk", "id": self.remote_id or self.remote},
            "children": {self.name: child}, **({"pools": ", ".join(self.pools)} if self.pools else {}), **self.extra,
        }  # fmt: skip


@dataclass(frozen=True)
class ChildSA:
    """A CHILD_SA as charon tells it; SPIs are hexadecimal, as charon sees the directions."""

    name: str
    unique_id: int
    state: str
    spi_in: str
    spi_out: str
    encap: bool
    encryption: str
    integrity: str
    group: str
    packets_in: int
    packets_out: int


@dataclass(frozen=True)
class IkeSA:
    """An IKE SA as charon tells it."""

    name: str
    unique_id: int
    version: int
    state: str
    initiator: bool
    initiator_spi: str
    responder_spi: str
    local_host: str
    remote_host: str
    remote_port: int
    remote_id: str
    nat_remote: bool
    encryption: str
    integrity: str
    group: str
    children: tuple[ChildSA, ...]
    inner_local: tuple[str, ...] = ()
    inner_remote: tuple[str, ...] = ()


class Charon:
    """A running charon; leaving the context stops it."""

    def __init__(
        self, host: Host, *tunnels: Tunnel, backend: Backend = "libipsec", log_level: int = 1,
        charon: Mapping[str, Value] | None = None,
    ) -> None:  # fmt: skip
        """Start it on `host` and load `tunnels`; `charon` overrides settings of strongswan.conf."""
        self.host, self.tunnels = host, tunnels
        self._backend, self._log_level = backend, log_level
        host.write("/etc/strongswan.conf", strongswan_conf(backend, log_level, charon or {}))
        self._write(tunnels)
        self.daemon = Daemon(host, "charon", *self.command())
        try:
            self._wait()
        except LabError:
            self.daemon.stop()
            raise

    def command(self) -> list[str]:
        """Give the command line that is charon's."""
        return [find("charon", package="strongswan-charon", also=[CHARON])]

    def _wait(self) -> None:
        self.daemon.wait_until(lambda: self.host.path("/run/charon.vici").exists(), 10, "its control socket")
        self.load()

    def _write(self, tunnels: Sequence[Tunnel]) -> None:
        self.host.write("/etc/swanctl/swanctl.conf", swanctl_conf(tunnels), mode=0o600)

    def load(self, *tunnels: Tunnel) -> None:
        """Load the configuration; `tunnels` replace those of before."""
        if tunnels:
            self.tunnels = tunnels
            self._write(tunnels)
        self.swanctl("--load-all", "--clear")

    def settings(self, **charon: Value) -> None:
        """Override settings of strongswan.conf from now on, instead of those of before."""
        self.host.write("/etc/strongswan.conf", strongswan_conf(self._backend, self._log_level, charon))
        self.swanctl("--reload-settings")

    def swanctl(self, *argv: str, check: bool = True, timeout: float = 30) -> str:
        """Run swanctl(8) and give what it prints."""
        return self.host.run("swanctl", *argv, check=check, timeout=timeout).stdout

    def initiate(self, name: str = "sec0", *, timeout: float = 20) -> None:
        """Bring a tunnel up; raises `LabError` with charon's words when it does not come."""
        self.swanctl("--initiate", "--child", name, "--timeout", str(int(timeout)), timeout=timeout + 5)

    def terminate(self, name: str = "sec0", *, child_only: bool = False) -> None:
        """Take a tunnel down, telling the peer."""
        self.swanctl("--terminate", "--child" if child_only else "--ike", name, "--timeout", "5", check=False)

    def rekey(self, *, ike: str = "", child: str = "") -> None:
        """Rekey the newest IKE SA, or CHILD_SA, of that name; asked by name, swanctl would rekey older ones too."""
        ours = [sa for sa in self.list_sas() if sa.name == (ike or child or "sec0") and sa.state == "ESTABLISHED"]
        if ike:
            what, ids = "--ike-id", [sa.unique_id for sa in ours]
        else:
            what = "--child-id"
            ids = [each.unique_id for sa in ours for each in sa.children if each.state == "INSTALLED"]
        if not ids:
            raise LabError(f"charon on {self.host.name} has nothing to rekey: {self.list_sas()}")
        self.swanctl("--rekey", what, str(max(ids)))

    def list_sas(self) -> list[IkeSA]:
        """Give its SAs."""
        return parse_sas(self.swanctl("--list-sas", "--raw"))

    def established(self, name: str = "sec0") -> IkeSA | None:
        """Give the first established IKE SA that has an installed child."""
        for sa in self.list_sas():
            if sa.name == name and sa.state == "ESTABLISHED" and any(c.state == "INSTALLED" for c in sa.children):
                return sa
        return None

    def inner(self, address: str, peer: str, *, mtu: int = 1280) -> None:
        """Number the TUN, as the tunnel's inside address (one charon has one)."""
        self.host.address(address, DEVICE, peer=peer)
        self.host.ip("link", "set", DEVICE, "mtu", str(mtu), "up")

    def log(self) -> str:
        """Give its log."""
        return read_log(self.daemon.log)

    def stop(self) -> None:
        """Stop it politely: it tells its peers."""
        self.daemon.stop()

    def kill(self) -> None:
        """Stop it as a power cut would."""
        self.daemon.kill()
        for left in ("charon.vici", "charon.pid"):
            self.host.path(f"/run/{left}").unlink(missing_ok=True)

    def restart(self) -> None:
        """Start it again after `stop` or `kill`; its TUN is a new one, to be numbered again."""
        self.daemon.restart()
        self._wait()

    def __enter__(self) -> Charon:
        """Nothing more to do: it runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it: what must be shown was shown, and charon takes its time to say goodbye."""
        self.kill()


def strongswan_conf(backend: Backend, log_level: int, overrides: Mapping[str, Value]) -> str:
    """Give strongswan.conf; `overrides` are settings of its `charon` section."""
    kernel = "kernel-libipsec kernel-netlink" if backend == "libipsec" else "kernel-netlink"
    settings: dict[str, Value] = {
        "load": PLUGINS.format(kernel=kernel),
        "install_routes": False, "install_virtual_ip": False, "routing_table_prio": 40000,
        "i_dont_care_about_security_and_use_aggressive_mode_psk": True,
        "plugins": {
            "kernel-libipsec": {"allow_peer_ts": True}, "kernel-netlink": {"fwmark": "!" + MARK},
            "socket-default": {"fwmark": MARK},
        },
        "filelog": {"stderr": {"default": 1, "ike": log_level, "cfg": log_level, "enc": 1, "time_format": "%T"}},
        **overrides,
    }  # fmt: skip
    return render({"charon": settings})


def swanctl_conf(tunnels: Sequence[Tunnel]) -> str:
    """Give swanctl.conf for `tunnels`; a pre-shared key is bound to the peer's identity, if it has one."""
    secrets: dict[str, Value] = {}
    for tunnel in tunnels:
        owner = tunnel.remote_id or tunnel.remote
        bound: dict[str, Value] = {} if owner == "%any" else {"id": owner}
        secrets |= {f"ike-{tunnel.name}": {"secret": f'"{tunnel.psk}"', **bound}, **tunnel.secrets}
    connections = {tunnel.name: tunnel.connection() for tunnel in tunnels}
    pools = {name: pool for tunnel in tunnels for name, pool in tunnel.pools.items()}
    return render({"connections": connections, "secrets": secrets, "pools": pools})


def version() -> str:
    """Give the version of the strongSwan that is installed: `strongSwan 5.9.8`."""
    program = find("charon", package="strongswan-charon", also=[CHARON])
    return run(program, "--version").stdout.strip().removeprefix("Linux ")


def render(values: Mapping[str, Value], indent: str = "") -> str:
    """Write values in strongSwan's configuration syntax."""
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key} {{", render(value, indent + "    ") + indent + "}"]
        else:
            text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
            lines.append(f"{indent}{key} = {text}")
    return "\n".join(lines) + "\n"


# -- swanctl --raw ----------------------------------------------------------------------------------------

Raw = dict[str, Any]


def parse_raw(text: str) -> list[Raw]:
    """Parse what `swanctl --raw` prints, one message a line: `name event {key=value section {..} list [a b]}`."""
    messages = []
    for line in text.splitlines():
        _, brace, body = line.partition("{")
        if brace:
            messages.append(_section(iter(re.findall(r"[^\s{}\[\]]+|[{}\[\]]", body))))
    return messages


def _section(words: Iterator[str]) -> Raw:
    """Read up to the closing brace.  A word without `=` continues the value before it, or names what opens next."""
    section: Raw = {}
    last = ""
    for word in words:
        if word == "}":
            break
        if word == "{":
            section[last] = _section(words)
        elif word == "[":
            section[last.removesuffix("=")] = list(iter(lambda: next(words, "]"), "]"))
        elif "=" in word and not word.endswith("="):
            key, _, section[key] = word.partition("=")
        else:
            last = word
    return section


def parse_sas(text: str) -> list[IkeSA]:
    """Read `swanctl --list-sas --raw`."""
    return [_ike_sa(name, raw) for message in parse_raw(text) for name, raw in message.items() if isinstance(raw, dict)]


def _ike_sa(name: str, raw: Raw) -> IkeSA:
    return IkeSA(
        name=name, unique_id=int(raw["uniqueid"]), version=int(raw["version"]), state=raw["state"],
        initiator=raw.get("initiator") == "yes",
        initiator_spi=raw.get("initiator-spi", ""), responder_spi=raw.get("responder-spi", ""),
        local_host=raw.get("local-host", ""), remote_host=raw.get("remote-host", ""),
        remote_port=int(raw.get("remote-port", 0)), remote_id=raw.get("remote-id", ""),
        nat_remote=raw.get("nat-remote") == "yes", encryption=_sized(raw, "encr"),
        integrity=raw.get("integ-alg", ""), group=raw.get("dh-group", ""),
        children=tuple(_child_sa(child) for child in raw.get("child-sas", {}).values()),
        inner_local=tuple(raw.get("local-vips", ())), inner_remote=tuple(raw.get("remote-vips", ())),
    )  # fmt: skip


def _child_sa(raw: Raw) -> ChildSA:
    return ChildSA(
        name=raw["name"], unique_id=int(raw["uniqueid"]), state=raw["state"], spi_in=raw.get("spi-in", ""),
        spi_out=raw.get("spi-out", ""), encap=raw.get("encap") == "yes", encryption=_sized(raw, "encr"),
        integrity=raw.get("integ-alg", ""), group=raw.get("dh-group", ""),
        packets_in=int(raw.get("packets-in", 0)), packets_out=int(raw.get("packets-out", 0)),
    )  # fmt: skip


def _sized(raw: Raw, what: str) -> str:
    """Give an algorithm with its key length: `AES_CBC_256`."""
    return "_".join(filter(None, (raw.get(f"{what}-alg", ""), raw.get(f"{what}-keysize", ""))))
