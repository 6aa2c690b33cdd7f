"""REDIRECT (RFC 5685): a gateway sends a client to another one, at each of the three times that it can.

No speaker of ours sends anybody elsewhere, so it is put into Bob's messages here; tests/interop has real gateways.
"""

from __future__ import annotations

import pytest
from tests.pair.network import ALICE, BOB, Network, Node, matches
from tests.pair.v2_support import connection

from secd.ike.contract import Send
from secd.ike.v2 import exchange
from secd.ike.v2.context import Context, Session
from secd.ike.v2.state import Probe
from secd.ike.wire.ikev2.iana import ExchangeType, Flag, GatewayIdType, NotifyType, PayloadType
from secd.ike.wire.ikev2.message import HEADER_OCTETS, NO_SPI, Header, encode_message, parse_header, parse_payloads
from secd.ike.wire.ikev2.notify import NotifyPayload, Redirect
from secd.ike.wire.ikev2.payloads import NoncePayload
from secd.sadb.messages import Datagram

CAROL = "203.0.113.40"


def three(*, redirect: bool = True, **changes: object) -> tuple[Network, Node, Node, Node]:
    """Alice with a policy for Bob; Carol is a gateway as good as Bob."""
    net = Network()
    alice = Node(net, ALICE, [connection(ALICE, BOB, redirect=redirect, **changes)], seed=1)
    bob, carol = (
        Node(net, address, [connection(address, ALICE, mode="passive")], seed=seed)
        for address, seed in ((BOB, 2), (CAROL, 3))
    )
    for gateway in (bob, carol):
        gateway.start(settled=True)
    return net, alice, bob, carol


def word(to: str, nonce: bytes = b"") -> NotifyPayload:
    kind = GatewayIdType.IPV6 if ":" in to else GatewayIdType.IPV4 if to[0].isdigit() else GatewayIdType.FQDN
    return NotifyPayload(NotifyType.REDIRECT, Redirect(kind, to, nonce).encode())


def says_in_the_first_answer(net: Network, alice: Node, *, to: str = CAROL, nonce: bytes | None = None) -> None:
    """Whatever begins with Bob is answered by a REDIRECT."""

    def drop(number: int, send: Send) -> bool:
        header = parse_header(send.data)
        if send.remote != BOB or header.exchange != ExchangeType.IKE_SA_INIT:
            return False
        asked = parse_payloads(header.next_payload, send.data[HEADER_OCTETS:])
        answer = Header(header.initiator_spi, NO_SPI, ExchangeType.IKE_SA_INIT, Flag.RESPONSE, 0)
        data = encode_message(answer, [word(to, asked.one(NoncePayload).data if nonce is None else nonce)])
        datagram = Datagram(ALICE, 500, BOB, 500, data)
        net.after(0.01, lambda: alice.do(lambda: alice.speaker.receive(datagram, net.now)))
        return True

    net.drop = drop


def first_message_to(node: Node, remote: str) -> set[int]:
    """The notifications of the last IKE_SA_INIT to `remote`."""
    data = next(each.data for each in reversed(node.sent) if each.remote == remote and each.data[18] == 34)
    return {each.notify_type for each in parse_payloads(data[16], data[HEADER_OCTETS:]).all(NotifyPayload)}


def test_in_the_first_answer() -> None:
    net, alice, bob, carol = three()
    says_in_the_first_answer(net, alice)
    alice.start()
    assert net.run(5, lambda: matches(alice, carol))
    assert alice.said("redirected") == [f"{BOB} sends us to {CAROL}"]
    assert NotifyType.REDIRECT_SUPPORTED in first_message_to(alice, BOB)
    assert NotifyType.REDIRECTED_FROM in first_message_to(alice, CAROL)
    assert NotifyType.REDIRECT_SUPPORTED not in first_message_to(alice, CAROL)
    assert not bob.sas


def test_in_clear_only_with_our_nonce() -> None:
    net, alice, _, carol = three()
    says_in_the_first_answer(net, alice, nonce=bytes(32))
    alice.start()
    net.run(20)
    assert "redirected" not in alice.codes()
    assert not carol.sas


def test_not_unless_the_configuration_allows_it() -> None:
    net, alice, _, carol = three(redirect=False)
    says_in_the_first_answer(net, alice)
    alice.start()
    net.run(20)
    assert not {NotifyType.REDIRECT_SUPPORTED, NotifyType.REDIRECTED_FROM} & first_message_to(alice, BOB)
    assert "redirected" not in alice.codes()
    assert not carol.sas


