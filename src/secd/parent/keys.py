"""The key holder: long-term secrets in, results out.  A secret never leaves the parent.

A secret is known to the others by a handle that says nothing about it: random, made once for each distinct secret, so
that a configuration loaded again names its unchanged secrets as before and disturbs no tunnel.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection
from typing import TYPE_CHECKING

from secd.ike.crypto.hashes import HASHES

if TYPE_CHECKING:
    from secd.ike.crypto.signature_schemes import PrivateKey

#: RFC 7296 §2.15.
KEY_PAD = b"Key Pad for IKEv2"


class KeyHolderError(Exception):
    """It could not be done; the text says why, without secrets."""


class KeyHolder:
    """Secrets by handle; those that no rule names any more are overwritten."""

    def __init__(self) -> None:
        """Hold nothing."""
        self._secrets: dict[str, bytearray] = {}
        self._handles: dict[bytes, str] = {}
        self._private: dict[str, PrivateKey] = {}  # those that have signed, read once
        # Equal secrets are found by a keyed digest; the key dies with the process, so the digest is worth nothing.
        self._index_key = secrets.token_bytes(32)

    def __len__(self) -> int:
        """Count distinct secrets."""
        return len(self._secrets)

    def hold(self, secret: bytes) -> str:
        """Take in `secret` and give its handle."""
        handle = self._handles.setdefault(self._fingerprint(secret), secrets.token_hex(16))
        if handle not in self._secrets:
            self._secrets[handle] = bytearray(secret)
        return handle

    def keep_only(self, handles: Collection[str]) -> None:
        """Overwrite and forget every secret whose handle is not among `handles`."""
        for handle in self._secrets.keys() - set(handles):
            secret = self._secrets.pop(handle)
            del self._handles[self._fingerprint(secret)]
            self._private.pop(handle, None)
            secret[:] = bytes(len(secret))

    def _fingerprint(self, secret: bytes | bytearray) -> bytes:
        return hashlib.blake2b(secret, key=self._index_key).digest()

    def prf(self, handle: str, name: str, data: bytes, pad: bytes = b"") -> bytes:
        """Compute prf(secret, data), or prf(prf(secret, pad), data), with hash `name`; raises KeyHolderError.

        For IKEv2 prf(secret, pad) is worth as much as the secret, so that alone nobody gets.
        """
        if data == KEY_PAD:
            raise KeyHolderError("what is asked for is as good as the key itself")
        secret = self._secrets.get(handle)
        if secret is None:
            raise KeyHolderError("no such key: its rule was removed or replaced meanwhile")
        hash_ = HASHES.get(name)
        if hash_ is None:
            raise KeyHolderError(f"no prf is known for the hash {name!r}; there are {', '.join(HASHES)}")
        digest = hash_.library_name
        try:
            return hmac.digest(hmac.digest(secret, pad, digest) if pad else secret, data, digest)
        except ValueError as error:
            raise KeyHolderError(f"this system's OpenSSL refuses {name}: {error}") from error

    def sign(self, handle: str, scheme: str, data: bytes) -> bytes:
        """Sign `data` with a private key; raises KeyHolderError.

        `scheme` is one of `signature_schemes.SCHEMES`, `rsa-sha1` (RFC 7296's method 1), or `ikev1-rsa`: over a hash
        that is itself the data.
        """
        from secd.ike.crypto import signature_schemes, signatures
        from secd.ike.crypto.errors import UnsupportedAlgorithm

        secret = self._secrets.get(handle)
        if secret is None:
            raise KeyHolderError("no such key: its rule was removed or replaced meanwhile")
        try:
            key = self._private.get(handle)
            if key is None:
                key = self._private[handle] = signature_schemes.load_private_key(bytes(secret))
            if scheme == signatures.SCHEME:
                return signatures.sign_hash(key, data)
            return signature_schemes.sign(key, scheme, data)
        except UnsupportedAlgorithm as error:
            raise KeyHolderError(str(error)) from error
