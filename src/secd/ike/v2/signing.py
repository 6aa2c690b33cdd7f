"""Authentication by signatures: RFC 7427 and the methods before it, by certificates or by known public keys.

What the key holder signs is the signed octets themselves; with which scheme, we choose: the best of those that our key
can and that the peer has listed, or the one old method that fits the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache

from secd.ike.connection import Signature
from secd.ike.crypto import signature_schemes as schemes
from secd.ike.crypto.certificates import MAX_CERTIFICATES, Trust, load_certificate, verify_certificate
from secd.ike.crypto.errors import CertificateError, InvalidSignature
from secd.ike.crypto.signature_schemes import SCHEMES, Scheme
from secd.ike.steps import Step, Unanswered, signature, time_of_day
from secd.ike.tunnel import Tunnel
from secd.ike.v2.context import Session
from secd.ike.wire.ikev2.iana import AuthMethod, CertEncoding
from secd.ike.wire.ikev2.message import Chain
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


def accepts(auth: Signature, method: int) -> bool:
    """Whether the peer may sign by this method."""
    return method in _METHODS.values() if auth.method == "any" else method == _METHODS[auth.method]


def own(session: Session, auth: Signature, signed: bytes) -> Step[list[Payload]]:
    """Our certificates and our AUTH payload."""
    refusal = "no way to sign that both sides know"
    for method, scheme in _ways(session, auth):
        try:
            made = yield from signature(auth.key, scheme.name, signed)
        except Unanswered as error:  # without a certificate nobody here knows of which kind our key is
            refusal = str(error)
            continue
        data = schemes.auth_data(scheme, made) if method == AuthMethod.DIGITAL_SIGNATURE else made
        if method in _ECDSA and auth.chain:
            data = schemes.raw_ecdsa(load_certificate(auth.chain[0]).public_key(), made)
        certificates = [CertPayload(CertEncoding.X509_SIGNATURE, each) for each in auth.chain]
        return [*certificates, AuthPayload(method, data)]
    raise Unanswered(f"we cannot sign: {refusal}")


def check(
    tunnel: Tunnel, chain: Chain, identity: IDPayload, signed: bytes, proof: AuthPayload
) -> Step[tuple[str, ...]]:
    """See that the peer has signed, with a key that is its own; gives warnings for the log, or raises `Unproven`."""
    auth = tunnel.connection.auth
    if not isinstance(auth, Signature):
        raise Unproven("a pre-shared key is expected")
    if any(_made_with(key, proof, signed) for key in auth.peer_keys):
        return ()
    received = [each.data for each in chain.all(CertPayload) if each.encoding == CertEncoding.X509_SIGNATURE]
    if not received:
        known = "it was not made with the public key that is known of the peer" if auth.peer_keys else ""
        raise Unproven(known or "no certificate came with it, and no public key of the peer is known")
    now = yield from time_of_day()
    try:
        trust = _trust(auth.authorities, auth.crls)
        found = verify_certificate(trust, received[:MAX_CERTIFICATES], identity.id_type, identity.data, now)
        schemes.verify(proof.method, proof.data, found.public_key, signed)
    except (CertificateError, InvalidSignature) as error:
        raise Unproven(str(error)) from None
    return found.warnings


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


def _ways(session: Session, auth: Signature) -> Iterator[tuple[int, Scheme]]:
    """How we may sign, the best first."""
    hashes = session.sa.peer.hashes
    named = bool(hashes) and auth.method in ("any", "rfc7427")
    if not auth.chain:
        if named:
            yield from ((AuthMethod.DIGITAL_SIGNATURE, each) for each in SCHEMES.values() if each.hash in hashes)
        return
    key = load_certificate(auth.chain[0]).public_key()
    if named:
        yield from ((AuthMethod.DIGITAL_SIGNATURE, each) for each in schemes.schemes_for(key, hashes))
    elif auth.method != "rfc7427" and (old := schemes.old_method_for(key)) is not None:
        yield old


def _made_with(key: bytes, proof: AuthPayload, signed: bytes) -> bool:
    try:
        schemes.verify(proof.method, proof.data, schemes.load_public_key(key), signed)
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=64)
def _trust(authorities: tuple[bytes, ...], crls: tuple[bytes, ...]) -> Trust:
    """Authorities and lists, read once.  One that was itself certified by another may end a path (iked.conf(5))."""
    return Trust.load(authorities, crls, partial=True)
