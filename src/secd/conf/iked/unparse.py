"""Policies back to iked.conf(5): what was left to a default is said, and what is printed parses to the same.

The order of words is that of `iked -nv`; secrets are in hexadecimal, as there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from secd.conf.iked.grammar import Parsed
from secd.conf.iked.keywords import KEYWORDS
from secd.conf.iked.proposals import Keyword, ProposalError, complete
from secd.conf.iked.rules import EAP, PSK, End, Policy, Proposal, Settings
from secd.conf.quoting import quote


def parsed_text(parsed: Parsed, *, with_keys: bool) -> Iterator[str]:
    """Yield settings that are not the default, then every policy; without `with_keys`, `...` stands for secrets."""
    yield from settings_text(parsed.settings)
    for user in parsed.users:
        yield f"user {quote(user.name, KEYWORDS)} ..."
    for policy in parsed.policies:
        yield policy_text(policy, with_keys=with_keys)


def settings_text(settings: Settings) -> Iterator[str]:
    """Yield `set` lines."""
    default = Settings()
    for name, on, off in (
        ("passive", "passive", "active"), ("decouple", "decouple", "couple"),
        ("fragmentation", "fragmentation", "nofragmentation"), ("mobike", "mobike", "nomobike"),
        ("redirect", "redirect", "noredirect"), ("vendorid", "vendorid", "novendorid"),
    ):  # fmt: skip
        value: bool = getattr(settings, name)
        if value != getattr(default, name):
            yield f"set {on if value else off}"
    if settings.dpd_check_interval != default.dpd_check_interval:
        yield f"set dpd_check_interval {settings.dpd_check_interval}"


def policy_text(policy: Policy, *, with_keys: bool) -> str:
    """Give one policy as a line."""
    words = ["ikev2", quote(policy.name, KEYWORDS, always=True), *_flags(policy)]
    for hosts in policy.hosts:
        words.append(f"from {_end(hosts.source)} to {_end(hosts.destination)}")
    words.append(f"local {policy.local or 'any'} peer {policy.peer or 'any'}")
    words += [_proposal("ikesa", proposal) for proposal in _complete("ikesa", policy.ikesa)]
    words += [_proposal("childsa", proposal) for proposal in _complete("childsa", policy.childsa)]
    for keyword, identity in (("srcid", policy.srcid), ("dstid", policy.dstid)):
        if identity is not None:
            words.append(f"{keyword} {quote(identity, KEYWORDS)}")
    if policy.ikelifetime:
        words.append(f"ikelifetime {policy.ikelifetime}")
    words.append(f"lifetime {policy.lifetime} bytes {policy.lifetime_bytes}")
    words += [*_auth(policy, with_keys=with_keys), *_config(policy)]
    if policy.iface is not None:
        words.append(f"iface {quote(policy.iface, KEYWORDS)}")
    for keyword, value in (("tag", policy.tag), ("tap", policy.tap)):
        if value is not None:
            words.append(f"{keyword} {quote(value, KEYWORDS, always=True)}")
    return " ".join(words)


def _flags(policy: Policy) -> Iterator[str]:
    if policy.eval:
        yield policy.eval
    yield "active" if policy.active else "passive"
    if policy.ipcomp:
        yield "ipcomp"
    yield "transport" if policy.transport else "tunnel"
    if policy.natt:
        yield "natt"
    yield policy.satype
    if policy.family:
        yield "inet" if policy.family == 4 else "inet6"
    if policy.protos:
        yield f"proto {{ {', '.join(str(number) for number in policy.protos)} }}"
    if policy.rdomain is not None:
        yield f"rdomain {policy.rdomain}"


def _end(end: End) -> str:
    text = "dynamic" if end.address is None else str(end.address)
    if end.nat:
        text += f" ({end.nat})"
    return f"{text} port {end.port}" if end.port else text


def _complete(keyword: Keyword, written: tuple[Proposal, ...]) -> Iterable[Proposal]:
    try:
        return complete(keyword, written)
    except ProposalError:
        return written


def _proposal(keyword: str, proposal: Proposal) -> str:
    words = [keyword]
    for kind, names in (
        ("enc", proposal.encs), ("prf", proposal.prfs), ("auth", proposal.auths), ("group", proposal.groups),
        *((f"addke{number}", names) for number, names in enumerate(proposal.additional, 1)),
    ):  # fmt: skip
        words += [f"{kind} {name}" for name in names]
    words += ["esn" if esn else "noesn" for esn in proposal.esn]
    return " ".join(words)


def _auth(policy: Policy, *, with_keys: bool) -> Iterator[str]:
    auth = policy.auth
    if isinstance(auth, PSK):
        yield f"psk {_secret(auth.octets, with_keys=with_keys)}"
    elif isinstance(auth, EAP):
        yield f"eap {quote(auth.type, KEYWORDS)}"
    elif auth.method != "any":
        yield auth.method
    if policy.ppk:
        optional = "" if policy.ppk.required else "optional "
        secret = _secret(policy.ppk.octets, with_keys=with_keys)
        yield f"ppk {optional}{secret} ppkid {quote(policy.ppk.identity, KEYWORDS)}"


def _secret(octets: bytes, *, with_keys: bool) -> str:
    return f"0x{octets.hex()}" if with_keys else "..."


def _config(policy: Policy) -> Iterator[str]:
    for item in policy.config:
        yield f"{'config' if item.provide else 'request'} {item.option} {item.address or 'any'}"
