"""Main mode and quick mode between two speakers: every algorithm, and what each side is told when they disagree."""

from __future__ import annotations

import pytest
from tests.pair.network import AES, ALICE, BOB, GROUP, Network, Node, connection, matches, pair, start

from secd.ike.connection import Cipher, Phase1Proposal, Phase2Proposal, PreSharedKey
from secd.ike.contract import AddSA, SaveCheckpoint, Send
from secd.sadb.messages import Identity

GROUPS = ["modp1024", "modp1536", "modp2048", "modp3072", "modp4096", "ecp256", "ecp384", "ecp521"]
CIPHERS = [Cipher("3des"), *(Cipher("aes", bits, bits, bits) for bits in (128, 192, 256))]
ESP = [
    *((Cipher("aes", bits, bits, bits), "hmac-sha2-256") for bits in (128, 192, 256)),
    *((Cipher("aes", 128, 128, 128), auth) for auth in ("hmac-sha1", "hmac-sha2-384", "hmac-sha2-512")),
    *((Cipher("aes-gcm", bits, bits, bits), "") for bits in (128, 192, 256)),
    (Cipher("null"), "hmac-sha1"),
]


def test_an_initiator_and_a_responder_come_up_with_one_pair_each() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(30)
    assert alice.pairs() == bob.pairs() == 1
    assert matches(alice, bob)
    assert alice.outbound().udpencap is None
    assert len(alice.checkpoints) == len(bob.checkpoints) == 1


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_works_in_both_phases(group: str) -> None:
    proposals = {
        "phase1": (Phase1Proposal(AES, "sha1", group),),
        "phase2": (Phase2Proposal(AES, "hmac-sha1", group),),
    }
    start(*pair(**proposals))


@pytest.mark.parametrize("hash_name", ["md5", "sha1", "sha2-256", "sha2-384", "sha2-512"])
@pytest.mark.parametrize("cipher", CIPHERS, ids=lambda cipher: f"{cipher.name}-{cipher.preferred}")
def test_every_cipher_and_hash_of_phase_1_works(cipher: Cipher, hash_name: str) -> None:
    start(*pair(phase1=(Phase1Proposal(cipher, hash_name, GROUP),)))


@pytest.mark.parametrize(("cipher", "auth"), ESP, ids=lambda each: getattr(each, "name", each))
@pytest.mark.parametrize("group", ["", GROUP])
def test_every_esp_suite_works_with_and_without_pfs(cipher: Cipher, auth: str, group: str) -> None:
    net, alice, bob = pair(phase2=(Phase2Proposal(cipher, auth, group),))
    start(net, alice, bob)
    assert alice.outbound().auth == auth


def test_esn_is_negotiated_where_both_sides_want_it() -> None:
    net, alice, bob = pair(esn=True)
    start(net, alice, bob)
    assert alice.outbound().esn


def test_an_sa_says_what_the_announcement_shows() -> None:
    net, alice, bob = pair(phase2_lifetime=3600)
    start(net, alice, bob)
    (inbound,) = [sa for sa in alice.added if sa.direction == "in"]
    assert (inbound.hard.addtime, inbound.soft.addtime) == (3600, 3240)
    assert inbound.identity_source == Identity("prefix", f"{BOB}/32")
    assert inbound.identity_destination == Identity("prefix", f"{ALICE}/32")
    assert (inbound.source, inbound.destination, inbound.iface) == (BOB, ALICE, "sec0")
    assert inbound.checkpoint in alice.checkpoints


def test_inbound_is_installed_before_the_peer_can_send_and_outbound_after() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net, alice, bob = pair()
    steps: list[list[object]] = []
    for node in (alice, bob):
        check = node._check_order
        node._check_order = lambda outputs, check=check: (steps.append(list(outputs)), check(outputs))  # type: ignore
    start(net, alice, bob)
    with_sas = [step for step in steps if any(isinstance(each, AddSA) for each in step)]
    shapes = [[type(each) for each in step if isinstance(each, AddSA | SaveCheckpoint | Send)] for step in with_sas]
    assert shapes == [
        [AddSA, SaveCheckpoint, Send],  # responder: inbound before message 2
        [AddSA, SaveCheckpoint, Send, AddSA],  # initiator: inbound before message 3, outbound after it
        [AddSA, SaveCheckpoint],  # responder: outbound after message 3
    ]


