"""Recorded IKEv2 conversations (tests/vectors/ikev2*.json), opened message by message with keys that we derive.

Each is what two strongSwan daemons said; `values` are from the initiator's log at level 4, in the order of the log.
Only shared secrets are taken from it; everything else is computed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from secd.ike.crypto import ikev2
from secd.ike.crypto.ikev2_ciphers import DirectionKeys, MessageCipher, message_cipher_numbered
from secd.ike.crypto.ikev2_messages import Fragment, Opened, Reassembly, open_message
from secd.ike.crypto.prfs import Prf, prf_numbered
from secd.ike.wire.header import HEADER_OCTETS
from secd.ike.wire.ikev2.iana import ExchangeType, ProtocolId, TransformType
from secd.ike.wire.ikev2.message import Chain, Header, parse_header, parse_payloads
from secd.ike.wire.ikev2.payloads import KEPayload, NoncePayload
from secd.ike.wire.ikev2.sa import Proposal, SAPayload

FOLDER = Path(__file__).parents[1] / "vectors"
PATHS = sorted(FOLDER.glob("ikev2*.json"))


@dataclass
class Sa:
    """An IKE SA in the course of a conversation."""

    prf: Prf
    cipher: MessageCipher
    ni: bytes
    nr: bytes
    spi_i: bytes
    spi_r: bytes
    keys: ikev2.IkeKeys
    int_auth: dict[str, bytes] = field(default_factory=lambda: {"initiator": b"", "responder": b""})

    def derive(self, seed: bytes) -> None:
        """New keys from a new SKEYSEED."""
        names = {"ni": self.ni, "nr": self.nr, "spi_i": self.spi_i, "spi_r": self.spi_r}
        self.keys = ikev2.ike_keys(self.prf, self.cipher, seed, **names)


@dataclass
class Message:
    """One message; `datagrams` are several if it was fragmented.  `sa` and `keys`: what it was protected with."""

    sender: str
    header: Header
    datagrams: list[bytes]
    chain: Chain = field(default_factory=lambda: Chain((), b""))
    sa: Sa | None = None
    keys: ikev2.IkeKeys | None = None
    opened: Opened | None = None

    @property
    def direction(self) -> DirectionKeys:
        """The keys of its direction."""
        assert self.keys is not None
        return self.keys.of(initiator=self.header.from_initiator)


@dataclass
class Child:
    """What the keys of a CHILD SA are made of: the chosen proposal, the nonces, and SK_d at that moment."""

    proposal: Proposal
    prf: Prf
    sk_d: bytes
    ni: bytes
    nr: bytes


def algorithms(proposal: Proposal) -> tuple[Prf, MessageCipher]:
    """What an IKE SA was negotiated to use."""
    encr = proposal.of(TransformType.ENCR)[0]
    integ = proposal.of(TransformType.INTEG)
    cipher = message_cipher_numbered(encr.id, encr.key_length, integ[0].id if integ else None)
    prf = prf_numbered(proposal.of(TransformType.PRF)[0].id)
    assert cipher is not None
    assert prf is not None
    return prf, cipher


def additional(proposal: Proposal) -> int:
    """How many additional key exchanges were agreed on."""
    return len([each for each in proposal.transforms if TransformType.ADDKE1 <= each.type <= TransformType.ADDKE7])


class Recording:
    """A recorded conversation."""

    def __init__(self, path: Path) -> None:
        """Read the file, and open nothing yet."""
        self.name = path.stem
        self.data: Any = json.loads(path.read_text())
        self.seeds: list[tuple[bytes, bytes]] = []  # SKEYSEEDs, computed and logged
        self.mixed: ikev2.IkeKeys | None = None  # with the PPK
        self.child_sas: list[Child] = []
        self._sas: dict[bytes, Sa] = {}
        self._logged: Iterator[dict[str, str]] = iter(self.data["values"]["ike"])

    @property
    def psk(self) -> bytes:
        """The pre-shared key, empty with certificates."""
        return str(self.data["psk"]).encode()

    @property
    def whole(self) -> bool:
        """Whether there are rekeyings in it."""
        return len(self.data["values"]["children"]) > 1

    @cached_property
    def messages(self) -> list[Message]:
        """Every message, opened."""
        made: list[Message] = []
        parts: dict[tuple[str, bytes, bool, int], tuple[Reassembly, list[bytes]]] = {}
        for each in self.data["messages"]:
            datagram = bytes.fromhex(each["data"])
            header = parse_header(datagram)
            message = Message(each["from"], header, [datagram])
            if header.exchange == ExchangeType.IKE_SA_INIT:
                message.chain = parse_payloads(header.next_payload, datagram[HEADER_OCTETS:])
            else:
                message.sa = self._sas[header.initiator_spi]
                message.keys = message.sa.keys
                opened = open_message(message.sa.cipher, message.direction, header, datagram)
                if isinstance(opened, Fragment):
                    place = (each["from"], header.initiator_spi, header.response, header.message_id)
                    reassembly, datagrams = parts.get(place, (Reassembly(), []))
                    reassembly, datagrams = reassembly.add(opened), [*datagrams, datagram]
                    parts[place] = reassembly, datagrams
                    if not reassembly.complete:
                        continue
                    opened, message.datagrams = reassembly.message(header), datagrams
                message.opened, message.chain = opened, opened.chain
            made.append(message)
            if header.response:
                self._answered(made)
        return made

    def exchange(self, type_: int) -> list[tuple[Message, Message]]:
        """Requests and responses of one type."""
        chosen = [each for each in self.messages if each.header.exchange == type_]
        return list(zip(chosen[::2], chosen[1::2], strict=True))

    # -- what follows from a request and its response -----------------------------------------------------

    def _answered(self, made: list[Message]) -> None:
        request, response = made[-2:]
        exchange = response.header.exchange
        if exchange == ExchangeType.IKE_SA_INIT:
            self._first(request, response)
        elif exchange == ExchangeType.IKE_INTERMEDIATE:
            self._intermediate(request, response)
        elif exchange == ExchangeType.IKE_AUTH:
            self._authenticated(response)
        elif exchange == ExchangeType.CREATE_CHILD_SA:
            self._created(request, response)
        elif exchange == ExchangeType.IKE_FOLLOWUP_KE:
            started = next(each for each in reversed(made) if each.header.exchange == ExchangeType.CREATE_CHILD_SA)
            begun = made.index(started)
            proposal = started.chain.one(SAPayload).proposals[0]
            follow_ups = [each for each in made[begun:] if each.header.exchange == ExchangeType.IKE_FOLLOWUP_KE]
            if proposal.protocol == ProtocolId.IKE and len(follow_ups) == 2 * additional(proposal):
                self._rekeyed(made[begun - 1], started)

    def _first(self, request: Message, response: Message) -> None:
        prf, cipher = algorithms(response.chain.one(SAPayload).proposals[0])
        ni, nr = (each.chain.one(NoncePayload).data for each in (request, response))
        header = response.header
        nothing = ikev2.IkeKeys(*(b"",) * 7)
        sa = Sa(prf, cipher, ni, nr, header.initiator_spi, header.responder_spi, nothing)
        logged = next(self._logged)
        seed = ikev2.skeyseed(prf, ni, nr, bytes.fromhex(logged["g_ir"]))
        self._seeded(sa, seed, logged)
        self._sas[header.initiator_spi] = sa

    def _intermediate(self, request: Message, response: Message) -> None:
        sa = response.sa
        assert sa is not None
        for each in (request, response):
            assert each.opened is not None
            sk_p = sa.keys.sk_pi if each.sender == "initiator" else sa.keys.sk_pr
            before = sa.int_auth[each.sender]
            sa.int_auth[each.sender] = ikev2.int_auth_step(sa.prf, sk_p, before, each.opened.int_auth_octets)
        if response.chain.find(KEPayload) is not None:
            logged = next(self._logged)
            secret = bytes.fromhex(logged["g_ir"])
            self._seeded(sa, ikev2.skeyseed_additional(sa.prf, sa.keys.sk_d, sa.ni, sa.nr, secret), logged)

    def _authenticated(self, response: Message) -> None:
        sa = response.sa
        assert sa is not None
        if self.data.get("ppk"):
            ppk = bytes.fromhex(self.data["ppk"])
            keys = (sa.keys.sk_d, sa.keys.sk_pi, sa.keys.sk_pr)
            sa.keys = self.mixed = sa.keys.with_ppk(*(sa.prf.compute(ppk, ikev2.ppk_data(each)) for each in keys))
        proposal = response.chain.one(SAPayload).proposals[0]
        self.child_sas.append(Child(proposal, sa.prf, sa.keys.sk_d, sa.ni, sa.nr))

    def _created(self, request: Message, response: Message) -> None:
        sa = response.sa
        assert sa is not None
        proposal = response.chain.one(SAPayload).proposals[0]
        ni, nr = (each.chain.one(NoncePayload).data for each in (request, response))
        if proposal.protocol == ProtocolId.ESP:
            self.child_sas.append(Child(proposal, sa.prf, sa.keys.sk_d, ni, nr))
        elif not additional(proposal):
            self._rekeyed(request, response)

    def _rekeyed(self, request: Message, response: Message) -> None:
        old = response.sa
        assert old is not None
        asked, proposal = (each.chain.one(SAPayload).proposals[0] for each in (request, response))
        prf, cipher = algorithms(proposal)
        ni, nr = (each.chain.one(NoncePayload).data for each in (request, response))
        sa = Sa(prf, cipher, ni, nr, asked.spi, proposal.spi, old.keys)
        logged = next(self._logged)
        secrets = [bytes.fromhex(logged.get("additional", ""))]
        g_ir = bytes.fromhex(logged["g_ir"])
        seed = ikev2.skeyseed_rekey(old.prf, old.keys.sk_d, ni=ni, nr=nr, g_ir=g_ir, additional=secrets)
        self._seeded(sa, seed, logged)
        self._sas[asked.spi] = sa

    def _seeded(self, sa: Sa, seed: bytes, logged: dict[str, str]) -> None:
        self.seeds.append((seed, bytes.fromhex(logged["SKEYSEED"])))
        sa.derive(seed)
        ours = (sa.keys.sk_d, sa.keys.sk_ai, sa.keys.sk_ar, sa.keys.sk_ei, sa.keys.sk_er, sa.keys.sk_pi, sa.keys.sk_pr)
        names = ("SK_d", "SK_ai", "SK_ar", "SK_ei", "SK_er", "SK_pi", "SK_pr")
        theirs = tuple(bytes.fromhex(logged.get(name, "")) for name in names)
        for one, other in zip(ours, theirs, strict=True):
            self.seeds.append((one, other))
