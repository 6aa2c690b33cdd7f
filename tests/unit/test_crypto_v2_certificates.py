"""Whom a certificate makes us trust: paths, purposes, names, constraints, revocation; and what is refused, in words.

The certificates are made here by the library's builder; what `pki` of strongSwan makes is read in
test_crypto_v2_pki.py.  Where the library's own verifier can judge (it knows RSA and ECDSA), it has to agree.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address, ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from secd.ike.crypto import certificate_paths
from secd.ike.crypto.certificates import (
    MAX_CERTIFICATES,
    Trust,
    certificates_in,
    key_hash,
    load_certificate,
    verify_certificate,
)
from secd.ike.crypto.errors import CertificateError
from secd.ike.wire.distinguished_names import name_from_text
from secd.ike.wire.ikev2.iana import IdType

NOW = dt.datetime(2030, 6, 1, tzinfo=dt.UTC)
EPOCH = NOW.timestamp()
DAY = dt.timedelta(days=1)

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey | dsa.DSAPrivateKey


@cache
def key(kind: str, number: int = 0) -> Key:
    if kind == "ed25519":
        return Ed25519PrivateKey.generate()
    if kind == "dsa":
        return dsa.generate_private_key(2048)
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:] or 2048))
    return ec.generate_private_key(ec.SECP256R1())


def name(text: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "T"), x509.NameAttribute(NameOID.COMMON_NAME, text)]
    )


@dataclass(frozen=True)
class Made:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def usage(*bits: str) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**{each: each in bits for each in names})


GATEWAY = x509.SubjectAlternativeName(
    [x509.DNSName("gw.example"), x509.RFC822Name("admin@Example.COM"), x509.IPAddress(ip_address("192.0.2.1")),
     x509.IPAddress(ip_address("2001:db8::1"))]
)  # fmt: skip
CA = x509.BasicConstraints(ca=True, path_length=None)


def make(
    subject: str,
    issuer: Made | None = None,
    *extensions: x509.ExtensionType | tuple[x509.ExtensionType, bool],
    kind: str = "ec",
    number: int = 0,
    serial: int = 7,
    begin: dt.datetime = NOW - DAY,
    end: dt.datetime = NOW + DAY,
    digest: hashes.HashAlgorithm | None = None,
) -> Made:
    """A certificate; self-signed without `issuer`.  An extension is critical if it comes with True."""
    own = key(kind, number)
    signer = issuer or Made(None, own)  # type: ignore[arg-type]
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(issuer.certificate.subject if issuer else name(subject))
        .public_key(own.public_key())
        .serial_number(serial)
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    for each in extensions:
        extension, critical = each if isinstance(each, tuple) else (each, False)
        builder = builder.add_extension(extension, critical)
    algorithm = None if isinstance(signer.key, Ed25519PrivateKey) else digest or hashes.SHA256()
    return Made(builder.sign(signer.key, algorithm), own)  # type: ignore[arg-type]


def make_ca(subject: str = "root", issuer: Made | None = None, *more: object, **changes: object) -> Made:
    return make(subject, issuer, (CA, True), *more, **{"number": 1, **changes})  # type: ignore[arg-type]


ROOT = make_ca()
LEAF = make("gw", ROOT, GATEWAY, usage("digital_signature"), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.IPSEC_IKE]))


def verified(
    *chain: Made,
    trust: Sequence[Made] = (ROOT,),
    crls: Sequence[bytes] = (),
    partial: bool = False,
    identity: tuple[int, bytes] = (IdType.ID_FQDN, b"gw.example"),
) -> tuple[str, ...]:
    """Subjects of the path and warnings."""
    store = Trust.load([each.der for each in trust], crls, partial=partial)
    result = verify_certificate(store, [each.der for each in chain], *identity, EPOCH)
    assert result.public_key == chain[0].certificate.public_key()
    return (*(x509.load_der_x509_certificate(each).subject.rfc4514_string()[3:].split(",")[0] for each in result.chain),
            *result.warnings)  # fmt: skip


def library_agrees(chain: Sequence[Made], trust: Sequence[Made]) -> bool:
    """What `cryptography`'s verifier says of the path alone, with extensions left to us."""
    leaf = verification.ExtensionPolicy.permit_all()
    authority = leaf.require_present(x509.BasicConstraints, verification.Criticality.AGNOSTIC, None)
    builder = verification.PolicyBuilder().store(verification.Store([each.certificate for each in trust])).time(NOW)
    verifier = builder.extension_policies(ca_policy=authority, ee_policy=leaf).build_client_verifier()
    try:
        verifier.verify(chain[0].certificate, [each.certificate for each in chain[1:]])
    except verification.VerificationError:
        return False
    return True


