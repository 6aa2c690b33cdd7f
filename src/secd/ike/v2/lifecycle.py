"""What happens by itself: repeats, rekeys, ends, and bringing a tunnel up again.

`on_time` does what has become due for a session.  `tend` looks at a tunnel as it stands after a step: it sends the next
request of each of its sessions, sees to it that there is one pair in the end, and that somebody is at work on
a tunnel that is down.  It derives all it does from the state, so it does not matter what the step was.
"""

from __future__ import annotations

from collections.abc import Iterator

from secd.ike import nat
from secd.ike.contract import Send
from secd.ike.endpoint import Endpoint
from secd.ike.steps import Step, last_use
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import child as creation
from secd.ike.v2 import ending, exchange, informational, initial, liveness, mobike, pairs, rekey, suites
from secd.ike.v2.context import Context, Runner, Session, settings
from secd.ike.v2.state import (
    AuthSent,
    Between,
    Child,
    Closed,
    Closing,
    Established,
    InitAnswered,
    InitSent,
    Probe,
    Starting,
)

#: Seconds for which the responder of an IKE SA leaves asking for a pair to the initiator.
COURTESY = 3.0
#: Seconds after which something that could not begin is tried again.
AGAIN = 5.0
#: Seconds after which a pair beside the newest is looked at; without a packet for so long it is not needed.
CHECK, IDLE = 60.0, 30.0
#: Seconds within which two IKE SAs, or pairs, count as made at once: then which of them goes must not depend on who
#: looks.
AT_ONCE = 10.0
#: Seconds after which one of two IKE SAs that were made at once is ended by its initiator, and else by the responder.
ONE_TOO_MANY = 5.0
#: Seconds that the data plane gets to end a pair by itself.
GRACE = 2.0

_UNFINISHED = Starting | InitSent | Between | AuthSent


# -- deadlines --------------------------------------------------------------------------------------------


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
        times += [each.activate_at, each.gone_at, each.check_at, each.expires + GRACE]
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


# -- pairs ------------------------------------------------------------------------------------------------


def _children(ctx: Context, runner: Runner, session: Session) -> None:
    for each in list(session.sa.children):
        if each in session.sa.children:
            _child(ctx, runner, session, each)


def _child(ctx: Context, runner: Runner, session: Session, child: Child) -> None:
    now = ctx.world.now
    if (child.gone_at is not None and child.gone_at <= now) or child.expires + GRACE <= now:
        if child.gone_at is None and session.sa.established:
            pairs.end(ctx, session, child)  # the peer hears of it; the data plane has ended it by itself
            child.expires = float("inf")
        else:
            pairs.remove(ctx, session, child)
    elif child.activate_at is not None and child.activate_at <= now:
        child.activate_at = now + pairs.LOOK
        runner.begin(session, f"use-{child.spi_in}", _is_in_use(ctx, session, child))
    elif child.check_at is not None and child.check_at <= now:
        child.check_at = now + IDLE
        runner.begin(session, f"check-{child.spi_in}", _is_needed(ctx, session, child))


def _is_in_use(ctx: Context, session: Session, child: Child) -> Step[None]:
    """Does the peer send on a new pair?  Then it can receive on it; and after a while it can in any case."""
    idle = yield from last_use(child.spi_in, child.endpoint.local)
    holder = _holder(ctx, session, child)
    if holder is None or child.outbound is None:
        return
    if idle is not None or ctx.world.now - child.created >= pairs.PATIENCE:
        pairs.activate(ctx, holder, child)


def _is_needed(ctx: Context, session: Session, child: Child) -> Step[None]:
    """A pair beside the newest: end it if the peer should have, or if it is idle.

    Of two that were made at once only the one with the lower SPIs goes by idleness, which both sides see alike.
    """
    newest = ctx.newest_pair(session.sa.tunnel)
    usable = [each for _, each in ctx.pairs(session.sa.tunnel) if each.usable and each is not child]
    if newest is None or not usable or (newest[1] is child and not child.replaced):
        child.check_at, child.replaced = None, False
        return
    idle = yield from last_use(child.spi_in, child.endpoint.local)
    holder = _holder(ctx, session, child)
    if holder is None or not holder.sa.established:
        return
    other = max(usable, key=lambda each: each.created)
    alike = abs(other.created - child.created) < AT_ONCE
    loses = not alike or _lower(child, other)
    if child.replaced or (loses and (idle is None or idle >= IDLE)):
        ctx.log(holder, "child-duplicate", f"SPI 0x{child.spi_in:08x} is not needed beside 0x{other.spi_in:08x}")
        pairs.end(ctx, holder, child)


def _holder(ctx: Context, session: Session, child: Child) -> Session | None:
    """Who has this pair now; it may have moved while a step waited."""
    found = pairs.find(ctx, session.sa.tunnel, spi_in=child.spi_in)
    return found[0] if found is not None and found[1] is child else None


# -- the peer ---------------------------------------------------------------------------------------------


