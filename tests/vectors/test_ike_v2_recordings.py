"""IKEv2 as strongSwan spoke it, checked against every value that it logged.

Source: the recordings beside this file (ikev2_*.json) of two strongSwan daemons, one per choice of algorithms and of
authentication; `values` are from charon's log at level 4.  A whole one is IKE_SA_INIT, IKE_AUTH, a rekeying of the
CHILD SA by either side, a rekeying of the IKE SA, and deletes; in what the `authentication` recordings hold, IKE_AUTH
and a delete.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from secd.ike.crypto import ikev2, signature_schemes
from secd.ike.crypto.certificates import Trust, verify_certificate
from secd.ike.crypto.errors import InvalidSignature
from secd.ike.crypto.groups import group_numbered
from secd.ike.crypto.ikev2_ciphers import MessageCipher, message_cipher_numbered
from secd.ike.crypto.ikev2_esp import ChildAlgorithm, child_algorithm_numbered
from secd.ike.crypto.ikev2_messages import Fragment, Opened, Reassembly, open_message, seal_fragments, seal_message
from secd.ike.crypto.prfs import Prf, prf_numbered
from secd.ike.wire.ikev2 import notify
from secd.ike.wire.ikev2.iana import (
    AuthMethod,
    ExchangeType,
    NotifyType,
    ProtocolId,
    TransformType,
)
from secd.ike.wire.ikev2.message import (
    HEADER_OCTETS,
    Chain,
    Header,
    encode_message,
    encode_payloads,
    parse_header,
    parse_payloads,
)
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

RECORDINGS = sorted(Path(__file__).parent.glob("ikev2_*.json"))

#: Of every certificate in the recordings: they were made for a month.
VALID = 1_795_510_000


@dataclass(frozen=True)
class Algorithms:
    """What an IKE SA was negotiated to use."""

    prf: Prf
    cipher: MessageCipher

    @classmethod
    def of(cls, proposal: Proposal) -> Algorithms:
        encr = proposal.of(TransformType.ENCR)[0]
        integ = proposal.of(TransformType.INTEG)
        cipher = message_cipher_numbered(encr.id, encr.key_length, integ[0].id if integ else None)
        prf = prf_numbered(proposal.of(TransformType.PRF)[0].id)
        assert cipher is not None
        assert prf is not None
        return cls(prf, cipher)


@dataclass
class Message:
    """One message, opened: `datagrams` are several if it was fragmented."""

    sender: str
    header: Header
    datagrams: list[bytes]
    keys: ikev2.IkeKeys | None = None
    algorithms: Algorithms | None = None
    opened: Opened | None = None
    chain: Chain = field(default_factory=lambda: Chain((), b""))


def child_algorithm(proposal: Proposal) -> ChildAlgorithm:
    encr = proposal.of(TransformType.ENCR)[0]
    integ = proposal.of(TransformType.INTEG)
    found = child_algorithm_numbered(encr.id, encr.key_length, integ[0].id if integ else None)
    assert found is not None
    return found


@dataclass(frozen=True)
class Recording:
    """A recorded conversation; every protected message is opened with keys that we derive ourselves."""

    data: Any

    @cached_property
    def messages(self) -> list[Message]:
        made: list[Message] = []
        sas: dict[bytes, tuple[ikev2.IkeKeys, Algorithms]] = {}
        parts: dict[tuple[str, bytes, int], tuple[Reassembly, list[bytes]]] = {}
        for each in self.data["messages"]:
            datagram = bytes.fromhex(each["data"])
            header = parse_header(datagram)
            message = Message(each["from"], header, [datagram])
            if header.exchange == ExchangeType.IKE_SA_INIT:
                message.chain = parse_payloads(header.next_payload, datagram[HEADER_OCTETS:])
                made.append(message)
                if header.response:
                    sas[header.initiator_spi] = self._first(*made[-2:])
                continue
            message.keys, message.algorithms = sas[header.initiator_spi]
            direction = message.keys.of(initiator=header.from_initiator)
            opened = open_message(message.algorithms.cipher, direction, header, datagram)
            if isinstance(opened, Fragment):
                place = (each["from"], header.initiator_spi, header.message_id)
                reassembly, datagrams = parts.get(place, (Reassembly(), []))
                reassembly, datagrams = reassembly.add(opened), [*datagrams, datagram]
                parts[place] = reassembly, datagrams
                if not reassembly.complete:
                    continue
                opened, message.datagrams = reassembly.message(header), datagrams
            message.opened, message.chain = opened, opened.chain
            made.append(message)
            if header.exchange == ExchangeType.CREATE_CHILD_SA and header.response:
                proposal = message.chain.one(SAPayload).proposals[0]
                if proposal.protocol == ProtocolId.IKE:
                    request = made[-2].chain.one(SAPayload).proposals[0]
                    sas[request.spi] = self._rekeyed(made[-2], message, request.spi, proposal)
            if self.data.get("ppk") and header.exchange == ExchangeType.IKE_AUTH and header.response:
                keys, algorithms = sas[header.initiator_spi]
                sas[header.initiator_spi] = self._with_ppk(keys, algorithms.prf), algorithms
        return made

    def _first(self, request: Message, response: Message) -> tuple[ikev2.IkeKeys, Algorithms]:
        algorithms = Algorithms.of(response.chain.one(SAPayload).proposals[0])
        ni, nr = (each.chain.one(NoncePayload).data for each in (request, response))
        seed = ikev2.skeyseed(algorithms.prf, ni, nr, self.ike(0, "g_ir"))
        assert seed == self.ike(0, "SKEYSEED")
        spis = {"spi_i": response.header.initiator_spi, "spi_r": response.header.responder_spi}
        return ikev2.ike_keys(algorithms.prf, algorithms.cipher, seed, ni=ni, nr=nr, **spis), algorithms

    def _rekeyed(
        self, request: Message, response: Message, spi_i: bytes, proposal: Proposal
    ) -> tuple[ikev2.IkeKeys, Algorithms]:
        assert response.keys is not None
        assert response.algorithms is not None
        algorithms = Algorithms.of(proposal)
        ni, nr = (each.chain.one(NoncePayload).data for each in (request, response))
        sk_d = self._with_ppk(response.keys, algorithms.prf).sk_d if self.data.get("ppk") else response.keys.sk_d
        seed = ikev2.skeyseed_rekey(response.algorithms.prf, sk_d, ni=ni, nr=nr, g_ir=self.ike(1, "g_ir"))
        assert seed == self.ike(1, "SKEYSEED")
        keys = ikev2.ike_keys(algorithms.prf, algorithms.cipher, seed, ni=ni, nr=nr, spi_i=spi_i, spi_r=proposal.spi)
        return keys, algorithms

    def _with_ppk(self, keys: ikev2.IkeKeys, prf: Prf) -> ikev2.IkeKeys:
        ppk = bytes.fromhex(self.data["ppk"])
        first = self.first_keys
        return keys.with_ppk(
            *(prf.compute(ppk, ikev2.ppk_data(each)) for each in (first.sk_d, first.sk_pi, first.sk_pr))
        )

    @property
    def first_keys(self) -> ikev2.IkeKeys:
        names = ("SK_d", "SK_ai", "SK_ar", "SK_ei", "SK_er", "SK_pi", "SK_pr")
        return ikev2.IkeKeys(*(self.ike(0, name) for name in names))

    def ike(self, index: int, name: str) -> bytes:
        return bytes.fromhex(self.data["values"]["ike"][index].get(name, ""))

    def exchange(self, type_: int) -> list[tuple[Message, Message]]:
        chosen = [each for each in self.messages if each.header.exchange == type_]
        return list(zip(chosen[::2], chosen[1::2], strict=True))

    @property
    def whole(self) -> bool:
        return len(self.data["values"]["ike"]) == 2


@pytest.fixture(params=RECORDINGS, ids=lambda path: path.stem.removeprefix("ikev2_"))
def recording(request: pytest.FixtureRequest) -> Recording:
    return Recording(json.loads(request.param.read_text()))


def test_the_recordings_are_what_they_should_be() -> None:
    assert len(RECORDINGS) >= 16
    whole = [path for path in RECORDINGS if len(json.loads(path.read_text())["values"]["ike"]) == 2]
    assert len(whole) >= 10


def test_every_message_opens_with_the_keys_that_we_derive(recording: Recording) -> None:
    exchanges = [each.header.exchange for each in recording.messages if not each.header.response]
    expected = [ExchangeType.IKE_SA_INIT, ExchangeType.IKE_AUTH]
    if recording.whole:
        rekeyings = [ExchangeType.CREATE_CHILD_SA, ExchangeType.INFORMATIONAL]
        expected += rekeyings * 3
    assert exchanges[: len(expected)] == expected
    assert exchanges[len(expected) :] == [ExchangeType.INFORMATIONAL]
    for request, response in zip(recording.messages[::2], recording.messages[1::2], strict=True):
        assert request.header.exchange == response.header.exchange
        assert request.header.message_id == response.header.message_id
        assert (request.header.response, response.header.response) == (False, True)


def test_the_keys_of_every_ike_sa(recording: Recording) -> None:
    seen = {each.header.initiator_spi: each.keys for each in recording.messages if each.keys is not None}
    names = {"SK_ai": "sk_ai", "SK_ar": "sk_ar", "SK_ei": "sk_ei", "SK_er": "sk_er", "SK_d": "sk_d"}
    for index, (keys, values) in enumerate(zip(seen.values(), recording.data["values"]["ike"], strict=True)):
        assert keys is not None
        logged = recording.data["values"].get("ppk", {}) if index == 0 else {}
        for name, ours in names.items():
            assert getattr(keys, ours).hex() == logged.get(name, values.get(name, "")), name


def test_the_mixed_keys_of_a_ppk() -> None:
    recording = Recording(json.loads(next(path for path in RECORDINGS if "_ppk" in path.stem).read_text()))
    request, _ = recording.exchange(ExchangeType.IKE_AUTH)[0]
    sent = request.chain.notification(NotifyType.PPK_IDENTITY)
    assert sent is not None
    assert notify.PpkIdentity.parse(sent) == notify.PpkIdentity(2, b"ppk.example")
    assert request.algorithms is not None
    mixed = recording._with_ppk(recording.first_keys, request.algorithms.prf)
    logged = recording.data["values"]["ppk"]
    assert (mixed.sk_d.hex(), mixed.sk_pi.hex(), mixed.sk_pr.hex()) == (
        logged["SK_d"],
        logged["SK_pi"],
        logged["SK_pr"],
    )


def signed_octets(recording: Recording, sender: str) -> bytes:
    init = recording.exchange(ExchangeType.IKE_SA_INIT)[0]
    auth = recording.exchange(ExchangeType.IKE_AUTH)[0]
    index, kind = (0, IDiPayload) if sender == "initiator" else (1, IDrPayload)
    algorithms = auth[0].algorithms
    assert algorithms is not None
    keys = recording.first_keys
    if recording.data.get("ppk"):
        keys = recording._with_ppk(keys, algorithms.prf)
    identity: IDPayload = auth[index].chain.one(kind)
    return ikev2.signed_octets(
        algorithms.prf,
        keys.sk_pi if sender == "initiator" else keys.sk_pr,
        message=init[index].datagrams[0],
        nonce=init[1 - index].chain.one(NoncePayload).data,
        id_body=identity.body,
    )


@pytest.mark.parametrize("sender", ["initiator", "responder"])
def test_auth_covers_what_strongswan_says_and_is_right(recording: Recording, sender: str) -> None:
    request, response = recording.exchange(ExchangeType.IKE_AUTH)[0]
    index = 0 if sender == "initiator" else 1
    signed = signed_octets(recording, sender)
    logged = recording.data["values"]["auth"][index]
    assert signed.hex() == logged["octets"]
    chain = (request, response)[index].chain
    auth = chain.one(AuthPayload)
    if recording.data["psk"]:
        assert auth.method == AuthMethod.SHARED_KEY_MIC
        assert request.algorithms is not None
        computed = ikev2.psk_auth(request.algorithms.prf, recording.data["psk"].encode(), signed)
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
    assert scheme.name in recording.data["scheme"]


def test_the_keys_of_every_child_sa(recording: Recording) -> None:
    values = iter(recording.data["values"]["children"])
    init = recording.exchange(ExchangeType.IKE_SA_INIT)[0]
    for request, response in [*recording.exchange(ExchangeType.IKE_AUTH), *recording.exchange(36)]:
        proposal = response.chain.one(SAPayload).proposals[0]
        if proposal.protocol != ProtocolId.ESP:
            continue
        algorithm = child_algorithm(proposal)
        logged = next(values)
        nonces = init if request.header.exchange == ExchangeType.IKE_AUTH else (request, response)
        assert request.keys is not None
        assert request.algorithms is not None
        sk_d = request.keys.sk_d
        if recording.data.get("ppk"):
            sk_d = recording._with_ppk(request.keys, request.algorithms.prf).sk_d
        ni, nr = (each.chain.one(NoncePayload).data for each in nonces)
        g_ir = bytes.fromhex(logged.get("g_ir", ""))
        assert bool(g_ir) == bool(proposal.of(TransformType.KE))
        pair = ikev2.child_keymat(request.algorithms.prf, sk_d, algorithm.keymat_octets, ni=ni, nr=nr, g_ir=g_ir)
        for keymat, side in zip(pair, ("initiator", "responder"), strict=True):
            encryption, integrity = algorithm.split(keymat)
            assert encryption.hex() == logged[f"encryption_{side}"]
            assert integrity.hex() == logged.get(f"integrity_{side}", "")
    assert next(values, None) is None


def test_public_values_have_the_groups_size(recording: Recording) -> None:
    found = 0
    for each in recording.messages:
        key = each.chain.find(KEPayload)
        if key is not None:
            group = group_numbered(key.group)
            assert group is not None
            assert len(key.data) == group.public_octets
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
    if recording.whole:
        assert recording.exchange(37)[0][0].chain.one(DeletePayload) == DeletePayload(ProtocolId.ESP, (old,))
    assert recording.exchange(37)[-1][0].chain.one(DeletePayload) == DeletePayload(ProtocolId.IKE)


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
        assert notify.parse_hashes(said) == tuple(signature_schemes.ACCEPTED_HASHES)


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
    for each in recording.messages:
        if each.keys is None or each.algorithms is None:
            continue
        cipher = each.algorithms.cipher
        keys = each.keys.of(initiator=each.header.from_initiator)
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


def test_the_certificates_were_fragmented() -> None:
    for path in (each for each in RECORDINGS if "fragments" in each.stem):
        recording = Recording(json.loads(path.read_text()))
        for message in recording.exchange(ExchangeType.IKE_AUTH)[0]:
            assert len(message.datagrams) > 1
            assert all(len(each) <= 600 for each in message.datagrams)
