"""What can be wrong with what is asked of cryptography."""

from __future__ import annotations


class UnsupportedAlgorithm(ValueError):
    """An algorithm's name, number or key length that no registry entry has."""


class InvalidPublicValue(ValueError):
    """A peer's Diffie-Hellman value that must not be used (RFC 6989)."""


class InvalidSignature(ValueError):
    """A signature that was not made with the expected key over the expected octets."""


class NotAuthentic(Exception):
    """A message that was not protected with the expected keys, or not at all: anybody may have sent it."""


class CertificateError(Exception):
    """A certificate that must not be trusted; the text says which one, and why."""