def test_the_responder_goes_by_the_peers_order() -> None:
    aes128, aes256 = Cipher("aes", 128, 128, 128), Cipher("aes", 256, 256, 256)
    net = Network()
    mine = (Phase2Proposal(aes256, "hmac-sha1", GROUP), Phase2Proposal(aes128, "hmac-sha2-256", GROUP))
    alice = Node(net, ALICE, [connection(ALICE, BOB, phase2=mine)], seed=1)
    bob = Node(net, BOB, [connection(BOB, ALICE, phase2=mine[::-1], mode="passive")], seed=2)
    start(net, alice, bob)
    assert alice.outbound().encryption == "aes-256"


def test_aes_without_a_length_offers_128_first_and_takes_256() -> None:
    net = Network()
    only_256 = (Phase1Proposal(Cipher("aes", 256, 256, 256), "sha2-256", GROUP),)
    esp_256 = (Phase2Proposal(Cipher("aes", 256, 256, 256), "hmac-sha2-256", GROUP),)
    alice = Node(net, ALICE, [connection(ALICE, BOB)], seed=1)
    bob = Node(net, BOB, [connection(BOB, ALICE, phase1=only_256, phase2=esp_256, mode="passive")], seed=2)
    start(net, alice, bob)
    assert alice.outbound().encryption == "aes-256"
    net, alice, bob = pair()
    start(net, alice, bob)
    assert alice.outbound().encryption == "aes-128"


@pytest.mark.parametrize(("mine", "yours"), [(600, 1800), (1800, 600)])
def test_the_smaller_lifetime_holds_on_both_sides(mine: int, yours: int) -> None:
    net = Network()
    alice = Node(net, ALICE, [connection(ALICE, BOB, phase1_lifetime=mine, phase2_lifetime=mine)], seed=1)
    theirs = connection(BOB, ALICE, phase1_lifetime=yours, phase2_lifetime=yours, mode="passive")
    bob = Node(net, BOB, [theirs], seed=2)
    start(net, alice, bob)
    assert {sa.hard.addtime for sa in alice.added + bob.added} == {600}
    for node in (alice, bob):
        (status,) = node.speaker.status(net.now)
        assert 590 < (status.children[0].expires_in or 0) <= 600
    (status,) = bob.speaker.status(net.now)
    assert 590 < (status.ike[0].expires_in or 0) <= 600


def test_identities_of_every_kind_are_accepted() -> None:
    for sent, expected in [
        (Identity("fqdn", "gw.example"), Identity("fqdn", "GW.example")),
        (Identity("ufqdn", "ops@gw.example"), Identity("ufqdn", "ops@gw.example")),
        (Identity("key_id", "branch 7"), Identity("key_id", "branch 7")),
        (Identity("key_id", "0x00ff01"), Identity("key_id", "0x00ff01")),
        (Identity("prefix", "10.0.0.0/24"), Identity("prefix", "10.0.0.0/24")),
        (Identity("prefix", "2001:db8::1/128"), Identity("prefix", "2001:db8::1/128")),
    ]:
        net = Network()
        alice = Node(net, ALICE, [connection(ALICE, BOB, srcid=sent)], seed=1)
        bob = Node(net, BOB, [connection(BOB, ALICE, dstid=expected, mode="passive")], seed=2)
        start(net, alice, bob)


def test_ipv6_outside_works() -> None:
    net = Network()
    one, two = "2001:db8::1", "2001:db8:1::1"
    alice = Node(net, one, [connection(one, two)], seed=1)
    bob = Node(net, two, [connection(two, one, mode="passive")], seed=2)
    start(net, alice, bob)