def refused(*chain: Made, match: str, library: bool | None = None, **options: object) -> None:
    """Refused by us; `library`: what the library's verifier says, where it is asked."""
    with pytest.raises(CertificateError, match=match):
        verified(*chain, **options)  # type: ignore[arg-type]
    if library is not None:
        assert library_agrees(chain, options.get("trust", (ROOT,))) == library  # type: ignore[arg-type]


# -- paths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
def test_a_certificate_of_a_trusted_authority_is_believed(kind: str) -> None:
    root = make_ca(kind=kind)
    leaf = make("gw", root, GATEWAY, kind=kind)
    assert verified(leaf, trust=[root]) == ("gw", "root")
    assert library_agrees([leaf], [root]) == (kind != "ed25519")


def test_authorities_between_are_found_in_any_order() -> None:
    one = make_ca("one", ROOT, number=2)
    two = make_ca("two", one, number=3)
    leaf = make("gw", two, GATEWAY)
    assert verified(leaf, one, two) == verified(leaf, two, one) == ("gw", "two", "one", "root")
    assert library_agrees([leaf, one, two], [ROOT])
    refused(leaf, one, match="nobody called /O=T/CN=two is known", library=False)


def test_what_an_authority_was_renewed_with_is_found_as_well() -> None:
    old, new = make_ca(number=5), make_ca(number=6)
    leaf = make("gw", new, GATEWAY)
    assert verified(leaf, trust=[old, new]) == ("gw", "root")


def test_an_unknown_authority_is_named() -> None:
    other = make_ca("other", number=9)
    refused(make("gw", other, GATEWAY), match="no path .* nobody called /O=T/CN=other is known", library=False)


def test_an_authority_of_the_same_name_with_another_key_is_none() -> None:
    refused(make("gw", make_ca(number=9), GATEWAY), match="was not signed with the key of /O=T/CN=root", library=False)


def test_an_authority_that_the_peer_sent_is_not_trusted() -> None:
    own = make_ca("own", number=9)
    refused(make("gw", own, GATEWAY), own, match="no path", library=False)


def test_an_intermediate_authority_ends_a_path_only_if_that_is_wanted() -> None:
    between = make_ca("between", ROOT, number=2)
    leaf = make("gw", between, GATEWAY)
    refused(leaf, match="no path", trust=[between])
    assert verified(leaf, trust=[between], partial=True) == ("gw", "between")
    assert verified(leaf, trust=[between, ROOT]) == ("gw", "between", "root")


@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [(NOW + DAY, NOW + 2 * DAY, "valid from 2030-06-02 00:00:00 UTC on, now is 2030-06-01"),
     (NOW - 2 * DAY, NOW - DAY, "was valid until 2030-05-31 00:00:00 UTC")],
)  # fmt: skip
def test_dates_count_for_everyone_on_the_path(begin: dt.datetime, end: dt.datetime, words: str) -> None:
    refused(make("gw", ROOT, GATEWAY, begin=begin, end=end), match=words, library=False)
    root = make_ca(begin=begin, end=end)
    refused(make("gw", root, GATEWAY), match=f"authority /O=T/CN=root (is )?{words[:5]}", trust=[root], library=False)


@pytest.mark.parametrize(
    ("extensions", "words", "library"),
    [
        ([], "basicConstraints does not say CA", False),
        ([x509.BasicConstraints(ca=False, path_length=None)], "basicConstraints does not say CA", False),
        ([(CA, True), usage("digital_signature")], "keyUsage has no keyCertSign", None),
        ([(CA, True), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])], "is for other purposes", None),
        ([(CA, True), (x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)],
         "critical extension that is not understood: 1.2.3.4", None),
        ([(CA, True), (x509.PolicyConstraints(0, None), True)], "critical extension that is not understood", None),
    ],
)  # fmt: skip
def test_who_is_no_authority_certifies_nobody(extensions: list[object], words: str, library: bool | None) -> None:
    root = make("root", None, *extensions, number=1)  # type: ignore[arg-type]
    refused(make("gw", root, GATEWAY), match=words, trust=[root], library=library)


def test_a_path_length_counts_the_authorities_below() -> None:
    root = make("root", None, (x509.BasicConstraints(ca=True, path_length=0), True), number=1)
    between = make_ca("between", root, number=2)
    assert verified(make("gw", root, GATEWAY), trust=[root]) == ("gw", "root")
    refused(make("gw", between, GATEWAY), between, match="allows 0 authorities below it, there are 1", trust=[root],
            library=False)  # fmt: skip


