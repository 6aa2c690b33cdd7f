"""IKEv2 as strongSwan spoke it, checked against every value that it logged.

Source: the recordings beside this file of two strongSwan daemons, one per choice of algorithms and of authentication:
ikev2_*.json of 5.9.8, ikev2-hybrid_*.json of 6.1.0 with additional key exchanges.  A whole one is IKE_SA_INIT,
IKE_AUTH, a rekeying of the CHILD SA by either side, a rekeying of the IKE SA, and deletes; others end after IKE_AUTH.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ikev2_recordings import PATHS, Recording

from secd.ike.crypto import ikev2, signature_schemes
from secd.ike.crypto.certificates import Trust, verify_certificate
from secd.ike.crypto.errors import InvalidSignature
from secd.ike.crypto.groups import group_numbered
from secd.ike.crypto.ikev2_esp import ChildAlgorithm, child_algorithm_numbered
from secd.ike.crypto.ikev2_messages import int_auth_octets, seal_fragments, seal_message
from secd.ike.wire.chain import encode_payloads
from secd.ike.wire.ikev2 import notify
from secd.ike.wire.ikev2.iana import AuthMethod, ExchangeType, NotifyType, ProtocolId, TransformType
from secd.ike.wire.ikev2.message import encode_message, parse_header
from secd.ike.wire.ikev2.payloads import (
    AuthPayload,
    CertPayload,
    DeletePayload,
    IDiPayload,
    IDPayload,
    IDrPayload,
    KEPayload,
    NoncePayload,
)
from secd.ike.wire.ikev2.protected import find_protected
from secd.ike.wire.ikev2.sa import Proposal, SAPayload
from secd.ike.wire.ikev2.ts import TSiPayload, TSrPayload, any_selector

#: A moment at which every certificate in the recordings is valid: they were made for a month.
VALID = 1_795_510_000


@pytest.fixture(params=PATHS, ids=lambda path: path.stem.removeprefix("ikev2"))
def recording(request: pytest.FixtureRequest) -> Recording:
    made = Recording(request.param)
    assert made.messages
    return made


def only(word: str) -> list[Path]:
    return [path for path in PATHS if word in path.stem]


def child_algorithm(proposal: Proposal) -> ChildAlgorithm:
    encr = proposal.of(TransformType.ENCR)[0]
    integ = proposal.of(TransformType.INTEG)
    found = child_algorithm_numbered(encr.id, encr.key_length, integ[0].id if integ else None)
    assert found is not None
    return found


def test_the_recordings_are_what_they_should_be() -> None:
    assert len(PATHS) >= 19
    assert len([path for path in PATHS if Recording(path).whole]) >= 14
    assert len(only("hybrid")) >= 3


def test_every_message_opens_with_the_keys_that_we_derive(recording: Recording) -> None:
    exchanges = [each.header.exchange for each in recording.messages if not each.header.response]
    between = (ExchangeType.IKE_INTERMEDIATE, ExchangeType.IKE_FOLLOWUP_KE)
    expected = [ExchangeType.IKE_SA_INIT, ExchangeType.IKE_AUTH]
    if recording.whole:
        expected += [ExchangeType.CREATE_CHILD_SA, ExchangeType.INFORMATIONAL] * 3
    seen = [each for each in exchanges if each not in between]
    assert seen[: len(expected)] == expected
    assert set(seen[len(expected) :]) <= {ExchangeType.INFORMATIONAL}
    for request, response in zip(recording.messages[::2], recording.messages[1::2], strict=True):
        assert request.header.exchange == response.header.exchange
        assert request.header.message_id == response.header.message_id
        assert (request.header.response, response.header.response) == (False, True)


def test_the_keys_of_every_ike_sa(recording: Recording) -> None:
    assert len(recording.seeds) == 8 * len(recording.data["values"]["ike"])
    for ours, theirs in recording.seeds:
        assert ours == theirs


def test_the_keys_into_which_a_ppk_was_mixed() -> None:
    recording = Recording(only("_ppk")[0])
    request, _ = recording.exchange(ExchangeType.IKE_AUTH)[0]
    sent = request.chain.notification(NotifyType.PPK_IDENTITY)
    assert sent is not None
    assert notify.PpkIdentity.parse(sent) == notify.PpkIdentity(2, b"ppk.example")
    logged = recording.data["values"]["ppk"]
    keys = recording.mixed
    assert keys is not None
    assert (keys.sk_d.hex(), keys.sk_pi.hex(), keys.sk_pr.hex()) == (logged["SK_d"], logged["SK_pi"], logged["SK_pr"])


def signed_octets(recording: Recording, sender: str) -> bytes:
    init = recording.exchange(ExchangeType.IKE_SA_INIT)[0]
    auth = recording.exchange(ExchangeType.IKE_AUTH)[0]
    index, kind = (0, IDiPayload) if sender == "initiator" else (1, IDrPayload)
    sa = auth[0].sa
    keys = recording.mixed or auth[0].keys
    assert sa is not None
    assert keys is not None
    both = b""
    if recording.exchange(ExchangeType.IKE_INTERMEDIATE):
        both = ikev2.int_auth(sa.int_auth["initiator"], sa.int_auth["responder"], auth[0].header.message_id)
    identity: IDPayload = auth[index].chain.one(kind)
    return ikev2.signed_octets(
        sa.prf,
        keys.sk_pi if sender == "initiator" else keys.sk_pr,
        message=init[index].datagrams[0],
        nonce=init[1 - index].chain.one(NoncePayload).data,
        id_body=identity.body,
        int_auth=both,
    )


@pytest.mark.parametrize("sender", ["initiator", "responder"])
def test_auth_covers_what_strongswan_says_and_is_right(recording: Recording, sender: str) -> None:
    exchange = recording.exchange(ExchangeType.IKE_AUTH)[0]
    index = 0 if sender == "initiator" else 1
    signed = signed_octets(recording, sender)
    logged = recording.data["values"]["auth"][index]
    assert signed.hex() == logged["octets"]
    chain = exchange[index].chain
    auth = chain.one(AuthPayload)
    if recording.psk:
        assert auth.method == AuthMethod.SHARED_KEY_MIC
        assert exchange[0].sa is not None
        computed = ikev2.psk_auth(exchange[0].sa.prf, recording.psk, signed)
        assert computed == auth.data == bytes.fromhex(logged["AUTH"])
        return
    trust = Trust.load([bytes.fromhex(recording.data["authority"])])
    certificates = [each.data for each in chain.all(CertPayload)]
    identity: IDPayload = chain.one(IDiPayload if sender == "initiator" else IDrPayload)
    verified = verify_certificate(trust, certificates, identity.id_type, identity.data, VALID)
    assert verified.warnings == ()
    assert verified.subject == f"/O=pe/CN={recording.data[sender]}"
    if recording.data["scheme"] == "rsa-sha1":
        with pytest.raises(InvalidSignature, match="SHA-1, which must not be used"):
            signature_schemes.verify(auth.method, auth.data, verified.public_key, signed)
        return
    scheme = signature_schemes.verify(auth.method, auth.data, verified.public_key, signed)
    assert scheme.name == recording.data["scheme"]


def test_int_auth_of_every_intermediate_message() -> None:
    for path in only("hybrid"):
        recording = Recording(path)
        exchanges = recording.exchange(ExchangeType.IKE_INTERMEDIATE)
        logged = iter(recording.data["values"]["int_auth"])
        before = {"initiator": b"", "responder": b""}
        for message in (each for exchange in exchanges for each in exchange):
            assert message.opened is not None
            assert message.sa is not None
            assert message.keys is not None
            octets = message.opened.int_auth_octets
            assert octets == int_auth_octets(message.header, message.chain.payloads)
            sk_p = message.keys.sk_pi if message.sender == "initiator" else message.keys.sk_pr
            made = ikev2.int_auth_step(message.sa.prf, sk_p, before[message.sender], octets)
            assert made.hex() == next(logged)["IntAuth"]
            before[message.sender] = made
        assert next(logged, None) is None


def test_the_keys_of_every_child_sa(recording: Recording) -> None:
    for made, logged in zip(recording.child_sas, recording.data["values"]["children"], strict=True):
        algorithm = child_algorithm(made.proposal)
        g_ir = bytes.fromhex(logged.get("g_ir", ""))
        assert bool(g_ir) == bool(made.proposal.of(TransformType.KE))
        pair = ikev2.child_keymat(
            made.prf,
            made.sk_d,
            algorithm.keymat_octets,
            ni=made.ni,
            nr=made.nr,
            g_ir=g_ir,
            additional=[bytes.fromhex(logged.get("additional", ""))],
        )
        for keymat, side in zip(pair, ("initiator", "responder"), strict=True):
            encryption, integrity = algorithm.split(keymat)
            assert encryption.hex() == logged[f"encryption_{side}"]
            assert integrity.hex() == logged.get(f"integrity_{side}", "")


def test_public_values_have_the_methods_size(recording: Recording) -> None:
    found = 0
    for each in recording.messages:
        key = each.chain.find(KEPayload)
        if key is not None:
            group = group_numbered(key.group)
            assert group is not None
            assert len(key.data) == (group.answer_octets if each.header.response else group.public_octets)
            found += 1
    assert found >= 2


def test_what_a_route_based_tunnel_asks_for(recording: Recording) -> None:
    for request, response in recording.exchange(ExchangeType.IKE_AUTH):
        for chain in (request.chain, response.chain):
            assert chain.one(TSiPayload).selectors == chain.one(TSrPayload).selectors == (any_selector(4),)


def test_a_rekeying_names_what_it_replaces_and_the_delete_does_too(recording: Recording) -> None:
    old = recording.exchange(ExchangeType.IKE_AUTH)[0][0].chain.one(SAPayload).proposals[0].spi
    for request, _ in recording.exchange(ExchangeType.CREATE_CHILD_SA)[:1]:
        replaced = request.chain.notification(NotifyType.REKEY_SA)
        assert replaced is not None
        assert (replaced.protocol, replaced.spi, replaced.is_error) == (ProtocolId.ESP, old, False)
    deletes = [each.chain.one(DeletePayload) for each, _ in recording.exchange(ExchangeType.INFORMATIONAL)]
    if recording.whole:
        assert deletes[0] == DeletePayload(ProtocolId.ESP, (old,))
    assert deletes[-1] == DeletePayload(ProtocolId.IKE)


def test_the_responders_nat_detection_says_where_the_initiator_is(recording: Recording) -> None:
    # kernel-libipsec spoils the hash of its own address (to force UDP), but the peer's is true
    _, response = recording.exchange(ExchangeType.IKE_SA_INIT)[0]
    said = response.chain.notification(NotifyType.NAT_DETECTION_DESTINATION_IP)
    assert said is not None
    header = response.header
    address = recording.data["initiator"]
    assert said.data == ikev2.nat_detection(header.initiator_spi, header.responder_spi, address, 500)


def test_strongswan_lists_the_hashes_that_we_take(recording: Recording) -> None:
    said = recording.exchange(ExchangeType.IKE_SA_INIT)[0][0].chain.notification(NotifyType.SIGNATURE_HASH_ALGORITHMS)
    old = recording.exchange(ExchangeType.IKE_AUTH)[0][0].chain.one(AuthPayload).method in (1, 9)
    assert (said is None) == old
    if said is not None:
        assert set(notify.parse_hashes(said)) == set(signature_schemes.ACCEPTED_HASHES)


def test_every_message_is_encoded_again_to_the_same_octets(recording: Recording) -> None:
    for each in recording.messages:
        payloads = each.chain.payloads
        assert b"".join(one.encode_body() for one in payloads) == b"".join(one.raw for one in payloads)
        assert encode_payloads(payloads) == each.chain.octets
        if each.opened is None:
            assert encode_message(each.header, payloads) == each.datagrams[0]


def replayed(ivs: list[bytes]) -> Callable[[int], bytes]:
    """A random source that gives these, one after another."""
    queue = iter(ivs)
    return lambda _: next(queue)


def test_protecting_again_with_the_same_iv_gives_the_same_datagram(recording: Recording) -> None:
    for each in (one for one in recording.messages if one.sa is not None):
        assert each.sa is not None
        cipher, keys = each.sa.cipher, each.direction
        ivs = []
        for datagram in each.datagrams:
            protected = find_protected(parse_header(datagram), datagram)
            assert protected is not None
            ivs.append(protected.sealed[: cipher.iv_octets])
            padded = cipher.open(keys, protected.associated, protected.sealed)
            assert cipher.seal(keys, ivs[-1], protected.associated, padded) == protected.sealed
        random = replayed(ivs)
        if len(ivs) == 1:
            made = [seal_message(cipher, keys, each.header, each.chain.payloads, random)]
        else:
            limit = len(each.datagrams[0])
            made = seal_fragments(cipher, keys, each.header, each.chain.payloads, random, limit=limit)
        assert [len(one) for one in made] == [len(one) for one in each.datagrams]
        if cipher.block_octets == 1:  # strongSwan's padding is random, ours is zeros
            assert made == each.datagrams


def test_certificates_were_fragmented() -> None:
    for path in only("fragments"):
        for message in Recording(path).exchange(ExchangeType.IKE_AUTH)[0]:
            assert len(message.datagrams) > 1
            assert all(len(each) <= 600 for each in message.datagrams)
