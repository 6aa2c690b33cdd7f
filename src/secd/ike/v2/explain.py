"""Mismatches of IKEv2 in words: what was seen, what was expected, and what to write in iked.conf."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from secd.ike import identities, names
from secd.ike.connection import Connection, PreSharedKey
from secd.ike.crypto.groups import GROUPS
from secd.ike.v2.suites import Alternatives, EspSuite, IkeSuite, transform_words, words
from secd.ike.wire.iana import name_of
from secd.ike.wire.ikev2.iana import AuthMethod, NotifyType, TransformType
from secd.ike.wire.ikev2.sa import SAPayload, Transform
from secd.sadb.messages import Identity

#: How many proposals of a side are listed.
LISTED = 8

_KINDS = {
    TransformType.ENCR: "enc", TransformType.PRF: "prf", TransformType.INTEG: "auth",
    TransformType.KE: "group", TransformType.ESN: "esn",
}  # fmt: skip


def no_proposal(peer: str, offered: SAPayload, accepted: Sequence[Alternatives], origin: str, word: str) -> str:
    """We are the responder and take none of what `peer` offers for an `ikesa` or a `childsa`."""
    theirs = [words(each.transforms, word=word) for each in offered.proposals]
    ours = [words(_flat(each), word=word) for each in accepted]
    text = f"no proposal of {peer} is acceptable: offered [{_list(theirs)}], accepted here [{_list(ours)}]"
    pairs = [(each.transforms, allowed) for each in offered.proposals for allowed in accepted]
    nearest = min(pairs, key=lambda pair: len(_differing(*pair)), default=None)
    if nearest is None:
        return text
    write = words(_first_of_each(nearest[0]), word=word)
    return f"{text}; nearest: {'; '.join(_differing(*nearest))}; to accept it write `{write}` at {origin}"


def offer_refused(peer: str, offered: Sequence[Alternatives], origin: str, word: str) -> str:
    """We are the initiator and `peer` takes none of what we offer."""
    ours = [words(_flat(each), word=word) for each in offered]
    return (
        f"{peer} accepts none of our proposals [{_list(ours)}]: NO_PROPOSAL_CHOSEN; write at {origin} what the "
        f"peer's configuration or log says it accepts"
    )


def group_refused(peer: str, wanted: str, ours: Iterable[str], origin: str) -> str:
    """`peer` wants a key exchange that we do not have in our proposals."""
    return (
        f"{peer} wants group {wanted} (INVALID_KE_PAYLOAD), our proposals have {', '.join(ours) or 'none'}; add "
        f"`group {wanted}` at {origin}"
    )


def authentication_refused(peer: str, sent: Identity, connection: Connection) -> str:
    """`peer` answered our IKE_AUTH with AUTHENTICATION_FAILED, which does not say what was wrong."""
    psk = isinstance(connection.auth, PreSharedKey)
    why = ["has another pre-shared key for us" if psk else "has no trust in our key"]
    if connection.ikev2 is not None and connection.ikev2.ppk is not None:
        why.append("has another PPK")
    why.append(f"does not know us as {sent.type} {identities.words(sent)}")
    if connection.dstid is not None:
        why.append(f"is not {connection.dstid.type} {identities.words(connection.dstid)} itself")
    return (
        f"{peer} refuses our authentication (AUTHENTICATION_FAILED): it {', or '.join(why)}; compare "
        f"{_proofs(connection)} at {connection.origin} with the peer's, and write `srcid NAME` there with the name "
        f"that the peer expects"
    )


def not_believed(sent: Identity, connection: Connection) -> str:
    """An initiator whom we had accepted finds that we have not proved who we are (RFC 7296 §2.21.2)."""
    return (
        f"the peer does not believe that we are {sent.type} {identities.words(sent)} (AUTHENTICATION_FAILED), its log "
        f"says why; compare {_proofs(connection)} at {connection.origin} with the peer's"
    )


def _proofs(connection: Connection) -> str:
    """By what we show who we are."""
    by = "`psk`" if isinstance(connection.auth, PreSharedKey) else "the certificates"
    return f"{by} and `ppk`" if connection.ikev2 is not None and connection.ikev2.ppk is not None else by


def wrong_key(peer: str, who: Identity, origins: Iterable[str], *, ppk: bool = False) -> str:
    """The peer's AUTH does not agree with our key, although its name does; `ppk`: a PPK is in it, too."""
    rules = ", ".join(dict.fromkeys(origins))
    keys, compare = ("keys or the PPKs", "`psk` and `ppk`") if ppk else ("keys", "`psk`")
    return (
        f"the authentication of {peer} ({who.type} {identities.words(who)}) does not agree: the pre-shared {keys} "
        f"differ; compare {compare} at {rules} with the key that the peer has for us"
    )


