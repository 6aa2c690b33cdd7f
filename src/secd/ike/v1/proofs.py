"""How we prove who we are, and whether the peer has: by the pre-shared key or by RSA signatures (RFC 2409 §5.1, §5.4).

Both sign HASH_I or HASH_R.  With signatures SKEYID depends on no secret, so everybody who has done the key exchange
with us can decrypt and encrypt: only the signature, and that its key is the peer's, say with whom that was.

A proof that does not agree may have been garbled on its way (`Unproven`): the message is passed over.  One that was
made with the key of a certificate that must not be believed was not, so that ends the exchange (`Distrusted`).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache

from secd.ike.connection import Connection, PreSharedKey, Signature
from secd.ike.crypto import signatures
from secd.ike.crypto.certificate_names import subject_der
from secd.ike.crypto.certificates import Trust, verify_certificate
from secd.ike.crypto.errors import CertificateError, InvalidSignature
from secd.ike.crypto.ikev1 import skeyid_psk_data, skeyid_signatures
from secd.ike.steps import Step, keyed_prf, signature, time_of_day
from secd.ike.v1.context import Terms
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import AuthenticationMethod, CertEncoding, NotifyType
from secd.ike.wire.isakmp import Chain
from secd.ike.wire.payload import Payload
from secd.ike.wire.payloads import CertPayload, CertReqPayload, HashPayload, IDPayload, SignaturePayload

PSK = AuthenticationMethod.PRE_SHARED_KEY
RSA = AuthenticationMethod.RSA_SIGNATURES
#: Authorities that we name; of more we name none, which means any.
MAX_REQUESTS = 8
#: Certificates of a peer's that are looked at.
MAX_CERTIFICATES = 8


class Unproven(WireError):
    """The proof does not agree, or there is none."""


class Distrusted(Exception):
    """The peer has signed with its certificate's key, but the certificate must not be believed; the text says why."""


def method_of(connection: Connection) -> int:
    """How both sides of a connection authenticate themselves."""
    return PSK if isinstance(connection.auth, PreSharedKey) else RSA


def skeyid(connection: Connection, terms: Terms, nonces: tuple[bytes, bytes], secret: bytes) -> Step[bytes]:
    """SKEYID; `nonces` are Ni_b and Nr_b, `secret` is g^xy."""
    auth = connection.auth
    if isinstance(auth, PreSharedKey):
        return (yield from keyed_prf(auth.key, terms.suite.hash, skeyid_psk_data(*nonces)))
    return skeyid_signatures(terms.prf, *nonces, secret)


def own(connection: Connection, hashed: bytes) -> Step[list[Payload]]:
    """What proves to the peer that we are who we say: HASH, or our certificates and SIG."""
    auth = connection.auth
    if isinstance(auth, PreSharedKey):
        return [HashPayload(hashed)]
    signed = yield from signature(auth.key, signatures.SCHEME, hashed)
    certificates = [CertPayload(CertEncoding.X509_SIGNATURE, each) for each in auth.chain]
    return [*certificates, SignaturePayload(signed)]


def requests(connections: Iterable[Connection]) -> list[Payload]:
    """CERTREQ: whose certificates the peer may show."""
    names: dict[bytes, None] = {}
    for each in connections:
        if isinstance(each.auth, Signature) and each.auth.authorities:
            with suppress(CertificateError):  # it is told when somebody is to be believed by them
                names.update(dict.fromkeys(_trusted(each.auth)[1]))
    wanted = list(names) if len(names) <= MAX_REQUESTS else [b""]
    return [CertReqPayload(CertEncoding.X509_SIGNATURE, each) for each in wanted]


def check(connection: Connection, chain: Chain, identity: IDPayload, hashed: bytes) -> Step[tuple[str, ...]]:
    """See that the peer has proved to be `identity`; gives warnings for the log.

    `hashed` is HASH_I or HASH_R as it must be.  Raises `Unproven` or `Distrusted`.  Whether a peer of that name is
    expected is another question.
    """
    auth = connection.auth
    if isinstance(auth, PreSharedKey):
        if not hmac.compare_digest(chain.one(HashPayload).data, hashed):
            raise Unproven("the hash does not agree", NotifyType.AUTHENTICATION_FAILED)
        return ()
    signed = chain.one(SignaturePayload).data
    if any(_signed_by(key, hashed, signed) for key in auth.peer_keys):
        return ()
    certificates = [each.data for each in chain.all(CertPayload) if each.encoding == CertEncoding.X509_SIGNATURE]
    if not certificates:
        raise Unproven(_without_certificate(auth), NotifyType.INVALID_SIGNATURE)
    try:
        signatures.verify_by_certificate(certificates[0], hashed, signed)
    except (InvalidSignature, CertificateError) as error:
        raise Unproven(f"by its certificate: {error}", NotifyType.INVALID_SIGNATURE) from None
    now = yield from time_of_day()
    try:
        trust = _trusted(auth)[0]
        verified = verify_certificate(trust, certificates[:MAX_CERTIFICATES], identity.id_type, identity.data, now)
    except CertificateError as error:
        raise Distrusted(str(error)) from None
    return verified.warnings


def _trusted(auth: Signature) -> tuple[Trust, tuple[bytes, ...]]:
    return _load(auth.authorities, auth.crls)


@lru_cache(maxsize=64)
def _load(authorities: tuple[bytes, ...], crls: tuple[bytes, ...]) -> tuple[Trust, tuple[bytes, ...]]:
    """Authorities and lists, read once, and the authorities' names."""
    trust = Trust.load(authorities, crls)
    return trust, tuple(subject_der(each) for each in trust.authorities)


def _signed_by(key: bytes, hashed: bytes, signed: bytes) -> bool:
    try:
        signatures.verify_by_key(key, hashed, signed)
    except InvalidSignature:
        return False
    return True


def _without_certificate(auth: Signature) -> str:
    if auth.peer_keys:
        return "it was not made with the public key that is known of the peer, and no certificate came with it"
    return "no certificate came with it, and no public key of the peer is known"
