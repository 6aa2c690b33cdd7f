"""What becomes due for an IKE SA: repeats, ends, looks at its pairs and at the peer."""

from __future__ import annotations

from collections.abc import Iterator

from secd.ike import nat
from secd.ike.v2 import aging, ending, exchange, liveness
from secd.ike.v2.context import Context, Runner, Session
from secd.ike.v2.state import AuthSent, Between, Closed, Closing, InitSent, Probe, Starting

#: Seconds after which something that could not begin is tried again.
AGAIN = 5.0

_UNFINISHED = Starting | InitSent | Between | AuthSent


def deadline(ctx: Context, session: Session) -> float:
    """When `on_time` has something to do for `session`."""
    return min(_deadlines(ctx, session))


def _deadlines(ctx: Context, session: Session) -> Iterator[float]:
    sa = session.sa
    yield sa.expires
    times: list[float | None] = [session.look_at, session.keepalive_at]
    if sa.request is not None:
        times.append(sa.request.next)
    elif sa.established and not ctx.world.steps.busy(session.id, "request"):
        times.append(sa.delete_at)
        if not sa.successor and sa.delete_at is None:
            times += [sa.rekey_at, *(each.rekey_at for each in sa.children)]
        times += [each.delete_at for each in sa.children if not each.told]
    for each in sa.children:
        times += [each.activate_at, each.gone_at, each.check_at, each.expires + aging.GRACE]
    yield from (each for each in times if each is not None)


def on_time(ctx: Context, runner: Runner, session: Session) -> None:
    """Do what has become due."""
    ctx.touch(session)
    if session.sa.expires <= ctx.world.now:
        _expired(ctx, session)
    for part in (_repeat, _children, _watch):
        if session.id in ctx.sessions:
            part(ctx, runner, session)


def _expired(ctx: Context, session: Session) -> None:
    sa = session.sa
    if sa.established:
        sa.expires = float("inf")
        sa.delete_at = ctx.world.now
        ctx.log(session, "ike-expired", f"{sa.endpoint.remote}: the IKE SA's lifetime is over")
    else:
        if isinstance(sa.phase, _UNFINISHED) or session.initiator:
            gave_up(ctx, session)
        ending.destroy(ctx, session)


def _repeat(ctx: Context, runner: Runner, session: Session) -> None:
    request, now = session.sa.request, ctx.world.now
    if request is None or request.next > now:
        return
    if ctx.world.steps.busy(session.id, "response"):
        request.next = now + AGAIN
    elif not exchange.repeat_request(ctx, session):
        unanswered(ctx, session)


def unanswered(ctx: Context, session: Session) -> None:
    """A request was repeated often enough: the peer is not there, and with it goes all (RFC 7296 §2.4)."""
    sa, tunnel = session.sa, ctx.tunnel(session)
    ctx.locals.pop(sa.endpoint.remote, None)  # perhaps it is we who are not where we were
    if sa.established and tunnel is not None:
        asked = isinstance(sa.request.purpose, Probe) if sa.request is not None else False
        what = "questions whether it is there" if asked else "repeats of a request"
        tries = sa.request.tries if sa.request is not None else 0
        reason = f"{sa.endpoint.remote} does not answer: {tries} {what} were left unanswered"
        ctx.world.log("warning", tunnel.name, "peer-dead", reason)
        if any(each.usable for each in sa.children):
            tunnel.reason = reason
    elif not isinstance(sa.phase, Closing):
        gave_up(ctx, session)
    ending.destroy(ctx, session)


def gave_up(ctx: Context, session: Session) -> None:
    """Our attempt was not answered to its end."""
    tunnel, sa = ctx.tunnel(session), session.sa
    ctx.locals.pop(sa.endpoint.remote, None)
    if tunnel is None or not session.initiator or isinstance(sa.phase, Closing | Closed):
        return
    where = f"{sa.endpoint.remote} port {sa.endpoint.remote_port}"
    what = "IKE_AUTH" if isinstance(sa.phase, AuthSent) else "IKE_SA_INIT"
    what = "IKE_INTERMEDIATE" if isinstance(sa.phase, Between) else what
    reason = sa.phase.refusal if isinstance(sa.phase, InitSent) else ""
    if not reason:
        reason = f"no answer from {where} to {what}"
        ctx.world.log_once(tunnel, "warning", "no-answer", reason)
    if sa.initial_contact:
        ctx.contacted.discard(sa.endpoint.remote)
    tunnel.failed(reason, ctx.world.now, ctx.world.random)


def _children(ctx: Context, runner: Runner, session: Session) -> None:
    for each in list(session.sa.children):
        if each in session.sa.children:
            aging.on_time(ctx, runner, session, each)


def _watch(ctx: Context, runner: Runner, session: Session) -> None:
    now = ctx.world.now
    if session.look_at is not None and session.look_at <= now:
        session.look_at = None
        runner.begin(session, liveness.KEY, liveness.look(ctx, session))
    if session.keepalive_at is not None and session.keepalive_at <= now:
        here = session.sa.nat.here and session.sa.established
        session.keepalive_at = now + nat.KEEPALIVE if here else None
        if here and ctx.newest(session.sa.tunnel) is session:
            ctx.send(session.sa.endpoint, nat.KEEPALIVE_DATA)