def test_a_responder_with_peer_any_tries_every_key_and_chooses_by_identity() -> None:
    net = Network()
    keys = {f"key{n}": f"secret {n}".encode() for n in range(4)}
    rules = [
        connection(BOB, None, name=f"sec{n}", iface=f"sec{n}", auth=PreSharedKey(f"key{n}"), mode="passive",
                   dstid=Identity("fqdn", f"site{n}.example"))
        for n in range(4)
    ]  # fmt: skip
    rules.append(
        connection(BOB, None, name="sec9", iface="sec9", auth=PreSharedKey("key2"), mode="passive",
                   dstid=Identity("fqdn", "twin.example"))
    )  # fmt: skip
    bob = Node(net, BOB, rules, keys=keys, seed=2)
    me = connection(ALICE, BOB, auth=PreSharedKey("key2"), srcid=Identity("fqdn", "twin.example"))
    alice = Node(net, ALICE, [me], keys=keys, seed=1)
    bob.start(settled=True)
    alice.start()
    net.run(5)
    assert bob.outbound("sec9") is not None
    assert bob.sas.keys() == {(sa.spi, sa.direction) for sa in bob.added if sa.iface == "sec9"}


# -- what people are told ---------------------------------------------------------------------------------


def test_a_proposal_mismatch_in_phase_1_is_said_once_on_both_sides_with_the_words_to_write() -> None:
    net = Network()
    theirs = (Phase1Proposal(AES, "sha1", "ecp384"),)
    alice = Node(net, ALICE, [connection(ALICE, BOB)], seed=1)
    bob = Node(net, BOB, [connection(BOB, ALICE, phase1=theirs, mode="passive")], seed=2)
    bob.start(settled=True)
    alice.start()
    net.run(600)
    (text,) = bob.said("proposal-mismatch")
    assert "offered [main auth hmac-sha2-256 enc aes-128 group ecp256" in text
    assert "accepted here [main auth hmac-sha1 enc aes-128 group ecp384" in text
    assert "nearest: peer auth hmac-sha2-256, here auth hmac-sha1; peer group ecp256, here group ecp384" in text
    assert "write `main auth hmac-sha2-256 enc aes-128 group ecp256` at /etc/ipsec.conf: 1" in text
    (text,) = alice.said("proposal-mismatch")
    assert "accepts none of our proposals" in text
    bob.reconfigure(connection(BOB, ALICE, mode="passive"))
    assert net.run(150, until=lambda: matches(alice, bob))


def test_the_reason_stays_the_one_that_was_logged_while_attempts_go_on() -> None:
    """A refusal in clear may be anybody's, so that the attempt goes on; that it then ends is nothing better to tell."""
    net = Network()
    alice = Node(net, ALICE, [connection(ALICE, BOB)], seed=1)
    other = (Phase1Proposal(Cipher("3des"), "sha1", "modp2048"),)
    bob = Node(net, BOB, [connection(BOB, ALICE, phase1=other, mode="passive")], seed=2)
    bob.start(settled=True)
    alice.start()
    net.run(5)
    reasons = set()
    for _ in range(60):
        net.run(10)
        reasons.add(alice.speaker.status(net.now)[0].reason)
    assert reasons == set(alice.said("proposal-mismatch"))
    assert "no-answer" not in alice.codes()


def test_the_reason_of_different_keys_says_what_the_peer_answered() -> None:
    net, alice, bob = pair()
    bob.keys = {"key": b"another"}
    bob.start(settled=True)
    alice.start()
    net.run(5)
    reasons = set()
    for _ in range(30):
        net.run(10)
        reasons.add(alice.speaker.status(net.now)[0].reason)
    assert reasons == set(alice.said("psk-mismatch"))
    assert "it was answered with PAYLOAD-MALFORMED" in reasons.pop()