def wrong_signature(peer: str, who: Identity, why: str, origins: Iterable[str]) -> str:
    """The peer's signature, or its certificate, does not show that it is who it says."""
    rules = ", ".join(dict.fromkeys(origins))
    return (
        f"{peer} ({who.type} {identities.words(who)}) has not proved who it is: {why} (by {rules} and the ca, crls and "
        f"pubkeys in /etc/iked; after a change there load it again)"
    )


def wrong_ppk(peer: str, why: str, origins: Iterable[str]) -> str:
    """The two sides have not the same PPK (RFC 8784)."""
    return f"{peer} is refused: {why} at {', '.join(dict.fromkeys(origins))} with the peer's"


def no_ppk(peer: str, origin: str) -> str:
    """The responder has used no PPK, and one is required."""
    return (
        f"{peer} has not used the PPK, which {origin} requires: give the peer the same `ppk` and `ppkid`, or write "
        f"`ppk optional` there"
    )


def wrong_method(peer: str, method: int, word: str, connection: Connection) -> str:
    """The peer authenticates itself in another way, which iked.conf calls `word`, than the rule wants."""
    auth = connection.auth
    wanted = "a pre-shared key" if isinstance(auth, PreSharedKey) else _signature(auth.method)
    if method == AuthMethod.SHARED_KEY_MIC:
        theirs, instead = "a pre-shared key", 'write `psk "KEY"` at'
    elif word:
        theirs, instead = _signature(word), f"write `{word}` at"
    else:
        theirs, instead = name_of(AuthMethod, method).lower(), "make it do what is written at"
    return f"{peer} authenticates itself with {theirs}, expected {wanted}; {instead} {connection.origin}"


def _signature(word: str) -> str:
    return "a signature" if word == "any" else f"a signature (`{word}`)"


def wants_eap(peer: str, origin: str) -> str:
    """The peer wants to be, or to authenticate us, by EAP."""
    return (
        f"{peer} asks for EAP (user name and password), which is not supported; at the peer write a pre-shared key "
        f"or a certificate instead, as at {origin}"
    )


def no_connection(local: str, peer: str, *, loaded: bool = True, rule: str = "") -> str:
    """Somebody begins for whom there is no policy, or but a `rule` of IKEv1; `loaded`: there are others."""
    begun = f"IKE_SA_INIT from {peer} to {local}"
    if rule:
        return (
            f"{begun}: the peer speaks IKEv2, the rule at {rule} is for IKEv1; make the peer speak IKEv1, "
            f"or write an `ikev2` policy of iked.conf in place of the rule"
        )
    policy = f'ikev2 from any to any local {local} peer {peer} psk "KEY" iface secN'
    if not loaded:
        return f"{begun}: no policies are loaded yet; if they have none for this peer, write `{policy}`"
    return f"{begun}: no policy has this peer; write `{policy}`"


def selectors_refused(peer: str) -> str:
    """`peer` takes no route-based tunnel."""
    return (
        f"{peer} refuses 0.0.0.0/0 and ::/0 on both sides (TS_UNACCEPTABLE); make the peer route-based (local and "
        f"remote network 0.0.0.0/0), or correct what it expects"
    )


def selectors_unusable(peer: str, asked: str, families: Sequence[int], origin: str) -> str:
    """`peer` asks for a tunnel that has nothing in common with ours, and is refused."""
    ours = " and ".join({4: "0.0.0.0/0", 6: "::/0"}[family] for family in families)
    return (
        f"{peer} asks for a tunnel for {asked} (refused: TS_UNACCEPTABLE), expected {ours} on both sides; make the "
        f"peer route-based (local and remote network 0.0.0.0/0), or write `from any to any` at {origin}"
    )


def selectors_narrowed(peer: str, selectors: str) -> str:
    """`peer` carries only a part of what we route into the tunnel."""
    return (
        f"{peer} carries only {selectors}, a sec interface 0.0.0.0/0 <-> 0.0.0.0/0: it drops whatever else is routed "
        f"into the tunnel; make the peer route-based (local and remote network 0.0.0.0/0), or route only that"
    )


def one_address(peer: str, address: str) -> str:
    """A hub carries the inner address alone."""
    return (
        f"{peer} carries only what is from and to the inner address {address}; for networks behind this end, or "
        f"routing protocols, make it route-based there (strongSwan: `remote_ts = 0.0.0.0/0`)"
    )


