"""Mode config and XAUTH: refused in words, once, and nothing is kept."""

from __future__ import annotations

import pytest
from tests.pair.network import ALICE, BOB, Network, Node, pair, start, traffic

from secd.ike.crypto.ikev1 import hash_1
from secd.ike.proposals import offer1
from secd.ike.v1.context import Session
from secd.ike.wire.attributes import Attribute
from secd.ike.wire.chain import encode_payloads
from secd.ike.wire.iana import AuthenticationMethod, ConfigType, ExchangeType, NotifyType
from secd.ike.wire.isakmp import Header, encode_message, parse_payloads
from secd.ike.wire.payloads import ConfigurationPayload, HashPayload, NotificationPayload
from secd.sadb.messages import Datagram

USER_NAME, ADDRESS = 16521, 1  # XAUTH's, and mode config's


def session_of(node: Node) -> Session:
    (session,) = node.speaker._v1.ctx.sessions.values()
    return session


def ask(sender: Node, config_type: int, attribute: int, message_id: int = 77, spoil: bytes = b"") -> bytes:
    """A transaction exchange of `sender`, under its SA."""
    session = session_of(sender)
    asked = ConfigurationPayload(config_type, 1, (Attribute(attribute, b""),))
    hashed = hash_1(session.prf, session.keys.skeyid_a, message_id, encode_payloads([asked])) + spoil
    cbc = session.phase2_cbc(message_id)
    data, _ = sender.speaker._v1.ctx.seal(
        session, ExchangeType.TRANSACTION, message_id, [HashPayload(hashed), asked], cbc
    )
    return data


def deliver(net: Network, node: Node, data: bytes) -> None:
    node.do(lambda: node.speaker.receive(Datagram(ALICE, 500, BOB, 500, data), net.now))


@pytest.mark.parametrize(
    ("config_type", "attribute", "words"),
    [
        (ConfigType.ISAKMP_CFG_REQUEST, USER_NAME, "wants a user's name and password (XAUTH)"),
        (ConfigType.ISAKMP_CFG_REQUEST, ADDRESS, "wants to be configured, with an address of its own (mode config)"),
        (ConfigType.ISAKMP_CFG_SET, ADDRESS, "wants to configure us (mode config)"),
    ],
)
def test_what_is_not_done_here_is_refused_once_in_words_and_nothing_is_kept(
    config_type: int, attribute: int, words: str
) -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    data, sent = ask(bob, config_type, attribute), len(alice.sent)
    for _ in range(50):
        deliver(net, alice, data)
    assert len(alice.sent) == sent + 1
    answer, session = alice.sent[-1].data, session_of(bob)
    message_id = int.from_bytes(answer[20:24], "big")
    plain, _ = session.phase2_cbc(message_id).decrypt(answer[28:])
    told = parse_payloads(answer[16], plain, padded=True).one(NotificationPayload)
    assert told.notify_type == NotifyType.ATTRIBUTES_NOT_SUPPORTED
    for number in range(10):
        deliver(net, alice, ask(bob, config_type, attribute, 100 + number))
    (text,) = alice.said("not-done-here")
    assert f"{BOB} {words}: refused, that is not done here" in text
    assert not session_of(alice).sa.quick.keys() - session_of(bob).sa.quick.keys()
    assert traffic(net, alice, bob, 60) == 0


def test_a_reply_to_nothing_and_a_wrong_hash_are_passed_over() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    sent = len(alice.sent)
    deliver(net, alice, ask(bob, ConfigType.ISAKMP_CFG_REPLY, ADDRESS))
    deliver(net, alice, ask(bob, ConfigType.ISAKMP_CFG_REQUEST, ADDRESS, 78, spoil=b"x"))
    deliver(net, alice, encode_message(Header(b"c" * 8, b"d" * 8, ExchangeType.TRANSACTION, 0, 5), []))
    assert len(alice.sent) == sent


def test_an_offer_of_xauth_is_refused_by_its_name() -> None:
    net, alice, bob = pair()
    bob.start(settled=True)
    offer = offer1(alice.connections[0].phase1, 3600, AuthenticationMethod.XAUTH_INIT_PRE_SHARED)
    data = encode_message(Header(b"c" * 8, bytes(8), ExchangeType.IDENTITY_PROTECTION), [offer])
    bob.do(lambda: bob.speaker.receive(Datagram(BOB, 500, ALICE, 500, data), net.now))
    (text,) = bob.said("proposal-mismatch")
    assert "peer xauth-init-pre-shared, here psk; XAUTH, a user's name and password in addition, is not spoken" in text