def test_a_path_has_an_end_and_so_has_the_search() -> None:
    chain = [ROOT]
    for index in range(certificate_paths.MAX_DEPTH):
        chain.append(make_ca(f"ca{index}", chain[-1], number=20 + index))
    leaf = make("gw", chain[-1], GATEWAY)
    refused(leaf, *chain[1:], match="no path")
    assert len(verified(make("gw", chain[-3], GATEWAY), *chain[1:])) == certificate_paths.MAX_DEPTH
    # many authorities of one name that have certified each other
    ring = [make_ca("ring", Made(make_ca("ring", number=40 + at).certificate, key("ec", 40 + at)), number=41 + at)
            for at in range(8)]  # fmt: skip
    begin = dt.datetime.now(dt.UTC)
    refused(make("gw", ring[-1], GATEWAY), *ring, match="no path")
    assert (dt.datetime.now(dt.UTC) - begin).total_seconds() < 2


def test_weak_signatures_are_refused() -> None:
    root = make_ca(kind="rsa")
    leaf = make("gw", root, GATEWAY, digest=hashes.SHA224())
    refused(leaf, match="is signed with sha224, which is too weak", trust=[root], library=False)


def test_small_and_unknown_keys_are_refused() -> None:
    refused(make("gw", ROOT, GATEWAY, kind="rsa1024"), match="RSA key of 1024 bits, expected 2048")
    refused(make("gw", ROOT, GATEWAY, kind="dsa"), match="a key of an unknown kind")
    small = make_ca(kind="rsa1024")
    refused(make("gw", small, GATEWAY), match="authority .* RSA key of 1024 bits", trust=[small], library=False)


# -- what the peer's own certificate may be ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("extensions", "words"),
    [
        ([(CA, True)], "is that of a certification authority"),
        ([usage("key_cert_sign")], "keyUsage has no digitalSignature"),
        ([usage("key_encipherment")], "keyUsage has no digitalSignature"),
        ([x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])], "is for other purposes .1.3.6.1.5.5.7.3.3."),
        ([(x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)], "critical extension"),
    ],
)  # fmt: skip
def test_a_leaf_that_is_not_for_this_is_refused(extensions: list[object], words: str) -> None:
    refused(make("gw", ROOT, GATEWAY, *extensions), match=words)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "extensions",
    [
        [],
        [usage("content_commitment")],
        [usage("digital_signature", "key_agreement")],
        [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CODE_SIGNING])],
        [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])],
        [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), True)],
        [x509.BasicConstraints(ca=False, path_length=None)],
        [x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")],
    ],
)
def test_a_leaf_that_is_for_this_or_for_everything_is_taken(extensions: list[object]) -> None:
    assert verified(make("gw", ROOT, GATEWAY, *extensions)) == ("gw", "root")  # type: ignore[arg-type]


def test_the_peer_has_to_send_something_readable_and_not_too_much() -> None:
    with pytest.raises(CertificateError, match="sent no certificate"):
        verified_nothing()
    refused(*[LEAF] * (MAX_CERTIFICATES + 1), match="17 certificates, 16 are the most taken")
    for junk in (b"", b"junk", LEAF.der[:-1], LEAF.der + b"\x00", bytes(20_000)):
        with pytest.raises(CertificateError, match=r"not a certificate|are the most taken"):
            load_certificate(junk)


def verified_nothing() -> None:
    verify_certificate(Trust.load([ROOT.der]), [], IdType.ID_FQDN, b"gw.example", EPOCH)


# -- identities -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id_type", "data"),
    [
        (IdType.ID_FQDN, b"gw.example"),
        (IdType.ID_FQDN, b"GW.Example"),
        (IdType.ID_RFC822_ADDR, b"admin@example.com"),
        (IdType.ID_IPV4_ADDR, b"\xc0\x00\x02\x01"),
        (IdType.ID_IPV6_ADDR, ip_address("2001:db8::1").packed),
        (IdType.ID_DER_ASN1_DN, name("gw").public_bytes()),
        (IdType.ID_DER_ASN1_DN, name_from_text("/o=t/cn=GW")),
    ],
)
def test_a_certificate_is_for_its_subject_and_its_alternative_names(id_type: int, data: bytes) -> None:
    assert verified(LEAF, identity=(id_type, data)) == ("gw", "root")


