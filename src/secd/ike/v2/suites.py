"""What is offered and what is accepted: the SA payloads of IKEv2 (RFC 7296 §3.3, RFC 9370 §2.2.2).

A proposal of the connection becomes one or two on the wire, since combined-mode ciphers and those that need an
integrity algorithm must not share one.  As responder we go by the peer's order: of its proposals the first that any of
ours allows, and in it of each type its first transform that ours has; the group that its KE payload is for comes
before its others, which saves a round trip.

`IkeSuite` and `EspSuite` are one choice each, in iked.conf's words; messages to people are made of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from secd.ike import names
from secd.ike.connection import ChildProposal, Cipher, IKEProposal
from secd.ike.crypto.groups import GROUPS, group_numbered
from secd.ike.crypto.ikev2_ciphers import INTEGRITY, MESSAGE_CIPHERS
from secd.ike.crypto.ikev2_esp import CHILD_ALGORITHMS, ChildAlgorithm, child_algorithm
from secd.ike.crypto.prfs import PRFS, prf_numbered
from secd.ike.proposals import key_lengths
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import Group, name_of
from secd.ike.wire.ikev2.iana import Encr, Esn, Integ, NotifyType, Prf, ProtocolId, TransformType
from secd.ike.wire.ikev2.sa import Proposal, SAPayload, Transform, transform

#: Proposals of one SA payload of ours.
MAX_PROPOSALS = 32
#: Additional key exchanges (RFC 9370 §2.1).
ADDITIONAL = tuple(TransformType(number) for number in range(TransformType.ADDKE1, TransformType.ADDKE7 + 1))
#: In a set of key exchange methods: this round may be left out.
NONE = "none"

_ENCR = {each.name: each.number for each in MESSAGE_CIPHERS} | {each.cipher: each.encr for each in CHILD_ALGORITHMS}
_ENCR_NAMES = {int(number): name for name, number in _ENCR.items()}
_INTEG_NAMES = {int(each.number): each.name for each in INTEGRITY.values()}
_COMBINED = {each.name for each in MESSAGE_CIPHERS if not each.auth}
_IKE_CIPHERS = {(each.name, each.key_length) for each in MESSAGE_CIPHERS}
_ESP_CIPHERS = {(each.cipher, each.key_length) for each in CHILD_ALGORITHMS}


class IkeSuite(Struct, frozen=True):
    """What protects an IKE SA.  `auth` "" with combined modes; `additional`: a method a round, "" where none is."""

    cipher: str
    bits: int
    prf: str
    auth: str
    group: str
    additional: tuple[str, ...] = ()

    @property
    def encryption(self) -> str:
        """The cipher as iked.conf spells it."""
        return names.cipher_words(self.cipher, self.bits)


class EspSuite(Struct, frozen=True):
    """What protects a pair of ESP SAs.  `group` "": no key exchange of its own."""

    cipher: str
    bits: int
    auth: str
    group: str
    esn: bool = False
    additional: tuple[str, ...] = ()

    @property
    def encryption(self) -> str:
        """The cipher as iked.conf and the SADB spell it."""
        return names.cipher_words(self.cipher, self.bits)

    @property
    def algorithm(self) -> ChildAlgorithm:
        """What the data plane does for it."""
        return child_algorithm(self.cipher, self.bits, self.auth)


Alternatives = Mapping[TransformType, tuple[Transform, ...]]


class Choice(Struct, frozen=True):
    """One proposal of the peer's with one transform of each type; `answer` returns it with our SPI."""

    number: int
    protocol: int
    spi: bytes
    transforms: tuple[Transform, ...]

    def answer(self, spi: bytes) -> SAPayload:
        """The SA payload that tells the peer what was chosen."""
        return SAPayload((Proposal(self.number, self.protocol, spi, self.transforms),))


# -- what we have -----------------------------------------------------------------------------------------


def ike_alternatives(proposals: Iterable[IKEProposal]) -> list[Alternatives]:
    """Each of our proposals for an IKE SA as what it allows of each type; those that we cannot do are left out."""
    return [made for each in proposals for made in _ike_alternatives(each)]


def esp_alternatives(proposals: Iterable[ChildProposal], *, key_exchange: bool) -> list[Alternatives]:
    """The same for ESP; without `key_exchange` for IKE_AUTH, whose pair has none of its own (RFC 7296 §1.2)."""
    return [made for each in proposals for made in _esp_alternatives(each, key_exchange=key_exchange)]


def _ike_alternatives(proposal: IKEProposal) -> Iterator[Alternatives]:
    prfs = tuple(transform(TransformType.PRF, PRFS[name].number) for name in proposal.prfs if name in PRFS)
    exchanges = _key_exchanges(proposal.groups, proposal.additional)
    for integrity, encryption in _by_mode(proposal.ciphers, proposal.auths, esp=False):
        made = {TransformType.ENCR: encryption, TransformType.PRF: prfs, **integrity, **exchanges}
        if all(made.values()) and made.get(TransformType.KE):
            yield made


