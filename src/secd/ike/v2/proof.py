"""AUTH: how we prove who we are, and whether the peer has (RFC 7296 §2.15)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from secd.ike.connection import PreSharedKey
from secd.ike.crypto.ikev2 import IkeKeys, int_auth, signed_octets
from secd.ike.steps import Step, keyed_prf
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import signing
from secd.ike.v2.context import Session
from secd.ike.v2.signing import Unproven
from secd.ike.v2.state import Transcript
from secd.ike.wire.ikev2.iana import AuthMethod
from secd.ike.wire.ikev2.message import Chain
from secd.ike.wire.ikev2.payload import Payload
from secd.ike.wire.ikev2.payloads import AuthPayload, IDPayload

#: RFC 7296 §2.15.
KEY_PAD = b"Key Pad for IKEv2"


@dataclass(frozen=True, slots=True)
class Covered:
    """What both AUTH payloads of an IKE_AUTH are over: `message_id` is the exchange's."""

    transcript: Transcript
    keys: IkeKeys
    message_id: int


def octets(session: Session, covered: Covered, identity: IDPayload, *, initiator: bool) -> bytes:
    """What the AUTH of the exchange's `initiator`, or of its responder, covers."""
    transcript, keys = covered.transcript, covered.keys
    between = b""
    if transcript.between_i or transcript.between_r:
        between = int_auth(transcript.between_i, transcript.between_r, covered.message_id)
    return signed_octets(
        session.prf,
        keys.sk_pi if initiator else keys.sk_pr,
        message=transcript.request if initiator else transcript.response,
        nonce=transcript.nonce_r if initiator else transcript.nonce_i,
        id_body=identity.body,
        int_auth=between,
    )


def own(session: Session, tunnel: Tunnel, signed: bytes, *, pss: bool) -> Step[list[Payload]]:
    """Our AUTH payload, and what belongs to it; raises `signing.CannotSign`.  `pss`: how an RSA signature is padded."""
    auth = tunnel.connection.auth
    if not isinstance(auth, PreSharedKey):
        return (yield from signing.own(session, tunnel, auth, signed, pss=pss))
    data = yield from _psk(session, tunnel, signed)
    return [AuthPayload(AuthMethod.SHARED_KEY_MIC, data)]


@dataclass(frozen=True, slots=True)
class Claim:
    """Who the peer says it is, its proof, and what that has to cover."""

    identity: IDPayload
    proof: AuthPayload
    signed: bytes


def check(session: Session, tunnel: Tunnel, chain: Chain, claim: Claim) -> Step[tuple[str, ...]]:
    """See that the peer's AUTH payload is what it must be; gives warnings for the log, or raises `Unproven`."""
    identity, proof, signed = claim.identity, claim.proof, claim.signed
    if not isinstance(tunnel.connection.auth, PreSharedKey):
        return (yield from signing.check(tunnel, chain, identity, signed, proof))
    expected = yield from _psk(session, tunnel, signed)
    if not hmac.compare_digest(expected, proof.data):
        raise Unproven("the pre-shared keys differ")
    return ()


def fits(tunnel: Tunnel, method: int) -> bool:
    """Whether a peer of `tunnel` may authenticate itself by this method."""
    auth = tunnel.connection.auth
    if isinstance(auth, PreSharedKey):
        return method == AuthMethod.SHARED_KEY_MIC
    return signing.accepts(auth, method)


def _psk(session: Session, tunnel: Tunnel, signed: bytes) -> Step[bytes]:
    return (yield from keyed_prf(tunnel.connection.auth.key, session.prf.hash.name, signed, KEY_PAD))
