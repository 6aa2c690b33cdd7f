"""Peers that do things otherwise than we would: other selectors, lifetimes in kilobytes, things we do not know."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.pair.network import ALICE, BOB, GROUP, Network, Node, connection, matches, pair, start, traffic

from secd.ike import identities, proposals
from secd.ike.connection import Cipher, Connection, Phase2Proposal
from secd.ike.contract import Send
from secd.ike.crypto.ikev1 import hash_2
from secd.ike.v1 import children, quick_mode
from secd.ike.v1.context import Context, Session
from secd.ike.v1.state import ProposalSent
from secd.ike.wire import isakmp
from secd.ike.wire.attributes import Attribute, attribute
from secd.ike.wire.chain import encode_payloads
from secd.ike.wire.iana import ExchangeType, Flag, IdType, IpsecAttribute, LifeType, NotifyType, ProtocolId
from secd.ike.wire.isakmp import Header, encode_message
from secd.ike.wire.payload import Payload
from secd.ike.wire.payloads import (
    DeletePayload,
    HashPayload,
    IDPayload,
    NotificationPayload,
    UnknownPayload,
    VendorIDPayload,
)
from secd.ike.wire.sa import SAPayload
from secd.sadb.messages import Datagram


def session_of(node: Node) -> tuple[Context, Session]:
    """The one session of a node."""
    context = node.speaker._v1.ctx
    (session,) = context.sessions.values()
    return context, session


def say(node: Node, payloads: list[Payload]) -> None:
    """Let a node send an informational exchange of its one session."""
    context, session = session_of(node)
    context.world.now = node.net.now
    node.do(lambda: (context.inform(session, payloads), node.speaker._v1.settle()))


def test_selectors_other_than_any_are_refused_and_explained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net, alice, bob = pair()
    subnet = IDPayload(IdType.ID_IPV4_ADDR_SUBNET, bytes([10, 1, 0, 0, 255, 255, 0, 0]))
    any_selector = identities.ANY_SELECTOR
    monkeypatch.setattr(identities, "ANY_SELECTOR", subnet)
    monkeypatch.setattr(identities, "is_any", lambda payload: payload == any_selector)
    bob.start(settled=True)
    alice.start()
    net.run(300)
    (text,) = bob.said("selector-mismatch")
    assert "asks for traffic 10.1.0.0/16 <-> 10.1.0.0/16, a sec interface carries 0.0.0.0/0 <-> 0.0.0.0/0" in text
    assert not bob.sas
    assert "INVALID-ID-INFORMATION" in alice.said("selector-mismatch")[0]


def test_a_range_that_is_everything_counts_as_any() -> None:
    everything = IDPayload(IdType.ID_IPV4_ADDR_RANGE, bytes(4) + b"\xff" * 4)
    assert identities.is_any(everything)
    assert not identities.is_any(IDPayload(IdType.ID_IPV4_ADDR_SUBNET, bytes(8), protocol=17))
    assert not identities.is_any(IDPayload(IdType.ID_IPV6_ADDR_SUBNET, bytes(32)))
    assert not identities.is_any(None)


def test_a_lifetime_in_kilobytes_is_accepted_and_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = proposals._attributes2

    def with_kilobytes(*arguments: object) -> tuple[Attribute, ...]:
        kind = attribute(IpsecAttribute.SA_LIFE_TYPE, LifeType.KILOBYTES)
        return (*plain(*arguments), kind, attribute(IpsecAttribute.SA_LIFE_DURATION, 4_608_000))  # type: ignore

    monkeypatch.setattr(proposals, "_attributes2", with_kilobytes)
    net, alice, bob = pair()
    start(net, alice, bob)
    assert bob.added[0].hard.bytes == 4_608_000 * 1024
    assert bob.added[0].soft.bytes == 4_608_000 * 1024 * 9 // 10
    assert bob.added[0].hard.addtime == 1200


def test_a_lifetime_too_long_for_four_octets_is_as_long_as_can_be() -> None:
    long = Attribute(IpsecAttribute.SA_LIFE_DURATION, b"\xff" * 12)
    kind = attribute(IpsecAttribute.SA_LIFE_TYPE, LifeType.SECONDS)
    assert proposals._lifetimes([kind, long], kind.type, long.type) == (0xFFFFFFFF, 0)


def test_unknown_payloads_and_vendor_ids_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = isakmp.encode_payloads

    def with_more(payloads: list[Payload]) -> bytes:
        return plain([*payloads, VendorIDPayload(b"something new"), UnknownPayload(200, b"or other")])

    net, alice, bob = pair()
    from secd.ike.v1 import context

    monkeypatch.setattr(context, "encode_message", lambda header, payloads: isakmp.encode_with_body(
        header, payloads[0].type, with_more(payloads)))  # fmt: skip
    start(net, alice, bob)


def test_the_first_of_the_peers_acceptable_proposals_among_several_is_taken() -> None:
    net = Network()
    offered = tuple(
        Phase2Proposal(Cipher("aes", bits, bits, bits), auth, GROUP)
        for auth in ("hmac-sha2-512", "hmac-sha2-384", "hmac-sha1")
        for bits in (256, 192)
    )
    accepted = (Phase2Proposal(Cipher("aes", 192, 192, 192), "hmac-sha1", GROUP), offered[3])
    alice = Node(net, ALICE, [connection(ALICE, BOB, phase2=offered)], seed=1)
    bob = Node(net, BOB, [connection(BOB, ALICE, phase2=accepted, mode="passive")], seed=2)
    start(net, alice, bob)
    assert (alice.outbound().encryption, alice.outbound().auth) == ("aes-192", "hmac-sha2-384")


def test_one_key_exchange_serves_a_quick_mode_so_the_first_proposals_group_is_offered() -> None:
    aes = Cipher("aes", 128, 128, 256)
    several = tuple(Phase2Proposal(aes, "hmac-sha1", group) for group in ("ecp256", "ecp384", ""))
    suites = proposals.suites2(several, 1200, esn=False, mode=1)
    assert {suite.group for suite in suites} == {"ecp256"}
    net = Network()
    alice = Node(net, ALICE, [connection(ALICE, BOB, phase2=several[1:])], seed=1)
    bob = Node(net, BOB, [connection(BOB, ALICE, phase2=several, mode="passive")], seed=2)
    start(net, alice, bob)


def test_a_delete_may_name_several_pairs_and_unknown_ones() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(20)
    spi = alice.outbound().spi
    spis = tuple(each.to_bytes(4, "big") for each in (0xDEAD0001, spi, 0xDEAD0002, spi))
    say(bob, [DeletePayload(ProtocolId.PROTO_IPSEC_ESP, spis)])
    net.run(5)
    assert alice.outbound().spi != spi
    assert matches(alice, bob)


def test_initial_contact_may_come_in_an_informational_exchange() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(20)
    before = dict(alice.sas)
    say(bob, [NotificationPayload(NotifyType.INITIAL_CONTACT, ProtocolId.PROTO_ISAKMP)])
    net.run(5)
    assert alice.sas == before


def test_a_peer_that_drops_everything_at_initial_contact_gets_a_new_pair_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both begin at once, and our message 5 comes when strongSwan has long finished its own main mode."""
    net = Network()
    alice = Node(net, ALICE, [connection(ALICE, BOB)], seed=1)
    bob = Node(net, BOB, [connection(BOB, ALICE, mode="passive")], seed=2)  # tries once, as `swanctl --initiate` does

    def drop_everything(ctx: Context, session: Session) -> None:
        for other in ctx.of(session.sa.tunnel):
            if other is not session and ctx is bob.speaker._v1.ctx:
                children.destroy(ctx, other, tell=False)

    def is_message_5(send: Send) -> bool:
        ours = alice.speaker._v1.ctx.by_cookie(send.data[:8])
        phase1, encrypted = send.data[18] == ExchangeType.IDENTITY_PROTECTION, bool(send.data[19] & Flag.ENCRYPTION)
        initiates = ours is not None and ours.sa.role == "initiator"
        return send.local == ALICE and phase1 and encrypted and initiates

    monkeypatch.setattr(children, "forget_earlier", drop_everything)
    late = net.now + 4
    net.drop = lambda _, send: is_message_5(send) and net.now < late
    bob.start()
    alice.start()
    net.run(3)
    assert matches(alice, bob)
    net.run(7)
    assert len(alice.said("phase1-up")) == 2
    assert matches(alice, bob)
    assert traffic(net, alice, bob, 20) == 0


