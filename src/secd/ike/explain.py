"""Mismatches in words: what was seen, what was expected, and what to write in ipsec.conf."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from secd.ike import identities, names
from secd.ike.proposals import EspSuite, Suite
from secd.ike.wire.payloads import IDPayload
from secd.sadb.messages import Identity

#: How many proposals of a side are listed.
LISTED = 8
#: Private numbers of authentication methods, all of XAUTH and its kin (draft-beaulieu-ike-xauth).
FIRST_XAUTH = 64221
S = TypeVar("S", Suite, EspSuite)


def no_proposal(peer: str, offered: Sequence[S], accepted: Sequence[S], origin: str) -> str:
    """We are the responder and take none of what `peer` offers."""
    text = f"no proposal of {peer} is acceptable: offered [{_list(offered)}], accepted here [{_list(accepted)}]"
    pair = nearest(offered, accepted)
    if pair is None:
        return text
    theirs, ours = pair
    text = f"{text}; nearest: {differences(theirs, ours)}"
    if isinstance(theirs, Suite) and theirs.method >= FIRST_XAUTH:
        return f"{text}; XAUTH, a user's name and password in addition, is not spoken here: turn it off at the peer"
    wording = replace(theirs, lifetime=0).words()  # the smaller lifetime holds, so it needs no change
    if wording == replace(ours, lifetime=0).words():
        return text
    return f"{text}; to accept it write `{wording}` at {origin}"


def offer_refused(peer: str, offered: Sequence[S], origin: str) -> str:
    """We are the initiator and `peer` takes none of what we offer."""
    return (
        f"{peer} accepts none of our proposals [{_list(offered)}]: NO-PROPOSAL-CHOSEN; write at {origin} what "
        f"the peer's configuration or log says it accepts"
    )


def nearest(offered: Iterable[S], accepted: Sequence[S]) -> tuple[S, S] | None:
    """The pair with the fewest differences."""
    pairs = [(theirs, ours) for theirs in offered for ours in accepted]
    return min(pairs, key=lambda pair: len(_differing(*pair)), default=None)


def differences(theirs: Suite | EspSuite, ours: Suite | EspSuite) -> str:
    """`enc aes-128, here aes-256; ...`; lifetimes are no difference, the smaller one is taken."""
    return "; ".join(f"peer {a}, here {b}" for a, b in _differing(theirs, ours)) or "none that can be seen"


def wrong_identity(peer: str, sent: Identity, expected: Iterable[Identity], origin: str) -> str:
    """The peer has the right key but another name than expected."""
    wanted = " or ".join(identities.described(each) for each in expected) or "none"
    return (
        f"{peer} calls itself {identities.described(sent)}, expected {wanted}; to accept it write "
        f"`dstid {identities.words(sent)}` at {origin}"
    )


def our_identity_refused(peer: str, sent: Identity, answer: str, origin: str) -> str:
    """The peer does not accept how we call ourselves."""
    return (
        f"{peer} refuses our identity {identities.described(sent)} ({answer}); write at {origin} "
        f"`srcid NAME` with the name that the peer expects"
    )


def our_identity_suspected(peer: str, sent: Identity, origin: str) -> str:
    """The peer has deleted the ISAKMP SA as soon as it knew how we call ourselves."""
    return (
        f"{peer} has deleted the ISAKMP SA at once: most likely it does not accept our identity "
        f"{identities.described(sent)}; write at {origin} `srcid NAME` with the name that the peer expects"
    )


def wrong_key_as_responder(peer: str, origins: Iterable[str]) -> str:
    """Message 5 does not decrypt with any candidate's key."""
    rules = ", ".join(dict.fromkeys(origins))
    return (
        f"message 5 of {peer} does not decrypt: the pre-shared keys differ; compare `psk` at {rules} with the key "
        f"that the peer has for us"
    )


def wrong_key_as_initiator(peer: str, origin: str, why: str) -> str:
    """No proper answer came to message 5, the first encrypted one."""
    return (
        f"message 5 to {peer}, the first that is encrypted: {why}; most likely the pre-shared keys differ: compare "
        f"`psk` at {origin} with the key that the peer has for us"
    )


def wrong_key_in_aggressive_mode(peer: str, origins: Iterable[str]) -> str:
    """The hash of message 2 or 3 of aggressive mode does not agree."""
    rules = ", ".join(dict.fromkeys(origins))
    return (
        f"{peer} does not have our key: its hash in aggressive mode does not agree; compare `psk` at {rules} with the "
        f"key that the peer has for us"
    )


def unproven_signature(peer: str, why: str, origins: Iterable[str]) -> str:
    """The peer's signature proves nothing."""
    rules = ", ".join(dict.fromkeys(origins))
    return (
        f"the signature of {peer} does not prove who it is: {why}; give it a certificate that an authority in "
        f"isakmpd/ca has signed, or put its public key into isakmpd/pubkeys and load {rules} again"
    )


def distrusted(peer: str, why: str, origins: Iterable[str]) -> str:
    """The peer's certificate must not be believed."""
    rules = ", ".join(dict.fromkeys(origins))
    return f"{peer} is refused: {why} (authorities and revocation lists are those of {rules} when it was loaded)"