@pytest.mark.parametrize(
    ("id_type", "data", "shown"),
    [
        (IdType.ID_FQDN, b"other.example", "itself other.example, but"),
        (IdType.ID_FQDN, b"gw", "itself gw, but"),  # the common name is not a host's
        (IdType.ID_FQDN, b"sub.gw.example", "sub.gw.example"),
        (IdType.ID_FQDN, b"\xff\n", r"\\\\xff"),
        (IdType.ID_RFC822_ADDR, b"Admin@example.com", "Admin@example.com"),
        (IdType.ID_RFC822_ADDR, b"gw.example", "gw.example"),
        (IdType.ID_IPV4_ADDR, b"\xc0\x00\x02\x02", "192.0.2.2"),
        (IdType.ID_DER_ASN1_DN, name("other").public_bytes(), "/O=T/CN=other"),
        (IdType.ID_DER_ASN1_DN, b"junk", "0x6a756e6b"),
        (IdType.ID_KEY_ID, b"gw.example", "ID_KEY_ID"),
        (IdType.ID_NULL, b"", "ID_NULL"),
    ],
)
def test_a_certificate_of_somebody_else_is_refused_with_both_names(id_type: int, data: bytes, shown: str) -> None:
    words = f"{shown}.*for gw.example or admin@Example.COM or 192.0.2.1 or 2001:db8::1 or /O=T/CN=gw"
    refused(LEAF, match=words, identity=(id_type, data))


def test_there_are_no_wildcards() -> None:
    leaf = make("gw", ROOT, x509.SubjectAlternativeName([x509.DNSName("*.example")]))
    refused(leaf, match=r"certificate is for \*\.example")


# -- name constraints -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("permitted", "excluded", "fine"),
    [
        ([x509.DNSName("example")], None, True),
        ([x509.DNSName("gw.example")], None, True),
        ([x509.DNSName("w.example")], None, False),
        ([x509.DNSName("other")], None, False),
        (None, [x509.DNSName("example")], False),
        (None, [x509.DNSName("other")], True),
        ([x509.IPAddress(ip_network("192.0.2.0/24")), x509.IPAddress(ip_network("2001:db8::/32"))], None, True),
        ([x509.IPAddress(ip_network("192.0.2.0/24"))], None, False),  # there is an IPv6 address, too
        (None, [x509.IPAddress(ip_network("192.0.2.1/32"))], False),
        ([x509.RFC822Name("example.com")], None, True),
        ([x509.RFC822Name("admin@example.com")], None, True),
        ([x509.RFC822Name("root@example.com")], None, False),
        ([x509.RFC822Name(".com")], None, True),
        ([x509.RFC822Name(".example.com")], None, False),
        ([x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "T")]))], None, True),
        ([x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "U")]))], None, False),
        (None, [x509.DirectoryName(name("gw"))], False),
        ([x509.UniformResourceIdentifier("example")], None, True),  # no name of this kind is there
    ],
)
def test_an_authority_certifies_only_the_names_that_it_may(
    permitted: list[x509.GeneralName] | None, excluded: list[x509.GeneralName] | None, fine: bool
) -> None:
    root = make_ca("root", None, (x509.NameConstraints(permitted, excluded), True))
    leaf = make("gw", root, GATEWAY)
    if fine:
        assert verified(leaf, trust=[root]) == ("gw", "root")
    else:
        refused(leaf, match="must not certify|may not certify", trust=[root])


def test_a_constraint_of_a_kind_that_is_not_understood_refuses_such_names() -> None:
    limits = x509.NameConstraints([x509.UniformResourceIdentifier("example")], None)
    root = make_ca("root", None, (limits, True))
    names = x509.SubjectAlternativeName([*GATEWAY, x509.UniformResourceIdentifier("https://gw.example")])
    refused(make("gw", root, names), match="of a kind that is not understood", trust=[root])


def test_constraints_hold_for_the_whole_path_below() -> None:
    root = make_ca("root", None, (x509.NameConstraints(None, [x509.DNSName("example")]), True))
    between = make_ca("between", root, number=2)
    refused(make("gw", between, GATEWAY), between, match="authority /O=T/CN=root must not certify", trust=[root],
            library=False)  # fmt: skip


# -- revocation -------------------------------------------------------------------------------------------


