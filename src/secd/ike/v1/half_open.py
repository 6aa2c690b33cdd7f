"""Main modes that others have begun and not finished: how many, and which of them goes when there are too many.

A first message costs its sender nothing, not even an address of its own.  So of those that have not gone on the oldest
makes room: a flood from forged addresses pushes itself out, and who does go on has the time of a whole table to do so.
Who has gone on with message 3 gets what is sent to its address, costs us a key exchange, and is not pushed out.

In aggressive mode the first message already costs a key exchange: few are taken on at a time, apart from main mode's.
"""

from __future__ import annotations

from collections import Counter

from secd.ike.proposals import Exchange
from secd.ike.v1.context import Context, Session
from secd.ike.v1.state import OfferTaken

#: Unfinished main modes: in all, and from one address.
MAX_HALF_OPEN = 2048
MAX_HALF_OPEN_EACH = 512
#: Of these such as have gone on with message 3; and of aggressive mode.
MAX_PROVEN = 128
MAX_PROVEN_EACH = 8
MAX_AGGRESSIVE = 64
MAX_AGGRESSIVE_EACH = 8


def make_room(ctx: Context, address: str) -> bool:
    """Make room for one more from `address`; false when there is nothing that could go."""
    mine = ctx.begun_by(address)
    if len(mine) >= MAX_HALF_OPEN_EACH:
        return _push_out(ctx, mine)
    everybody = ctx.half_open()
    return len(everybody) < MAX_HALF_OPEN or _push_out(ctx, everybody)


def may_go_on(ctx: Context, session: Session) -> bool:
    """Whether a main mode may go on to what costs: the key exchange."""
    session.proven = session.proven or _has_room(ctx, session.begun_by, "main", MAX_PROVEN_EACH, MAX_PROVEN)
    return session.proven


def may_begin(ctx: Context, address: str) -> bool:
    """Whether one more unfinished aggressive mode with `address` may be taken on."""
    return _has_room(ctx, address, "aggressive", MAX_AGGRESSIVE_EACH, MAX_AGGRESSIVE)


def _has_room(ctx: Context, address: str, exchange: Exchange, each_limit: int, limit: int) -> bool:
    same = [each for each in ctx.half_open().values() if each.proven and each.sa.exchange == exchange]
    computed = Counter(each.begun_by for each in same)
    if computed.total() < limit and computed[address] < each_limit:
        return True
    ctx.world.log_stranger(
        "warning", "half-open",
        f"{exchange} mode with {address} does not go on: {computed[address]} unfinished key exchanges are with it "
        f"(limit {each_limit}), {computed.total()} in all (limit {limit})",
    )  # fmt: skip
    return False


def _push_out(ctx: Context, among: dict[str, Session]) -> bool:
    oldest = next((each for each in among.values() if isinstance(each.sa.phase1, OfferTaken) and not each.proven), None)
    if oldest is None:
        return False
    ctx.world.log_stranger(
        "warning", "half-open",
        f"more main modes are begun than finished ({len(among)}): the oldest, from {oldest.begun_by}, makes room",
    )  # fmt: skip
    ctx.remove(oldest)
    return True