def _watch(ctx: Context, runner: Runner, session: Session) -> None:
    now = ctx.world.now
    if session.look_at is not None and session.look_at <= now:
        session.look_at = None
        runner.begin(session, liveness.KEY, liveness.look(ctx, session))
    if session.keepalive_at is not None and session.keepalive_at <= now:
        here = session.sa.nat.here and session.sa.established
        session.keepalive_at = now + nat.KEEPALIVE if here else None
        if here and ctx.newest(session.sa.tunnel) is session:
            where = session.sa.endpoint
            ctx.world.outbox.put(
                Send(where.local, where.local_port, where.remote, where.remote_port, nat.KEEPALIVE_DATA)
            )


# -- requests ---------------------------------------------------------------------------------------------


def next_request(ctx: Context, runner: Runner, session: Session) -> None:
    """Send what is due next, if nothing of ours is under way: ends first, then new keys, then questions."""
    sa, now, tunnel = session.sa, ctx.world.now, ctx.tunnel(session)
    if not sa.established or sa.request is not None or ctx.world.steps.busy(session.id, "request"):
        return
    if session.moved_to is not None:
        where, session.moved_to = session.moved_to, None
        mobike.tell(ctx, session, where)
        return
    ends = [each for each in sa.children if each.delete_at is not None and each.delete_at <= now and not each.told]
    if ends:
        ending.delete_children(ctx, session, ends)
    elif sa.delete_at is not None:
        if sa.delete_at <= now:
            heir = ending.successor(ctx, session)
            if heir is not None:
                ending.adopt(ctx, session, heir)
                informational.activate_held(ctx, sa.tunnel)
            ending.delete_ike(ctx, session)
    elif sa.successor or tunnel is None:
        return
    elif sa.rekey_at is not None and sa.rekey_at <= now:
        _renew_ike(ctx, runner, session, tunnel)
    elif (due := _due(ctx, session)) is not None:
        _renew_child(ctx, runner, session, tunnel, due)
    elif session.probe:
        mobike.question(ctx, session)


def _renew_ike(ctx: Context, runner: Runner, session: Session, tunnel: Tunnel) -> None:
    session.sa.rekey_at = None
    if ctx.newest(tunnel.name) is session:
        name, session.ike_group = session.ike_group, ""
        runner.begin(session, "request", rekey.start(ctx, session, tunnel, name))


def _due(ctx: Context, session: Session) -> Child | None:
    """The pair that is to be renewed now; one that is not the newest of its tunnel is left to itself."""
    newest = ctx.newest_pair(session.sa.tunnel)
    for each in session.sa.children:
        if each.rekey_at is not None and each.rekey_at <= ctx.world.now:
            each.rekey_at = None
            if each.usable and not each.replaced and newest is not None and newest[1] is each:
                return each
    return None


def _renew_child(ctx: Context, runner: Runner, session: Session, tunnel: Tunnel, child: Child) -> None:
    if session.exhausted:  # the peer makes no pair in this IKE SA any more: make another one
        child.rekey_at = ctx.world.now + creation.REFUSED
        _start(ctx, runner, tunnel, session.sa.endpoint, replaces=True)
        return
    name, session.group = session.group, None
    runner.begin(session, "request", creation.start(ctx, session, tunnel, child.spi_in, name))


# -- tunnels ----------------------------------------------------------------------------------------------


def tend(ctx: Context, runner: Runner, tunnel: Tunnel) -> None:
    """Look at a tunnel after a step."""
    newest = ctx.newest(tunnel.name)
    _gather(ctx, tunnel, newest)
    for session in ctx.of(tunnel.name):
        next_request(ctx, runner, session)
        liveness.schedule(ctx, session)
        if session.sa.established and session.sa.nat.here and session.keepalive_at is None:
            session.keepalive_at = ctx.world.now + nat.KEEPALIVE
    pair = ctx.newest_pair(tunnel.name)
    _duplicates(ctx, tunnel, pair)
    if pair is not None and tunnel.up_since is None:
        ctx.world.log("info", tunnel.name, "up", f"{tunnel.connection.iface} is up")
        tunnel.up(ctx.world.now)
    elif pair is None and tunnel.up_since is not None:
        tunnel.down(tunnel.reason or "the SAs are gone", ctx.world.now)
        ctx.world.log("warning", tunnel.name, "down", f"{tunnel.connection.iface} is down: {tunnel.reason}")
    if pair is not None:
        tunnel.attempt_at = None
    else:
        _bring_up(ctx, tunnel)
    ctx.world.timers.set(f"tunnel {tunnel.name}", tunnel.attempt_at)


def attempt(ctx: Context, runner: Runner, tunnel: Tunnel) -> None:
    """The time has come to try to bring a tunnel up."""
    tunnel.attempt_at = None
    ctx.tend(tunnel.name)
    newest = ctx.newest(tunnel.name)
    if _busy(ctx, tunnel) or ctx.newest_pair(tunnel.name) is not None:
        return
    if newest is not None and not newest.exhausted:
        name, newest.group = newest.group, None
        runner.begin(newest, "request", creation.start(ctx, newest, tunnel, 0, name))
        return
    connection = tunnel.connection
    obstacle = _obstacle(tunnel)
    if obstacle or connection.peer is None:
        tunnel.failed(obstacle, ctx.world.now, ctx.world.random)
        ctx.world.log_once(tunnel, "error", "unsupported", obstacle)
        return
    where = Endpoint(connection.local or "", nat.IKE_PORT, connection.peer, nat.IKE_PORT)
    _start(ctx, runner, tunnel, where, replaces=newest is not None)


