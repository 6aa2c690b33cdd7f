"""IKEv1's running IV, key expansion and registries; the derivations themselves are checked in tests/vectors."""

from __future__ import annotations

import hmac

import pytest

from secd.ike.crypto import ikev1
from secd.ike.crypto.ciphers import CIPHERS, cipher_named, cipher_numbered
from secd.ike.crypto.errors import UnsupportedAlgorithm
from secd.ike.crypto.hashes import HASHES, hash_named, hash_numbered
from secd.ike.crypto.ikev1 import CbcState
from secd.ike.wire.cursor import WireError

SHA1 = hash_named("sha1")


def state(name: str = "aes") -> CbcState:
    cipher = cipher_named(name)
    return CbcState.phase1(SHA1, cipher, bytes(range(cipher.key_lengths[0] // 8)), b"g_xi", b"g_xr")


@pytest.mark.parametrize("name", CIPHERS)
def test_two_sides_that_use_their_states_in_step_understand_each_other(name: str) -> None:
    ours = theirs = state(name)
    for text in (b"x", b"a block of text of some length", bytes(64)):
        ciphertext, ours = ours.encrypt(text)
        plaintext, theirs = theirs.decrypt(ciphertext)
        assert plaintext == text + bytes(-len(text) % ours.cipher.block_octets)
        assert ours == theirs


def test_the_iv_of_the_next_message_is_the_last_block_of_this_one() -> None:
    ciphertext, following = state().encrypt(b"0123456789abcdef0")
    assert following.iv == ciphertext[-16:]
    assert state().decrypt(ciphertext)[1] == following


def test_a_state_is_a_value_that_a_forged_message_cannot_spoil() -> None:
    before = state()
    before.decrypt(bytes(32))
    assert before == state()


def test_an_exchange_after_phase_1_starts_from_phase_1s_last_block_and_its_message_id() -> None:
    one, other = state().phase2(SHA1, 1), state().phase2(SHA1, 2)
    assert one != other
    assert one.iv == SHA1.digest(state().iv + b"\x00\x00\x00\x01")[:16]


@pytest.mark.parametrize("octets", [0, 1, 15, 17])
def test_what_is_not_whole_blocks_is_refused(octets: int) -> None:
    with pytest.raises(WireError, match=f"{octets} encrypted octets are not a whole number of blocks of 16"):
        state().decrypt(bytes(octets))


def test_encrypting_nothing_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="nothing to encrypt"):
        state().encrypt(b"")


def test_a_key_longer_than_skeyid_e_is_expanded_and_a_shorter_one_cut() -> None:
    skeyid_e = bytes(range(20))
    k1 = hmac.digest(skeyid_e, b"\x00", "sha1")
    k2 = hmac.digest(skeyid_e, k1, "sha1")
    assert ikev1.encryption_key(SHA1, skeyid_e, 16) == skeyid_e[:16]
    assert ikev1.encryption_key(SHA1, skeyid_e, 20) == skeyid_e
    assert ikev1.encryption_key(SHA1, skeyid_e, 32) == (k1 + k2)[:32]


def test_skeyid_of_signatures_is_keyed_by_the_nonces() -> None:
    assert ikev1.skeyid_signatures(SHA1, b"Ni", b"Nr", b"g^xy") == hmac.digest(b"NiNr", b"g^xy", "sha1")


def test_nat_d_takes_addresses_of_both_families() -> None:
    cookies = b"i" * 8, b"r" * 8
    four = SHA1.digest(b"".join(cookies) + b"\xc0\x00\x02\x01" + b"\x01\xf4")
    six = SHA1.digest(b"".join(cookies) + b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01" + b"\x11\x94")
    assert ikev1.nat_d(SHA1, *cookies, "192.0.2.1", 500) == four
    assert ikev1.nat_d(SHA1, *cookies, "2001:db8::1", 4500) == six


def test_keys_are_not_printed() -> None:
    assert repr(ikev1.Phase1Keys(b"d", b"a", b"e")) == "Phase1Keys()"
    assert "key=" not in repr(state())


def test_hashes_and_ciphers_are_found_by_name_and_by_number() -> None:
    assert [hash_numbered(each) for each in (1, 2, 4, 5, 6)] == list(HASHES.values())
    assert [cipher_numbered(each) for each in (5, 7, 3, 6)] == list(CIPHERS.values())
    assert hash_numbered(3) is None
    assert cipher_numbered(1) is None
    with pytest.raises(UnsupportedAlgorithm, match="hash sha3: expected one of md5, sha1"):
        hash_named("sha3")
    with pytest.raises(UnsupportedAlgorithm, match="cipher des: expected one of 3des, aes"):
        cipher_named("des")


def test_only_3des_has_a_key_length_that_is_not_negotiated() -> None:
    assert [name for name, cipher in CIPHERS.items() if cipher.fixed] == ["3des"]
    assert all(cipher.key_lengths[0] in (128, 192) for cipher in CIPHERS.values())
