"""A pre-shared key against quantum computers, mixed into what other keys are made of (RFC 8784).

Both sides say in IKE_SA_INIT that they have one (USE_PPK).  In IKE_AUTH the initiator names it (PPK_IDENTITY) and
proves who it is with keys into which it is mixed; where it can do without, it also says how it would prove that
without (NO_PPK_AUTH).  The responder's PPK_IDENTITY says that it has used the key, too.
"""

from __future__ import annotations

from secd.ike.crypto.ikev2 import IkeKeys, ppk_data
from secd.ike.steps import Step, keyed_prf
from secd.ike.tunnel import Tunnel
from secd.ike.v2.context import Session, settings
from secd.ike.v2.signing import WithoutPpk
from secd.ike.wire.ikev2.iana import NotifyType, PpkIdType
from secd.ike.wire.ikev2.message import Chain
from secd.ike.wire.ikev2.notify import NotifyPayload, PpkIdentity
from secd.ike.wire.ikev2.payloads import AuthPayload


def mixed(session: Session, tunnel: Tunnel) -> Step[IkeKeys]:
    """The keys of `session` with the tunnel's PPK in SK_d, SK_pi and SK_pr; itself it stays as it is."""
    wanted, keys = settings(tunnel).ppk, session.keys
    if wanted is None:
        return keys
    made: list[bytes] = []
    for key in (keys.sk_d, keys.sk_pi, keys.sk_pr):
        made.append((yield from keyed_prf(wanted.key, session.prf.hash.name, ppk_data(key))))
    return keys.with_ppk(made[0], made[1], made[2])


def identity(tunnel: Tunnel) -> NotifyPayload | None:
    """PPK_IDENTITY of an initiator."""
    wanted = settings(tunnel).ppk
    if wanted is None:
        return None
    data = PpkIdentity(PpkIdType.PPK_ID_FIXED, wanted.identity).encode()
    return NotifyPayload(NotifyType.PPK_IDENTITY, data)


def chosen(session: Session, tunnel: Tunnel, chain: Chain) -> Step[tuple[IkeKeys, AuthPayload]]:
    """As responder: with which keys the initiator's proof is to be checked, and which of its two it is.

    `WithoutPpk` if the two sides cannot agree on a PPK, or on going without one.
    """
    proof, wanted = chain.one(AuthPayload), settings(tunnel).ppk
    named = chain.notification(NotifyType.PPK_IDENTITY)
    if named is None:
        if wanted is not None and wanted.required:
            raise WithoutPpk("it has no PPK, and one is required here: compare `ppk`, or write `ppk optional`")
        return session.keys, proof
    if wanted is not None and PpkIdentity.parse(named).identity == wanted.identity:
        return (yield from mixed(session, tunnel)), proof
    without = chain.notification(NotifyType.NO_PPK_AUTH)
    if without is None or (wanted is not None and wanted.required):
        name = PpkIdentity.parse(named).identity.decode("ascii", "backslashreplace")
        raise WithoutPpk(f"its PPK {name!r} is not known here: compare `ppkid`")
    return session.keys, AuthPayload(proof.method, without.data)