def _esp_alternatives(proposal: ChildProposal, *, key_exchange: bool) -> Iterator[Alternatives]:
    exchanges = _key_exchanges(proposal.groups, proposal.additional) if key_exchange and proposal.groups else {}
    esn = tuple(transform(TransformType.ESN, Esn.ESN if each else Esn.NO_ESN) for each in proposal.esn)
    for integrity, encryption in _by_mode(proposal.ciphers, proposal.auths, esp=True):
        made = {TransformType.ENCR: encryption, **integrity, **exchanges, TransformType.ESN: esn}
        if all(made.values()):
            yield made


def _by_mode(
    ciphers: Sequence[Cipher], auths: Sequence[str], *, esp: bool
) -> Iterator[tuple[Alternatives, tuple[Transform, ...]]]:
    """Combined-mode ciphers and the others apart; the latter with what authenticates."""
    combined = _encryptions([each for each in ciphers if each.name in _COMBINED], esp=esp)
    if combined:
        yield {}, combined
    others = _encryptions([each for each in ciphers if each.name not in _COMBINED], esp=esp)
    known = [INTEGRITY[name].number for name in auths if name in INTEGRITY]
    if others and known:
        yield {TransformType.INTEG: tuple(transform(TransformType.INTEG, number) for number in known)}, others


def _encryptions(ciphers: Sequence[Cipher], *, esp: bool) -> tuple[Transform, ...]:
    known = _ESP_CIPHERS if esp else _IKE_CIPHERS
    made = [
        transform(TransformType.ENCR, _ENCR[each.name], bits)
        for each in ciphers
        for bits in key_lengths(each)
        if (each.name, bits) in known
    ]
    return tuple(dict.fromkeys(made))


def _key_exchanges(
    groups: Sequence[str], additional: Sequence[Sequence[str]]
) -> dict[TransformType, tuple[Transform, ...]]:
    """Key exchange methods by transform type; NONE among those of a round makes it optional (RFC 9370 §2.2.2)."""
    made = {TransformType.KE: _methods(TransformType.KE, groups)}
    for type_, methods in zip(ADDITIONAL, additional, strict=False):
        made[type_] = _methods(type_, methods)
    return made


def _methods(type_: TransformType, methods: Sequence[str]) -> tuple[Transform, ...]:
    numbers = [0 if name == NONE else int(GROUPS[name].number) for name in methods if name == NONE or name in GROUPS]
    return tuple(transform(type_, number) for number in dict.fromkeys(numbers))


# -- offer and choice -------------------------------------------------------------------------------------


def offer(protocol: ProtocolId, spi: bytes, alternatives: Sequence[Alternatives]) -> SAPayload:
    """The SA payload of a request."""
    return SAPayload(
        tuple(
            Proposal(number, protocol, spi, tuple(each for of_type in allowed.values() for each in of_type))
            for number, allowed in enumerate(alternatives[:MAX_PROPOSALS], 1)
        )
    )


def choose(
    offered: SAPayload,
    protocol: ProtocolId,
    alternatives: Sequence[Alternatives],
    *,
    group: int = 0,
    ignore_ke: bool = False,
) -> Choice | None:
    """The first of the peer's proposals that we allow; `group` is what its KE payload is for.

    `ignore_ke`: the pair of IKE_AUTH has no key exchange of its own, whatever the peer writes (RFC 7296 §1.2).
    """
    for proposal in offered.proposals:
        for allowed in alternatives if proposal.protocol == protocol else ():
            transforms = _choose(proposal, allowed, group, ignore_ke=ignore_ke)
            if transforms is not None:
                return Choice(proposal.number, proposal.protocol, proposal.spi, transforms)
    return None


def _choose(proposal: Proposal, allowed: Alternatives, group: int, *, ignore_ke: bool) -> tuple[Transform, ...] | None:
    chosen = []
    types = dict.fromkeys([*(each.type for each in proposal.transforms), *allowed])
    for type_ in types:
        theirs, ours = proposal.of(type_), allowed.get(TransformType(type_), ()) if type_ in _TYPES else ()
        if theirs and not ours and ignore_ke and (type_ == TransformType.KE or type_ in ADDITIONAL):
            continue
        picked = _pick(theirs, ours, type_, group)
        if picked is None:
            return None
        chosen += picked
    return tuple(chosen)


_TYPES = frozenset(int(each) for each in TransformType)


def _pick(theirs: Sequence[Transform], ours: Sequence[Transform], type_: int, group: int) -> list[Transform] | None:
    """The transform of one type, in a list; an empty one if neither needs one; None if they do not agree."""
    if not theirs:  # left out: as good as NONE, or as NO_ESN, which are both 0
        return [] if any(each.id == 0 for each in ours) else None
    common = [
        each for each in theirs if each.understood and (each in ours if ours else each.id == 0 and type_ in _TYPES)
    ]
    if type_ == TransformType.KE:
        common.sort(key=lambda each: each.id != group)
    return common[:1] or None