def test_a_complaint_about_one_datagram_does_not_end_the_quick_mode_under_way() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(20)
    bob.listening = False
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    net.run(1)
    # As strongSwan does when quick mode's last message comes again and it has forgotten the exchange.
    say(bob, [NotificationPayload(NotifyType.PAYLOAD_MALFORMED, ProtocolId.PROTO_ISAKMP)])
    net.run(1)
    bob.listening = True
    net.run(20)
    assert len(alice.said("phase2-rekeyed")) == 1
    assert alice.said("peer-says") == [f"{BOB} says PAYLOAD-MALFORMED"]
    assert alice.said("quick-mode-refused") == []
    assert matches(alice, bob)


def test_a_peer_that_complains_of_a_repetition_gets_a_new_quick_mode_at_once() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(20)
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    assert net.run(1, until=lambda: bool(_unanswered(alice)))
    (message_id,) = _unanswered(alice)
    net.drop = lambda _, send: send.data[20:24] == message_id.to_bytes(4, "big")
    net.run(3)  # it has gone out twice
    assert _unanswered(alice) == [message_id]
    # As strongSwan does for every repetition, if anything came between that and the message that it has answered.
    say(bob, [NotificationPayload(NotifyType.PAYLOAD_MALFORMED, ProtocolId.PROTO_ISAKMP)])
    net.run(0.2)
    assert not _unanswered(alice)
    net.run(20)
    assert len(alice.said("phase2-rekeyed")) == 1
    assert alice.said("peer-says") == [f"{BOB} says PAYLOAD-MALFORMED: quick mode begins again"]
    assert matches(alice, bob)


