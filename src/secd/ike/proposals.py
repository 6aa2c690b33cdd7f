"""What is offered and what is accepted, in both phases.

As initiator we offer every proposal of the connection in its order; a cipher with a range of key lengths is offered
with the preferred length first and then the others.  As responder we go by the peer's order: the first of its
transforms that any of the connection's proposals allows is chosen, and returned as it came.

A `Suite` is one transform of phase 1, an `EspSuite` one of phase 2, both in ipsec.conf's words; they are what
messages to people are made of.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from secd.ike import names
from secd.ike.connection import Cipher, Phase1Proposal, Phase2Proposal
from secd.ike.crypto.ciphers import CIPHERS
from secd.ike.crypto.errors import UnsupportedAlgorithm
from secd.ike.crypto.esp import EspAlgorithm, esp_algorithm
from secd.ike.crypto.groups import GROUPS
from secd.ike.crypto.hashes import HASHES
from secd.ike.wire.attributes import Attribute, attribute, parse_attributes
from secd.ike.wire.cursor import Reader
from secd.ike.wire.iana import (
    AuthenticationMethod,
    EncapsulationMode,
    IpsecAttribute,
    IsakmpAttribute,
    IsakmpTransformId,
    LifeType,
    ProtocolId,
)
from secd.ike.wire.sa import Proposal, SAPayload, Transform

T = TypeVar("T")
Exchange = Literal["main", "aggressive"]

#: RFC 2407 §4.5: the lifetime of an SA whose offer names none, in seconds.
DEFAULT_PHASE2_LIFETIME = 28_800
#: What an SA lives at least, whatever the peer says: it must not keep us busy with rekeys.
SHORTEST_LIFETIME = 10
FEWEST_KILOBYTES = 1024
#: Transforms of one proposal payload; the count is one octet.
MAX_TRANSFORMS = 255

#: Key lengths in bits that `aes` and `aes-gcm` offer out of a range.
_RANGE = (128, 192, 256)
#: What a missing key length attribute means in phase 2 (RFC 3602 §2.1).
_DEFAULT_BITS = {"aes": 128}
#: Both numbers of tunnel mode in UDP.
UDP_MODES = (
    EncapsulationMode.UDP_ENCAPSULATED_TUNNEL,
    EncapsulationMode.UDP_ENCAPSULATED_TUNNEL_DRAFT,
)


class Suite(Struct, frozen=True):
    """A phase 1 transform.  `lifetime` in seconds, 0: none named.  `method` is the authentication method's number."""

    cipher: str
    bits: int
    hash: str
    group: str
    lifetime: int = 0
    method: int = AuthenticationMethod.PRE_SHARED_KEY
    exchange: Exchange = "main"

    @property
    def encryption(self) -> str:
        """The cipher as ipsec.conf spells it."""
        return names.cipher_words(self.cipher, self.bits)

    def words(self) -> str:
        """As it stands in ipsec.conf."""
        lifetime = f" lifetime {self.lifetime}" if self.lifetime else ""
        return f"{self.exchange} auth hmac-{self.hash} enc {self.encryption} group {self.group}{lifetime}"


class EspSuite(Struct, frozen=True):
    """A phase 2 transform.  `group` "": no PFS.  `lifetime` seconds and `kilobytes`, 0: none named."""

    cipher: str
    bits: int
    auth: str
    group: str
    esn: bool = False
    lifetime: int = 0
    kilobytes: int = 0
    mode: int = EncapsulationMode.TUNNEL

    @property
    def udp(self) -> bool:
        """Whether it goes in UDP."""
        return self.mode in UDP_MODES

    @property
    def encryption(self) -> str:
        """The cipher as ipsec.conf and the SADB spell it."""
        return names.cipher_words(self.cipher, self.bits)

    def words(self) -> str:
        """As it stands in ipsec.conf."""
        auth = f"auth {self.auth} " if self.auth else ""
        lifetime = f" lifetime {self.lifetime}" if self.lifetime else ""
        return f"quick {auth}enc {self.encryption} group {self.group or 'none'}{lifetime}"


