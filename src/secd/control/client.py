"""What the commands ask of a running secd: plain calls, one connection each, errors in words.

Every call raises `ControlError` whose text is for the person at the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from secd.control.messages import (
    Accepted,
    AddConnection,
    AddManual,
    Behaviour,
    LoadBegin,
    LoadCommit,
    Logged,
    Monitor,
    Processes,
    ProcessStatus,
    Refused,
    Rekey,
    Reply,
    Reset,
    Rules,
    SetBehaviour,
    ShowProcesses,
    ShowRules,
    ShowStatus,
    Status,
)
from secd.ike.contract import ConnectionStatus, SAKind
from secd.ipc.channel import BlockingChannel, ChannelError
from secd.ipc.paths import iked_socket, secd_socket

#: Seconds to wait for an answer; a load waits longer, since it is checked whole and applied first.
TIMEOUT = 10.0
LOAD_TIMEOUT = 60.0


class ControlError(Exception):
    """secd could not be asked, or gave no answer that makes sense."""


def load(
    source: str,
    connections: Iterable[AddConnection],
    manual: Iterable[AddManual],
    mode: Literal["replace", "delete"] = "replace",
    behaviour: Behaviour | None = None,
) -> Accepted | Refused:
    """Replace the rules of `source` (a file's real path, or `-`) by these, or take these away: all or nothing."""
    with _connect(secd_socket(), LOAD_TIMEOUT) as channel:
        # When it refuses before it has read everything, sending fails and its reason is waiting to be read.
        with suppress(ChannelError):
            channel.send(LoadBegin(source, mode, behaviour or Behaviour()))
            for connection in connections:
                channel.send(connection)
            for sa in manual:
                channel.send(sa)
            channel.send(LoadCommit())
        return _verdict(channel)


def behave(behaviour: Behaviour) -> Accepted | Refused:
    """Set what is so for every tunnel."""
    with _connect(secd_socket()) as channel:
        channel.send(SetBehaviour(behaviour))
        return _verdict(channel)


def rules() -> list[Rules]:
    """Tell what is loaded, without secrets: one or more `Rules` for each source."""
    parts: list[Rules] = []
    with _connect(secd_socket()) as channel:
        channel.send(ShowRules())
        while True:
            part: Rules = _expect(channel, (Rules,))
            parts.append(part)
            if not part.more:
                return parts


def processes() -> tuple[ProcessStatus, ...]:
    """Tell which processes run, and since when."""
    with _connect(secd_socket()) as channel:
        channel.send(ShowProcesses())
        answer: Processes = _expect(channel, (Processes,))
        return answer.processes


def status() -> list[ConnectionStatus]:
    """Tell how each tunnel is."""
    tunnels: list[ConnectionStatus] = []
    with _connect(iked_socket()) as channel:
        channel.send(ShowStatus())
        while True:
            part: Status = _expect(channel, (Status,))
            tunnels.extend(part.connections)
            if not part.more:
                return tunnels


def reset(connection: str | None = None) -> Accepted | Refused:
    """Drop the SAs of one tunnel, or of all, and start again if it is active."""
    with _connect(iked_socket()) as channel:
        channel.send(Reset(connection))
        return _verdict(channel)


def rekey(connection: str, what: SAKind = "child") -> Accepted | Refused:
    """Begin to replace the ISAKMP SA of a tunnel, or its pair of ESP SAs."""
    with _connect(iked_socket()) as channel:
        channel.send(Rekey(connection, what))
        return _verdict(channel)


def monitor() -> Iterator[Logged]:
    """Yield iked's log lines as they happen, until the caller stops or iked ends."""
    with _connect(iked_socket(), None) as channel:
        channel.send(Monitor())
        while True:
            logged: Logged = _expect(channel, (Logged,))
            yield logged


def _connect(path: Path, timeout: float | None = TIMEOUT) -> BlockingChannel[Reply]:
    try:
        return BlockingChannel.connect(str(path), Reply, timeout=timeout)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ControlError(
            f"secd is not running (no {path}): start it with `systemctl start secd` or `secd`"
        ) from error
    except ConnectionRefusedError as error:
        raise ControlError(
            f"secd is not running (nobody listens at {path}): start it with `systemctl start secd` or `secd`"
        ) from error
    except PermissionError as error:
        raise ControlError(f"cannot talk to secd at {path}: permission denied; become root") from error
    except OSError as error:
        raise ControlError(f"cannot talk to secd at {path}: {error.strerror or error}") from error


def _verdict(channel: BlockingChannel[Reply]) -> Accepted | Refused:
    answer: Accepted | Refused = _expect(channel, (Accepted, Refused))
    return answer


def _expect(channel: BlockingChannel[Reply], types: tuple[type, ...]) -> Any:
    """Wait for an answer of one of `types`; a refusal of a plain question is an error."""
    try:
        answer = channel.receive()
    except ChannelError as error:
        raise ControlError(f"secd gave no answer: {error}") from error
    if isinstance(answer, types):
        return answer
    if isinstance(answer, Refused):
        raise ControlError("; ".join(answer.errors) or "secd refused without a reason")
    raise ControlError(f"secd answered with a {type(answer).__name__}, which fits no question of mine")
