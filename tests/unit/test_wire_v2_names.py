"""Distinguished names: DER and text, and when two are the same."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from secd.ike.wire.cursor import WireError
from secd.ike.wire.distinguished_names import (
    MAX_ATTRIBUTES,
    is_within,
    name_from_text,
    name_to_text,
    same_name,
)


def der(*attributes: tuple[x509.ObjectIdentifier, str, _ASN1Type]) -> bytes:
    return x509.Name([x509.NameAttribute(oid, value, kind) for oid, value, kind in attributes]).public_bytes()


TEXT = "/C=AU/ST=Queensland/O=Example & Sons/OU=a/b/CN=gw.example.com/emailAddress=a@example.com/DC=example/UID=gw1"


def test_text_and_der_are_those_of_the_library() -> None:
    made = der(
        (NameOID.COUNTRY_NAME, "AU", _ASN1Type.PrintableString),
        (NameOID.STATE_OR_PROVINCE_NAME, "Queensland", _ASN1Type.UTF8String),
        (NameOID.ORGANIZATION_NAME, "Example & Sons", _ASN1Type.UTF8String),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "a/b", _ASN1Type.UTF8String),
        (NameOID.COMMON_NAME, "gw.example.com", _ASN1Type.UTF8String),
        (NameOID.EMAIL_ADDRESS, "a@example.com", _ASN1Type.IA5String),
        (NameOID.DOMAIN_COMPONENT, "example", _ASN1Type.IA5String),
        (NameOID.USER_ID, "gw1", _ASN1Type.UTF8String),
    )
    assert name_from_text(TEXT) == made
    assert name_to_text(made) == TEXT


@pytest.mark.parametrize("text", ["C=AU, O=Example, CN=gw", "C=AU,O=Example,CN=gw", "c = AU , o=Example, cn=gw"])
def test_commas_are_read_too(text: str) -> None:
    assert name_to_text(name_from_text(text)) == "/C=AU/O=Example/CN=gw"


def test_an_attribute_without_a_name_has_its_number() -> None:
    text = "/1.3.6.1.4.1.311.60.2.1.3=AU/2.5.4.97=X/CN=gw"
    assert name_to_text(name_from_text(text)) == text


def test_hexadecimal_is_taken_as_it_is() -> None:
    made = name_from_text("/CN=gw")
    assert name_from_text(f"0x{made.hex()}") == made
    assert name_to_text(b"junk") == "0x6a756e6b"


@pytest.mark.parametrize("value", ["a/CN=b", "line\nbreak"])
def test_a_value_that_the_text_cannot_hold_is_shown_in_hexadecimal(value: str) -> None:
    made = der((NameOID.COMMON_NAME, value, _ASN1Type.UTF8String))
    assert name_to_text(made) == f"0x{made.hex()}"


def test_several_attributes_of_one_set_are_the_same_in_any_order() -> None:
    country = x509.NameAttribute(NameOID.COUNTRY_NAME, "AU")
    common = x509.NameAttribute(NameOID.COMMON_NAME, "gw")
    together = x509.Name([x509.RelativeDistinguishedName([country, common])]).public_bytes()
    apart = x509.Name([country, common]).public_bytes()
    assert same_name(together, together)
    assert not same_name(together, apart)


def test_case_blanks_and_kinds_of_strings_make_no_difference() -> None:
    one = der((NameOID.ORGANIZATION_NAME, "Example  GmbH ", _ASN1Type.PrintableString))
    for kind in (_ASN1Type.UTF8String, _ASN1Type.BMPString, _ASN1Type.T61String):
        assert same_name(one, der((NameOID.ORGANIZATION_NAME, "example gmbh", kind)))
    assert not same_name(one, der((NameOID.ORGANIZATION_NAME, "example", _ASN1Type.UTF8String)))
    assert not same_name(one, der((NameOID.COMMON_NAME, "example gmbh", _ASN1Type.UTF8String)))
    assert not same_name(b"junk", b"junk")


def test_a_subtree_holds_what_begins_like_it() -> None:
    assert is_within(name_from_text("/C=AU/O=T/CN=gw"), name_from_text("/c=au/o=t"))
    assert not is_within(name_from_text("/C=AU/O=T"), name_from_text("/C=AU/O=T/CN=gw"))
    assert not is_within(name_from_text("/O=T/C=AU/CN=gw"), name_from_text("/C=AU/O=T"))
    with pytest.raises(WireError):
        is_within(b"junk", name_from_text("/C=AU"))


@pytest.mark.parametrize(
    "text", ["", "gw.example", "/", "/=x", "/CN=", "/Nonsense=x", "/C=\u00e4", "0x", "0xzz", "0x3000ff", "/3.1=x"]
)
def test_what_is_no_name_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|distinguished name|only ASCII"):
        name_from_text(text)


def test_there_is_an_end_to_attributes() -> None:
    assert name_from_text("/CN=a" * MAX_ATTRIBUTES)
    with pytest.raises(ValueError, match="more than 32"):
        name_from_text("/CN=a" * (MAX_ATTRIBUTES + 1))


def test_no_codec_is_looked_up_when_a_name_comes_from_the_wire() -> None:
    """A codec is a file, and iked's sandbox opens none."""
    code = """
import sys
import secd.ike.wire.distinguished_names as names
sys.addaudithook(lambda event, _: event in ("open", "import") and sys.exit(f"{event} after the start"))
for tag in (0x0C, 0x13, 0x14, 0x16, 0x1C, 0x1E, 0x01):
    names.name_to_text(bytes.fromhex("300f310d300b0603550403") + bytes((tag, 4, 0, 0, 0, 0x61)))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
