"""What the parent and its two children say to each other over the socket pairs they were born with."""

from __future__ import annotations

from msgspec import Struct

from secd.ike.connection import Connection
from secd.sadb.messages import Interface, Name, Seq, Text

# -- sadb to the parent -----------------------------------------------------------------------------------


class OpenTUN(Struct, frozen=True, tag="opentun"):
    """Open /dev/net/tun `queues` times for `name`.  Answer: `TUNOpened` with the descriptors."""

    seq: Seq
    name: Interface
    queues: int


class CloseTUN(Struct, frozen=True, tag="closetun"):
    """`name` is destroyed: let go of its detached queue."""

    name: Interface


# -- the parent to sadb -----------------------------------------------------------------------------------


class TUNOpened(Struct, frozen=True, tag="tunopened"):
    """`queues` descriptors, and one more at the end when `detached`: the queue that the parent holds a copy of.

    On failure `error` says why and there are no descriptors.
    """

    seq: Seq
    name: Interface
    detached: bool
    error: Text = ""


class KnownInterfaces(Struct, frozen=True, tag="known"):
    """First message to a new sadb: the interfaces whose detached queue the parent holds, to be taken up again."""

    names: tuple[Interface, ...]


class ClientConnected(Struct, frozen=True, tag="client"):
    """Comes with one descriptor: a seam connection for a new iked."""


# -- iked to the parent -----------------------------------------------------------------------------------


class PRFRequest(Struct, frozen=True, tag="prf"):
    """prf(pre-shared key `key`, data), `hash` md5, sha1, sha2-256...; with `pad` prf(prf(key, pad), data).

    Answer: `KeyResult`.
    """

    seq: Seq
    key: Name
    hash: Name
    data: bytes
    pad: bytes = b""


class SignRequest(Struct, frozen=True, tag="sign"):
    """A signature over `data` by private key `key`.  Answer: `KeyResult`."""

    seq: Seq
    key: Name
    scheme: Name
    data: bytes


# -- the parent to iked -----------------------------------------------------------------------------------


class KeyResult(Struct, frozen=True, tag="keyresult"):
    """`data`, or `error` when it could not be done."""

    seq: Seq
    data: bytes = b""
    error: Text = ""


class ConfigureBegin(Struct, frozen=True, tag="cfgbegin"):
    """A whole new set of connections follows.

    `decoupled`: SAs are negotiated, but the data plane does not get them.  `verbose`: debug lines go to the parent too.
    """

    decoupled: bool = False
    verbose: bool = False


class ConfigureConnection(Struct, frozen=True, tag="cfgconnection"):
    """One of them."""

    connection: Connection


class ConfigureCommit(Struct, frozen=True, tag="cfgcommit"):
    """That was all: negotiate by these."""


# -- both ways --------------------------------------------------------------------------------------------


class Alive(Struct, frozen=True, tag="alive"):
    """The parent asks whether a child lives, and the child answers with the same."""


# -- both children to the parent --------------------------------------------------------------------------


class Ready(Struct, frozen=True, tag="ready"):
    """Set up, privileges dropped, serving."""


class LogLine(Struct, frozen=True, tag="log"):
    """A line for the log, which only the parent writes."""

    level: Name
    message: Text


# -- the parent to both children --------------------------------------------------------------------------


class Stop(Struct, frozen=True, tag="stop"):
    """Say goodbye to the peers (iked), then end."""


SadbToParent = OpenTUN | CloseTUN | Ready | LogLine | Alive
ParentToSadb = TUNOpened | KnownInterfaces | ClientConnected | Stop | Alive
IkedToParent = PRFRequest | SignRequest | Ready | LogLine | Alive
ParentToIked = KeyResult | ConfigureBegin | ConfigureConnection | ConfigureCommit | Stop | Alive
