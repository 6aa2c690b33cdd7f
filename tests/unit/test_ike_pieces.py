"""The small parts that the IKE machine is made of."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from secd.ike import explain, identities, nat, proposals, retransmission
from secd.ike.connection import Cipher, Connection, Phase1Proposal, Phase2Proposal
from secd.ike.contract import (
    AddSA,
    ComputePRF,
    DeleteSA,
    DropCheckpoint,
    Log,
    PRFResult,
    QueryLastUse,
    SaveCheckpoint,
    Send,
)
from secd.ike.crypto.hashes import hash_named
from secd.ike.outbox import Outbox
from secd.ike.proposals import EspSuite, Suite
from secd.ike.retransmission import Flight
from secd.ike.steps import ANSWER_TIMEOUT, Step, Steps, Unanswered, keyed_prf
from secd.ike.timers import Timers
from secd.ike.tunnel import LONGEST_PAUSE, Tunnel, fingerprint, origin_for
from secd.ike.v1 import offers
from secd.ike.v2 import explain as explain_v2
from secd.ike.wire.chain import encode_payloads
from secd.ike.wire.cursor import Reader, WireError
from secd.ike.wire.distinguished_names import name_from_text
from secd.ike.wire.iana import EncapsulationMode, IdType
from secd.ike.wire.isakmp import parse_payloads
from secd.ike.wire.payloads import IDPayload
from secd.ike.wire.sa import SAPayload
from secd.ike.world import BURST, REFILL, World
from secd.sadb.messages import SA, Identity

AES = Cipher("aes", 128, 128, 256)


def middle(count: int) -> bytes:
    """Random octets that are never lucky: half of every range."""
    return b"\x80" + bytes(count - 1)


# -- order, deadlines, questions --------------------------------------------------------------------------


def test_a_steps_outputs_are_put_in_the_order_that_the_shell_relies_on() -> None:
    sa = SA(0x1000, "in", "sec0", "192.0.2.1", "192.0.2.2", "null", b"", "hmac-sha1", bytes(20))
    box = Outbox()
    question, send = QueryLastUse(1, 2, "192.0.2.1"), Send("", 500, "192.0.2.1", 500, b"x")
    late, add, delete = AddSA(3, sa), AddSA(2, sa), DeleteSA(5, "out", "192.0.2.1")
    save, drop, log = SaveCheckpoint("a", b""), DropCheckpoint("b"), Log("info", "", "up", "up")
    box.put(question)
    box.put(send)
    box.put_after_send(late)
    box.put(save)
    box.put(delete)
    box.put(drop)
    box.put(add)
    box.put(log)
    assert box.take() == []
    box.finish_step()
    assert box.take() == [log, delete, add, save, drop, send, late, question]
    box.put(send)
    box.drop_step()
    box.finish_step()
    assert box.take() == []


def test_timers_tell_the_earliest_and_forget_what_was_replaced() -> None:
    timers = Timers()
    for number in range(1000):
        timers.set("a", 1000.0 - number)
        timers.set(f"b{number}", 2000.0 + number)
    assert timers.next() == 1.0
    timers.set("a", None)
    assert timers.next() == 2000.0
    assert timers.pop_due(2002.0) == ["b0", "b1", "b2"]
    timers.set("b3", float("inf"))
    assert timers.next() == 2004.0
    assert len(timers._heap) < 5000


def test_a_step_gets_the_answer_to_its_own_question() -> None:
    results: list[bytes] = []

    def step(key: str) -> Step[None]:
        results.append((yield from keyed_prf(key, "sha1", b"")))

    steps = Steps()
    first, second = step("one"), step("two")
    one = steps.wait("v1-a", "phase1", first, next(first), 10.0)
    two = steps.wait("v1-b", "phase1", second, next(second), 20.0)
    assert isinstance(one, ComputePRF)
    assert one.request_id != two.request_id
    assert steps.busy("v1-a", "phase1")
    assert steps.deadline() == 10.0 + ANSWER_TIMEOUT
    waiting = steps.answered(two.request_id)
    assert waiting is not None
    with pytest.raises(StopIteration):
        waiting[2].send(PRFResult(b"second"))
    assert results == [b"second"]
    assert steps.answered(two.request_id) is None
    assert steps.give_up(10.0 + ANSWER_TIMEOUT) == ["v1-a"]
    assert not steps.busy("v1-a", "phase1")
    assert steps.deadline() is None


def test_a_refusal_is_raised_where_the_question_was_asked() -> None:
    from secd.ike.contract import ComputeFailed

    step = keyed_prf("key", "sha1", b"")
    next(step)
    with pytest.raises(Unanswered, match="no such key"):
        step.send(ComputeFailed("no such key"))


def test_a_cancelled_owner_waits_for_nothing() -> None:
    steps = Steps()
    step = keyed_prf("key", "sha1", b"")
    request = steps.wait("v1-a", "phase1", step, next(step), 0.0)  # type: ignore[arg-type]
    steps.cancel("v1-a")
    assert steps.answered(request.request_id) is None


# -- repeats and pauses -----------------------------------------------------------------------------------


def test_a_message_is_repeated_after_2_4_8_16_and_16_seconds_and_then_given_up() -> None:
    flight, now = Flight(), 100.0
    retransmission.sent(flight, b"hello", cause=b"", awaits=True, now=now, random=middle)
    at = []
    while flight.next is not None:
        now = flight.next
        if retransmission.due(flight, now, middle) is not None:
            at.append(round(now - 100.0))
    assert at == [2, 6, 14, 30, 46]
    assert round(now - 100.0) == 62


def test_an_answer_is_repeated_a_bounded_number_of_times_for_the_same_message_only() -> None:
    flight = Flight()
    retransmission.sent(flight, b"answer", cause=b"question", awaits=False, now=0.0, random=middle)
    assert retransmission.is_duplicate(flight, b"question")
    assert not retransmission.is_duplicate(flight, b"other")
    answers = [retransmission.again(flight) for _ in range(100)]
    assert answers.count(b"answer") == retransmission.MAX_RESENT
    assert not retransmission.is_duplicate(Flight(), b"")


def test_jitter_is_a_quarter_either_way() -> None:
    assert retransmission.jitter(bytes, 100.0) == 75.0
    assert retransmission.jitter(lambda count: b"\xff" * count, 100.0) == pytest.approx(125.0)


def rule(**changes: object) -> Connection:
    """A rule."""
    values = {"name": "sec0", "origin": "f: 1", "iface": "sec0", "peer": "192.0.2.1", **changes}
    return Connection(**values)  # type: ignore[arg-type]


def test_attempts_are_2_4_8_seconds_apart_and_never_more_than_a_minute() -> None:
    tunnel = Tunnel(rule())
    tunnel.restart(0.0)
    assert tunnel.attempt_at == 0.0
    pauses = []
    for _ in range(8):
        tunnel.failed("no answer", 0.0, middle)
        pauses.append(tunnel.attempt_at)
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_a_tunnel_says_why_it_is_not_up_yet() -> None:
    tunnel = Tunnel(rule())
    assert tunnel.why("connecting") == "the first attempt is under way"
    assert (tunnel.why("waiting"), tunnel.why("down")) == ("waiting for the peer", "not tried yet")
    tunnel.failed("no answer", 0.0, middle)
    assert [tunnel.why(state) for state in ("connecting", "waiting", "down", "up")] == ["no answer"] * 3 + [""]


def test_a_peer_of_the_other_version_is_told_of_the_rule_that_has_it() -> None:
    tunnels = [Tunnel(rule(version=2, peer="192.0.2.2", origin="/etc/iked.conf: 1"))]
    policy = origin_for(tunnels, "192.0.2.2", version=2)
    assert "the peer speaks IKEv1, the policy at /etc/iked.conf: 1 is for IKEv2" in explain.no_connection(
        "192.0.2.1", "192.0.2.2", policy=policy
    )
    assert origin_for(tunnels, "192.0.2.2", version=1) == origin_for(tunnels, "192.0.2.3", version=2) == ""
    assert "the peer speaks IKEv2, the rule at x: 1 is for IKEv1" in explain_v2.no_connection("a", "b", rule="x: 1")


def test_before_rules_are_loaded_no_rule_is_missed() -> None:
    assert "no rules are loaded yet; if they have none" in explain.no_connection("a", "b", loaded=False)
    assert "no policies are loaded yet; if they have none" in explain_v2.no_connection("a", "b", loaded=False)


def test_a_passive_tunnel_plans_nothing_by_itself() -> None:
    tunnel = Tunnel(rule(mode="passive"))
    tunnel.restart(0.0)
    assert tunnel.attempt_at is None
    tunnel.restart(0.0, once=True)
    assert tunnel.attempt_at == 0.0
    tunnel.failed("no answer", 0.0, middle)
    assert tunnel.attempt_at is None
    nobody = Tunnel(rule(peer=None))
    nobody.restart(0.0, once=True)
    assert nobody.attempt_at is None


def test_only_what_touches_running_sas_changes_a_connections_fingerprint() -> None:
    base = fingerprint(rule())
    assert fingerprint(rule(origin="f: 2", mode="passive", dpd=None)) == base
    for change in ({"peer": "192.0.2.2"}, {"phase2_lifetime": 60}, {"natt": False}, {"iface": "sec1"}):
        assert fingerprint(rule(**change)) != base


def test_lines_that_strangers_cause_are_bounded() -> None:
    world = World(middle, lambda _: None)
    for _ in range(1000):
        world.log_stranger("info", "code", "text")
    world.now = REFILL * 2.5
    for _ in range(1000):
        world.log_stranger("info", "code", "text")
    world.outbox.finish_step()
    assert len(world.outbox.take()) == BURST + 2


# -- proposals --------------------------------------------------------------------------------------------


def reread(payload: SAPayload) -> SAPayload:
    """What the peer reads."""
    return parse_payloads(payload.type, encode_payloads([payload])).one(SAPayload)


def test_an_offer_of_phase_1_is_read_back_as_it_was_meant() -> None:
    wanted = (Phase1Proposal(AES, "sha1", "modp3072"), Phase1Proposal(Cipher("3des"), "md5", "ecp256"))
    offer = reread(proposals.offer1(wanted, 86_400, offers.PSK))
    suites = [proposals.read1(choice.transform) for choice in proposals.offered1(offer)]
    assert [suite.encryption for suite in suites] == ["aes-128", "aes-192", "aes-256", "3des"]
    assert {suite.lifetime for suite in suites} == {86_400}
    assert all(proposals.allows1(wanted, suite, offers.PSK) for suite in suites)
    assert not any(proposals.allows1(wanted, suite, 3) for suite in suites)
    assert suites[3].words() == "main auth hmac-md5 enc 3des group ecp256 lifetime 86400"


def test_a_key_length_between_those_of_the_cipher_is_not_taken() -> None:
    wanted = (Phase1Proposal(Cipher("aes", 128, 128, 256), "sha2-256", "modp3072"),)
    suite = next(proposals.suites1(wanted, 3600, offers.PSK))
    assert proposals.allows1(wanted, replace(suite, bits=192), offers.PSK)
    assert not proposals.allows1(wanted, replace(suite, bits=254), offers.PSK)


def test_an_offer_of_phase_2_is_read_back_as_it_was_meant() -> None:
    wanted = (
        Phase2Proposal(Cipher("aes-gcm", 256, 128, 256), "", "modp2048"),
        Phase2Proposal(Cipher("aes", 192, 192, 192), "hmac-sha2-512", "modp2048"),
        Phase2Proposal(Cipher("null"), "hmac-sha1", "modp2048"),
    )
    mode = EncapsulationMode.UDP_ENCAPSULATED_TUNNEL
    suites = proposals.suites2(wanted, 3600, esn=True, mode=mode)
    offer = reread(proposals.offer2(suites, b"\x00\x00\x10\x00"))
    read = [proposals.read2(choice.transform) for choice in proposals.offered2(offer)]
    assert read == suites
    assert [suite.encryption for suite in read] == ["aes-256-gcm", "aes-128-gcm", "aes-192-gcm", "aes-192", "null"]
    assert all(proposals.allows2(wanted, suite, esn=True, modes=[mode]) for suite in read)
    assert not any(proposals.allows2(wanted, suite, esn=False, modes=[mode]) for suite in read)
    assert not any(proposals.allows2(wanted, suite, esn=True, modes=[1]) for suite in read)


def test_more_transforms_than_one_octet_can_count_are_cut_off() -> None:
    wanted = tuple(
        Phase1Proposal(Cipher("aes", bits, bits, bits), hash_name, group)
        for bits in (128, 192, 256)
        for hash_name in ("md5", "sha1", "sha2-256", "sha2-384", "sha2-512")
        for group in ("modp768", "modp1024", "modp1536", "modp2048", "modp3072", "modp4096", "modp6144", "modp8192",
                      "ecp224", "ecp256", "ecp384", "ecp521", "bp256", "bp384", "bp512", "curve25519", "modp2048")
    )  # fmt: skip
    (proposal,) = reread(proposals.offer1(wanted, 3600, offers.PSK)).proposals
    assert 200 < len(proposal.transforms) <= proposals.MAX_TRANSFORMS


def test_what_the_data_plane_does_not_have_is_not_offered() -> None:
    wanted = (Phase2Proposal(Cipher("3des"), "hmac-sha1", ""), Phase2Proposal(AES, "hmac-md5", ""))
    assert proposals.suites2(wanted, 3600, esn=False, mode=1) == []


def test_the_smaller_lifetime_counts_and_zero_is_none() -> None:
    assert proposals.smaller(0, 5) == proposals.smaller(5, 0) == proposals.smaller(5, 9) == 5
    assert proposals.smaller(0, 0) == 0


# -- identities -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identity", "written"),
    [
        (Identity("prefix", "192.0.2.1/32"), "192.0.2.1"),
        (Identity("prefix", "192.0.2.0/24"), "192.0.2.0/24"),
        (Identity("prefix", "2001:db8::1/128"), "2001:db8::1"),
        (Identity("prefix", "2001:db8::/32"), "2001:db8::/32"),
        (Identity("fqdn", "gw.example"), "gw.example"),
        (Identity("ufqdn", "a@gw.example"), "a@gw.example"),
        (Identity("key_id", "branch 7"), '"keyid:branch 7"'),
        (Identity("key_id", "0x00ff"), '"keyid:0x00ff"'),
        (Identity("asn1_dn", "0x3011310f300d06035504030c066720772e6578"), '"/CN=g w.ex"'),
    ],
)
def test_identities_go_over_the_wire_and_into_words(identity: Identity, written: str) -> None:
    payload = identities.to_payload(identity)
    assert identities.from_payload(payload) == identity
    assert identities.words(identity) == written


def test_distinguished_names_are_the_same_however_they_are_spelled() -> None:
    one, other = (
        Identity("asn1_dn", f"0x{name_from_text(text).hex()}") for text in ("/C=DE/CN=GW one", "C=de, CN=gw  One")
    )
    assert one != other
    assert identities.same(one, other)
    assert not identities.same(one, Identity("asn1_dn", f"0x{name_from_text('/CN=GW one/C=DE').hex()}"))


@pytest.mark.parametrize(
    "payload",
    [
        IDPayload(IdType.ID_IPV4_ADDR_RANGE, bytes(8)),
        IDPayload(IdType.ID_IPV4_ADDR_SUBNET, bytes([10, 0, 0, 0, 255, 0, 255, 0])),
        IDPayload(IdType.ID_IPV4_ADDR_SUBNET, bytes([10, 0, 0, 1, 255, 0, 0, 0])),
        IDPayload(IdType.ID_FQDN, b""),
        IDPayload(IdType.ID_FQDN, b"x" * 300),
        IDPayload(250, b"x"),
    ],
)
def test_what_is_no_identity_is_refused(payload: IDPayload) -> None:
    with pytest.raises(WireError):
        identities.from_payload(payload)
    assert identities.selector_words(payload)


def test_an_identity_that_is_no_text_is_shown_in_hexadecimal() -> None:
    assert identities.from_payload(IDPayload(IdType.ID_FQDN, b"\xff\x00")).text == "0xff00"
    assert identities.from_payload(IDPayload(IdType.ID_KEY_ID, b"a\x1b[2J")).text == "0x611b5b324a"
    assert identities.from_payload(IDPayload(IdType.ID_DER_ASN1_DN, b"\x30\x00")).text == "0x3000"


def test_identities_are_compared_as_people_mean_them() -> None:
    assert identities.same(Identity("fqdn", "GW.example"), Identity("fqdn", "gw.example"))
    assert not identities.same(Identity("fqdn", "gw.example"), Identity("ufqdn", "gw.example"))
    assert not identities.same(Identity("ufqdn", "A@gw.example"), Identity("ufqdn", "a@gw.example"))
    assert identities.same(Identity("prefix", "2001:db8:0::1/128"), Identity("prefix", "2001:db8::1/128"))
    assert not identities.same(Identity("prefix", "nonsense"), Identity("prefix", "192.0.2.1/32"))


# -- NAT, words -------------------------------------------------------------------------------------------


def test_a_nat_is_seen_from_either_side_and_by_either_dialect() -> None:
    prf, cookies = hash_named("sha1"), (b"i" * 8, b"r" * 8)
    inside, outside, server = ("10.0.0.2", 500), ("203.0.113.9", 20000), ("198.51.100.1", 500)
    for dialect in nat.DIALECTS:
        from_client = tuple(nat.payloads(prf, cookies, dialect, server, inside))
        from_server = tuple(nat.payloads(prf, cookies, dialect, outside, server))
        assert nat.detect(prf, cookies, from_client, outside, server) == (False, True)
        assert nat.detect(prf, cookies, from_server, server, inside) == (True, False)
        assert {each.draft for each in from_client} == {dialect != nat.RFC}
    plain = tuple(nat.payloads(prf, cookies, nat.RFC, server, outside))
    assert nat.detect(prf, cookies, plain, outside, server) == (False, False)
    assert nat.detect(prf, cookies, (), outside, server) == (False, False)


def test_the_best_dialect_of_both_is_taken() -> None:
    assert nat.best([*reversed(nat.DIALECTS.values())]) == nat.RFC
    assert nat.best([nat.DIALECTS["draft-02"], b"unknown"]) == "draft-02"
    assert nat.best([]) == ""


def test_a_mismatch_shows_both_sides_the_nearest_and_what_to_write() -> None:
    offered = [Suite("3des", 0, "sha1", "modp1024", 28800), Suite("aes", 256, "sha2-256", "modp2048", 28800)]
    accepted = [Suite("aes", 256, "sha2-256", "modp3072", 3600)]
    text = explain.no_proposal("192.0.2.1", offered, accepted, "/etc/ipsec.conf: 7")
    assert text == (
        "no proposal of 192.0.2.1 is acceptable: offered [main auth hmac-sha1 enc 3des group modp1024 lifetime 28800 | "
        "main auth hmac-sha2-256 enc aes-256 group modp2048 lifetime 28800], accepted here [main auth hmac-sha2-256 "
        "enc aes-256 group modp3072 lifetime 3600]; nearest: peer group modp2048, here group modp3072; to accept it "
        "write `main auth hmac-sha2-256 enc aes-256 group modp2048` at /etc/ipsec.conf: 7"
    )


def test_long_lists_are_cut_and_nothing_offered_is_said_so() -> None:
    many = [EspSuite("aes", 128, f"auth-{n}", "") for n in range(30)]
    text = explain.no_proposal("192.0.2.1", many, [], "f: 1")
    assert "and 22 more" in text
    assert "accepted here [nothing]" in text


def test_a_responder_lifetime_of_odd_form_is_read_or_refused() -> None:
    assert proposals.notified_lifetime(b"\x80\x01\x00\x01\x80\x02\x0e\x10") == 3600
    assert proposals.notified_lifetime(b"\x80\x0b\x00\x01\x80\x0c\x0e\x10") == 3600
    assert proposals.notified_lifetime(b"") == 0
    with pytest.raises(WireError):
        proposals.notified_lifetime(b"\x00\x01\x00\x09")
    assert Reader(b"", "nothing").remaining == 0


def test_a_peer_cannot_keep_us_busy_with_absurd_lifetimes() -> None:
    suite = EspSuite("aes", 128, "hmac-sha1", "", lifetime=1, kilobytes=1)
    bounded = proposals.limited(suite, 3600, 1)
    assert bounded.lifetime == proposals.SHORTEST_LIFETIME
    assert bounded.kilobytes == proposals.FEWEST_KILOBYTES
    assert proposals.limited(EspSuite("aes", 128, "hmac-sha1", ""), 3600, 0).kilobytes == 0
    assert proposals.limited(EspSuite("aes", 128, "hmac-sha1", ""), 3600, 0, 1800).lifetime == 1800


def test_an_identity_that_is_none_equals_no_other() -> None:
    odd = identities.of_peer(IDPayload(IdType.ID_IPV4_ADDR_RANGE, bytes(8)))
    assert not identities.same(odd, Identity("prefix", "0.0.0.0/0"))
    assert "0x07:" in identities.words(odd)
