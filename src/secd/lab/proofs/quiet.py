"""What goes on for hours leaves little behind: log lines of tunnels that do not come up, and memory over rekeys.

The log is that of real hours, but the clock is virtual: `secd.ike` reads none.  What the machines send each other
arrives at once; iked's limit on lines (`secd.iked.logs`) applies as it does there.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from pathlib import Path

from secd.control.messages import Refused, Rekey, Reply, ShowStatus, Status
from secd.ike.connection import Cipher, Connection, Phase1Proposal, Phase2Proposal, PreSharedKey
from secd.ike.contract import (
    Answer,
    ComputePRF,
    ComputeSharedSecret,
    GenerateKeyPair,
    LastUse,
    Log,
    PRFResult,
    QueryLastUse,
    ReservedSPI,
    ReserveSPI,
    SAKind,
    Send,
)
from secd.ike.crypto.hashes import hash_named
from secd.ike.speaker import Speaker
from secd.iked.compute import compute
from secd.iked.logs import Logs
from secd.ipc.channel import BlockingChannel
from secd.lab.commands import LabError, wait_until
from secd.lab.namespaces import Lab
from secd.lab.pair import INNER_THEM, INNER_US, Pair
from secd.lab.probe import Probe
from secd.lab.proofs import scene
from secd.lab.proofs.evidence import Evidence
from secd.sadb.messages import Datagram

Question = ReserveSPI | GenerateKeyPair | ComputeSharedSecret | ComputePRF | QueryLastUse
HOUR = 3600.0
US, THEM = "192.0.2.1", "192.0.2.2"
#: Lines that an hour may write, of each kind of trouble; and what iked may grow by, in KiB, over the rekeys.
LINES, GROWTH = 12, 2048
#: Rekeys before the first look: caches fill, the allocator finds its size.
WARM_UP = 40
RATE = 200


def prove(lab: Lab, evidence: Evidence) -> None:
    """An hour of each trouble; then rekeys of a real iked with charon."""
    if evidence.ike == 1:
        for trouble in ("unreachable", "wrong key, initiator", "wrong key, responder"):
            _hour(evidence, trouble)
    with scene.scene(lab, evidence) as pair:
        _memory(pair, evidence, 5 if evidence.short else 1000)


# -- an hour of trouble -----------------------------------------------------------------------------------


class Machine:
    """A speaker with its own key and clock, its log as iked would write it."""

    def __init__(self, local: str, peer: str, key: bytes, *, active: bool) -> None:
        """One rule."""
        self.local, self.key, self.lines, self.now = local, key, Counter[str](), 1000.0
        self.logs = Logs(lambda line: self.lines.update([line.message]), verbose=False, clock=lambda: self.now)
        self.speaker = Speaker(random.Random(local).randbytes)  # noqa: S311
        self.spis = itertools.count(0x10000)
        aes = Cipher("aes", 128, 128, 128)
        self.rule = Connection(
            name="sec0", origin="/etc/ipsec.conf: 1", iface="sec0", local=local, peer=peer,
            mode="active" if active else "passive", phase1=(Phase1Proposal(aes, "sha2-256", "ecp256"),),
            phase2=(Phase2Proposal(aes, "hmac-sha2-256", "ecp256"),), auth=PreSharedKey("key"),
        )  # fmt: skip

    def outputs(self) -> list[Send]:
        """Carry out what the speaker wants, its questions at once; give what it sends."""
        sent: list[Send] = []
        while outputs := self.speaker.outputs():
            for output in outputs:
                if isinstance(output, Send):
                    sent.append(output)
                elif isinstance(output, Log):
                    self.logs(output)
                elif isinstance(output, Question):
                    self.speaker.answer(output.request_id, self._answer(output), self.now)
        return sent

    def _answer(self, request: Question) -> Answer:
        match request:
            case ReserveSPI():
                return ReservedSPI(next(self.spis))
            case GenerateKeyPair() | ComputeSharedSecret():
                return compute(request)
            case ComputePRF(_, _, hash_name, data):
                return PRFResult(hash_named(hash_name).prf(self.key, data))
            case QueryLastUse():
                return LastUse(None)


def _hour(evidence: Evidence, trouble: str) -> None:
    active = trouble != "wrong key, responder"
    ours = Machine(US, THEM, b"one", active=active)
    machines = {US: ours}
    if trouble != "unreachable":
        machines[THEM] = Machine(THEM, US, b"another", active=not active)
    sent = 0
    now = end = ours.now
    end += HOUR
    for machine in machines.values():
        machine.speaker.configure([], now - 60.0)  # a passive rule is tried once when secd has just started
        machine.speaker.configure([machine.rule], now)
    while now < end:
        for machine in machines.values():
            machine.now = now
            machine.speaker.handle_timer(now)
        sent += _exchange(machines, ours)
        deadlines = [at for each in machines.values() if (at := each.speaker.next_deadline()) is not None]
        now = max(now + 0.001, min(deadlines, default=end))
    lines = sum(ours.lines.values())
    evidence.figure(f"an hour, {trouble}", log_lines=lines, messages_sent=sent, different_lines=len(ours.lines))
    said = "; ".join(f"{count} times: {text}" for text, count in ours.lines.most_common(5))
    evidence.check(f"an hour, {trouble}: 1 to {LINES} lines in the log", 1 <= lines <= LINES, said)


def _exchange(machines: dict[str, Machine], ours: Machine) -> int:
    """Carry messages until nobody has more to say; give how many were ours."""
    sent = 0
    for _ in range(100):
        pending = [(machine, send) for machine in machines.values() for send in machine.outputs()]
        if not pending:
            break
        for machine, send in pending:
            sent += machine is ours
            receiver = machines.get(send.remote)
            if receiver is not None:
                datagram = Datagram(send.remote, send.remote_port, machine.local, send.local_port, send.data)
                receiver.speaker.receive(datagram, receiver.now)
    return sent


# -- memory -----------------------------------------------------------------------------------------------


def _memory(pair: Pair, evidence: Evidence, count: int) -> None:
    """Rekey by order, phase 2 and each tenth time phase 1, as fast as both sides do."""
    pair.negotiate("initiator", pair.rule("initiator"), pair.theirs())
    pid = pair.secd.processes()["iked"]
    with Probe(pair.us, INNER_US, pair.them, INNER_THEM, rate=RATE):  # a pair is used when the peer is seen to have it
        for number in range(WARM_UP if count > WARM_UP else 1):
            _rekey(pair, number)
        before, begun = _resident(pid), time.monotonic()
        for number in range(count):
            _rekey(pair, number)
        if count > WARM_UP:
            scene.wait_single(pair)
    after = _resident(pid)
    evidence.figure(
        "iked's memory", rekeys=count, before_KiB=before, after_KiB=after, grown_KiB=after - before,
        seconds=round(time.monotonic() - begun),
    )  # fmt: skip
    same = pair.secd.processes()["iked"] == pid
    evidence.check(f"iked grows by less than {GROWTH} KiB over {count} rekeys", same and after - before < GROWTH,
                   f"{before} KiB, then {after} KiB")  # fmt: skip
    pair.clear()


def _rekey(pair: Pair, number: int) -> None:
    """Order one, and wait until both sides have what it makes: an order in between would mean the pair before."""
    what: SAKind = "ike" if number % 10 == 9 else "child"
    before = _newest(pair, what)
    answer = _ask(pair, Rekey("sec0", what))
    if isinstance(answer, Refused):
        raise LabError("; ".join(answer.errors))
    wait_until(lambda: _newest(pair, what) not in ("", before), 40, f"rekey {number}, {what}", interval=0.02)


def _newest(pair: Pair, what: SAKind) -> str:
    """Name what both sides hold for the newest, charon by its own numbers; "" while they do not agree."""
    status = _ask(pair, ShowStatus())
    sas = scene.established(pair.charon.list_sas())
    if not isinstance(status, Status) or not status.connections or not sas:
        return ""
    ours = status.connections[0]
    if what == "ike":
        newest = max(sas, key=lambda sa: sa.unique_id)
        known = {each.initiator_spi for each in ours.ike if each.state == "established"}
        return newest.initiator_spi if newest.initiator_spi in known else ""
    pairs = [child for sa in sas for child in sa.children if child.state == "INSTALLED"]
    spi = max(pairs, key=lambda child: child.unique_id).spi_in if pairs else ""
    return spi if spi and ours.children and int(spi, 16) == ours.children[0].spi_out else ""


def _ask(pair: Pair, question: Rekey | ShowStatus) -> Reply:
    """Ask iked over its socket; the command would be a process each time."""
    with BlockingChannel[Reply].connect(str(pair.us.path("/run/secd/iked.sock")), Reply, timeout=10) as channel:
        channel.send(question)
        return channel.receive()


def _resident(pid: int) -> int:
    """What a process has in memory, KiB (VmRSS)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
