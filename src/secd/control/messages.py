"""Orders and questions to a running secd, and what it answers.

`secd.sock` (the parent) takes configuration; `iked.sock` (the key-exchange daemon) tells status and takes orders.
Both speak the messages below over `secd.ipc`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from secd.ike.connection import Connection
from secd.ike.contract import ConnectionStatus, Log, SAKind
from secd.sadb.messages import SA, Name, Text

#: Bounds of one configuration.
MAX_RULES = 10_000
Secret = Annotated[bytes, Meta(max_length=4096)]

# -- to the parent ----------------------------------------------------------------------------------------


class Behaviour(Struct, frozen=True):
    """What is so for every tunnel: `set` of iked.conf(5), and ikectl(8).  None leaves it as it is.

    `passive`: nothing is begun.  `decoupled`: SAs are negotiated but not used.  `verbose`: debug lines are logged.
    """

    passive: bool | None = None
    decoupled: bool | None = None
    verbose: bool | None = None


class LoadBegin(Struct, frozen=True, tag="load"):
    """Rules of `source` (a file's real path, or `-`) follow; with `commit` they replace that source's rules."""

    source: Text
    mode: Literal["replace", "delete"] = "replace"
    behaviour: Behaviour = Behaviour()


class SetBehaviour(Struct, frozen=True, tag="behave"):
    """Be so until told otherwise.  Answer: `Accepted`."""

    behaviour: Behaviour


class AddConnection(Struct, frozen=True, tag="connection"):
    """One tunnel; `secret` is its pre-shared key, or its private key in PEM (empty when `delete`).

    `ppk` is the key of `connection.ikev2.ppk` (RFC 8784), empty without one.
    """

    connection: Connection
    secret: Secret
    ppk: Secret = b""

    def __repr__(self) -> str:
        """Show the connection, never the secret."""
        return f"AddConnection({self.connection.name})"


class AddManual(Struct, frozen=True, tag="manual"):
    """One manually keyed SA."""

    origin: Text
    sa: SA


class LoadCommit(Struct, frozen=True, tag="commit"):
    """Check the whole and apply it.  Answer: `Accepted` or `Refused`; after `Refused` nothing has changed."""


class ShowRules(Struct, frozen=True, tag="rules"):
    """What is loaded.  Answer: `Rules` without secrets, in parts, the last with `more` false."""


class ShowProcesses(Struct, frozen=True, tag="processes"):
    """Answer: `Processes`."""


# -- to iked ----------------------------------------------------------------------------------------------


class ShowStatus(Struct, frozen=True, tag="status"):
    """Answer: `Status`, in parts, the last with `more` false."""


class Reset(Struct, frozen=True, tag="reset"):
    """Drop a tunnel's SAs (None: all), telling the peer, and start again if active.  Answer: `Accepted`."""

    connection: Name | None = None


class Rekey(Struct, frozen=True, tag="rekey"):
    """Replace a tunnel's ISAKMP SA or its pair of ESP SAs now instead of later.  Answer: `Accepted`, when begun."""

    connection: Name
    what: SAKind = "child"


class Monitor(Struct, frozen=True, tag="monitor"):
    """From now on send every log line as `Logged`."""


# -- answers ----------------------------------------------------------------------------------------------


class Accepted(Struct, frozen=True, tag="accepted"):
    """Done; `warnings` are for the person who asked."""

    warnings: tuple[Text, ...] = ()


class Refused(Struct, frozen=True, tag="refused"):
    """Not done.  Each error is `FILE: LINE: message` where it belongs to a rule."""

    errors: tuple[Text, ...]


class Rules(Struct, frozen=True, tag="ruleset"):
    """A part of what is loaded."""

    source: Text
    connections: tuple[Connection, ...]
    manual: tuple[AddManual, ...]  # keys blanked
    more: bool


class ProcessStatus(Struct, frozen=True):
    """One of the processes."""

    name: str
    pid: int
    restarts: int
    uptime: float  # seconds


class Processes(Struct, frozen=True, tag="processset"):
    """All of them."""

    processes: tuple[ProcessStatus, ...]


class Status(Struct, frozen=True, tag="statusset"):
    """A part of the tunnels."""

    connections: tuple[ConnectionStatus, ...]
    more: bool


class Logged(Struct, frozen=True, tag="logged"):
    """A log line as it happens; `time` is epoch seconds."""

    time: float
    log: Log


ToParent = LoadBegin | AddConnection | AddManual | LoadCommit | SetBehaviour | ShowRules | ShowProcesses
ToIked = ShowStatus | Reset | Rekey | Monitor
Reply = Accepted | Refused | Rules | Processes | Status | Logged