class Choice(Struct, frozen=True):
    """A transform that was found acceptable, with the proposal it stands in."""

    proposal: int
    protocol: int
    spi: bytes
    transform: Transform


# -- phase 1 ----------------------------------------------------------------------------------------------


def offer1(proposals: Sequence[Phase1Proposal], lifetime: int, method: int) -> SAPayload:
    """The SA payload of an initiator's first message."""
    suites = _unique(suites1(proposals, lifetime, method))[:MAX_TRANSFORMS]
    transforms = tuple(
        Transform(number, IsakmpTransformId.KEY_IKE, _attributes1(suite)) for number, suite in enumerate(suites, 1)
    )
    return SAPayload((Proposal(1, ProtocolId.PROTO_ISAKMP, b"", transforms),))


def suites1(
    proposals: Sequence[Phase1Proposal], lifetime: int, method: int, exchange: Exchange = "main"
) -> Iterator[Suite]:
    """What `proposals` allow, in the order in which it is offered."""
    for each in proposals:
        if each.cipher.name in CIPHERS and each.hash in HASHES and each.group in GROUPS:
            for bits in key_lengths(each.cipher):
                yield Suite(each.cipher.name, bits, each.hash, each.group, lifetime, method, exchange)


def read1(transform: Transform, exchange: Exchange = "main") -> Suite:
    """A phase 1 transform in words; nothing in it can be so odd that this fails."""
    cipher = names.cipher_name(transform.find(IsakmpAttribute.ENCRYPTION_ALGORITHM) or 0)
    entry = CIPHERS.get(cipher)
    bits = transform.find(IsakmpAttribute.KEY_LENGTH) or 0
    if entry is not None:
        bits = 0 if entry.fixed else bits or entry.key_lengths[0]
    seconds, _ = _lifetimes(transform.attributes, IsakmpAttribute.LIFE_TYPE, IsakmpAttribute.LIFE_DURATION)
    return Suite(
        cipher,
        bits,
        names.hash_name(transform.find(IsakmpAttribute.HASH_ALGORITHM) or 0),
        names.group_name(transform.find(IsakmpAttribute.GROUP_DESCRIPTION) or 0),
        seconds,
        transform.find(IsakmpAttribute.AUTHENTICATION_METHOD) or 0,
        exchange,
    )


def allows1(proposals: Iterable[Phase1Proposal], suite: Suite, method: int) -> bool:
    """Whether a connection with these proposals and this authentication method takes `suite`.

    The key lengths of a proposal are a range, in which a cipher has only some.
    """
    cipher = CIPHERS.get(suite.cipher)
    return (
        suite.method == method
        and cipher is not None
        and (cipher.fixed or suite.bits in cipher.key_lengths)
        and any(
            fits(each.cipher, suite.cipher, suite.bits) and each.hash == suite.hash and each.group == suite.group
            for each in proposals
        )
    )


def offered1(payload: SAPayload) -> Iterator[Choice]:
    """The phase 1 transforms of an offer in the peer's order."""
    for proposal in payload.proposals:
        if proposal.protocol == ProtocolId.PROTO_ISAKMP:
            for transform in proposal.transforms:
                if transform.id == IsakmpTransformId.KEY_IKE:
                    yield Choice(proposal.number, proposal.protocol, proposal.spi, transform)


def _attributes1(suite: Suite) -> tuple[Attribute, ...]:
    key_length = (attribute(IsakmpAttribute.KEY_LENGTH, suite.bits),) if suite.bits else ()
    return (
        attribute(IsakmpAttribute.ENCRYPTION_ALGORITHM, CIPHERS[suite.cipher].number),
        *key_length,
        attribute(IsakmpAttribute.HASH_ALGORITHM, HASHES[suite.hash].number),
        attribute(IsakmpAttribute.AUTHENTICATION_METHOD, suite.method),
        attribute(IsakmpAttribute.GROUP_DESCRIPTION, GROUPS[suite.group].number),
        attribute(IsakmpAttribute.LIFE_TYPE, LifeType.SECONDS),
        attribute(IsakmpAttribute.LIFE_DURATION, suite.lifetime),
    )