def make_crl(
    issuer: Made,
    *serials: int,
    until: dt.datetime = NOW + DAY,
    extension: tuple[x509.ExtensionType, bool] | None = None,
    signer: Made | None = None,
) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(NOW - 10 * DAY)
        .next_update(until)
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - 2 * DAY).build()
        builder = builder.add_revoked_certificate(entry)
    if extension is not None:
        builder = builder.add_extension(*extension)
    private = (signer or issuer).key
    algorithm = None if isinstance(private, Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(private, algorithm).public_bytes(Encoding.DER)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
def test_a_revoked_certificate_is_refused_with_the_date(kind: str) -> None:
    root = make_ca(kind=kind)
    leaf = make("gw", root, GATEWAY, serial=99)
    assert verified(leaf, trust=[root], crls=[make_crl(root, 98)]) == ("gw", "root")
    refused(leaf, match="CN=gw was revoked on 2030-05-30", trust=[root], crls=[make_crl(root, 98), make_crl(root, 99)])


def test_an_authority_between_can_be_revoked() -> None:
    between = make_ca("between", ROOT, number=2, serial=55)
    leaf = make("gw", between, GATEWAY, serial=55)
    refused(leaf, between, match="CN=between was revoked", crls=[make_crl(ROOT, 55)])
    refused(leaf, between, match="CN=gw was revoked", crls=[make_crl(between, 55)])
    assert verified(leaf, between, crls=[make_crl(make_ca("other"), 55)]) == ("gw", "between", "root")


def test_a_list_out_of_date_still_revokes_and_is_warned_of() -> None:
    old = make_crl(ROOT, 99, until=NOW - DAY)
    refused(make("gw", ROOT, GATEWAY, serial=99), match="was revoked", crls=[old])
    assert verified(LEAF, crls=[old])[2:] == (
        "the CRL of /O=T/CN=root should have been replaced on 2030-05-31 00:00:00 UTC",
    )


def test_a_list_that_cannot_be_used_is_warned_of() -> None:
    forged = make_crl(ROOT, 7, signer=make_ca("root", number=9))
    assert "it was not signed with its issuer's key" in verified(LEAF, crls=[forged])[2]
    delta = make_crl(ROOT, 7, extension=(x509.DeltaCRLIndicator(1), True))
    assert "critical extension 2.5.29.27" in verified(LEAF, crls=[delta])[2]
    root = make_ca("root", None, usage("key_cert_sign"))
    leaf = make("gw", root, GATEWAY)
    assert "keyUsage has no cRLSign" in verified(leaf, trust=[root], crls=[make_crl(root, 7)])[2]


def test_what_is_no_list_is_refused_when_it_is_read() -> None:
    for junk in (b"", b"junk", ROOT.der, b"-----BEGIN X509 CRL-----\njunk\n-----END X509 CRL-----\n"):
        with pytest.raises(CertificateError, match="not a CRL"):
            Trust.load([], [junk])


# -- files and hashes -------------------------------------------------------------------------------------


def test_certificates_are_read_from_pem_with_several_and_from_der() -> None:
    pem = b"".join(each.certificate.public_bytes(Encoding.PEM) for each in (LEAF, ROOT))
    assert certificates_in(pem) == [LEAF.der, ROOT.der]
    assert certificates_in(LEAF.der) == [LEAF.der]
    for junk in (b"", b"junk", b"-----BEGIN CERTIFICATE-----\njunk\n-----END CERTIFICATE-----\n"):
        with pytest.raises(CertificateError, match="no certificate"):
            certificates_in(junk)


def test_an_authority_is_named_by_the_hash_of_its_key() -> None:
    digest = x509.SubjectKeyIdentifier.from_public_key(ROOT.certificate.public_key()).digest
    made = key_hash(ROOT.certificate)
    assert len(made) == 20
    assert made != digest  # that one is over the key's bits, this one over the whole SubjectPublicKeyInfo
    assert Trust.load([ROOT.der]).authority_hashes == (made,)


# -- hostile octets ---------------------------------------------------------------------------------------

HOSTILE = [LEAF.der, ROOT.der, make("gw", make_ca(kind="rsa"), GATEWAY, kind="rsa").der]


@settings(deadline=2000, max_examples=400)
@given(
    st.sampled_from(HOSTILE),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=3),
    st.tuples(st.integers(0, 2000), st.integers(0, 2000), st.binary(max_size=20)) | st.none(),
)
def test_a_mutated_certificate_is_refused_in_words_and_never_believed(
    der: bytes, pokes: list[tuple[int, int]], splice: tuple[int, int, bytes] | None
) -> None:
    octets = bytearray(der)
    for offset, value in pokes:
        octets[offset % len(octets)] = value
    if splice is not None:
        start, end = sorted(each % (len(octets) + 1) for each in splice[:2])
        octets[start:end] = splice[2]
    if bytes(octets) in HOSTILE:
        return
    trust = Trust.load([ROOT.der])
    for chain in ([bytes(octets)], [LEAF.der, bytes(octets)]):
        with suppress(CertificateError):
            result = verify_certificate(trust, chain, IdType.ID_FQDN, b"gw.example", EPOCH)
            assert result.chain[0] == LEAF.der  # the mutated one stood beside it, and was not needed
