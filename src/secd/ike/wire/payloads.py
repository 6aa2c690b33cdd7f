"""The payloads of IKEv1 other than SA: RFC 2408 §3.7 to §3.16, RFC 2407 §4.6, RFC 3947, mode config."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from secd.ike.wire.attributes import Attribute, parse_attributes, write_attributes
from secd.ike.wire.cursor import Reader, Writer
from secd.ike.wire.iana import Doi, IdType, NotifyType, PayloadType
from secd.ike.wire.payload import Encoded, Nonce, Opaque, Payload, Unknown, read_spis, write_spis

#: Octets of data of the ID types that have a fixed size.
_ID_OCTETS = {
    IdType.ID_IPV4_ADDR: 4,
    IdType.ID_IPV4_ADDR_SUBNET: 8,
    IdType.ID_IPV4_ADDR_RANGE: 8,
    IdType.ID_IPV6_ADDR: 16,
    IdType.ID_IPV6_ADDR_SUBNET: 32,
    IdType.ID_IPV6_ADDR_RANGE: 32,
}


@dataclass(frozen=True, slots=True)
class KEPayload(Opaque):
    """RFC 2408 §3.7: a Diffie-Hellman public value."""

    TYPE: ClassVar[PayloadType] = PayloadType.KE


@dataclass(frozen=True, slots=True)
class HashPayload(Opaque):
    """RFC 2408 §3.11."""

    TYPE: ClassVar[PayloadType] = PayloadType.HASH


@dataclass(frozen=True, slots=True)
class SignaturePayload(Opaque):
    """RFC 2408 §3.12."""

    TYPE: ClassVar[PayloadType] = PayloadType.SIG


@dataclass(frozen=True, slots=True)
class NoncePayload(Nonce):
    """RFC 2408 §3.13; 8 to 256 octets (RFC 2409 §5)."""

    TYPE: ClassVar[PayloadType] = PayloadType.NONCE
    OCTETS: ClassVar[range] = range(8, 257)


@dataclass(frozen=True, slots=True)
class VendorIDPayload(Opaque):
    """RFC 2408 §3.16."""

    TYPE: ClassVar[PayloadType] = PayloadType.VID


@dataclass(frozen=True, slots=True)
class FragmentPayload(Opaque):
    """A piece of a fragmented message, as Cisco and others send it; we do not announce that we take it."""

    TYPE: ClassVar[PayloadType] = PayloadType.FRAGMENT


@dataclass(frozen=True, slots=True)
class UnknownPayload(Unknown):
    """A payload of a type that we have no use for, to be ignored."""

    TYPE: ClassVar[PayloadType] = PayloadType.NONE


@dataclass(frozen=True, slots=True)
class NatDPayload(Opaque):
    """RFC 3947 §3.2: a hash over cookies, address and port.  `draft`: under the drafts' number."""

    TYPE: ClassVar[PayloadType] = PayloadType.NAT_D

    draft: bool = False

    @property
    def type(self) -> int:
        """The payload type's number on the wire."""
        return PayloadType.NAT_D_DRAFT if self.draft else PayloadType.NAT_D


@dataclass(frozen=True, slots=True)
class NatOAPayload(Payload):
    """RFC 3947 §5.2: an original address.  `draft`: under the drafts' number."""

    TYPE: ClassVar[PayloadType] = PayloadType.NAT_OA

    id_type: int
    data: bytes
    draft: bool = False

    @property
    def type(self) -> int:
        """The payload type's number on the wire."""
        return PayloadType.NAT_OA_DRAFT if self.draft else PayloadType.NAT_OA

    def encode_body(self) -> bytes:
        """The payload without its generic header."""
        return Writer().u8(self.id_type).put(bytes(3)).put(self.data).getvalue()