# -- phase 2 ----------------------------------------------------------------------------------------------


def offer2(suites: Sequence[EspSuite], spi: bytes) -> SAPayload:
    """The SA payload of quick mode's first message: one ESP proposal with a transform for each suite."""
    transforms: list[Transform] = []
    for suite in suites[:MAX_TRANSFORMS]:
        algorithm = algorithm_of(suite)
        if algorithm is not None:
            number = len(transforms) + 1
            transforms.append(Transform(number, algorithm.transform_id, _attributes2(suite, algorithm)))
    return SAPayload((Proposal(1, ProtocolId.PROTO_IPSEC_ESP, spi, tuple(transforms)),))


def suites2(proposals: Sequence[Phase2Proposal], lifetime: int, *, esn: bool, mode: int) -> list[EspSuite]:
    """What is offered.  One key exchange serves a quick mode, so only proposals of the first one's group are."""
    usable = accepted2(proposals, lifetime, esn=esn, mode=mode)
    return [each for each in usable if each.group == usable[0].group]


def accepted2(proposals: Sequence[Phase2Proposal], lifetime: int, *, esn: bool, mode: int) -> list[EspSuite]:
    """Everything that the proposals allow and the data plane has."""
    suites = _unique(
        EspSuite(each.cipher.name, bits, each.auth, each.group, esn, lifetime, 0, mode)
        for each in proposals
        for bits in key_lengths(each.cipher)
        if not each.group or each.group in GROUPS
    )
    return [each for each in suites if algorithm_of(each) is not None]


def same2(one: EspSuite, other: EspSuite) -> bool:
    """Whether two suites are the same apart from their lifetimes."""
    return replace(one, lifetime=0, kilobytes=0) == replace(other, lifetime=0, kilobytes=0)


def read2(transform: Transform) -> EspSuite:
    """A phase 2 transform in words."""
    cipher = names.esp_cipher_name(transform.id)
    bits = transform.find(IpsecAttribute.KEY_LENGTH) or 0
    if cipher in _DEFAULT_BITS:
        bits = bits or _DEFAULT_BITS[cipher]
    auth = transform.find(IpsecAttribute.AUTHENTICATION_ALGORITHM)
    group = transform.find(IpsecAttribute.GROUP_DESCRIPTION)
    seconds, kilobytes = _lifetimes(transform.attributes, IpsecAttribute.SA_LIFE_TYPE, IpsecAttribute.SA_LIFE_DURATION)
    return EspSuite(
        cipher,
        bits,
        names.esp_auth_name(auth) if auth else "",
        names.group_name(group) if group else "",
        bool(transform.find(IpsecAttribute.EXTENDED_SEQUENCE_NUMBER)),
        seconds,
        kilobytes,
        transform.find(IpsecAttribute.ENCAPSULATION_MODE) or EncapsulationMode.TUNNEL,
    )


def allows2(proposals: Iterable[Phase2Proposal], suite: EspSuite, *, esn: bool, modes: Collection[int]) -> bool:
    """Whether a connection with these proposals takes `suite`; `modes`: the encapsulation modes that can work."""
    return (
        suite.mode in modes
        and (esn or not suite.esn)
        and algorithm_of(suite) is not None
        and any(
            fits(each.cipher, suite.cipher, suite.bits) and each.auth == suite.auth and each.group == suite.group
            for each in proposals
        )
    )


def offered2(payload: SAPayload) -> Iterator[Choice]:
    """The ESP transforms of an offer in the peer's order; proposals that also want AH or IPCOMP are passed over."""
    numbers = [each.number for each in payload.proposals]
    for proposal in payload.proposals:
        if proposal.protocol != ProtocolId.PROTO_IPSEC_ESP or numbers.count(proposal.number) > 1:
            continue
        for transform in proposal.transforms:
            yield Choice(proposal.number, proposal.protocol, proposal.spi, transform)