@pytest.mark.parametrize("late", [-0.1, 0.1, 0.4])
def test_an_answer_to_a_quick_mode_that_begins_again_makes_no_pair(late: float) -> None:
    """It comes `late` seconds after the complaint, while its own keys, or those of the next one, are computed."""
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(20)
    alice.compute_delay = 0.3
    answers: list[Send] = []

    def drop(_: int, send: Send) -> bool:
        if send.data[18] != ExchangeType.QUICK:
            return False
        if send.local == BOB and not answers:
            answers.append(send)
        return bool(answers) and send.data[20:24] == answers[0].data[20:24]

    net.drop = drop
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    assert net.run(3, until=lambda: bool(answers))
    net.run(2.6)  # message 1 has gone out twice
    complaint = NotificationPayload(NotifyType.PAYLOAD_MALFORMED, ProtocolId.PROTO_ISAKMP)
    net.after(0.2, lambda: say(bob, [complaint]))
    net.after(0.2 + late, lambda: net.deliver(bob, answers[0]))
    net.run(10)
    assert alice.said("peer-says") == [f"{BOB} says PAYLOAD-MALFORMED: quick mode begins again"]
    assert traffic(net, alice, bob, 120) == 0
    assert alice.pairs() == bob.pairs() == 1
    assert matches(alice, bob)


def test_a_peer_that_always_complains_is_not_asked_without_end() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(20)
    net.drop = lambda _, send: send.data[18] == ExchangeType.QUICK
    session = session_of(alice)[1]
    before = len(session.sa.used)
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    assert net.run(1, until=lambda: bool(_unanswered(alice)))
    since = net.now
    while _unanswered(alice) and net.now < since + 2 * quick_mode.LIMIT:
        net.run(1)
        say(bob, [NotificationPayload(NotifyType.PAYLOAD_MALFORMED, ProtocolId.PROTO_ISAKMP)])
    assert net.now <= since + quick_mode.LIMIT + 1
    assert 10 < len(session.sa.used) - before <= quick_mode.LIMIT / 1.5
    net.drop = lambda _, send: False
    assert traffic(net, alice, bob, 120) == 0
    assert len(alice.said("phase2-rekeyed")) == 1


