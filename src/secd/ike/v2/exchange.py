"""Requests and answers (RFC 7296 §2.1 to §2.3): one request of each side at a time, repeated until it is answered.

Requests are repeated 2, 4, 8, 16, 16 seconds apart with a quarter of jitter, 62 seconds in all; questions whether the
peer is there as its dead peer detection says.  The last answer is kept and sent again when its request comes again.
A message that is too long goes in fragments, if the peer takes them (RFC 7383).
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence

from secd.ike.connection import DeadPeerDetection
from secd.ike.crypto.errors import NotAuthentic
from secd.ike.crypto.ikev2_messages import Fragment, Opened, Reassembly, open_message, seal_fragments, seal_message
from secd.ike.endpoint import Endpoint
from secd.ike.retransmission import FIRST, LONGEST, MAX_RESENT, TRIES, digest, jitter
from secd.ike.v2.context import Context, Incoming, Message, Session
from secd.ike.v2.state import Answered, Between, Move, Probe, Purpose, Request
from secd.ike.wire.cursor import WireError
from secd.ike.wire.ikev2.iana import ExchangeType, Flag
from secd.ike.wire.ikev2.message import Header, encode_message
from secd.ike.wire.ikev2.payload import Payload

#: Octets of an IP datagram with a fragment of ours: IPv6's smallest MTU, which everybody carries (RFC 7383 §2.5.1).
FRAGMENT_MTU = 1280
#: Octets of IPv6 and UDP headers, and the non-ESP marker.
_HEADERS = {4: 20 + 8 + 4, 6: 40 + 8 + 4}
#: How often a request goes from our address of before, when that may have changed.
ROAM = 2
#: Octets of one message out of fragments.
MAX_MESSAGE = 64 * 1024


# -- out --------------------------------------------------------------------------------------------------


def header(session: Session, exchange: int, message_id: int, *, response: bool = False) -> Header:
    """A header of `session`."""
    flags = (Flag.INITIATOR if session.initiator else 0) | (Flag.RESPONSE if response else 0)
    return Header(session.sa.spi_i, session.sa.spi_r, exchange, flags, message_id)


def request_plain(ctx: Context, session: Session, payloads: Sequence[Payload], purpose: Purpose) -> bytes:
    """Send IKE_SA_INIT, the only request in clear; gives the message."""
    data = encode_message(header(session, ExchangeType.IKE_SA_INIT, 0), payloads)
    session.sa.next_out = 1
    _request(ctx, session, 0, [data], purpose)
    return data


def request(
    ctx: Context, session: Session, exchange: ExchangeType, payloads: Sequence[Payload], purpose: Purpose
) -> None:
    """Send a protected request; there is none before it that waits for its answer."""
    message_id = session.sa.next_out
    session.sa.next_out += 1
    data = _seal(ctx, session, header(session, exchange, message_id), payloads)
    _request(ctx, session, message_id, data, purpose)


def last_words(ctx: Context, session: Session, payloads: Sequence[Payload]) -> None:
    """Send an INFORMATIONAL that nobody waits for the answer of, because the SA is forgotten at once."""
    message_id = session.sa.next_out
    session.sa.next_out += 1
    for data in _seal(ctx, session, header(session, ExchangeType.INFORMATIONAL, message_id), payloads):
        ctx.send(session.sa.endpoint, data)


def answer_plain(ctx: Context, session: Session, message: Message, payloads: Sequence[Payload]) -> bytes:
    """Answer IKE_SA_INIT; gives the message."""
    data = encode_message(header(session, ExchangeType.IKE_SA_INIT, 0, response=True), payloads)
    _answer(ctx, session, message, [data])
    return data


def answer(ctx: Context, session: Session, message: Message, payloads: Sequence[Payload] = ()) -> None:
    """Answer a protected request, to where it came from; the answer is kept."""
    head = header(session, message.header.exchange, message.header.message_id, response=True)
    _answer(ctx, session, message, _seal(ctx, session, head, payloads))


def _request(ctx: Context, session: Session, message_id: int, data: list[bytes], purpose: Purpose) -> None:
    waiting = Request(message_id, purpose, data, 0.0)
    pause = float(_wait(ctx, session, waiting) or FIRST)
    waiting.next = ctx.world.now + jitter(ctx.world.random, pause)
    session.sa.request = waiting
    _send(ctx, _from_where(ctx, session, waiting), data)
    ctx.touch(session)


def _answer(ctx: Context, session: Session, message: Message, data: list[bytes]) -> None:
    incoming = session.incoming.pop(False, None)
    in_fragments = incoming is not None and incoming.message_id == message.header.message_id
    asked = incoming.first if incoming is not None and in_fragments else message.data
    session.sa.answered = Answered(message.header.message_id, digest(asked), data)
    session.sa.next_in = message.header.message_id + 1
    _send(ctx, message.endpoint, data)
    ctx.touch(session)


def _seal(ctx: Context, session: Session, head: Header, payloads: Sequence[Payload]) -> list[bytes]:
    keys = session.keys.of(initiator=session.initiator)
    if not session.sa.peer.fragmentation:
        return [seal_message(session.cipher, keys, head, payloads, ctx.world.random)]
    version = ipaddress.ip_address(session.sa.endpoint.remote).version
    limit = FRAGMENT_MTU - _HEADERS[version]
    return seal_fragments(session.cipher, keys, head, payloads, ctx.world.random, limit=limit)


def _send(ctx: Context, endpoint: Endpoint, data: Sequence[bytes]) -> None:
    for each in data:
        ctx.send(endpoint, each)


# -- again ------------------------------------------------------------------------------------------------


def repeat_request(ctx: Context, session: Session) -> bool:
    """The time has come to send our request again; False: it was sent often enough."""
    waiting = session.sa.request
    if waiting is None:
        return True
    wait, tries = _wait(ctx, session, waiting), _tries(ctx, session, waiting)
    if waiting.tries >= tries:
        return False
    pause = float(wait) if wait else min(FIRST * 2.0**waiting.tries, LONGEST)
    waiting.tries += 1
    waiting.next = ctx.world.now + jitter(ctx.world.random, pause)
    _send(ctx, _from_where(ctx, session, waiting), waiting.sent)
    ctx.touch(session)
    return True


def _from_where(ctx: Context, session: Session, waiting: Request) -> Endpoint:
    """From our address of before; if that may have changed, from wherever the routing table says (RFC 4555 §3.5)."""
    where = session.sa.endpoint
    if (session.roaming or waiting.tries > ROAM) and ctx.roams(session):
        return Endpoint("", where.local_port, where.remote, where.remote_port)
    return where


def try_another_way(ctx: Context, session: Session) -> None:
    """Our request, if there is one, goes out at once, beside its repeats, from wherever the routing table says."""
    waiting, session.roaming = session.sa.request, True
    if waiting is not None:
        _send(ctx, _from_where(ctx, session, waiting), waiting.sent)


def repeat_answer(ctx: Context, session: Session, message: Message) -> None:
    """A request that was answered has come again: so does the answer, if it is the same request."""
    answered = session.sa.answered
    if answered is None or answered.message_id != message.header.message_id or answered.resent >= MAX_RESENT:
        return
    if not hmac.compare_digest(answered.digest, digest(message.data)):
        if session.sa.keys is None or not message.header.message_id:
            return
        opened = _open(session, message)  # perhaps in other fragments than before: then the first one counts
        if isinstance(opened, Fragment) and opened.number != 1:
            return
    answered.resent += 1
    _send(ctx, message.endpoint, answered.sent)
    ctx.touch(session)


def hurry(ctx: Context, session: Session) -> None:
    """Somebody says that the peer has forgotten us: repeat the request as if it asked whether it is there."""
    waiting = session.sa.request
    if waiting is not None and not waiting.hurried:
        waiting.hurried, waiting.tries = True, 0
        waiting.next = ctx.world.now
        ctx.touch(session)


def _wait(ctx: Context, session: Session, waiting: Request) -> int:
    """Seconds between questions whether the peer is there; 0 for other requests."""
    settings = _probing(ctx, session, waiting)
    return max(1, settings.wait) if settings is not None else 0


def _tries(ctx: Context, session: Session, waiting: Request) -> int:
    settings = _probing(ctx, session, waiting)
    return max(1, settings.tries) if settings is not None else TRIES


def _probing(ctx: Context, session: Session, waiting: Request) -> DeadPeerDetection | None:
    tunnel = ctx.tunnel(session)
    asks = waiting.hurried or isinstance(waiting.purpose, Probe | Move)
    return tunnel.connection.dpd if asks and tunnel is not None else None


# -- in ---------------------------------------------------------------------------------------------------


def receive(session: Session, message: Message) -> Opened | None:
    """Open a protected message; None: a fragment, and others are missing.  `NotAuthentic` if anybody may have sent it.

    Of each direction the fragments of one message are kept, and of no more octets than a message may have.
    """
    opened = _open(session, message)
    if isinstance(opened, Opened):
        return opened
    head = message.header
    incoming = session.incoming.get(head.response)
    if incoming is None or incoming.message_id != head.message_id:
        incoming = Incoming(head.message_id, Reassembly())
        session.incoming[head.response] = incoming
    incoming.parts = incoming.parts.add(opened)
    if opened.number == 1:
        incoming.first = message.data
    if sum(map(len, incoming.parts.parts.values())) > MAX_MESSAGE:
        del session.incoming[head.response]
        raise WireError(f"fragments of more than {MAX_MESSAGE} octets")
    if not incoming.parts.complete:
        return None
    if head.response:
        del session.incoming[head.response]
    return incoming.parts.message(head)


def _open(session: Session, message: Message) -> Opened | Fragment:
    phase = session.sa.phase
    keys = phase.keys if isinstance(phase, Between) else session.sa.keys
    if keys is None:
        raise NotAuthentic("there are no keys yet")
    return open_message(session.cipher, keys.of(initiator=not session.initiator), message.header, message.data)
