"""ESP's algorithms under all their names and numbers."""

from __future__ import annotations

import pytest

from secd.ike.crypto.errors import UnsupportedAlgorithm
from secd.ike.crypto.esp import ESP_ALGORITHMS, EspAlgorithm, esp_algorithm, esp_algorithm_numbered
from secd.sadb.messages import AUTH_KEY_OCTETS, ENCRYPTION_KEY_OCTETS

ALL = pytest.mark.parametrize("entry", ESP_ALGORITHMS, ids=lambda entry: f"{entry.encryption} {entry.auth}")


@ALL
def test_an_entry_is_found_by_its_names_and_by_its_numbers(entry: EspAlgorithm) -> None:
    assert esp_algorithm(entry.cipher, entry.key_length, entry.auth) is entry
    found = esp_algorithm_numbered(entry.transform_id, entry.key_length or None, entry.auth_number)
    assert found is entry


@ALL
def test_the_seam_knows_the_names_and_the_keys_are_cut_to_its_sizes(entry: EspAlgorithm) -> None:
    keymat = bytes(range(entry.keymat_octets))
    encryption, auth = entry.split(keymat)
    assert len(encryption) == ENCRYPTION_KEY_OCTETS[entry.encryption]
    assert len(auth) == AUTH_KEY_OCTETS[entry.auth]
    assert encryption + auth == keymat


def test_every_algorithm_of_the_seam_that_ikev1_has_a_number_for_is_here() -> None:
    assert {entry.encryption for entry in ESP_ALGORITHMS} == set(ENCRYPTION_KEY_OCTETS) - {"chacha20-poly1305"}
    assert {entry.auth for entry in ESP_ALGORITHMS} == set(AUTH_KEY_OCTETS)


def test_a_combined_mode_has_four_octets_of_salt_and_no_auth() -> None:
    entry = esp_algorithm("aes-gcm", 256, "")
    assert (entry.transform_id, entry.auth_number, entry.keymat_octets) == (20, None, 36)
    with pytest.raises(UnsupportedAlgorithm):
        esp_algorithm("aes-gcm", 256, "hmac-sha1")


def test_aes_without_a_key_length_means_128_bits() -> None:
    assert esp_algorithm_numbered(12, None, 2) is esp_algorithm("aes", 128, "hmac-sha1")


@pytest.mark.parametrize(
    "numbers", [(12, 129, 2), (12, 128, None), (12, 128, 1), (3, None, 2), (20, 128, 2), (18, 128, None)]
)
def test_what_we_do_not_have_is_not_found(numbers: tuple[int, int, int | None]) -> None:
    assert esp_algorithm_numbered(*numbers) is None


def test_a_wrong_name_is_said() -> None:
    with pytest.raises(UnsupportedAlgorithm, match="ESP with 3des and auth hmac-sha1"):
        esp_algorithm("3des", 0, "hmac-sha1")


def test_keymat_of_another_size_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="KEYMAT of 1 octets, expected 36"):
        esp_algorithm("aes-gcm", 256, "").split(b"x")