def _unanswered(node: Node) -> list[int]:
    """The message ids of its quick modes of which nothing has come."""
    quick = session_of(node)[1].sa.quick
    return [message_id for message_id, each in quick.items() if isinstance(each.state, ProposalSent)]


def test_a_peer_that_floods_with_quick_modes_gets_a_bounded_number_of_pairs() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    context, session = session_of(alice)
    for number in range(30):
        step = quick_mode.start(context, session, context.tunnel(session))  # type: ignore[arg-type]
        context.world.now = net.now
        alice.do(lambda number=number, step=step: (
            alice.speaker._v1.begin(session, f"test {number}", step), alice.speaker._v1.settle()))  # fmt: skip
        net.run(1)
    assert bob.pairs() <= quick_mode.MAX_PAIRS + 1
    assert matches(alice, bob)
    assert traffic(net, alice, bob, 120) == 0
    assert alice.pairs() <= quick_mode.MAX_PAIRS


def test_a_peer_that_floods_with_main_modes_gets_a_bounded_number_of_sas() -> None:
    from secd.ike.v1 import main_mode, tending

    def begin() -> None:
        session = context.newest("sec0")
        assert session is not None
        tunnel = context.tunnel(session)
        assert tunnel is not None
        main_mode.start(context, tunnel, session.sa.endpoint, rekeying=True)

    net, alice, bob = pair()
    start(net, alice, bob)
    context = alice.speaker._v1.ctx
    for _ in range(20):
        context.world.now = net.now
        alice.do(lambda: (begin(), alice.speaker._v1.settle()))
        net.run(0.5)
    assert len(bob.checkpoints) <= tending.MAX_SESSIONS + 1
    net.run(30)
    assert matches(alice, bob)
    assert len(bob.checkpoints) == 1


def test_messages_of_exchanges_that_we_do_not_speak_are_passed_over() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    _, session = session_of(bob)
    before = len(bob.sent)
    for exchange in ExchangeType:
        for cookies in ((session.sa.icookie, session.sa.rcookie), (b"12345678", b"87654321"), (b"12345678", bytes(8))):
            for flags in (0, Flag.COMMIT, Flag.ENCRYPTION):
                data = encode_message(Header(*cookies, exchange, flags, 7), [VendorIDPayload(b"x" * 32)])
                bob.do(lambda data=data: bob.speaker.receive(Datagram(BOB, 500, ALICE, 500, data), net.now))
    for version in (0, 2, 15):
        data = bytearray(encode_message(Header(b"12345678", bytes(8), 34), [VendorIDPayload(b"x")]))
        data[17] = version << 4
        bob.do(lambda data=data: bob.speaker.receive(Datagram(BOB, 500, ALICE, 500, bytes(data)), net.now))
    net.run(5)
    assert len(bob.sent) == before
    assert traffic(net, alice, bob, 30) == 0


def test_dead_peer_questions_with_old_numbers_are_not_answered() -> None:
    net, alice, bob = pair(dpd=None)
    start(net, alice, bob)
    _, session = session_of(alice)
    cookies = session.sa.icookie + session.sa.rcookie

    def answers(number: int) -> int:
        before = len(bob.sent)
        data = number.to_bytes(4, "big")
        say(alice, [NotificationPayload(NotifyType.R_U_THERE, ProtocolId.PROTO_ISAKMP, cookies, data)])
        net.run(0.1)
        return len(bob.sent) - before

    assert answers(100) == 1
    assert answers(101) == 1
    assert answers(101) == 1  # the peer asks again
    assert answers(100) == 0
    assert answers(7) == 0


def anywhere(rule: Connection) -> Connection:
    """The same without `local`."""
    return replace(rule, local=None)