def our_proof_refused(peer: str, origin: str, why: str) -> str:
    """No proper answer came to our signature."""
    return (
        f"message 5 to {peer}, with our signature: {why}; most likely the peer does not know the public key or the "
        f"authority of our certificate, or another name: compare `srcid` at {origin}, and see the peer's log"
    )


def aggressive_psk(origin: str) -> str:
    """What aggressive mode with a pre-shared key means; said at each start."""
    return (
        f"aggressive mode with a pre-shared key: whoever listens, or asks under the peer's name, gets a hash to "
        f"guess the key by, offline; write `main` or `rsa` at {origin} as soon as the peer can do that"
    )


def other_exchange(peer: str, seen: str, expected: str, origins: Iterable[str]) -> str:
    """The peer begins another mode than the rules for it say."""
    rules = ", ".join(dict.fromkeys(origins))
    return f"{peer} begins {seen} mode, expected {expected}: write `{seen}` at {rules}, or `{expected}` at the peer"


def not_done_here(peer: str, what: str) -> str:
    """A transaction exchange: mode config or XAUTH."""
    return f"{peer} {what}: refused, that is not done here; turn it off at the peer"


def wrong_selectors(peer: str, theirs: IDPayload | None, ours: IDPayload | None) -> str:
    """The peer wants a policy-based tunnel; `theirs` is its side of the traffic, `ours` the one it wants for us."""
    return (
        f"{peer} asks for traffic {identities.selector_words(theirs)} <-> {identities.selector_words(ours)}, a sec "
        f"interface carries 0.0.0.0/0 <-> 0.0.0.0/0; make the peer route-based (local and remote network 0.0.0.0/0) "
        f"and route what is to be protected into the interface"
    )


def selectors_refused(peer: str) -> str:
    """The peer takes no route-based tunnel."""
    return (
        f"{peer} refuses 0.0.0.0/0 <-> 0.0.0.0/0: INVALID-ID-INFORMATION; make the peer route-based (local and remote "
        f"network 0.0.0.0/0), or correct what it expects"
    )


def no_answer(where: str, number: int, exchange: str, port: int) -> str:
    """A message of ours was repeated for a minute and not answered."""
    if number == 1:
        hint = f"is it up, does UDP port {port} get through both ways, and has it a rule for us?"
    else:
        hint = "it has answered before: do longer messages get through, and what does its log say?"
    return f"no answer from {where} to message {number} of {exchange} mode; {hint}"


def no_connection(local: str, peer: str, exchange: str = "main", *, loaded: bool = True, policy: str = "") -> str:
    """Somebody starts phase 1 for whom there is no rule, or but a `policy` of IKEv2; `loaded`: there are others."""
    begun = f"{exchange} mode from {peer} to {local}"
    if policy:
        return (
            f"{begun}: the peer speaks IKEv1, the policy at {policy} is for IKEv2; make the peer speak IKEv2, "
            f"or write an `ike interface` rule of ipsec.conf in place of the policy"
        )
    rule = f"ike interface secN local {local} peer {peer} psk KEY"
    if not loaded:
        return f"{begun}: no rules are loaded yet; if they have none for this peer, write `{rule}`"
    return f"{begun}: no rule has this peer; write `{rule}`"


def weak(suite: Suite | EspSuite, origin: str) -> list[tuple[str, str]]:
    """(what is weak, the line about it) for each algorithm below what RFC 8247 and RFC 8221 recommend."""
    phase = suite.exchange if isinstance(suite, Suite) else "quick"
    return [
        (
            f"{phase} {word}",
            f"{phase} {word} is below what RFC 8247 and RFC 8221 recommend; write `{names.WEAK[word]}` at {origin} "
            f"and at the peer",
        )
        for word in _words(suite)
        if word in names.WEAK
    ]


def _list(suites: Sequence[Suite | EspSuite]) -> str:
    shown = list(dict.fromkeys(each.words() for each in suites))
    more = f" | and {len(shown) - LISTED} more" if len(shown) > LISTED else ""
    return (" | ".join(shown[:LISTED]) or "nothing") + more


def _words(suite: Suite | EspSuite) -> list[str]:
    auth = f"hmac-{suite.hash}" if isinstance(suite, Suite) else suite.auth
    cipher = suite.cipher if suite.cipher in ("3des", "blowfish", "cast128", "null") else suite.encryption
    words = [f"auth {auth or 'none'}", f"enc {cipher}", f"group {suite.group or 'none'}"]
    if isinstance(suite, Suite):
        words.append(names.method_name(suite.method))
    if isinstance(suite, EspSuite):
        words += ["tunnel in UDP" if suite.mode not in (1, 2) else "tunnel" if suite.mode == 1 else "transport"]
        words += ["esn" if suite.esn else "no esn"]
    return words


def _differing(theirs: Suite | EspSuite, ours: Suite | EspSuite) -> list[tuple[str, str]]:
    return [(a, b) for a, b in zip(_words(theirs), _words(ours), strict=False) if a != b]