def answer(choice: Choice, spi: bytes) -> SAPayload:
    """The SA payload that returns the chosen transform as it came, with our SPI."""
    return SAPayload((Proposal(choice.proposal, choice.protocol, spi, (choice.transform,)),))


def algorithm_of(suite: EspSuite) -> EspAlgorithm | None:
    """What the data plane does for `suite`; None when it cannot."""
    try:
        return esp_algorithm(suite.cipher, suite.bits, suite.auth)
    except UnsupportedAlgorithm:
        return None


def _attributes2(suite: EspSuite, algorithm: EspAlgorithm) -> tuple[Attribute, ...]:
    attributes = [
        attribute(IpsecAttribute.SA_LIFE_TYPE, LifeType.SECONDS),
        attribute(IpsecAttribute.SA_LIFE_DURATION, suite.lifetime),
        attribute(IpsecAttribute.ENCAPSULATION_MODE, suite.mode),
    ]
    if suite.bits:
        attributes.append(attribute(IpsecAttribute.KEY_LENGTH, suite.bits))
    if algorithm.auth_number is not None:
        attributes.append(attribute(IpsecAttribute.AUTHENTICATION_ALGORITHM, algorithm.auth_number))
    if suite.group:
        attributes.append(attribute(IpsecAttribute.GROUP_DESCRIPTION, GROUPS[suite.group].number))
    if suite.esn:
        attributes.append(attribute(IpsecAttribute.EXTENDED_SEQUENCE_NUMBER, 1))
    return tuple(attributes)


# -- both -------------------------------------------------------------------------------------------------


def key_lengths(cipher: Cipher) -> tuple[int, ...]:
    """The key lengths of `cipher` in bits in the order in which they are offered; (0,) when it has none."""
    if not cipher.preferred:
        return (0,)
    others = (bits for bits in _RANGE if cipher.minimum <= bits <= cipher.maximum and bits != cipher.preferred)
    return (cipher.preferred, *others)


def fits(cipher: Cipher, name: str, bits: int) -> bool:
    """Whether `cipher` allows the algorithm `name` with a key of `bits`."""
    return cipher.name == name and (not cipher.preferred or cipher.minimum <= bits <= cipher.maximum)


def smaller(ours: int, theirs: int) -> int:
    """The smaller of two lifetimes, where 0 means none."""
    return min(ours, theirs) if ours and theirs else ours or theirs


def limited(suite: EspSuite, *lifetimes: int) -> EspSuite:
    """`suite` with the smallest of `lifetimes` in seconds, 0 being none; neither it nor the octets are absurdly few."""
    seconds = functools.reduce(smaller, lifetimes)
    kilobytes = max(suite.kilobytes, FEWEST_KILOBYTES) if suite.kilobytes else 0
    return replace(suite, lifetime=max(seconds, SHORTEST_LIFETIME), kilobytes=kilobytes)


def notified_lifetime(data: bytes) -> int:
    """The seconds that a RESPONDER-LIFETIME notification says (RFC 2407 §4.6.3.1); 0: none."""
    attributes = parse_attributes(Reader(data, "RESPONDER-LIFETIME"))
    seconds, _ = _lifetimes(attributes, IpsecAttribute.SA_LIFE_TYPE, IpsecAttribute.SA_LIFE_DURATION)
    return seconds or _lifetimes(attributes, IsakmpAttribute.LIFE_TYPE, IsakmpAttribute.LIFE_DURATION)[0]


def _lifetimes(attributes: Iterable[Attribute], life_type: int, duration: int) -> tuple[int, int]:
    """(seconds, kilobytes): each duration belongs to the life type before it (RFC 2407 §4.5)."""
    seconds = kilobytes = 0
    kind: int | None = None
    for each in attributes:
        if each.type == life_type:
            kind = each.number
        elif each.type == duration:
            number = min(each.number if each.number is not None else 0xFFFFFFFF, 0xFFFFFFFF)
            if kind == LifeType.SECONDS:
                seconds = smaller(seconds, number)
            elif kind == LifeType.KILOBYTES:
                kilobytes = smaller(kilobytes, number)
    return seconds, kilobytes


def _unique(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))