@pytest.mark.parametrize(("to", "why"), [
    ("gw.example.com", "a name"), (BOB, "it is there"), ("224.0.0.1", "no gateway"), ("127.0.0.1", "no gateway"),
    ("2001:db8::1", "cannot be reached from"),
])  # fmt: skip
def test_where_nobody_can_go(to: str, why: str) -> None:
    net, alice, _, _ = three()
    says_in_the_first_answer(net, alice, to=to)
    alice.start()
    net.run(20)
    [said] = alice.said("redirect-refused")
    assert why in said


def test_with_the_answer_to_ike_auth(monkeypatch: pytest.MonkeyPatch) -> None:
    net, alice, bob, carol = three()
    of_old = exchange.answer

    def answer(ctx: Context, session: Session, message: object, payloads: object = ()) -> None:
        if session.sa.endpoint.local == BOB and message.header.exchange == ExchangeType.IKE_AUTH:  # type: ignore[attr-defined]
            kept = (PayloadType.IDr, PayloadType.AUTH)
            payloads = [*(each for each in payloads if each.type in kept), word(CAROL)]  # type: ignore[attr-defined]
        of_old(ctx, session, message, payloads)  # type: ignore[arg-type]

    monkeypatch.setattr(exchange, "answer", answer)
    alice.start()
    assert net.run(5, lambda: matches(alice, carol))
    net.run(5)
    assert len(alice.sas) == 2
    assert len(alice.checkpoints) == 1
    assert "the peer has deleted the IKE SA" in " ".join(bob.said("ike-down"))


def send_away(bob: Node, to: str) -> None:
    """Bob says so in an INFORMATIONAL of its own."""

    def ask() -> None:
        machine = bob.speaker._v2
        [session] = machine.ctx.sessions.values()
        exchange.request(machine.ctx, session, ExchangeType.INFORMATIONAL, [word(to)], Probe())
        machine.settle()

    bob.do(ask)


def test_while_it_is_up_no_packet_is_lost_and_the_old_one_ends() -> None:
    net, alice, bob, carol = three()
    alice.start()
    assert net.run(5, lambda: matches(alice, bob))
    send_away(bob, CAROL)
    while not matches(alice, carol):
        assert alice.outbound() is not None
        net.run(0.01)
    net.run(10)
    assert len(alice.sas) == len(carol.sas) == 2
    assert not bob.sas
    assert NotifyType.REDIRECTED_FROM in first_message_to(alice, CAROL)


def test_while_it_is_up_and_the_other_gateway_is_not_there_the_tunnel_stays() -> None:
    net, alice, bob, _ = three()
    alice.start()
    assert net.run(5, lambda: matches(alice, bob))
    send_away(bob, "203.0.113.99")
    net.run(120)
    assert matches(alice, bob)


def test_when_the_other_gateway_does_not_answer_the_peer_of_the_policy_is_tried_again() -> None:
    net, alice, bob, _ = three()
    says_in_the_first_answer(net, alice, to="203.0.113.99")
    alice.start()
    net.run(30)
    net.drop = lambda number, send: False
    assert net.run(80, lambda: matches(alice, bob))


def test_a_responder_is_not_sent_elsewhere() -> None:
    net, alice, bob, _ = three()
    bob.reconfigure(connection(BOB, ALICE, mode="passive", redirect=True))
    alice.start()
    assert net.run(5, lambda: matches(alice, bob))
    send_away(alice, CAROL)
    net.run(10)
    assert "redirected" not in bob.codes()


def test_gateways_that_send_us_round_are_not_followed_for_ever() -> None:
    net, alice, bob, _ = three()
    alice.start()
    assert net.run(5, lambda: matches(alice, bob))
    for _ in range(7):
        send_away(bob, "203.0.113.99")
        net.run(2)
    assert len(alice.said("redirected")) == 5
    assert "6th time" in alice.said("redirect-refused")[0]
    net.run(300)
    send_away(bob, CAROL)
    net.run(20)
    assert len(alice.said("redirected")) == 6


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_killed_at_any_step_or_with_losses_there_is_one_tunnel_in_the_end(when: str, loss: float) -> None:
    for step in range(1, 9):
        net, alice, bob, carol = three()
        alice.start()
        assert net.run(5, lambda a=alice, b=bob: matches(a, b))  # type: ignore[misc]
        net.loss = loss
        alice.kill_at = (alice.steps + step) * (1 if when == "before" else -1)
        send_away(bob, CAROL)
        net.run(100)
        assert any(matches(alice, each) for each in (bob, carol)), step
        assert len(alice.sas) == 2