def chosen_by_peer(
    answer: SAPayload, protocol: ProtocolId, alternatives: Sequence[Alternatives], *, ignore_ke: bool = False
) -> Choice:
    """What the responder has chosen; it must be one transform of each type of something that we offered."""
    if len(answer.proposals) != 1:
        raise WireError(f"{len(answer.proposals)} proposals were chosen, expected one", NotifyType.INVALID_SYNTAX)
    proposal = answer.proposals[0]
    if len({each.type for each in proposal.transforms}) != len(proposal.transforms):
        raise WireError("two transforms of one type were chosen", NotifyType.INVALID_SYNTAX)
    choice = choose(answer, protocol, alternatives, ignore_ke=ignore_ke)
    if choice is None:
        raise WireError("what was chosen was not offered", NotifyType.NO_PROPOSAL_CHOSEN)
    return choice


# -- in words ---------------------------------------------------------------------------------------------


def ike_suite(transforms: Iterable[Transform]) -> IkeSuite:
    """What chosen transforms mean for an IKE SA."""
    by_type = {each.type: each for each in transforms}
    encryption, prf = by_type[TransformType.ENCR], by_type[TransformType.PRF]
    found = prf_numbered(prf.id)
    return IkeSuite(
        encryption_name(encryption.id),
        encryption.key_length or 0,
        found.name if found is not None else name_of(Prf, prf.id).lower(),
        _integrity(by_type),
        group_name(by_type[TransformType.KE].id),
        _additional(by_type),
    )


def esp_suite(transforms: Iterable[Transform]) -> EspSuite:
    """What chosen transforms mean for ESP."""
    by_type = {each.type: each for each in transforms}
    encryption = by_type[TransformType.ENCR]
    exchange, esn = by_type.get(TransformType.KE), by_type.get(TransformType.ESN)
    return EspSuite(
        encryption_name(encryption.id),
        encryption.key_length or 0,
        _integrity(by_type),
        group_name(exchange.id) if exchange is not None and exchange.id else "",
        esn is not None and esn.id == Esn.ESN,
        _additional(by_type),
    )


def rounds(suite: IkeSuite | EspSuite) -> tuple[str, ...]:
    """The additional key exchanges that are to be done, in order."""
    return tuple(name for name in suite.additional if name)


def _integrity(by_type: Mapping[int, Transform]) -> str:
    integrity = by_type.get(TransformType.INTEG)
    return integrity_name(integrity.id) if integrity is not None and integrity.id else ""


def _additional(by_type: Mapping[int, Transform]) -> tuple[str, ...]:
    found = [by_type.get(type_) for type_ in ADDITIONAL]
    return tuple(group_name(each.id) if each is not None and each.id else "" for each in found if each is not None)


def encryption_name(number: int) -> str:
    """A cipher by its number."""
    return _ENCR_NAMES.get(number) or name_of(Encr, number).lower().replace("_", "-")


def integrity_name(number: int) -> str:
    """An integrity algorithm by its number."""
    return _INTEG_NAMES.get(number) or name_of(Integ, number).lower().replace("_", "-")


def group_name(number: int) -> str:
    """A key exchange method by its number."""
    found = group_numbered(number)
    return found.name if found is not None else name_of(Group, number).lower()


def words(transforms: Iterable[Transform], *, word: str) -> str:
    """What transforms of one proposal are, as iked.conf spells them; `word` is `ikesa` or `childsa`."""
    return " ".join([word, *(text for each in transforms if (text := transform_words(each)))])


def transform_words(each: Transform) -> str:
    """One transform in iked.conf's words; "" for what needs none there."""
    if each.type == TransformType.ENCR:
        return f"enc {names.cipher_words(encryption_name(each.id), each.key_length or 0)}"
    if each.type == TransformType.PRF:
        found = prf_numbered(each.id)
        return f"prf {found.name if found is not None else name_of(Prf, each.id).lower()}"
    if each.type == TransformType.INTEG:
        return f"auth {integrity_name(each.id)}" if each.id else ""
    if each.type == TransformType.ESN:
        return "esn" if each.id == Esn.ESN else "noesn"
    if each.type == TransformType.KE:
        return f"group {group_name(each.id)}" if each.id else "group none"
    if each.type in ADDITIONAL:
        return f"addke{ADDITIONAL.index(TransformType(each.type)) + 1} {group_name(each.id) if each.id else NONE}"
    return f"transform of type {each.type}"


def by_type(transforms: Iterable[Transform]) -> dict[int, list[Transform]]:
    """Transforms by their type, in order."""
    found: dict[int, list[Transform]] = {}
    for each in transforms:
        found.setdefault(each.type, []).append(each)
    return found
