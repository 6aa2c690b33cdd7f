"""The payloads of IKEv2 that stand in no module of their own: RFC 7296 §3.4 to §3.9, §3.11, §3.12, §3.14, §3.16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from secd.ike.wire.cursor import Reader, Writer
from secd.ike.wire.ikev2.iana import IdType, PayloadType
from secd.ike.wire.payload import Encoded, Nonce, Opaque, Payload, Unknown, read_spis, write_spis

AUTHORITY_OCTETS = 20  # SHA-1 of a CA's SubjectPublicKeyInfo

#: Octets of data of the ID types that have a fixed size.
_ID_OCTETS = {int(IdType.ID_IPV4_ADDR): 4, int(IdType.ID_IPV6_ADDR): 16}


@dataclass(frozen=True, slots=True)
class NoncePayload(Nonce):
    """Ni or Nr; 16 to 256 octets (RFC 7296 §3.9)."""

    TYPE: ClassVar[PayloadType] = PayloadType.NONCE
    OCTETS: ClassVar[range] = range(16, 257)


@dataclass(frozen=True, slots=True)
class VendorIDPayload(Opaque):
    """RFC 7296 §3.12."""

    TYPE: ClassVar[PayloadType] = PayloadType.V


@dataclass(frozen=True, slots=True)
class EAPPayload(Opaque):
    """RFC 7296 §3.16: an EAP message, which is not looked into."""

    TYPE: ClassVar[PayloadType] = PayloadType.EAP


@dataclass(frozen=True, slots=True)
class UnknownPayload(Unknown):
    """A payload of a type that we have no use for and that is not critical, to be ignored (RFC 7296 §2.5)."""

    TYPE: ClassVar[PayloadType] = PayloadType.NONE


@dataclass(frozen=True, slots=True)
class KEPayload(Payload):
    """RFC 7296 §3.4: `group` is the key exchange method's number."""

    TYPE: ClassVar[PayloadType] = PayloadType.KE

    group: int
    data: bytes

    def encode_body(self) -> bytes:
        """The payload without its generic header."""
        return Writer().u16(self.group).u16(0).put(self.data).getvalue()

    @classmethod
    def parse(cls, reader: Reader) -> KEPayload:
        """Read a body."""
        group = reader.u16("group")
        reader.u16("reserved")
        return cls(group, reader.rest())


@dataclass(frozen=True, slots=True)
class IDPayload(Payload):
    """RFC 7296 §3.5.  `IDiPayload` and `IDrPayload` are what messages hold."""

    id_type: int
    data: bytes

    def encode_body(self) -> bytes:
        """The payload without its generic header."""
        return Writer().u8(self.id_type).put(bytes(3)).put(self.data).getvalue()

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read a body; an address must have its type's size."""
        id_type = reader.u8("ID type")
        reader.take(3, "reserved")
        data = reader.rest()
        expected = _ID_OCTETS.get(id_type)
        if expected is not None and len(data) != expected:
            raise reader.error(f"{len(data)} octets of {IdType(id_type).name}, expected {expected}")
        return cls(id_type, data)


@dataclass(frozen=True, slots=True)
class IDiPayload(IDPayload):
    """The initiator's identity."""

    TYPE: ClassVar[PayloadType] = PayloadType.IDi


@dataclass(frozen=True, slots=True)
class IDrPayload(IDPayload):
    """The responder's identity."""

    TYPE: ClassVar[PayloadType] = PayloadType.IDr


@dataclass(frozen=True, slots=True)
class CertPayload(Encoded):
    """RFC 7296 §3.6."""

    TYPE: ClassVar[PayloadType] = PayloadType.CERT


@dataclass(frozen=True, slots=True)
class CertReqPayload(Encoded):
    """RFC 7296 §3.7: `data` is the hashes of acceptable CAs, one after another; empty for any."""

    TYPE: ClassVar[PayloadType] = PayloadType.CERTREQ

    @property
    def authorities(self) -> tuple[bytes, ...]:
        """The 20-octet hashes; a last one that is too short is left out."""
        whole = len(self.data) - len(self.data) % AUTHORITY_OCTETS
        return tuple(self.data[at : at + AUTHORITY_OCTETS] for at in range(0, whole, AUTHORITY_OCTETS))


@dataclass(frozen=True, slots=True)
class AuthPayload(Payload):
    """RFC 7296 §3.8."""

    TYPE: ClassVar[PayloadType] = PayloadType.AUTH

    method: int
    data: bytes

    def encode_body(self) -> bytes:
        """The payload without its generic header."""
        return Writer().u8(self.method).put(bytes(3)).put(self.data).getvalue()

    @classmethod
    def parse(cls, reader: Reader) -> AuthPayload:
        """Read a body."""
        method = reader.u8("authentication method")
        reader.take(3, "reserved")
        return cls(method, reader.rest())


@dataclass(frozen=True, slots=True)
class DeletePayload(Payload):
    """RFC 7296 §3.11: SPIs of one size, those that the sender receives with; none for the IKE SA itself."""

    TYPE: ClassVar[PayloadType] = PayloadType.D

    protocol: int
    spis: tuple[bytes, ...] = ()

    def encode_body(self) -> bytes:
        """The payload without its generic header."""
        writer = Writer()
        write_spis(writer, self.protocol, self.spis)
        return writer.getvalue()

    @classmethod
    def parse(cls, reader: Reader) -> DeletePayload:
        """Read a body."""
        protocol, spis = read_spis(reader)
        if spis and not spis[0]:
            raise reader.error(f"{len(spis)} SPIs of no octets")
        return cls(protocol, spis)
