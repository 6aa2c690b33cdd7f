"""IKE datagrams before iked: peers' first, strangers' bounded, nobody at another's cost."""

from __future__ import annotations

from secd.sadb.messages import Datagram, Expect
from secd.sec.inbox import MAX_EACH, MAX_WAITING, Inbox

FIRST = b"iiiiiiii" + bytes(8) + b"rest"
LATER = b"iiiiiiii" + b"rrrrrrrr" + b"rest"
PEER, OTHER = "192.0.2.1", "192.0.2.2"


class Reader:
    """An iked that reads so many."""

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.got: list[Datagram] = []
        self.on_room = None

    @property
    def has_room(self) -> bool:
        return len(self.got) < self.room

    def send(self, datagram: Datagram) -> None:
        self.got.append(datagram)


def datagram(remote: str, data: bytes = FIRST) -> Datagram:
    return Datagram("198.51.100.1", 500, remote, 500, data)


def read(inbox: Inbox, count: int = 10_000) -> list[Datagram]:
    reader = Reader(count)
    inbox.read_by(reader)  # type: ignore[arg-type]
    inbox.read_by(None)
    return reader.got


def test_a_peers_message_overtakes_those_of_strangers() -> None:
    inbox = Inbox()
    inbox.expect(Expect((PEER,), anew=True))
    for number in range(2 * MAX_WAITING):
        inbox.put(datagram(f"203.0.113.{number % 256}"))
    inbox.put(datagram(PEER))
    assert inbox.dropped == MAX_WAITING
    got = read(inbox)
    assert got[0] == datagram(PEER)
    assert len(got) == 1 + MAX_WAITING


def test_messages_that_go_on_and_those_that_begin_take_turns() -> None:
    inbox = Inbox()
    for _ in range(3 * MAX_WAITING):
        inbox.put(datagram("203.0.113.1"))
    inbox.put(datagram("203.0.113.2", LATER))
    assert datagram("203.0.113.2", LATER) in read(inbox, 2)
    for _ in range(3 * MAX_WAITING):
        inbox.put(datagram("203.0.113.1", LATER))
    assert [each.data for each in read(inbox, 4)].count(FIRST) == 2


def test_whoever_forges_a_peers_address_takes_that_peers_room_alone() -> None:
    inbox = Inbox()
    inbox.expect(Expect((PEER, OTHER), anew=True))
    for _ in range(MAX_WAITING):
        inbox.put(datagram(PEER, LATER))
    inbox.put(datagram(OTHER))
    got = read(inbox)
    assert len(got) == MAX_EACH + 1
    assert got[-1] == datagram(OTHER)
    inbox.put(datagram(PEER))
    assert read(inbox) == [datagram(PEER)]


def test_who_is_expected_is_said_anew_or_beside_others() -> None:
    inbox = Inbox()
    inbox.expect(Expect((PEER,), anew=True))
    inbox.expect(Expect((OTHER,), anew=False))
    for remote in ("203.0.113.1", OTHER, PEER):
        inbox.put(datagram(remote))
    assert [each.remote for each in read(inbox)] == [OTHER, PEER, "203.0.113.1"]
    inbox.expect(Expect((OTHER,), anew=True))
    for remote in ("203.0.113.1", PEER, OTHER):
        inbox.put(datagram(remote))
    assert next(each.remote for each in read(inbox)) == OTHER


def test_a_datagram_too_short_for_a_header_is_a_strangers_like_any() -> None:
    inbox = Inbox()
    inbox.put(datagram("203.0.113.1", b""))
    assert len(read(inbox)) == 1