def test_a_local_address_may_be_left_to_the_routing_table() -> None:
    net = Network()
    alice = Node(net, ALICE, [anywhere(connection(ALICE, BOB))], seed=1)
    bob = Node(net, BOB, [anywhere(connection(BOB, ALICE, mode="passive"))], seed=2)
    start(net, alice, bob)
    assert alice.sent[0].local == ""
    assert (alice.outbound().source, alice.outbound().destination) == (ALICE, BOB)


def test_the_address_that_was_hit_answers() -> None:
    net, alice, bob = pair()
    bob.connections = [anywhere(connection(BOB, ALICE, mode="passive"))]
    start(net, alice, bob)
    assert {send.local for send in bob.sent} == {BOB}


def test_a_mismatch_is_told_again_when_the_offer_changes() -> None:
    net = Network()
    alice = Node(net, ALICE, [connection(ALICE, BOB)], seed=1)
    only_gcm = (Phase2Proposal(Cipher("aes-gcm", 256, 256, 256), "", ""),)
    bob = Node(net, BOB, [connection(BOB, ALICE, phase2=only_gcm, mode="passive")], seed=2)
    bob.start(settled=True)
    alice.start()
    net.run(100)
    assert len(bob.said("proposal-mismatch")) == 1
    alice.reconfigure(connection(ALICE, BOB, phase2=(Phase2Proposal(Cipher("null"), "hmac-sha1", ""),)))
    net.run(100)
    assert len(bob.said("proposal-mismatch")) == 2


def test_the_offers_octets_are_hashed_as_they_were_sent() -> None:
    net, alice, bob = pair()
    sent: list[Send] = []
    net.drop = lambda _, send: bool(sent.append(send))
    start(net, alice, bob)
    chain = isakmp.parse_payloads(sent[0].data[16], sent[0].data[28:])
    offer = chain.one(SAPayload)
    assert encode_payloads([offer])[4:] == offer.raw == offer.encode_body()


def test_a_responder_that_narrows_the_selectors_is_named_with_what_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    """strongSwan with networks of its own answers with these."""
    net, alice, bob = pair()
    narrow = [IDPayload(IdType.ID_IPV4_ADDR_SUBNET, bytes([10, net, 0, 0, 255, 255, 0, 0])) for net in (2, 1)]
    seal = Context.seal

    def narrowed(self: Context, session: Session, exchange: ExchangeType, message_id: int, *rest: object) -> object:
        payloads, cbc = rest
        if exchange == ExchangeType.QUICK and session.sa.role == "responder" and len(payloads) > 2:  # type: ignore[arg-type]
            state = next(iter(alice.speaker._v1.ctx.sessions.values())).sa.quick[message_id].state
            kept = [each for each in payloads[1:] if not isinstance(each, IDPayload)] + narrow  # type: ignore[index]
            hashed = hash_2(session.prf, session.keys.skeyid_a, message_id, state.nonce, encode_payloads(kept))  # type: ignore[union-attr]
            payloads = [HashPayload(hashed), *kept]
        return seal(self, session, exchange, message_id, payloads, cbc)  # type: ignore[arg-type]

    monkeypatch.setattr(Context, "seal", narrowed)
    bob.start(settled=True)
    alice.start()
    net.run(300)
    (text,) = alice.said("selector-mismatch")
    assert "asks for traffic 10.1.0.0/16 <-> 10.2.0.0/16, a sec interface carries 0.0.0.0/0 <-> 0.0.0.0/0" in text
    assert alice.speaker.status(net.now)[0].reason == text
    assert not alice.sas


def test_an_initiator_that_deletes_at_once_is_suspected_to_dislike_our_name() -> None:
    net, alice, bob = pair()
    bob.start(settled=True)
    alice.start()
    assert net.run(5, until=lambda: "phase1-up" in alice.codes())
    context, session = session_of(alice)
    context.world.now = net.now
    session.sa.quick.clear()
    say(alice, [children.delete_payload(session)])
    net.run(1)
    (text,) = bob.said("identity-mismatch")
    assert "does not accept our identity address 198.51.100.1; write at /etc/ipsec.conf: 1 `srcid NAME`" in text
    assert bob.speaker.status(net.now)[0].reason == text
