"""`ikectl show sa`: the lines of OpenBSD's, with a number that stays the same in place of each pointer.

    iked_sas: 0x5d.. rspi 0x.. ispi 0x.. 192.0.2.9:500->192.0.2.1:500<FQDN/gw>[] ESTABLISHED i nexti 0x0 pol 0x..
      sa_childsas: 0x.. ESP 0x8c2a3b10 out 192.0.2.9:500 -> 192.0.2.1:500 (L) B=0x0 P=0x.. @0x..

A tunnel through an interface has no flows, so there are no sa_flows and iked_flows.  Tunnels of IKEv1 are there too and
say so: `ikev1` stands where a flag would.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from secd.cli.ikectl import Options
from secd.cli.output import clean
from secd.conf.identities import classify
from secd.control import client
from secd.ike.contract import ChildStatus, ConnectionStatus, IKEStatus

_ID_WORDS = {
    "ipv4": "IPV4", "ipv6": "IPV6", "fqdn": "FQDN", "ufqdn": "UFQDN", "key_id": "KEY_ID", "asn1_dn": "ASN1_DN",
}  # fmt: skip
_NONE = "0x0"


def show_sa(options: Options) -> bool:
    """Print every IKE SA and its children."""
    tunnels = client.status()
    if options.json:
        from secd.cli.ikectl_json import print_json

        print_json({"sas": [sa for tunnel in tunnels for sa in _facts(tunnel)]})
        return True
    sys.stdout.writelines(f"{line}\n" for line in sa_lines(tunnels))
    return True


def sa_lines(tunnels: list[ConnectionStatus]) -> Iterator[str]:
    """Yield all of `show sa`."""
    for tunnel in tunnels:
        for ike in tunnel.ike:
            yield f"iked_sas: {_ike_line(tunnel, ike)}"
            if ike is _bearer(tunnel):
                yield from (f"  sa_childsas: {line}" for line in _child_lines(tunnel, ike))
    for tunnel in tunnels:
        bearer = _bearer(tunnel)
        if bearer is not None:
            yield from (f"iked_activesas: {line}" for line in _child_lines(tunnel, bearer))
    for tunnel in tunnels:
        for ike in tunnel.ike:
            if tunnel.connection.dstid is not None and ike.remote_id:
                yield f"iked_dstid_sas: {_ike_line(tunnel, ike)}"


def _ike_line(tunnel: ConnectionStatus, ike: IKEStatus) -> str:
    words = [
        _handle(ike), f"rspi 0x{ike.responder_spi}", f"ispi 0x{ike.initiator_spi}",
        f"{_from(ike)}->{_to(ike)}<{_identity(ike.remote_id)}>[{_pool(tunnel)}]", clean(ike.state).upper(),
        "i" if ike.role == "initiator" else "r",
    ]  # fmt: skip
    if ike.version == 1:
        words.append("ikev1")
    if ike.nat:
        words.append("natt")
    if any(child.udpencap for child in tunnel.children):
        words.append("udpecap")
    return " ".join([*words, f"nexti {_NONE}", f"pol {_number('policy', tunnel.connection.name)}"])


def _child_lines(tunnel: ConnectionStatus, ike: IKEStatus) -> Iterator[str]:
    for child in tunnel.children:
        out, inward = _child_handles(child)
        rekeys = "R" if child.rekey_in == 0 else ""
        yield (
            f"{out} ESP 0x{child.spi_out:08x} out {_from(ike)} -> {_to(ike)} (L{rekeys}) B={_NONE} P={inward} "
            f"@{_handle(ike)}"
        )
        yield (
            f"{inward} ESP 0x{child.spi_in:08x} in {_to(ike)} -> {_from(ike)} (L{rekeys}A) B={_NONE} P={out} "
            f"@{_handle(ike)}"
        )


def _bearer(tunnel: ConnectionStatus) -> IKEStatus | None:
    """Give the IKE SA that the children are shown with: the one that was made last of those that are established."""
    established = [ike for ike in tunnel.ike if ike.state.lower() == "established"]
    return min(established or tunnel.ike, key=lambda ike: ike.age, default=None)


def _facts(tunnel: ConnectionStatus) -> Iterator[dict[str, Any]]:
    for ike in tunnel.ike:
        yield {
            "tunnel": tunnel.connection.name,
            "origin": tunnel.connection.origin,
            "handle": _handle(ike),
            **msgspec.to_builtins(ike),
            "assigned": tunnel.assigned,
            "provided": list(tunnel.provided),
            "children": [msgspec.to_builtins(child) for child in tunnel.children] if ike is _bearer(tunnel) else [],
        }


def _pool(tunnel: ConnectionStatus) -> str:
    """Give the inner address that the peer has from us."""
    return next(iter(tunnel.provided), "")


def _identity(text: str) -> str:
    if not text:
        return ""
    kind, value = classify(text.strip('"'))
    return f"{_ID_WORDS[kind]}/{clean(value)}"


def _from(ike: IKEStatus) -> str:
    return _endpoint(ike.local, ike.local_port)


def _to(ike: IKEStatus) -> str:
    return _endpoint(ike.remote, ike.remote_port)


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address or '0.0.0.0'}:{port}"  # noqa: S104 - to be shown


def _handle(ike: IKEStatus) -> str:
    return _number("ike", ike.initiator_spi, ike.responder_spi)


def _child_handles(child: ChildStatus) -> tuple[str, str]:
    return _number("out", f"{child.spi_out:08x}", f"{child.spi_in:08x}"), _number("in", f"{child.spi_in:08x}")


def _number(*names: str) -> str:
    """Give a number that is the same as long as the thing is the same."""
    digest = hashlib.blake2b("/".join(names).encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
    return f"0x{digest}"
