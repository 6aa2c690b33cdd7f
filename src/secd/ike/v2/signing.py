"""Authentication by signatures: RFC 7427 and the methods before it, by certificates or by known public keys.

What the key holder signs is the signed octets themselves; with which scheme, we choose: the best of those that our key
can and that the peer has listed, or the one old method that fits the key.  Nobody says how RSA signatures are to be
padded: a responder does as the initiator did, an initiator that is refused tries the other way the next time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache

from secd.ike.connection import Signature
from secd.ike.crypto import signature_schemes as schemes
from secd.ike.crypto.certificates import MAX_CERTIFICATES, Trust, load_certificate, verify_certificate
from secd.ike.crypto.errors import CertificateError, InvalidSignature
from secd.ike.crypto.signature_schemes import PublicKey, Scheme
from secd.ike.steps import Step, signature, time_of_day
from secd.ike.tunnel import Tunnel
from secd.ike.v2.context import Session, settings
from secd.ike.wire.iana import name_of
from secd.ike.wire.ikev2.iana import AuthMethod, CertEncoding, HashAlgorithm, NotifyType
from secd.ike.wire.ikev2.message import Chain
from secd.ike.wire.ikev2.notify import NotifyPayload, hashes_data
from secd.ike.wire.ikev2.payload import Payload
from secd.ike.wire.ikev2.payloads import AUTHORITY_OCTETS, AuthPayload, CertPayload, CertReqPayload, IDPayload

#: Authorities that a request for certificates names; with more, any will do.
MAX_AUTHORITIES = 64

#: What the words of iked.conf mean on the wire; `any` is all of them.
_METHODS: Mapping[str, AuthMethod] = {
    "rsa": AuthMethod.RSA_DIGITAL_SIGNATURE,
    "ecdsa256": AuthMethod.ECDSA_SHA_256,
    "ecdsa384": AuthMethod.ECDSA_SHA_384,
    "ecdsa521": AuthMethod.ECDSA_SHA_512,
    "rfc7427": AuthMethod.DIGITAL_SIGNATURE,
}
_ECDSA = (AuthMethod.ECDSA_SHA_256, AuthMethod.ECDSA_SHA_384, AuthMethod.ECDSA_SHA_512)


class Unproven(Exception):
    """The peer has not shown who it is; the text says why."""


class WithoutPpk(Unproven):
    """The two sides do not agree on a PPK, or on going without one."""


class CannotSign(Exception):
    """We cannot show who we are in a way that the peer knows; the text says why, and what to write."""


def accepts(auth: Signature, method: int) -> bool:
    """Whether the peer may sign by this method."""
    return method in _METHODS.values() if auth.method == "any" else method == _METHODS[auth.method]


def method_word(method: int) -> str:
    """An authentication method as iked.conf has it; "" for what it cannot say."""
    return next((word for word, number in _METHODS.items() if number == method), "")


def pads_as_pss(proof: AuthPayload) -> bool:
    """Whether it is an RSA signature padded as PSS."""
    return schemes.uses_pss(proof.method, proof.data)


def hashes(tunnels: Iterable[Tunnel]) -> list[Payload]:
    """SIGNATURE_HASH_ALGORITHMS: that the peer may sign by RFC 7427, if any of `tunnels` allows that."""
    auths = [each.connection.auth for each in tunnels]
    if not any(isinstance(auth, Signature) and accepts(auth, AuthMethod.DIGITAL_SIGNATURE) for auth in auths):
        return []
    return [NotifyPayload(NotifyType.SIGNATURE_HASH_ALGORITHMS, hashes_data(schemes.ACCEPTED_HASHES))]


def own(session: Session, tunnel: Tunnel, auth: Signature, signed: bytes, *, pss: bool) -> Step[list[Payload]]:
    """Our certificates and our AUTH payload, or raises `CannotSign`.  `pss`: how an RSA signature is padded."""
    key = _own_key(auth)
    method, scheme = _way(session, tunnel, auth, key, pss=pss)
    data = yield from signature(auth.key, scheme.name, signed)
    if method == AuthMethod.DIGITAL_SIGNATURE:
        data = schemes.auth_data(scheme, data)
    elif method in _ECDSA:
        data = schemes.raw_ecdsa(key, data)
    return [*(CertPayload(CertEncoding.X509_SIGNATURE, each) for each in auth.chain), AuthPayload(method, data)]


def check(
    tunnel: Tunnel, chain: Chain, identity: IDPayload, signed: bytes, proof: AuthPayload
) -> Step[tuple[str, ...]]:
    """See that the peer has signed, with a key that is its own; gives warnings for the log, or raises `Unproven`."""
    auth = tunnel.connection.auth
    if not isinstance(auth, Signature):
        raise Unproven("a pre-shared key is expected")
    for key in auth.peer_keys:
        with suppress(InvalidSignature):
            return _weak(_made_with(key, proof, signed, sha1=auth.method == "rsa"))
    received = [each.data for each in chain.all(CertPayload) if each.encoding == CertEncoding.X509_SIGNATURE]
    if not received:
        known = "it was not made with the public key that is known of the peer" if auth.peer_keys else ""
        raise Unproven(known or "no certificate came with it, and no public key of the peer is known")
    now = yield from time_of_day()
    try:
        trust = _trust(auth.authorities, auth.crls)
        found = verify_certificate(trust, received[:MAX_CERTIFICATES], identity.id_type, identity.data, now)
        used = schemes.verify(proof.method, proof.data, found.public_key, signed, sha1=auth.method == "rsa")
    except CertificateError as error:
        raise Unproven(str(error)) from None
    except InvalidSignature as error:
        other = ", or the PPKs differ: compare `ppk`" if settings(tunnel).ppk is not None else ""
        raise Unproven(f"{error}{other}") from None
    return (*found.warnings, *_weak(used))


def requests(tunnels: Iterable[Tunnel]) -> list[Payload]:
    """CERTREQ: by which authorities the peer's certificate may be signed (RFC 7296 §3.7)."""
    hashes: dict[bytes, None] = {}
    for each in tunnels:
        auth = each.connection.auth
        if isinstance(auth, Signature) and auth.authorities:
            with suppress(CertificateError):  # it is told when somebody is to be believed by them
                hashes.update(dict.fromkeys(_trust(auth.authorities, auth.crls).authority_hashes))
    if not hashes:
        return []
    named = list(hashes)[:MAX_AUTHORITIES] if len(hashes) <= MAX_AUTHORITIES else []
    return [CertReqPayload(CertEncoding.X509_SIGNATURE, b"".join(each[:AUTHORITY_OCTETS] for each in named))]


