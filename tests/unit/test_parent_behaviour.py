"""What `set` of iked.conf and ikectl say of all tunnels, and connections of IKEv2 with their two secrets."""

from __future__ import annotations

import asyncio
from pathlib import Path

from msgspec.structs import replace

from secd.control.family import ConfigureBegin, ConfigureConnection
from secd.control.messages import Accepted, AddConnection, Behaviour, Refused
from secd.ike.connection import (
    ChildProposal,
    Cipher,
    Connection,
    IKEProposal,
    IKEv2,
    Phase1Proposal,
    Phase2Proposal,
    PostQuantumKey,
    PreSharedKey,
    Signature,
)
from secd.parent.keys import KeyHolder
from secd.parent.loading import Loader
from secd.parent.rules import Load

GCM = (Cipher("aes-gcm", 256, 256, 256),)
OFFER = IKEv2((IKEProposal(GCM, ("hmac-sha2-256",), (), ("curve25519",)),), (ChildProposal(GCM, ()),))


class Told:
    """A loader, what it logged and how often something was new."""

    def __init__(self, tmp_path: Path) -> None:
        self.keys = KeyHolder()
        self.lines: list[str] = []
        self.changes = 0
        self.loader = Loader(self.keys, tmp_path / "sadb.sock", lambda _, text: self.lines.append(text), self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def load(self, *rules: AddConnection, behaviour: Behaviour | None = None) -> Accepted | Refused:
        load = Load("/etc/iked.conf", False, behaviour=behaviour or Behaviour())
        for rule in rules:
            load.take(rule)
        return asyncio.run(self.loader.load(load))

    def behave(self, behaviour: Behaviour) -> None:
        assert asyncio.run(self.loader.behave(behaviour)) == Accepted()

    def begin(self) -> ConfigureBegin:
        begin = next(iter(self.loader.messages()))
        assert isinstance(begin, ConfigureBegin)
        return begin

    def connections(self) -> list[Connection]:
        return [each.connection for each in self.loader.messages() if isinstance(each, ConfigureConnection)]


def connection(name: str = "sec0", **fields: object) -> Connection:
    made = Connection(name, f"iked.conf: {name}", name, version=2, peer="192.0.2.1", ikev2=OFFER)
    return replace(made, **{"auth": PreSharedKey(name), **fields})


def refused(answer: Accepted | Refused) -> str:
    assert isinstance(answer, Refused)
    return answer.errors[0]


def test_in_passive_mode_iked_is_told_to_begin_nothing(tmp_path: Path):
    told = Told(tmp_path)
    assert told.load(AddConnection(connection(), b"x")) == Accepted()
    assert [each.mode for each in told.connections()] == ["active"]
    told.behave(Behaviour(passive=True))
    assert [each.mode for each in told.connections()] == ["silent"]
    assert [each.mode for rules in told.loader.sources().values() for each in rules.connections] == ["active"]
    told.behave(Behaviour(passive=False))
    assert [each.mode for each in told.connections()] == ["active"]
    assert told.changes == 3


def test_what_is_not_said_stays_as_it_is(tmp_path: Path):
    told = Told(tmp_path)
    told.behave(Behaviour(decoupled=True, verbose=True))
    assert told.begin() == ConfigureBegin(decoupled=True, verbose=True)
    told.behave(Behaviour(verbose=False))
    assert told.begin() == ConfigureBegin(decoupled=True, verbose=False)
    assert told.lines == ["decoupled: SAs are negotiated, but carry nothing", "log verbose", "log brief"]


def test_a_load_brings_its_modes_along_only_if_it_is_accepted(tmp_path: Path):
    told = Told(tmp_path)
    assert isinstance(told.load(AddConnection(connection(), b""), behaviour=Behaviour(passive=True)), Refused)
    assert not told.loader.passive
    assert told.load(AddConnection(connection(), b"x"), behaviour=Behaviour(passive=True)) == Accepted()
    assert told.loader.passive


def test_both_secrets_become_handles_and_are_forgotten_with_the_rule(tmp_path: Path):
    told = Told(tmp_path)
    with_ppk = connection(ikev2=replace(OFFER, ppk=PostQuantumKey("sec0", b"id")))
    assert told.load(AddConnection(with_ppk, b"one", b"two")) == Accepted()
    (kept,) = told.connections()
    assert kept.ikev2 is not None
    assert kept.ikev2.ppk is not None
    handles = {kept.auth.key, kept.ikev2.ppk.key}
    assert len(handles) == len(told.keys) == 2
    assert "sec0" not in handles
    assert told.load() == Accepted()
    assert len(told.keys) == 0


def test_certificates_stay_with_the_handle_of_their_key(tmp_path: Path):
    told = Told(tmp_path)
    signature = Signature("sec0", (b"own",), (b"ca",), (b"crl",), (b"key",), "rfc7427")
    assert told.load(AddConnection(connection(auth=signature), b"pem")) == Accepted()
    (kept,) = told.connections()
    assert replace(kept.auth, key="sec0") == signature
    assert kept.auth.key != "sec0"


def test_what_only_a_wrong_client_sends_is_refused(tmp_path: Path):
    told = Told(tmp_path)
    assert "what it says is of the other" in refused(told.load(AddConnection(connection(version=1), b"x")))
    assert "what it says is of the other" in refused(told.load(AddConnection(connection(ikev2=None), b"x")))
    assert "nothing to offer" in refused(told.load(AddConnection(connection(ikev2=IKEv2((), ())), b"x")))
    assert "go together" in refused(told.load(AddConnection(connection(), b"x", b"ppk")))
    big = Signature("sec0", tuple(bytes(8000) for _ in range(6)))
    assert "too many transforms or certificates" in refused(told.load(AddConnection(connection(auth=big), b"x")))


def test_the_same_ends_may_speak_either_version(tmp_path: Path):
    told = Told(tmp_path)
    assert "the same local, peer, srcid and dstid" in refused(
        told.load(AddConnection(connection("sec0"), b"x"), AddConnection(connection("sec1"), b"y"))
    )
    phase1 = (Phase1Proposal(GCM[0], "sha2-256", "modp3072"),)
    old = Connection("sec1", "x", "sec1", peer="192.0.2.1", phase1=phase1, phase2=(Phase2Proposal(GCM[0], "", ""),))
    assert told.load(AddConnection(connection("sec0"), b"x"), AddConnection(old, b"y")) == Accepted()
