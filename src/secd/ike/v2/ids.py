"""Identities in IKEv2's ID payloads (RFC 7296 §3.5): addresses, FQDN, RFC822, DN and KEY_ID."""

from __future__ import annotations

from secd.ike import identities
from secd.ike.connection import Connection
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import name_of
from secd.ike.wire.ikev2.iana import IdType, NotifyType
from secd.ike.wire.ikev2.payloads import IDPayload
from secd.ike.wire.payloads import IDPayload as IDPayloadOfIkev1
from secd.sadb.messages import Identity

#: Types that both versions number alike, and that name one peer.
_TYPES = {
    IdType.ID_IPV4_ADDR,
    IdType.ID_FQDN,
    IdType.ID_RFC822_ADDR,
    IdType.ID_IPV6_ADDR,
    IdType.ID_DER_ASN1_DN,
    IdType.ID_KEY_ID,
}


def encode(identity: Identity) -> tuple[int, bytes]:
    """Type and data of the payload for `identity`."""
    payload = identities.to_payload(identity)
    return payload.id_type, payload.data


def decode(payload: IDPayload) -> Identity:
    """Whom an ID payload names; `WireError` with AUTHENTICATION_FAILED for a type that is of no use."""
    if payload.id_type not in _TYPES:
        what = name_of(IdType, payload.id_type)
        raise WireError(f"identity of type {what} is of no use here", NotifyType.AUTHENTICATION_FAILED)
    try:
        return identities.from_payload(IDPayloadOfIkev1(payload.id_type, payload.data))
    except WireError as error:
        raise WireError(str(error), NotifyType.AUTHENTICATION_FAILED) from None


def is_expected(connection: Connection, who: Identity) -> bool:
    """Whether `who` may be the peer of this connection."""
    expected = identities.expected(connection)
    return expected is None or identities.same(expected, who)