def _own_key(auth: Signature) -> PublicKey:
    try:
        return load_certificate(auth.chain[0]).public_key() if auth.chain else schemes.load_public_key(auth.public)
    except (CertificateError, InvalidSignature) as error:
        raise CannotSign(f"our own key or certificate is of no use: {error}") from None


def _way(session: Session, tunnel: Tunnel, auth: Signature, key: PublicKey, *, pss: bool) -> tuple[AuthMethod, Scheme]:
    """How we sign for this peer."""
    listed = session.sa.peer.hashes
    peer, origin = session.sa.endpoint.remote, tunnel.connection.origin
    if listed and accepts(auth, AuthMethod.DIGITAL_SIGNATURE):
        known = schemes.schemes_for(key, listed, pss=pss)
        if not known:
            names = ", ".join(name_of(HashAlgorithm, each).lower().replace("_", "-") for each in listed)
            raise CannotSign(f"{peer} knows signatures with {names} only, which our key cannot make: use a key of "
                             f"another kind at {origin}")  # fmt: skip
        return AuthMethod.DIGITAL_SIGNATURE, known[0]
    old = schemes.old_method_for(key)
    if old is None or auth.method == "rfc7427":
        instead = "use an ECDSA key" if old is None else "leave the word out"
        why = "which a key of this kind needs" if old is None else f"which `rfc7427` at {origin} wants"
        raise CannotSign(f"{peer} does not know RFC 7427, {why}: make it speak that, or {instead}")
    if old[1] is schemes.RSA_SHA1 and auth.method != "rsa":
        raise CannotSign(f"{peer} does not know RFC 7427, and an RSA signature without it is {schemes.SHA1_PROBLEM}, "
                         f"or write `rsa` at {origin} to sign so all the same")  # fmt: skip
    return old


def _made_with(key: bytes, proof: AuthPayload, signed: bytes, *, sha1: bool) -> Scheme:
    return schemes.verify(proof.method, proof.data, schemes.load_public_key(key), signed, sha1=sha1)


def _weak(used: Scheme) -> tuple[str, ...]:
    return (f"its signature is {schemes.SHA1_PROBLEM}, and take `rsa` out",) if used is schemes.RSA_SHA1 else ()


@lru_cache(maxsize=64)
def _trust(authorities: tuple[bytes, ...], crls: tuple[bytes, ...]) -> Trust:
    """Authorities and lists, read once.  One that was itself certified by another may end a path (iked.conf(5))."""
    return Trust.load(authorities, crls, partial=True)
