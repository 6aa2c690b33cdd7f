"""Extended sequence numbers over the wire, from a million before 2^32 to beyond: from one engine to another."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from tests.unit.engine_support import Pair, wait_until

pytestmark = pytest.mark.root

UDP_SEGMENT = 103
#: Packets that the kernel takes with one call, calls before the receiver is waited for, and octets of each packet.
TRAIN, CALLS, OCTETS = 64, 100, 16
MILLION = 1_000_000


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two engines and a wire."""
    made = Pair()
    made.attach()
    yield made
    made.close()


@pytest.mark.parametrize(("encryption", "auth"), [("aes-256-gcm", ""), ("aes-256", "hmac-sha2-256")])
def test_the_upper_half_of_the_number_goes_on_where_the_lower_one_begins_anew(
    pair: Pair, encryption: str, auth: str
) -> None:
    start = 2**32 - MILLION
    pair.add_sas(encryption=encryption, auth=auth, esn=True, replay=1024, sequence=start)
    assert pair.a.ping("169.254.1.2")
    sink = pair.b.socket(socket.SOCK_DGRAM, port=9)
    source = pair.a.socket(socket.SOCK_DGRAM)
    source.connect(("169.254.1.2", 9))
    source.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, OCTETS)

    def received() -> int:
        return pair.b.engine.sa_counters(0x1000, "in", pair.b.address)["packets"]

    def sent() -> int:
        return pair.a.engine.sa_counters(0x1000, "out", pair.b.address)["packets"]

    drops = pair.a.drops(), pair.b.drops()  # of the time before there was an SA
    before = sent()
    for _ in range(MILLION // (TRAIN * CALLS) + 2):
        for _ in range(CALLS):
            source.send(bytes(TRAIN * OCTETS))
        before += TRAIN * CALLS
        assert wait_until(lambda expected=before: received() >= expected), f"{before - received()} were lost"
    assert received() == sent() > MILLION
    assert pair.b.engine.sa_counters(0x1000, "in", pair.b.address)["rpl"] == start + sent() > 2**32
    assert pair.a.ping("169.254.1.2")
    assert (pair.a.drops(), pair.b.drops()) == drops
    source.close()
    sink.close()


def test_without_extended_numbers_the_last_one_is_the_last(pair: Pair) -> None:
    pair.add_sas(sequence=2**32 - 3)
    assert pair.a.ping("169.254.1.2")  # of three, two go
    assert not pair.a.ping("169.254.1.2")
    assert pair.a.drops()["drop_seq_exhausted"] >= 1
    assert pair.a.engine.sa_counters(0x1000, "out", pair.b.address)["packets"] == 2
    assert "drop_replay" not in pair.b.drops()
