"""For whom a certificate speaks: identities of IKE against subject and subjectAltName (RFC 4945 §3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from cryptography import x509

from secd.ike.crypto.errors import CertificateError
from secd.ike.wire.distinguished_names import name_to_text, same_name
from secd.ike.wire.iana import name_of
from secd.ike.wire.ikev2.iana import IdType

MAX_NAMES = 64  # told in an error


def subject_der(certificate: x509.Certificate) -> bytes:
    """The subject's DER."""
    return certificate.subject.public_bytes()


def subject_text(certificate: x509.Certificate) -> str:
    """The subject for people, as iked.conf has it."""
    return name_to_text(subject_der(certificate)) or "(no subject)"


def alternative_names(certificate: x509.Certificate) -> tuple[x509.GeneralName, ...]:
    """What subjectAltName holds."""
    try:
        return tuple(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return ()


def check_identity(certificate: x509.Certificate, id_type: int, data: bytes) -> None:
    """Refuse a certificate that is not that of the identity; the error names both, and what to write."""
    if _is_for(certificate, id_type, data):
        return
    names = [*_words(certificate)][:MAX_NAMES]
    raise CertificateError(
        f"the peer calls itself {identity_text(id_type, data)}, but its certificate is for {' or '.join(names)}: "
        "one of these has to be its own srcid"
    )


def identity_text(id_type: int, data: bytes) -> str:
    """An identity for people."""
    if id_type in (IdType.ID_IPV4_ADDR, IdType.ID_IPV6_ADDR) and len(data) in (4, 16):
        return str(ip_address(data))
    if id_type in (IdType.ID_FQDN, IdType.ID_RFC822_ADDR):
        text = data.decode("ascii", "backslashreplace")
        return text if text.isprintable() else repr(text)
    if id_type == IdType.ID_DER_ASN1_DN:
        return name_to_text(data)
    return f"{name_of(IdType, id_type)} {data.hex()}"


def _is_for(certificate: x509.Certificate, id_type: int, data: bytes) -> bool:
    if id_type == IdType.ID_DER_ASN1_DN:
        return same_name(subject_der(certificate), data)
    names = alternative_names(certificate)
    if id_type in (IdType.ID_IPV4_ADDR, IdType.ID_IPV6_ADDR):
        return any(isinstance(each, x509.IPAddress) and _packed(each) == data for each in names)
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        return False
    if id_type == IdType.ID_FQDN:
        # no wildcards: RFC 4945 §3.1.2
        return any(isinstance(each, x509.DNSName) and each.value.lower() == text.lower() for each in names)
    if id_type == IdType.ID_RFC822_ADDR:
        return any(isinstance(each, x509.RFC822Name) and _mailbox(each.value) == _mailbox(text) for each in names)
    return False


def _mailbox(address: str) -> tuple[str, str]:
    """The domain is compared without regard to case (RFC 5280 §7.5)."""
    local, _, domain = address.rpartition("@")
    return local, domain.lower()


def _packed(name: x509.IPAddress) -> bytes:
    return getattr(name.value, "packed", b"")  # a network, which has no place here, has none


def _words(certificate: x509.Certificate) -> Iterator[str]:
    for each in alternative_names(certificate):
        if isinstance(each, x509.DNSName | x509.RFC822Name | x509.IPAddress):
            yield str(each.value)
    yield subject_text(certificate)