def _start(ctx: Context, runner: Runner, tunnel: Tunnel, where: Endpoint, *, replaces: bool) -> None:
    if not _unfinished(ctx, tunnel):
        initial.start(ctx, runner, tunnel, where, replaces=replaces)


def _obstacle(tunnel: Tunnel) -> str:
    """Why a connection cannot be tried at all."""
    origin = tunnel.connection.origin
    if not suites.ike_alternatives(settings(tunnel).ikesa):
        return f"{origin}: no `ikesa` can be used"
    if not creation.alternatives(tunnel, key_exchange=True):
        return f"{origin}: no `childsa` can be used"
    return ""


def _bring_up(ctx: Context, tunnel: Tunnel) -> None:
    """There is no usable pair: use one that was held back, else somebody has to be at work, or an attempt planned."""
    informational.activate_held(ctx, tunnel.name)
    if _busy(ctx, tunnel) or not tunnel.starts:
        tunnel.attempt_at = None
        return
    tunnel.plan(ctx.world.now, ctx.world.random)
    newest = ctx.newest(tunnel.name)
    if newest is not None and newest.sa.role == "responder" and tunnel.attempt_at is not None:
        tunnel.attempt_at = max(tunnel.attempt_at, newest.since + COURTESY)


def _gather(ctx: Context, tunnel: Tunnel, newest: Session | None) -> None:
    """Attempts that the newest IKE SA makes needless go; what it was made to replace, or is one too many, ends."""
    if newest is None:
        return
    for other in ctx.of(tunnel.name):
        if other is newest:
            continue
        early = isinstance(other.sa.phase, Starting | InitSent) and other.initiator
        if early and (not other.sa.replaces or newest.since > other.sa.created):
            ctx.remove(other)
        elif other.sa.established and other.sa.delete_at is None and not other.sa.successor:
            _one_too_many(ctx, newest, other)


def _one_too_many(ctx: Context, newest: Session, other: Session) -> None:
    """Two IKE SAs of one tunnel: the older one goes; of two made at once the one with the lower SPIs."""
    if isinstance(other.sa.phase, Established) and not other.sa.phase.confirmed:
        return
    usable = any(each.usable for each in newest.sa.children)
    if newest.sa.replaces and usable and newest.initiator:
        other.sa.delete_at = ctx.world.now
    elif newest.since - other.since >= AT_ONCE or newest.sa.role == other.sa.role:
        if not other.sa.children and usable:
            other.sa.delete_at = ctx.world.now + CHECK
    else:
        loser = min(newest, other, key=lambda each: (each.sa.spi_i, each.sa.spi_r))
        if any(each.usable for each in (other if loser is newest else newest).sa.children):
            loser.sa.delete_at = ctx.world.now + (ONE_TOO_MANY if loser.initiator else CHECK)
    ctx.touch(other)


def _duplicates(ctx: Context, tunnel: Tunnel, newest: tuple[Session, Child] | None) -> None:
    """Pairs beside the newest: one that the other side made at the same time is one too many, others are looked at."""
    for session, child in list(ctx.pairs(tunnel.name)):
        if newest is None or child is newest[1] or not child.usable or child.check_at is not None:
            continue
        rival = newest[1]
        at_once = session is newest[0] and rival.created - child.created < AT_ONCE
        if at_once and child.ours != rival.ours and not child.replaced:
            loser = newest if _lower(rival, child) else (session, child)
            loser[1].replaced = True
            loser[1].check_at = ctx.world.now + (ONE_TOO_MANY if loser[1].ours else CHECK)
            ctx.touch(loser[0])
        elif child.delete_at is None:
            child.check_at = ctx.world.now + CHECK
            ctx.touch(session)


def _lower(one: Child, other: Child) -> bool:
    """Whether `one` has the lower SPIs, which both sides see alike."""
    return sorted((one.spi_in, one.spi_out)) < sorted((other.spi_in, other.spi_out))


def _unfinished(ctx: Context, tunnel: Tunnel) -> bool:
    """Whether an attempt of ours is under way."""
    return any(
        each.initiator and not isinstance(each.sa.phase, Established | Closing | Closed | InitAnswered)
        for each in ctx.of(tunnel.name)
    )


def _busy(ctx: Context, tunnel: Tunnel) -> bool:
    return _unfinished(ctx, tunnel) or any(_at_work(ctx, each) for each in ctx.of(tunnel.name))


def _at_work(ctx: Context, session: Session) -> bool:
    """Whether something is under way before whose end no pair can be asked for, or that makes one."""
    steps, sa = ctx.world.steps, session.sa
    if not sa.established:
        return False
    waits = sa.request is not None or bool(sa.successor)
    return waits or steps.busy(session.id, "request") or steps.busy(session.id, "answer")
