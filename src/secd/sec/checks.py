"""What an SA must be to be installed; each refusal says what was seen and what was expected."""

from __future__ import annotations

import errno
import ipaddress

import msgspec

from secd.sadb.messages import AUTH_KEY_OCTETS, ENCRYPTION_KEY_OCTETS, SA

#: Ciphers that authenticate by themselves: they go without `auth`, the others with it.
_COMBINED = ("-gcm", "chacha20-poly1305")


class Refusal(Exception):
    """A request that is not carried out: an errno for programs, a message for people."""

    def __init__(self, number: int, message: str) -> None:
        """Say why."""
        super().__init__(message)
        self.errno = number


def address(value: str, what: str) -> str:
    """Give an outer address in its one canonical spelling."""
    try:
        parsed = ipaddress.ip_address(value)
    except ValueError:
        raise Refusal(errno.EINVAL, f"{what} {value!r} is no IPv4 or IPv6 address") from None
    mapped = isinstance(parsed, ipaddress.IPv6Address) and (parsed.scope_id or parsed.ipv4_mapped)
    if parsed.is_unspecified or parsed.is_multicast or mapped:
        raise Refusal(errno.EINVAL, f"{what} {value} cannot be the end of a tunnel: it is no unicast address")
    return str(parsed)


def addresses(source: str, destination: str) -> tuple[str, str]:
    """Give both outer addresses in canonical spelling; they must be of one family."""
    pair = address(source, "source"), address(destination, "destination")
    if (":" in pair[0]) != (":" in pair[1]):
        raise Refusal(errno.EINVAL, f"source {pair[0]} and destination {pair[1]} are of different address families")
    return pair


def checked(sa: SA) -> SA:
    """Give `sa` with canonical addresses, or refuse it."""
    if sa.encryption not in ENCRYPTION_KEY_OCTETS:
        raise Refusal(errno.EINVAL, f"unknown cipher {sa.encryption!r}; known: {', '.join(ENCRYPTION_KEY_OCTETS)}")
    if sa.auth not in AUTH_KEY_OCTETS:
        known = ", ".join(name for name in AUTH_KEY_OCTETS if name)
        raise Refusal(errno.EINVAL, f"unknown authentication {sa.auth!r}; known: {known}")
    combined = sa.encryption.endswith(_COMBINED)
    if combined and sa.auth:
        raise Refusal(errno.EINVAL, f"{sa.encryption} authenticates by itself: leave out {sa.auth}")
    if not combined and not sa.auth:
        raise Refusal(errno.EINVAL, f"{sa.encryption} needs an authentication, for example hmac-sha2-256")
    for name, key, octets in (
        (sa.encryption, sa.encryption_key, ENCRYPTION_KEY_OCTETS[sa.encryption]),
        (sa.auth, sa.auth_key, AUTH_KEY_OCTETS[sa.auth]),
    ):
        if len(key) != octets:
            raise Refusal(errno.EINVAL, f"{name or 'no auth'} takes a key of {octets} octets, not of {len(key)}")
    if sa.replay and sa.replay < 64:
        raise Refusal(errno.EINVAL, f"a replay window of {sa.replay} packets; it is 0 (off) or 64 to 4096")
    if sa.esn and not sa.replay:
        raise Refusal(errno.EINVAL, "extended sequence numbers need a replay window (RFC 4303 §3.3.3)")
    source, destination = addresses(sa.source, sa.destination)
    return msgspec.structs.replace(sa, source=source, destination=destination)


def without_keys(sa: SA) -> SA:
    """Give `sa` with its keys blanked."""
    return msgspec.structs.replace(sa, encryption_key=b"", auth_key=b"")