def test_a_proposal_mismatch_in_phase_2_is_said_on_both_sides() -> None:
    net = Network()
    alice = Node(net, ALICE, [connection(ALICE, BOB)], seed=1)
    gcm = (Phase2Proposal(Cipher("aes-gcm", 256, 256, 256), "", ""),)
    bob = Node(net, BOB, [connection(BOB, ALICE, phase2=gcm, mode="passive")], seed=2)
    bob.start(settled=True)
    alice.start()
    net.run(300)
    (text,) = bob.said("proposal-mismatch")
    assert "write `quick auth hmac-sha2-256 enc aes-128 group ecp256` at /etc/ipsec.conf: 1" in text
    (text,) = alice.said("proposal-mismatch")
    assert "NO-PROPOSAL-CHOSEN" in text
    assert alice.speaker.status(net.now)[0].reason == text
    assert not alice.sas


def test_different_keys_are_named_as_the_likely_cause_on_both_sides() -> None:
    net, alice, bob = pair()
    bob.keys = {"key": b"another"}
    bob.start(settled=True)
    alice.start()
    net.run(200)
    (text,) = bob.said("psk-mismatch")
    assert "does not decrypt: the pre-shared keys differ; compare `psk` at /etc/ipsec.conf: 1" in text
    assert any("most likely the pre-shared keys differ" in text for text in alice.said("psk-mismatch"))
    assert not alice.sas
    assert not bob.sas
    bob.keys = alice.keys
    assert net.run(120, until=lambda: matches(alice, bob))


def test_a_wrong_identity_is_told_with_the_line_to_paste() -> None:
    net = Network()
    alice = Node(net, ALICE, [connection(ALICE, BOB, srcid=Identity("fqdn", "alice.example"))], seed=1)
    bob = Node(net, BOB, [connection(BOB, ALICE, dstid=Identity("fqdn", "carol.example"), mode="passive")], seed=2)
    bob.start(settled=True)
    alice.start()
    net.run(100)
    (text,) = bob.said("identity-mismatch")
    assert "calls itself fqdn alice.example, expected fqdn carol.example" in text
    assert "write `dstid alice.example` at /etc/ipsec.conf: 1" in text
    assert "refuses our identity fqdn alice.example" in alice.said("identity-mismatch")[0]
    assert not bob.checkpoints


def test_the_responders_wrong_identity_is_told_by_the_initiator() -> None:
    net = Network()
    alice = Node(net, ALICE, [connection(ALICE, BOB, dstid=Identity("fqdn", "bob.example"))], seed=1)
    bob = Node(net, BOB, [connection(BOB, ALICE, mode="passive")], seed=2)
    bob.start(settled=True)
    alice.start()
    net.run(100)
    assert f"write `dstid {BOB}`" in alice.said("identity-mismatch")[0]
    assert not alice.sas
    assert not bob.sas
    assert not bob.checkpoints


def test_a_stranger_is_told_which_rule_to_write() -> None:
    net = Network()
    alice = Node(net, ALICE, [connection(ALICE, BOB)], seed=1)
    bob = Node(net, BOB, [], seed=2)
    bob.start(settled=True)
    alice.start()
    net.run(2000)
    assert f"write `ike interface secN local {BOB} peer {ALICE} psk KEY`" in bob.said("no-connection")[0]
    assert not bob.checkpoints
    assert alice.speaker.status(net.now)[0].reason.startswith(
        f"no answer from {BOB} port 500 to message 1 of main mode; is it up, does UDP port 500 get through both ways"
    )


def test_weak_algorithms_are_named_once_with_what_to_write_instead() -> None:
    net, alice, bob = pair(
        phase1=(Phase1Proposal(Cipher("3des"), "md5", "modp1024"),),
        phase2=(Phase2Proposal(AES, "hmac-sha1", ""),),
        phase2_lifetime=300,
    )
    start(net, alice, bob)
    net.run(1000)
    weak = [log.message for log in alice.logs if log.code.startswith("weak")]
    assert len(weak) == 4
    assert any("main group modp1024 is below" in text and "write `group modp3072`" in text for text in weak)


def test_the_log_says_nothing_more_than_once_while_nothing_changes() -> None:
    net = Network()
    alice = Node(net, ALICE, [connection(ALICE, BOB)], seed=1)
    alice.start()
    net.run(4000)
    assert alice.codes() == ["no-answer"]
    status = alice.speaker.status(net.now)[0]
    assert status.retries > 20
    assert status.state in ("connecting", "down")
