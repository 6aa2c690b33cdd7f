"""`ikesa` and `childsa` to proposals: what was left out is iked(8)'s default, as in its parser."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec.structs import replace

from secd.conf.iked import transforms
from secd.conf.iked.rules import Proposal
from secd.conf.iked.transforms import NONE, Encryption, Transform
from secd.ike.connection import ChildProposal, Cipher, IKEProposal

Keyword = Literal["ikesa", "childsa"]

_TABLES = {"ikesa": transforms.IKE_ENCRYPTION, "childsa": transforms.CHILD_ENCRYPTION}
_DEFAULT_CBC = {"ikesa": transforms.DEFAULT_IKE_CBC, "childsa": transforms.DEFAULT_CHILD_CBC}
_DEFAULT_GROUPS = {"ikesa": transforms.DEFAULT_GROUPS, "childsa": (NONE,)}
_BOTH_ESN = (True, False)


class ProposalError(Exception):
    """What a proposal says cannot be; the text says why."""


def complete(keyword: Keyword, written: Iterable[Proposal]) -> list[Proposal]:
    """Say everything, in iked.conf's words: one proposal for each that names a cipher, else one with combined-mode
    ciphers and one without.  The former is left out where an integrity algorithm was asked for."""
    found: list[Proposal] = []
    for proposal in tuple(written) or (Proposal(),):
        if proposal.encs:
            choices = [proposal.encs]
        elif proposal.auths:
            choices = [_DEFAULT_CBC[keyword]]
        else:
            choices = [transforms.DEFAULT_COMBINED, _DEFAULT_CBC[keyword]]
        found += [_complete(keyword, replace(proposal, encs=encs)) for encs in choices]
    return found


def ike_proposals(written: Iterable[Proposal]) -> tuple[IKEProposal, ...]:
    """Give what is proposed for the IKE SA."""
    return tuple(
        IKEProposal(
            _ciphers("ikesa", each.encs), _values(transforms.PRF, each.prfs),
            _values(transforms.AUTHENTICATION, each.auths), _groups(each.groups), _rounds(each),
        )
        for each in complete("ikesa", written)
    )  # fmt: skip


def child_proposals(written: Iterable[Proposal]) -> tuple[ChildProposal, ...]:
    """Give what is proposed for ESP."""
    return tuple(
        ChildProposal(
            _ciphers("childsa", each.encs), _values(transforms.AUTHENTICATION, each.auths),
            () if each.groups == (NONE,) else _groups(each.groups), each.esn, _rounds(each),
        )
        for each in complete("childsa", written)
    )  # fmt: skip


def _complete(keyword: Keyword, proposal: Proposal) -> Proposal:
    ike = keyword == "ikesa"
    groups = proposal.groups or _DEFAULT_GROUPS[keyword]
    if ike and NONE in groups:
        raise ProposalError('IKE group can not be "none".')
    if proposal.additional and groups == (NONE,):
        raise ProposalError("additional key exchanges need a first one: write group curve25519 before addke1")
    if (NONE,) in proposal.additional:
        raise ProposalError("addke with nothing but none: leave it out, or name a key exchange beside it")
    return Proposal(
        _auths(keyword, proposal), proposal.encs, proposal.prfs or (transforms.DEFAULT_PRFS if ike else ()), groups,
        () if ike else proposal.esn or _BOTH_ESN, proposal.additional,
    )  # fmt: skip


def _auths(keyword: Keyword, proposal: Proposal) -> tuple[str, ...]:
    combined = {entry.combined for entry in _TABLES[keyword] if entry.name in proposal.encs}
    if combined == {True, False}:
        raise ProposalError("cannot mix encryption transforms with implicit and non-implicit authentication")
    if True in combined:
        if proposal.auths:
            raise ProposalError("authentication is implicit for given encryption transforms")
        return ()
    return proposal.auths or transforms.DEFAULT_AUTHS


def _rounds(proposal: Proposal) -> tuple[tuple[str, ...], ...]:
    return tuple(_groups(names) for names in proposal.additional)


def _groups(names: tuple[str, ...]) -> tuple[str, ...]:
    return _values(transforms.GROUPS, names)


def _values(table: tuple[Transform, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(entry.value for name in names for entry in table if entry.name == name and entry.value)


def _ciphers(keyword: Keyword, names: tuple[str, ...]) -> tuple[Cipher, ...]:
    table: tuple[Encryption, ...] = _TABLES[keyword]
    return tuple(entry.value for name in names for entry in table if entry.name == name and entry.value)
