"""IKE_SA_INIT and IKE_AUTH between two speakers: every algorithm, and what each side is told when they disagree."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.pair.network import ALICE, BOB, Nat, Network, Node, matches, start
from tests.pair.v2_support import AES, CHACHA, ESP, GCM, IKE, connection, pair

from secd.ike.connection import ChildProposal, Cipher, IKEProposal, PreSharedKey
from secd.ike.contract import AddSA, SaveCheckpoint, Send
from secd.sadb.messages import Identity

CIPHERS = [
    *((Cipher("aes-gcm", bits, bits, bits), ()) for bits in (128, 192, 256)),
    (CHACHA, ()),
    *((Cipher("aes", bits, bits, bits), ("hmac-sha2-256",)) for bits in (128, 192, 256)),
    *((Cipher("aes", 128, 128, 128), (f"hmac-{name}",)) for name in ("sha1", "sha2-384", "sha2-512")),
]
GROUPS = ["curve25519", "ecp256", "ecp384", "ecp521", "modp2048", "modp3072", "modp4096"]


def test_an_initiator_and_a_responder_come_up_with_one_pair_each() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(30)
    assert alice.pairs() == bob.pairs() == 1
    assert len(alice.checkpoints) == len(bob.checkpoints) == 1
    assert alice.outbound().udpencap is None
    assert [len(each.sent) for each in (alice, bob)] == [4, 4]  # two exchanges, and two questions whether one is there


@pytest.mark.parametrize(("cipher", "auths"), CIPHERS, ids=lambda each: getattr(each, "name", None))
@pytest.mark.parametrize("prf", ["hmac-sha1", "hmac-sha2-256", "hmac-sha2-384", "hmac-sha2-512"])
def test_every_cipher_and_prf_of_the_ike_sa_works(cipher: Cipher, auths: tuple[str, ...], prf: str) -> None:
    start(*pair(ikesa=(IKEProposal((cipher,), (prf,), auths, ("curve25519",)),)))


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_works_for_both_kinds_of_sa(group: str) -> None:
    net, alice, bob = pair(ikesa=(replace(IKE, groups=(group,)),), childsa=(replace(ESP, groups=(group,)),))
    start(net, alice, bob)
    assert alice.speaker.rekey("sec0", "child", net.now) == ""
    net.run(20)
    assert "child-rekeyed" in alice.codes()
    assert matches(alice, bob)


@pytest.mark.parametrize(("cipher", "auths"), CIPHERS, ids=lambda each: getattr(each, "name", None))
def test_every_esp_suite_works(cipher: Cipher, auths: tuple[str, ...]) -> None:
    net, alice, bob = pair(childsa=(ChildProposal((cipher,), auths),))
    start(net, alice, bob)
    assert alice.outbound().auth == (auths[0] if auths else "")


@pytest.mark.parametrize(("mine", "yours", "agreed"), [
    ((True, False), (False,), False), ((True, False), (True, False), True), ((True,), (False, True), True),
])  # fmt: skip
def test_extended_sequence_numbers_are_negotiated(mine: tuple[bool], yours: tuple[bool], agreed: bool) -> None:
    net, alice, bob = pair({"childsa": (replace(ESP, esn=mine),)}, {"childsa": (replace(ESP, esn=yours),)})
    start(net, alice, bob)
    assert {sa.esn for sa in alice.added + bob.added} == {agreed}


def test_combined_and_other_ciphers_of_one_rule_are_offered_apart_and_either_is_taken() -> None:
    both = IKEProposal((GCM, AES), ("hmac-sha2-256",), ("hmac-sha2-256",), ("curve25519",))
    only_cbc = IKEProposal((AES,), ("hmac-sha2-256",), ("hmac-sha2-256",), ("curve25519",))
    net, alice, bob = pair({"ikesa": (both,)}, {"ikesa": (only_cbc,)})
    start(net, alice, bob)
    assert " aes-128 hmac-sha2-256 " in alice.said("ike-up")[0]


def test_the_responder_goes_by_the_peers_order() -> None:
    one, other = ChildProposal((Cipher("aes-gcm", 256, 256, 256),), ()), ChildProposal((CHACHA,), ())
    net, alice, bob = pair({"childsa": (one, other)}, {"childsa": (other, one)})
    start(net, alice, bob)
    assert alice.outbound().encryption == "aes-256-gcm"


def test_a_responder_that_wants_another_group_gets_it_in_a_second_attempt() -> None:
    net, alice, bob = pair(bob={"ikesa": (replace(IKE, groups=("ecp256",)),)})
    start(net, alice, bob)
    assert "ecp256" in alice.said("ike-up")[0]
    assert len(bob.checkpoints) == 1


def test_an_sa_says_who_holds_its_ends_and_how_long_it_lives() -> None:
    net, alice, bob = pair(lifetime=3600, lifetime_bytes=10**9)
    start(net, alice, bob)
    (inbound,) = [sa for sa in alice.added if sa.direction == "in"]
    assert (inbound.hard.addtime, inbound.hard.bytes) == (3600, 10**9)
    assert 0.85 <= inbound.soft.addtime / 3600 <= 0.90
    assert inbound.identity_source == Identity("prefix", f"{BOB}/32")
    assert inbound.identity_destination == Identity("prefix", f"{ALICE}/32")
    assert (inbound.source, inbound.destination, inbound.iface) == (BOB, ALICE, "sec0")
    assert inbound.checkpoint in alice.checkpoints


def test_inbound_is_installed_before_the_peer_can_send() -> None:
    net, alice, bob = pair()
    steps: list[list[type]] = []
    for node in (alice, bob):
        check = node._check_order

        def watch(outputs: list[object], check=check) -> None:  # type: ignore[no-untyped-def]
            if any(isinstance(each, AddSA) for each in outputs):
                steps.append([type(each) for each in outputs if isinstance(each, AddSA | SaveCheckpoint | Send)])
            check(outputs)

        node._check_order = watch  # type: ignore[method-assign]
    start(net, alice, bob)
    assert steps == [
        [AddSA, SaveCheckpoint, Send, AddSA],  # responder: inbound before the answer, outbound behind it
        [AddSA, AddSA, SaveCheckpoint],  # initiator: inbound first
    ]


@pytest.mark.parametrize("identity", [
    Identity("prefix", "10.1.2.3/32"), Identity("prefix", "2001:db8::1/128"), Identity("fqdn", "alice.example.org"),
    Identity("ufqdn", "alice@example.org"), Identity("key_id", "any octets"),
    Identity("asn1_dn", "0x300e310c300a06035504030c0361"),
], ids=lambda each: each.text)  # fmt: skip
def test_identities_of_every_kind_are_accepted(identity: Identity) -> None:
    net, alice, bob = pair({"srcid": identity}, {"dstid": identity})
    start(net, alice, bob)
    assert next(sa for sa in bob.added if sa.direction == "in").identity_source == identity


def test_without_a_dstid_any_identity_with_the_key_will_do() -> None:
    net, alice, bob = pair({"srcid": Identity("fqdn", "whoever")})
    start(net, alice, bob)


def test_ipv6_outside_works() -> None:
    net = Network()
    alice = Node(net, "2001:db8::1", [connection("2001:db8::1", "2001:db8::2")], seed=1)
    bob = Node(net, "2001:db8::2", [connection("2001:db8::2", "2001:db8::1", mode="passive")], seed=2)
    start(net, alice, bob)


def test_a_local_address_may_be_left_to_the_routing_table_and_no_nat_is_seen_for_that() -> None:
    net = Network()
    alice = Node(net, ALICE, [connection(None, BOB)], seed=1)
    bob = Node(net, BOB, [connection(None, None, mode="passive")], seed=2)
    start(net, alice, bob)
    assert alice.outbound().udpencap is None
    assert (alice.outbound().source, bob.outbound().source) == (ALICE, BOB)


def test_peers_of_one_address_are_told_apart_by_their_identity_and_so_are_their_keys() -> None:
    net = Network()
    names = ("one", "two", "three")
    ids = {name: Identity("fqdn", f"{name}.example.org") for name in names}
    rules = [
        connection(
            None, None, name=f"sec{i}", iface=f"sec{i}", mode="passive", dstid=ids[name], auth=PreSharedKey(name)
        )
        for i, name in enumerate(names)
    ]
    keys = {name: name.encode() * 4 for name in names}
    bob = Node(net, BOB, rules, keys=keys, seed=2).start(settled=True)
    alice = Node(net, ALICE, [
        connection(ALICE, BOB, name=f"sec{i}", iface=f"sec{i}", srcid=ids[name], auth=PreSharedKey(name))
        for i, name in enumerate(names)
    ], keys=keys, seed=1).start()  # fmt: skip
    assert net.run(10, lambda: all(matches(alice, bob, f"sec{i}") for i in range(3)))


def test_of_several_rules_for_a_peer_the_last_one_is_meant() -> None:
    net, alice, bob = pair()
    first = connection(BOB, None, mode="passive", name="sec1", iface="sec1")
    bob.connections.insert(0, first)
    start(net, alice, bob)
    net, alice, bob = pair()
    bob.connections.append(first)
    bob.start(settled=True)
    alice.start()
    assert net.run(5, lambda: bob.outbound("sec1") is not None)


def test_the_responder_is_the_one_that_the_initiator_asks_for() -> None:
    net, alice, bob = pair({"dstid": Identity("fqdn", "second")})
    wanted = connection(BOB, ALICE, mode="passive", name="sec1", iface="sec1", srcid=Identity("fqdn", "second"))
    bob.connections.insert(0, wanted)
    bob.start(settled=True)
    alice.start()
    assert net.run(5, lambda: bob.outbound("sec1") is not None)


# -- what is told -----------------------------------------------------------------------------------------


def test_a_proposal_mismatch_for_the_ike_sa_is_said_once_on_both_sides_with_the_words_to_write() -> None:
    net, alice, bob = pair(
        {"ikesa": (replace(IKE, groups=("modp1024",)),)}, {"ikesa": (replace(IKE, groups=("ecp256",)),)}
    )
    bob.start(settled=True)
    alice.start()
    net.run(200)
    (told,) = bob.said("proposal-mismatch")
    assert "offered [ikesa enc aes-256-gcm enc aes-128-gcm enc aes-192-gcm prf hmac-sha2-256 group modp1024]" in told
    assert "nearest: group: peer modp1024, here ecp256" in told
    assert "write `ikesa enc aes-256-gcm prf hmac-sha2-256 group modp1024` at /etc/iked.conf: 1" in told
    (told,) = alice.said("proposal-mismatch")
    assert "accepts none of our proposals [ikesa enc" in told
    assert alice.speaker.status(net.now)[0].reason == told


def test_a_proposal_mismatch_for_the_pair_leaves_the_ike_sa_and_is_tried_again() -> None:
    net, alice, bob = pair({"childsa": (ChildProposal((CHACHA,), ()),)})
    bob.start(settled=True)
    alice.start()
    net.run(30)
    assert "ike-up" in alice.codes()
    assert "childsa enc chacha20-poly1305" in bob.said("proposal-mismatch")[0]
    assert "nearest: enc: peer chacha20-poly1305, here aes-256-gcm" in bob.said("proposal-mismatch")[0]
    assert "NO_PROPOSAL_CHOSEN" in alice.said("proposal-mismatch")[0]
    alice.reconfigure(connection(ALICE, BOB))
    assert net.run(30, lambda: matches(alice, bob))


def test_different_keys_are_named_on_both_sides() -> None:
    net, alice, bob = pair()
    bob.keys = {"key": b"another secret"}
    bob.start(settled=True)
    alice.start()
    net.run(120)
    (told,) = bob.said("psk-mismatch")
    assert "the pre-shared keys differ" in told
    assert "/etc/iked.conf: 1" in told
    (told,) = alice.said("authentication-failed")
    assert "another pre-shared key" in told
    assert "`psk` at /etc/iked.conf: 1" in told
    assert alice.speaker.status(net.now)[0].retries > 2
    assert not alice.sas
    assert not bob.sas


def test_a_wrong_identity_is_told_with_the_line_to_paste() -> None:
    net, alice, bob = pair({"srcid": Identity("fqdn", "alice")}, {"dstid": Identity("fqdn", "carol")})
    bob.start(settled=True)
    alice.start()
    net.run(20)
    (told,) = bob.said("identity-mismatch")
    assert "calls itself fqdn alice, expected fqdn carol" in told
    assert "write `dstid alice` at /etc/iked.conf: 1" in told
    assert "does not know us as fqdn alice" in alice.said("authentication-failed")[0]


def test_the_responders_wrong_identity_is_told_by_the_initiator_and_the_responder_forgets_it() -> None:
    net, alice, bob = pair({"dstid": Identity("fqdn", "carol")}, {"srcid": Identity("fqdn", "bob")})
    bob.start(settled=True)
    alice.start()
    net.run(2)
    assert "calls itself fqdn bob, expected fqdn carol" in alice.said("identity-mismatch")[0]
    assert "does not believe that we are fqdn bob" in bob.said("ike-down")[0]
    assert not alice.sas
    net.run(4)
    assert not bob.outbound()


def test_a_stranger_is_told_which_policy_to_write() -> None:
    net, alice, bob = pair()
    bob.connections = [connection(BOB, "203.0.113.1", mode="passive")]
    bob.start(settled=True)
    alice.start()
    net.run(5)
    told = bob.said("no-connection")[0]
    assert f"local {BOB} peer {ALICE}" in told
    assert not bob.checkpoints


def test_weak_algorithms_are_named_once_with_what_to_write_instead() -> None:
    weak = IKEProposal((Cipher("3des"),), ("hmac-sha1",), ("hmac-sha1",), ("modp1024",))
    net, alice, bob = pair(ikesa=(weak,), childsa=(ChildProposal((AES,), ("hmac-sha1",)),))
    start(net, alice, bob)
    told = [log.message for log in alice.logs if log.code.startswith("weak")]
    assert len(told) == 4
    assert any("ikesa group modp1024" in each and "`group modp3072`" in each for each in told)


# -- traffic selectors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("narrow", ["alice", "bob"])
def test_a_side_that_carries_ipv4_alone_is_no_fault_and_said_once(narrow: str) -> None:
    net, alice, bob = pair(**{narrow: {"families": (4,)}})  # type: ignore[arg-type]
    start(net, alice, bob)
    other = alice if narrow == "bob" else bob
    assert len(other.said("one-family")) == 1
    assert not [log for log in alice.logs + bob.logs if log.level == "warning"]


def test_selectors_without_a_common_family_are_refused_and_the_refusal_is_named() -> None:
    net, alice, bob = pair({"families": (4,)}, {"families": (6,)})
    bob.start(settled=True)
    alice.start()
    net.run(10)
    assert "TS_UNACCEPTABLE" in alice.said("selector-mismatch")[0]
    assert "asks for a tunnel for 0.0.0.0/0 <-> 0.0.0.0/0" in bob.said("selector-mismatch")[0]
    assert "ike-up" in alice.codes()
    assert not alice.outbound()


@pytest.mark.parametrize(("said", "vendor"), [(True, "secd"), (False, "")])
def test_which_program_it_is_is_said_or_not(said: bool, vendor: str) -> None:
    net, alice, bob = pair(bob={"vendorid": said})
    start(net, alice, bob)
    assert alice.speaker.status(net.now)[0].ike[0].vendor == vendor


# -- NAT --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behind", [ALICE, BOB])
def test_behind_a_nat_both_sides_float_and_use_udp(behind: str) -> None:
    net, alice, bob = pair(*([{}, {"peer": None}] if behind == ALICE else [{}, {}]))
    net.nats[ALICE] = Nat(ALICE, "203.0.113.7")
    if behind == BOB:
        del net.nats[ALICE]
        net.nats[BOB] = Nat(BOB, "203.0.113.8", 0)
        net.nats[BOB].table = {(BOB, 500): 500, (BOB, 4500): 4500}
        alice.connections = [connection(ALICE, "203.0.113.8")]
    start(net, alice, bob)
    assert alice.outbound().udpencap is not None
    assert alice.outbound().udpencap.local_port == 4500
    assert bob.outbound().udpencap is not None


def test_without_nat_traversal_nothing_floats() -> None:
    net, alice, bob = pair(natt=False, mobike=False)
    start(net, alice, bob)
    assert {each.remote_port for each in alice.sent + bob.sent} == {500}


def test_udp_can_be_forced() -> None:
    net, alice, bob = pair({"force_natt": True})
    start(net, alice, bob)
    assert alice.outbound().udpencap is not None
    assert bob.outbound().udpencap is not None


def test_an_authenticated_message_after_a_rebinding_moves_the_tunnel() -> None:
    net, alice, bob = pair(bob={"peer": None})
    net.nats[ALICE] = Nat(ALICE, "203.0.113.7")
    start(net, alice, bob)
    net.nats[ALICE].rebind()
    net.run(60)
    assert "peer-moved" in bob.codes()
    assert bob.outbound().udpencap.remote_port == net.nats[ALICE].table[ALICE, 4500]
    assert matches(alice, bob)


def test_keepalives_go_out_every_20_seconds_from_behind_the_nat_only() -> None:
    net, alice, bob = pair(bob={"peer": None}, dpd=None)
    net.nats[ALICE] = Nat(ALICE, "203.0.113.7")
    start(net, alice, bob)
    net.run(100)
    assert sum(1 for each in alice.sent if each.data == b"\xff") == 5
    assert not [each for each in bob.sent if each.data == b"\xff"]
