"""The configuration payload (RFC 7296 §3.15)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from secd.ike.wire.cursor import Reader, Writer
from secd.ike.wire.ikev2.iana import PayloadType
from secd.ike.wire.ikev2.payload import Payload

MAX_ATTRIBUTES = 128

_TYPE_BITS = 0x7FFF  # the highest bit is reserved, and not looked at


@dataclass(frozen=True, slots=True)
class ConfigAttribute:
    """RFC 7296 §3.15.1: `value` is empty where a request leaves the choice to the other side."""

    type: int
    value: bytes = b""


@dataclass(frozen=True, slots=True)
class ConfigPayload(Payload):
    """RFC 7296 §3.15."""

    TYPE: ClassVar[PayloadType] = PayloadType.CP

    config_type: int
    attributes: tuple[ConfigAttribute, ...] = ()

    def all(self, type_: int) -> tuple[bytes, ...]:
        """The values of every attribute of `type_`, in order."""
        return tuple(each.value for each in self.attributes if each.type == type_)

    def encode_body(self) -> bytes:
        """The payload without its generic header."""
        writer = Writer().u8(self.config_type).put(bytes(3))
        for each in self.attributes:
            writer.u16(each.type).u16(len(each.value)).put(each.value)
        return writer.getvalue()

    @classmethod
    def parse(cls, reader: Reader) -> ConfigPayload:
        """Read a body."""
        config_type = reader.u8("configuration type")
        reader.take(3, "reserved")
        attributes: list[ConfigAttribute] = []
        while reader.remaining:
            if len(attributes) == MAX_ATTRIBUTES:
                raise reader.error(f"more than {MAX_ATTRIBUTES} attributes")
            type_ = reader.u16("attribute type") & _TYPE_BITS
            attributes.append(ConfigAttribute(type_, reader.take(reader.u16("attribute length"), f"attribute {type_}")))
        return cls(config_type, tuple(attributes))