def address_refused(peer: str, notify: int, origin: str) -> str:
    """A hub makes no pair for want of an inner address."""
    if notify == NotifyType.FAILED_CP_REQUIRED:
        return (
            f"{peer} is for those only who ask for an inner address (FAILED_CP_REQUIRED): write `request address any` "
            f"at {origin}"
        )
    return (
        f"{peer} has no inner address for us (INTERNAL_ADDRESS_FAILURE): its pool is used up, or is not for us; "
        f"enlarge it there, or take `request address` out at {origin} and write the address into hostname.secN"
    )


def no_address(peer: str, iface: str, origin: str) -> str:
    """A hub makes the pair and says nothing of an address."""
    return (
        f"{peer} gives no address for {iface}, which `request address` at {origin} asks for: have one given there, or "
        f"take that out and write the address into /etc/hostname.{iface}"
    )


def address_unusable(peer: str, address: str) -> str:
    """A hub gives what is no inner address."""
    return f"{peer} gives the inner address {address}, which cannot be one: not set"


def prefix_too_short(peer: str, given: str, shortest: int) -> str:
    """A hub's netmask would lead too much into the tunnel."""
    return (
        f"{peer} gives {given}: a netmask that leads more than a /{shortest} into the tunnel is not taken from a peer; "
        f"the address alone is set, write the routes yourself"
    )


def pool_exhausted(peer: str, pools: Sequence[str], origin: str, holders: Sequence[str]) -> str:
    """`peer` asks for an address and none is left."""
    shown = ", ".join(holders[:LISTED]) + (f" and {len(holders) - LISTED} more" if len(holders) > LISTED else "")
    return (
        f"no address is left for {peer} (INTERNAL_ADDRESS_FAILURE): {', '.join(pools)} of `config address` at {origin} "
        f"is with {shown or 'nobody, and has none'}; write a larger network"
    )


def to_be_done(iface: str, given: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What a hub has given that secd leaves to people, with the words to write."""
    if servers := given.get("name-server"):
        yield (
            f"{iface}: name servers are not set by secd: `resolvectl dns {iface} {' '.join(servers)}`, or "
            f"`nameserver {servers[0]}` in /etc/resolv.conf"
        )
    for network in given.get("protected-subnet", ()):
        yield f"{iface}: no route is made for {network}: `ip route add {network} dev {iface}`"


def refusal(peer: str, notify: int, what: str) -> str:
    """`peer` refuses `what`, and we have no better words for it."""
    return f"{peer} refuses {what}: {name_of(NotifyType, notify)}"


def weak(suite: IkeSuite | EspSuite, origin: str) -> list[tuple[str, str]]:
    """(what is weak, the line about it) for each algorithm below what RFC 8247 and RFC 8221 recommend."""
    word = "ikesa" if isinstance(suite, IkeSuite) else "childsa"
    used = [f"enc {suite.cipher}", f"auth {suite.auth}", f"group {suite.group}"]
    return [
        (
            f"{word} {each}",
            f"{word} {each} is below what RFC 8247 and RFC 8221 recommend; write `{names.WEAK[each]}` at {origin} and "
            f"at the peer",
        )
        for each in used
        if each in names.WEAK
    ]


def groups_of(alternatives: Iterable[Alternatives]) -> list[str]:
    """The names of the groups in our proposals."""
    numbers = {each.id for allowed in alternatives for each in allowed.get(TransformType.KE, ())}
    return [entry.name for entry in GROUPS.values() if int(entry.number) in numbers]


def _flat(alternatives: Alternatives) -> list[Transform]:
    return [each for of_type in alternatives.values() for each in of_type]


def _first_of_each(transforms: Iterable[Transform]) -> list[Transform]:
    first: dict[int, Transform] = {}
    for each in transforms:
        first.setdefault(each.type, each)
    return list(first.values())


def _differing(theirs: Sequence[Transform], ours: Alternatives) -> list[str]:
    """One text for each type in which nothing is common."""
    found = []
    for type_ in dict.fromkeys([*(each.type for each in theirs), *ours]):
        a = [each for each in theirs if each.type == type_]
        b = [each for allowed, transforms in ours.items() if allowed == type_ for each in transforms]
        if not any(each in b for each in a) and any(each.id for each in (*a, *b)):
            kind = next((name for known, name in _KINDS.items() if known == type_), "key exchanges")
            found.append(f"{kind}: peer {_values(a)}, here {_values(b)}")
    return found or ["the transforms are the same, their attributes are not"]


def _values(transforms: Iterable[Transform]) -> str:
    return (
        " or ".join(transform_words(each).partition(" ")[2] or transform_words(each) for each in transforms) or "none"
    )


def _list(texts: Sequence[str]) -> str:
    shown = list(dict.fromkeys(texts))
    more = f" | and {len(shown) - LISTED} more" if len(shown) > LISTED else ""
    return (" | ".join(shown[:LISTED]) or "nothing") + more
