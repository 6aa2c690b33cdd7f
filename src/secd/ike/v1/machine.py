"""IKEv1's machine: the parts of the protocol, put together."""

from __future__ import annotations

import msgspec

from secd.ike import esp, machine
from secd.ike.contract import DropCheckpoint, InstalledSA
from secd.ike.steps import Unanswered
from secd.ike.tunnel import Tunnel
from secd.ike.v1 import children, dataplane, dispatch, dpd, lifecycle, offers, tending
from secd.ike.v1.context import Context, Session
from secd.ike.v1.state import Child, IsakmpSA, KeyWanted
from secd.ike.wire.cursor import WireError
from secd.ike.world import World
from secd.sadb.messages import Datagram, Direction, Expire, NewMapping

_decode = msgspec.msgpack.Decoder(IsakmpSA).decode


class Machine(machine.Machine[IsakmpSA, Session, Child]):
    """Every ISAKMP SA, and the steps they take."""

    VERSION = 1
    NOUN = "ISAKMP SA"

    def __init__(self, world: World) -> None:
        """Start with none."""
        self.ctx = Context(world)
        super().__init__(self.ctx, _decode)

    def receive(self, datagram: Datagram) -> None:
        """An IKEv1 message from anybody."""
        dispatch.receive(self.ctx, self, datagram)

    def configured(self) -> None:
        """The tunnels are known: take up what was restored before."""
        for tunnel in self.world.tunnels.values():
            offers.warn(self.world, tunnel)
        super().configured()

    def drop(self, tunnel: Tunnel, reason: str) -> None:
        """End everything of a tunnel, and say so to the peer."""
        for session in self.ctx.of(tunnel.name):
            self.world.working(session.id)
        tending.drop_all(self.ctx, tunnel, reason, tell=True)

    def expired(self, event: Expire) -> None:
        """An SA has reached a limit, or somebody has removed it."""
        dataplane.expired(self.ctx, event)

    def mapped(self, event: NewMapping) -> None:
        """ESP that was authenticated came from a new address."""
        dataplane.mapped(self.ctx, event)

    def installed(self) -> list[InstalledSA]:
        """What the data plane is believed to have."""
        return esp.installed(self.ctx)

    # -- for the part that both versions share ------------------------------------------------------------

    def _unacceptable(self, session: Session, key: str, error: WireError) -> None:
        dispatch.unacceptable(self.ctx, session, key, error)

    def _unanswered(self, session: Session, key: str, error: Unanswered) -> None:
        tunnel = self.ctx.tunnel(session)
        self.world.log_stranger("error", "computation", f"{key}: {error}", session.sa.tunnel)
        if key == "quick" and tunnel is not None:
            tunnel.failed(str(error), self.world.now, self.world.random)
        dpd.schedule(self.ctx, session)
        self.ctx.touch(session)

    def _refused(self, owner: str, spi: int, direction: Direction, why: str) -> None:
        dataplane.refused(self.ctx, owner, spi, direction, why)

    def _due(self, session: Session) -> None:
        lifecycle.on_time(self.ctx, self, session)

    def _deadline(self, session: Session) -> float:
        return lifecycle.deadline(session)

    def _attempt(self, tunnel: Tunnel) -> None:
        tending.attempt(self.ctx, self, tunnel)

    def _tend(self, tunnel: Tunnel) -> None:
        tending.tend(self.ctx, tunnel)

    def _is_kept(self, session: Session) -> bool:
        return session.proven  # a first message alone costs nobody anything, nor us a checkpoint

    def _outgrown(self, session: Session) -> None:
        """Too much has happened to keep an SA: what was kept is out of date, which is worse than nothing."""
        if session.saved:
            session.saved = b""
            self.world.outbox.put(DropCheckpoint(session.id))
        if session.sa.rekey_at is not None:
            session.sa.rekey_at = self.world.now

    def _goes_on(self, session: Session) -> bool:
        if isinstance(session.sa.phase1, KeyWanted):
            self.ctx.remove(session)
            return False
        return not session.sa.half_open

    def _goodbye(self, session: Session) -> None:
        children.destroy(self.ctx, session, tell=True)
