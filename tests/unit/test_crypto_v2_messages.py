"""Protected messages: what is checked first, what padding and fragments may be, and what a person is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secd.ike.crypto import ikev2
from secd.ike.crypto.errors import NotAuthentic, UnsupportedAlgorithm
from secd.ike.crypto.ikev2_ciphers import (
    MESSAGE_CIPHERS,
    DirectionKeys,
    MessageCipher,
    message_cipher,
    message_cipher_numbered,
)
from secd.ike.crypto.ikev2_esp import CHILD_ALGORITHMS, child_algorithm, child_algorithm_numbered
from secd.ike.crypto.ikev2_messages import (
    MAX_MESSAGE,
    Fragment,
    Opened,
    Reassembly,
    int_auth_octets,
    open_message,
    seal_fragments,
    seal_message,
)
from secd.ike.crypto.prfs import PRFS, prf_named, prf_numbered
from secd.ike.wire.chain import encode_payloads
from secd.ike.wire.cursor import WireError
from secd.ike.wire.header import HEADER_OCTETS
from secd.ike.wire.ikev2.iana import Encr, ExchangeType, Flag, Integ, NotifyType, PayloadType
from secd.ike.wire.ikev2.message import Header, encode_message, parse_header
from secd.ike.wire.ikev2.payload import Payload
from secd.ike.wire.ikev2.payloads import NoncePayload, VendorIDPayload
from secd.sadb.messages import AUTH_KEY_OCTETS, ENCRYPTION_KEY_OCTETS

HEADER = Header(b"initiato", b"responde", ExchangeType.INFORMATIONAL, Flag.INITIATOR, 4)
PAYLOADS: list[Payload] = [NoncePayload(b"n" * 20), VendorIDPayload(b"vendor")]
ALL = pytest.mark.parametrize("cipher", MESSAGE_CIPHERS, ids=lambda each: f"{each.name}-{each.key_length}-{each.auth}")


def keys_of(cipher: MessageCipher, fill: int = 7) -> DirectionKeys:
    octets = bytes((fill + index) % 256 for index in range(200))
    return DirectionKeys(octets[: cipher.encryption_key_octets], octets[-cipher.integrity_key_octets or 200 :])


def same(octets: int) -> bytes:
    return b"\x5a" * octets


def seal(cipher: MessageCipher, padded: bytes, first: int = PayloadType.NONCE, *, clear: bytes = b"") -> bytes:
    """An SK payload around any octets, padding included; `clear` stands before it."""
    keys = keys_of(cipher)
    octets = 4 + cipher.iv_octets + len(padded) + cipher.icv_octets
    next_payload = PayloadType.V if clear else PayloadType.SK
    length = HEADER_OCTETS + len(clear) + octets
    head = replace(HEADER, next_payload=next_payload, length=length).encode() + clear
    associated = head + bytes((first, 0)) + octets.to_bytes(2, "big")
    return associated + cipher.seal(keys, same(cipher.iv_octets), associated, padded)


@ALL
def test_a_message_comes_back(cipher: MessageCipher) -> None:
    datagram = seal_message(cipher, keys_of(cipher), HEADER, PAYLOADS, same)
    opened = open_message(cipher, keys_of(cipher), parse_header(datagram), datagram)
    assert isinstance(opened, Opened)
    assert list(opened.chain.payloads) == PAYLOADS
    assert opened.header.message_id == 4
    assert opened.int_auth_octets == int_auth_octets(HEADER, PAYLOADS)


@ALL
def test_an_empty_message_comes_back(cipher: MessageCipher) -> None:
    datagram = seal_message(cipher, keys_of(cipher), HEADER, [], same)
    opened = open_message(cipher, keys_of(cipher), parse_header(datagram), datagram)
    assert isinstance(opened, Opened)
    assert opened.chain.payloads == ()


@ALL
def test_any_changed_octet_is_noticed(cipher: MessageCipher) -> None:
    datagram = seal_message(cipher, keys_of(cipher), HEADER, PAYLOADS, same)
    for offset in (*range(8, 16), 18, 19, *range(20, 24), *range(HEADER_OCTETS, len(datagram))):
        changed = datagram[:offset] + bytes((datagram[offset] ^ 1,)) + datagram[offset + 1 :]
        with pytest.raises(NotAuthentic):
            open_message(cipher, keys_of(cipher), parse_header(changed), changed)


@ALL
def test_another_key_does_not_open_it(cipher: MessageCipher) -> None:
    datagram = seal_message(cipher, keys_of(cipher), HEADER, PAYLOADS, same)
    with pytest.raises(NotAuthentic, match="check value is wrong"):
        open_message(cipher, keys_of(cipher, 8), parse_header(datagram), datagram)


@ALL
def test_what_is_too_short_to_hold_anything_is_not_authentic(cipher: MessageCipher) -> None:
    for octets in range(cipher.iv_octets + cipher.icv_octets + cipher.block_octets):
        body = bytes((0, 0)) + (4 + octets).to_bytes(2, "big") + bytes(octets)
        head = replace(HEADER, next_payload=PayloadType.SK, length=HEADER_OCTETS + len(body))
        datagram = head.encode() + body
        with pytest.raises(NotAuthentic, match="no ciphertext"):
            open_message(cipher, keys_of(cipher), parse_header(datagram), datagram)


def test_a_message_in_clear_is_not_authentic() -> None:
    cipher = message_cipher("aes-gcm", 256, "")
    datagram = encode_message(HEADER, PAYLOADS)
    with pytest.raises(NotAuthentic, match="not protected"):
        open_message(cipher, keys_of(cipher), parse_header(datagram), datagram)


def test_what_has_a_wrong_shape_outside_is_not_authentic() -> None:
    cipher = message_cipher("aes-gcm", 256, "")
    datagram = encode_message(replace(HEADER), [VendorIDPayload(b"")])[:HEADER_OCTETS] + b"\x00\x00\x00\x02"
    with pytest.raises(NotAuthentic):
        open_message(cipher, keys_of(cipher), parse_header(datagram), datagram)


@pytest.mark.parametrize("cipher", [message_cipher("aes-gcm", 128, ""), message_cipher("aes", 128, "hmac-sha2-256")])
def test_any_padding_is_taken_but_not_more_than_there_is(cipher: MessageCipher) -> None:
    plain = encode_payloads([NoncePayload(b"n" * 20)])
    assert len(plain) == 24
    long_padding = plain + b"\xaa" * 39 + bytes((39,))  # 64 octets
    datagram = seal(cipher, long_padding)
    opened = open_message(cipher, keys_of(cipher), parse_header(datagram), datagram)
    assert isinstance(opened, Opened)
    assert opened.chain.octets == plain
    everything = seal(cipher, b"\xaa" * 31 + bytes((31,)), PayloadType.NONE)
    empty = open_message(cipher, keys_of(cipher), parse_header(everything), everything)
    assert isinstance(empty, Opened)
    assert empty.chain.payloads == ()
    too_much = seal(cipher, b"\xaa" * 31 + bytes((32,)), PayloadType.NONE)
    with pytest.raises(WireError, match="padding") as caught:
        open_message(cipher, keys_of(cipher), parse_header(too_much), too_much)
    assert caught.value.notify == NotifyType.INVALID_SYNTAX


def test_what_is_malformed_inside_may_be_answered() -> None:
    cipher = message_cipher("chacha20-poly1305", 0, "")
    for first, plain, notify in (
        (PayloadType.NONCE, b"\x00\x00\x00\x08abcd\x00", NotifyType.INVALID_SYNTAX),
        (PayloadType.SK, b"\x00\x00\x00\x08abcd\x00", NotifyType.INVALID_SYNTAX),
        (200, b"\x00\x80\x00\x08abcd\x00", NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD),
    ):
        datagram = seal(cipher, plain, first)
        with pytest.raises(WireError) as caught:
            open_message(cipher, keys_of(cipher), parse_header(datagram), datagram)
        assert caught.value.notify == notify


def test_payloads_in_front_of_sk_are_authenticated_and_told_apart() -> None:
    cipher = message_cipher("aes-gcm", 256, "")
    clear = bytes((PayloadType.SK, 0, 0, 10)) + b"vendor"
    datagram = seal(cipher, encode_payloads([NoncePayload(b"n" * 20)]) + b"\x00", clear=clear)
    opened = open_message(cipher, keys_of(cipher), parse_header(datagram), datagram)
    assert isinstance(opened, Opened)
    assert opened.clear.payloads == (VendorIDPayload(b"vendor"),)
    assert opened.chain.payloads == (NoncePayload(b"n" * 20),)
    # RFC 9242 §3.3.2: IntAuth covers them, too; both lengths are those without IV, padding and check value
    expected = replace(HEADER, next_payload=PayloadType.V, length=HEADER_OCTETS + 10 + 4 + 24).encode() + clear
    expected += bytes((PayloadType.NONCE, 0, 0, 28)) + encode_payloads([NoncePayload(b"n" * 20)])
    assert opened.int_auth_octets == expected


# -- fragments --------------------------------------------------------------------------------------------

GCM = message_cipher("aes-gcm", 256, "")


def fragments_of(payloads: list[Payload], limit: int, cipher: MessageCipher = GCM) -> list[Fragment]:
    made = []
    for datagram in seal_fragments(cipher, keys_of(cipher), HEADER, payloads, same, limit=limit):
        assert len(datagram) <= limit
        opened = open_message(cipher, keys_of(cipher), parse_header(datagram), datagram)
        assert isinstance(opened, Fragment)
        made.append(opened)
    return made


@ALL
def test_fragments_are_put_together_again(cipher: MessageCipher) -> None:
    payloads: list[Payload] = [VendorIDPayload(bytes(range(256)) * 4), NoncePayload(b"n" * 20)]
    made = fragments_of(payloads, 300, cipher)
    assert [(each.number, each.total) for each in made] == [(at, len(made)) for at in range(1, len(made) + 1)]
    assert [each.first for each in made] == [PayloadType.V] + [PayloadType.NONE] * (len(made) - 1)
    reassembly = Reassembly()
    for each in reversed(made):
        assert not reassembly.complete
        reassembly = reassembly.add(each)
    whole = reassembly.message(made[-1].header)
    assert list(whole.chain.payloads) == payloads
    assert whole.int_auth_octets == int_auth_octets(HEADER, payloads)


def test_what_fits_is_not_fragmented() -> None:
    whole = seal_message(GCM, keys_of(GCM), HEADER, PAYLOADS, same)
    assert seal_fragments(GCM, keys_of(GCM), HEADER, PAYLOADS, same, limit=len(whole)) == [whole]
    assert len(seal_fragments(GCM, keys_of(GCM), HEADER, PAYLOADS, same, limit=len(whole) - 1)) == 2


def test_a_division_into_more_pieces_begins_anew_and_one_into_fewer_is_old() -> None:
    payloads: list[Payload] = [VendorIDPayload(bytes(900))]
    few, many = fragments_of(payloads, 600), fragments_of(payloads, 300)
    reassembly = Reassembly().add(few[0]).add(many[1])
    assert (reassembly.total, set(reassembly.parts)) == (many[0].total, {2})
    assert reassembly.add(few[1]) is reassembly
    for each in many:
        reassembly = reassembly.add(each)
    assert reassembly.message(many[0].header).chain.payloads == tuple(payloads)


def test_the_same_fragment_twice_counts_once() -> None:
    made = fragments_of([VendorIDPayload(bytes(900))], 300)
    once = Reassembly().add(made[0])
    assert once.add(made[0]) is once


def test_payloads_in_front_of_a_fragment_are_refused() -> None:
    keys = keys_of(GCM)
    clear = bytes((PayloadType.SKF, 0, 0, 10)) + b"vendor"
    octets = 4 + 4 + 8 + 5 + 16
    head = replace(HEADER, next_payload=PayloadType.V, length=HEADER_OCTETS + len(clear) + octets).encode() + clear
    associated = head + bytes((0, 0)) + octets.to_bytes(2, "big") + b"\x00\x01\x00\x02"
    datagram = associated + GCM.seal(keys, bytes(8), associated, b"part\x00")
    with pytest.raises(WireError, match="in front of a fragment"):
        open_message(GCM, keys, parse_header(datagram), datagram)


def test_fragments_of_a_message_too_large_are_refused() -> None:
    half = Fragment(HEADER, PayloadType.V, 1, 3, bytes(MAX_MESSAGE // 2))
    reassembly = Reassembly().add(half).add(replace(half, number=2, first=PayloadType.NONE))
    with pytest.raises(WireError, match="more than 65536 octets"):
        reassembly.add(replace(half, number=3, first=PayloadType.NONE))


def test_a_message_that_would_need_too_many_fragments_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="do not fit 64 fragments of 100"):
        seal_fragments(GCM, keys_of(GCM), HEADER, [VendorIDPayload(bytes(5000))], same, limit=100)
    with pytest.raises(ValueError, match="do not fit"):
        seal_fragments(GCM, keys_of(GCM), HEADER, [VendorIDPayload(bytes(50))], same, limit=20)


# -- registries -------------------------------------------------------------------------------------------


@ALL
def test_a_cipher_is_found_by_names_and_by_numbers(cipher: MessageCipher) -> None:
    assert message_cipher(cipher.name, cipher.key_length, cipher.auth) is cipher
    assert message_cipher_numbered(cipher.number, cipher.key_length or None, cipher.auth_number) is cipher


def test_numbers_that_do_not_go_together_are_no_cipher() -> None:
    assert message_cipher_numbered(Encr.AES_GCM_16, 128, Integ.NONE) is message_cipher("aes-gcm", 128, "")
    assert message_cipher_numbered(Encr.AES_GCM_16, 128, Integ.HMAC_SHA1_96) is None
    assert message_cipher_numbered(Encr.AES_CBC, 128, None) is None
    assert message_cipher_numbered(Encr.AES_CBC, None, Integ.HMAC_SHA1_96) is None
    assert message_cipher_numbered(Encr.CHACHA20_POLY1305, 256, None) is None
    with pytest.raises(UnsupportedAlgorithm, match="aes-128 and auth none"):
        message_cipher("aes", 128, "")


@pytest.mark.parametrize("entry", CHILD_ALGORITHMS, ids=lambda each: f"{each.encryption}-{each.auth}")
def test_a_child_sas_algorithm_is_one_of_the_data_planes(entry: object) -> None:
    assert entry in CHILD_ALGORITHMS
    for each in CHILD_ALGORITHMS:
        assert each.keymat_octets == ENCRYPTION_KEY_OCTETS[each.encryption] + AUTH_KEY_OCTETS[each.auth]
        assert child_algorithm(each.cipher, each.key_length, each.auth) is each
        assert child_algorithm_numbered(each.encr, each.key_length or None, each.integ) is each


def test_every_cipher_of_the_data_plane_can_be_negotiated() -> None:
    assert {each.encryption for each in CHILD_ALGORITHMS} == set(ENCRYPTION_KEY_OCTETS)
    assert {each.auth for each in CHILD_ALGORITHMS} == set(AUTH_KEY_OCTETS)


def test_what_the_data_plane_does_not_have_is_no_child_algorithm() -> None:
    assert child_algorithm_numbered(Encr.AES_GCM_16, 256, Integ.NONE) is child_algorithm("aes-gcm", 256, "")
    assert child_algorithm_numbered(Encr.AES_GCM_8, 256, None) is None
    assert child_algorithm_numbered(Encr.AES_CBC, 256, None) is None
    assert child_algorithm_numbered(Encr.AES_CBC, None, Integ.HMAC_SHA1_96) is None
    with pytest.raises(UnsupportedAlgorithm, match="3des"):
        child_algorithm("3des", 0, "hmac-sha1")


def test_prfs_by_name_and_number() -> None:
    for entry in PRFS.values():
        assert prf_named(entry.name) is prf_numbered(entry.number) is entry
        assert entry.octets == len(entry.compute(b"k", b"d"))
    assert prf_numbered(1) is None
    with pytest.raises(UnsupportedAlgorithm, match="expected one of"):
        prf_named("hmac-md5")


def test_prf_plus_chains_its_blocks_and_ends_after_255() -> None:
    prf = prf_named("hmac-sha2-256")
    one = prf.compute(b"k", b"seed\x01")
    two = prf.compute(b"k", one + b"seed\x02")
    assert prf.expand(b"k", b"seed", 40) == (one + two)[:40]
    assert len(prf.expand(b"k", b"seed", 255 * 32)) == 255 * 32
    with pytest.raises(ValueError, match="more than prf"):
        prf.expand(b"k", b"seed", 255 * 32 + 1)


def test_no_key_is_shown() -> None:
    keys = ikev2.IkeKeys(*(bytes((65 + index,)) * 20 for index in range(7)))
    shown = repr(keys) + repr(keys.of(initiator=True)) + repr(fragments_of([VendorIDPayload(b"A" * 900)], 300)[0])
    assert "AAAA" not in shown
    assert keys.of(initiator=True) == DirectionKeys(b"D" * 20, b"B" * 20)
    assert keys.of(initiator=False) == DirectionKeys(b"E" * 20, b"C" * 20)


def test_a_ppk_changes_three_keys_and_no_other() -> None:
    prf = prf_named("hmac-sha2-256")
    keys = ikev2.IkeKeys(*(bytes((65 + index,)) * 32 for index in range(7)))
    mixed = keys.with_ppk(*(prf.compute(b"ppk", ikev2.ppk_data(each)) for each in (keys.sk_d, keys.sk_pi, keys.sk_pr)))
    assert mixed.sk_d == prf.expand(b"ppk", keys.sk_d, 32)  # RFC 8784 §3 in its own words
    assert mixed.sk_pi == prf.expand(b"ppk", keys.sk_pi, 32)
    assert mixed.sk_pr == prf.expand(b"ppk", keys.sk_pr, 32)
    assert (mixed.sk_ai, mixed.sk_ar, mixed.sk_ei, mixed.sk_er) == (keys.sk_ai, keys.sk_ar, keys.sk_ei, keys.sk_er)
