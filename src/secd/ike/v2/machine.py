"""IKEv2's machine: the parts of the protocol, put together."""

from __future__ import annotations

import msgspec

from secd.ike import esp, machine
from secd.ike.contract import InstalledSA
from secd.ike.steps import Unanswered
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import config, dataplane, dispatch, ending, failures, lifecycle, mobike, redirect, tending
from secd.ike.v2.context import Context, Session
from secd.ike.v2.cookies import Cookies
from secd.ike.v2.state import Child, Closed, Closing, IkeSA, Starting
from secd.ike.wire.cursor import WireError
from secd.ike.world import World
from secd.sadb.messages import Datagram, Direction, Expire, NewMapping

_decode = msgspec.msgpack.Decoder(IkeSA).decode


class Machine(machine.Machine[IkeSA, Session, Child]):
    """Every IKE SA, and the steps they take.

    A session has three kinds of steps that may wait: "request" begins one of ours, "response" works on the answer to
    it, "answer" on a request of the peer's.
    """

    VERSION = 2
    NOUN = "IKE SA"

    def __init__(self, world: World) -> None:
        """Start with none."""
        self.ctx = Context(world)
        self._cookies = Cookies(world)
        super().__init__(self.ctx, _decode)

    def configured(self) -> None:
        """The tunnels are known."""
        config.configured(self.ctx)
        redirect.configured(self.ctx)
        super().configured()
        config.tell(self.ctx)

    def restore(self, id_: str, data: bytes) -> None:
        """Take up a checkpoint, now or when the tunnels are known."""
        super().restore(id_, data)
        config.tell(self.ctx)

    def _take_up(self, id_: str, sa: IkeSA, data: bytes) -> None:
        name, established = sa.tunnel, sa.established
        super()._take_up(id_, sa, data)
        if established:
            config.restored(self.ctx, sa, name)

    def receive(self, datagram: Datagram) -> None:
        """An IKEv2 message from anybody."""
        dispatch.receive(self.ctx, self, self._cookies, datagram)

    def drop(self, tunnel: Tunnel, reason: str, *, repeat: bool = True) -> None:
        """End everything of a tunnel, and say so to the peer; `repeat`: until it has heard of it."""
        for session in self.ctx.of(tunnel.name):
            self.world.working(session.id)
            ending.goodbye(self.ctx, session, repeat=repeat)
        tunnel.down(reason, self.world.now)
        self.ctx.tend(tunnel.name)

    def expired(self, event: Expire) -> None:
        """An SA has reached a limit, or somebody has removed it."""
        dataplane.expired(self.ctx, event)

    def mapped(self, event: NewMapping) -> None:
        """ESP that was authenticated came from a new address."""
        dataplane.mapped(self.ctx, event)

    def paths_changed(self) -> None:
        """Our addresses or routes are others than before."""
        mobike.paths_changed(self.ctx)

    def installed(self) -> list[InstalledSA]:
        """What the data plane is believed to have."""
        return esp.installed(self.ctx)

    # -- for the part that both versions share ------------------------------------------------------------

    def _unacceptable(self, session: Session, key: str, error: WireError) -> None:
        failures.unacceptable(self.ctx, session, key, error)

    def _unanswered(self, session: Session, key: str, error: Unanswered) -> None:
        failures.uncomputed(self.ctx, session, key, error)

    def _refused(self, owner: str, spi: int, direction: Direction, why: str) -> None:
        dataplane.refused(self.ctx, owner, spi, direction, why)

    def _due(self, session: Session) -> None:
        lifecycle.on_time(self.ctx, self, session)

    def _deadline(self, session: Session) -> float:
        return lifecycle.deadline(self.ctx, session)

    def _attempt(self, tunnel: Tunnel) -> None:
        tending.attempt(self.ctx, self, tunnel)

    def _tend(self, tunnel: Tunnel) -> None:
        tending.tend(self.ctx, self, tunnel)

    def _is_kept(self, session: Session) -> bool:
        return not isinstance(session.sa.phase, Starting)

    def _goes_on(self, session: Session) -> bool:
        return not session.sa.half_open and not isinstance(session.sa.phase, Closing | Closed)

    def _goodbye(self, session: Session) -> None:
        ending.goodbye(self.ctx, session)

    def _ends(self, child: Child) -> bool:
        return child.replaced or child.delete_at is not None
