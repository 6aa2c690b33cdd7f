"""What compilation asks of the keys and certificates: `secd.conf.iked.certificates` answers, and is slow to load."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from secd.conf.iked.rules import SignatureMethod
from secd.sadb.messages import Identity


class CredentialsError(Exception):
    """A key or certificate is missing or is not what it should be; the text names the file."""


class Credentials(Struct, frozen=True):
    """What a policy needs.  `srcid` is our identity as our certificate spells it; certificates are DER."""

    srcid: Identity
    private_key: bytes  # PEM
    public_key: bytes  # SubjectPublicKeyInfo
    chain: tuple[bytes, ...]
    authorities: tuple[bytes, ...]
    crls: tuple[bytes, ...]
    peer_keys: tuple[bytes, ...]
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        """Show nothing."""
        return "Credentials()"


class KeyStore(Protocol):
    """Where keys and certificates are kept."""

    def credentials(self, srcid: Identity, words: str, dstid: Identity | None, method: SignatureMethod) -> Credentials:
        """Give what one policy needs; `words` are how `srcid` was written.  Raises CredentialsError."""