@dataclass(frozen=True, slots=True)
class IDPayload(Payload):
    """RFC 2407 §4.6.2.  `protocol` and `port` are 0 for any."""

    TYPE: ClassVar[PayloadType] = PayloadType.ID

    id_type: int
    data: bytes
    protocol: int = 0
    port: int = 0

    def encode_body(self) -> bytes:
        """The payload without its generic header."""
        return Writer().u8(self.id_type).u8(self.protocol).u16(self.port).put(self.data).getvalue()

    @classmethod
    def parse(cls, reader: Reader) -> IDPayload:
        """Read a body; an address must have its type's size."""
        id_type = reader.u8("ID type")
        protocol = reader.u8("protocol")
        port = reader.u16("port")
        data = reader.rest()
        expected = _ID_OCTETS.get(IdType(id_type)) if id_type in _ID_OCTETS else None
        if expected is not None and len(data) != expected:
            problem = f"{len(data)} octets of {IdType(id_type).name}, expected {expected}"
            raise reader.error(problem, NotifyType.INVALID_ID_INFORMATION)
        return cls(id_type, data, protocol, port)


@dataclass(frozen=True, slots=True)
class CertPayload(Encoded):
    """RFC 2408 §3.9."""

    TYPE: ClassVar[PayloadType] = PayloadType.CERT


@dataclass(frozen=True, slots=True)
class CertReqPayload(Encoded):
    """RFC 2408 §3.10: `data` is a DER distinguished name, or empty for any."""

    TYPE: ClassVar[PayloadType] = PayloadType.CR


@dataclass(frozen=True, slots=True)
class NotificationPayload(Payload):
    """RFC 2408 §3.14."""

    TYPE: ClassVar[PayloadType] = PayloadType.N

    notify_type: int
    protocol: int
    spi: bytes = b""
    data: bytes = b""
    doi: int = Doi.IPSEC

    def encode_body(self) -> bytes:
        """The payload without its generic header."""
        writer = Writer().u32(self.doi).u8(self.protocol).u8(len(self.spi)).u16(self.notify_type)
        return writer.put(self.spi).put(self.data).getvalue()

    @classmethod
    def parse(cls, reader: Reader) -> NotificationPayload:
        """Read a body."""
        doi = reader.u32("DOI")
        protocol = reader.u8("protocol")
        spi_size = reader.u8("SPI size")
        notify_type = reader.u16("notify type")
        spi = reader.take(spi_size, "SPI")
        return cls(notify_type, protocol, spi, reader.rest(), doi)


@dataclass(frozen=True, slots=True)
class DeletePayload(Payload):
    """RFC 2408 §3.15: SPIs of one size: 4 octets for ESP, the two cookies (16) for ISAKMP."""

    TYPE: ClassVar[PayloadType] = PayloadType.D

    protocol: int
    spis: tuple[bytes, ...]
    doi: int = Doi.IPSEC

    def encode_body(self) -> bytes:
        """The payload without its generic header."""
        writer = Writer().u32(self.doi)
        write_spis(writer, self.protocol, self.spis)
        return writer.getvalue()

    @classmethod
    def parse(cls, reader: Reader) -> DeletePayload:
        """Read a body."""
        doi = reader.u32("DOI")
        return cls(*read_spis(reader), doi)


@dataclass(frozen=True, slots=True)
class ConfigurationPayload(Payload):
    """Mode config's attributes payload (draft-dukes-ike-mode-cfg §3.2)."""

    TYPE: ClassVar[PayloadType] = PayloadType.ATTRIBUTES

    config_type: int
    identifier: int
    attributes: tuple[Attribute, ...] = field(default=())

    def encode_body(self) -> bytes:
        """The payload without its generic header."""
        writer = Writer().u8(self.config_type).u8(0).u16(self.identifier)
        write_attributes(writer, self.attributes)
        return writer.getvalue()

    @classmethod
    def parse(cls, reader: Reader) -> ConfigurationPayload:
        """Read a body."""
        config_type = reader.u8("config type")
        reader.u8("reserved")
        identifier = reader.u16("identifier")
        return cls(config_type, identifier, parse_attributes(reader))
