"""Channels: messages, descriptors, bounds, and what happens when the other side does not behave."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from secd.ipc import channel as ipc
from secd.ipc.channel import BlockingChannel, Channel, ChannelError, listen, pair, peer_credentials


class Say(msgspec.Struct, frozen=True, tag="say"):
    """A message."""

    text: str


class Other(msgspec.Struct, frozen=True, tag="other"):
    """One that is not expected."""


class Ends:
    """A channel and the bare socket at its other end."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.fds: list[int] = []
        self.reasons: list[str] = []
        ours, self.bare = pair()
        self.bare.settimeout(5)
        self.channel: Channel[Say] = Channel(ours, Say, self._take, self.reasons.append)

    def _take(self, message: Say, fds: list[int]) -> None:
        self.messages.append(message)
        self.fds += fds


def run(test: Callable[[Ends], Coroutine[Any, Any, None]]) -> None:
    """Run `test` in a loop of its own."""

    async def main() -> None:
        ends = Ends()
        try:
            await test(ends)
        finally:
            ends.channel.close()
            ends.bare.close()

    asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until `condition`."""
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


def encoded(text: str) -> bytes:
    """Encode a message."""
    return msgspec.msgpack.encode(Say(text))


def test_messages_and_descriptors_arrive_and_are_not_inherited() -> None:
    async def test(ends: Ends) -> None:
        reader, writer = os.pipe()
        socket.send_fds(ends.bare, [encoded("here")], [reader])
        await until(lambda: bool(ends.messages))
        assert ends.messages == [Say("here")]
        assert not os.get_inheritable(ends.fds[0])
        os.write(writer, b"x")
        assert os.read(ends.fds[0], 1) == b"x"
        for fd in (reader, writer, *ends.fds):
            os.close(fd)

    run(test)


@pytest.mark.parametrize(
    "data", [b"\xc1", msgspec.msgpack.encode(Other()), b"\x81" * 9000, b"x" * (ipc.MAX_MESSAGE + 1)]
)
def test_what_is_no_message_closes_the_channel_with_the_reason(data: bytes) -> None:
    async def test(ends: Ends) -> None:
        ends.bare.send(data)
        await until(lambda: bool(ends.reasons))
        assert "not a message" in ends.reasons[0] or "larger than" in ends.reasons[0]
        assert ends.messages == []
        assert ends.channel.closed

    run(test)


def test_descriptors_that_come_with_nonsense_are_closed() -> None:
    async def test(ends: Ends) -> None:
        before = len(os.listdir("/proc/self/fd"))
        reader, writer = os.pipe()
        socket.send_fds(ends.bare, [b"junk"], [reader, writer])
        os.close(reader)
        os.close(writer)
        await until(lambda: bool(ends.reasons))
        assert len(os.listdir("/proc/self/fd")) == before - 1  # the channel's own is closed

    run(test)


def test_messages_to_one_who_reads_late_come_in_order_and_tell_when_all_are_gone() -> None:
    async def test(ends: Ends) -> None:
        drained = []
        ends.channel.on_drained = lambda: drained.append(True)
        ends.channel.limit_unread(1)
        texts = [f"{number:05}" + "x" * 1000 for number in range(2000)]
        reader, writer = os.pipe()
        for text in texts:
            ends.channel.send(Say(text))
        ends.channel.send(Say("with a descriptor"), [writer])
        os.close(writer)  # the channel has its own copy
        assert ends.channel.waiting > 1_000_000
        assert not drained

        def read() -> list[Say]:
            return [msgspec.msgpack.decode(ends.bare.recv(70_000), type=Say) for _ in range(2000)]

        assert [message.text for message in await asyncio.to_thread(read)] == texts
        data, fds, _, _ = socket.recv_fds(ends.bare, 1000, 4)
        assert msgspec.msgpack.decode(data, type=Say) == Say("with a descriptor")
        os.write(fds[0], b"x")
        assert os.read(reader, 1) == b"x"
        await until(lambda: drained == [True])
        assert ends.channel.waiting == 0
        os.close(reader)
        os.close(fds[0])

    run(test)


def test_one_who_never_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipc, "MAX_BACKLOG", 100_000)

    async def test(ends: Ends) -> None:
        for _ in range(100_000):
            if ends.channel.closed:
                break
            ends.channel.send(Say("x" * 1000))
        assert "does not read" in ends.reasons[0]
        ends.channel.send(Say("swallowed"))

    run(test)


def test_a_message_that_is_too_large_is_the_senders_mistake() -> None:
    async def test(ends: Ends) -> None:
        with pytest.raises(ValueError, match="does not fit a message"):
            ends.channel.send(Say("x" * ipc.MAX_MESSAGE))
        assert not ends.channel.closed

    run(test)


def test_the_end_of_the_other_side_is_told_once() -> None:
    async def test(ends: Ends) -> None:
        ends.bare.close()
        await until(lambda: bool(ends.reasons))
        ends.channel.close()
        assert ends.reasons == ["the other side closed"]

    run(test)


def test_a_blocking_channel_says_why_there_is_no_answer() -> None:
    ours, theirs = pair()
    with BlockingChannel[Say](ours, Say, timeout=0.05) as channel:
        with pytest.raises(ChannelError, match="no answer in time"):
            channel.receive()
        theirs.send(b"junk")
        with pytest.raises(ChannelError, match="not a message"):
            channel.receive()
        theirs.send(encoded("at last"))
        assert channel.receive() == Say("at last")
        theirs.close()
        with pytest.raises(ChannelError, match="closed"):
            channel.receive()
        with pytest.raises(ChannelError, match="cannot send"):
            channel.send(Say("anybody?"))


def test_a_listening_socket_is_never_open_to_others_and_a_stale_one_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    before = os.umask(0)
    try:
        first = listen(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with pytest.raises(OSError, match="in use") as caught:
        listen(path)
    assert caught.value.errno == errno.EADDRINUSE
    first.close()
    second = listen(path)
    with BlockingChannel.connect(path, Say):
        accepted, _ = second.accept()
        assert peer_credentials(accepted).pid == os.getpid()
        accepted.close()
    second.close()
