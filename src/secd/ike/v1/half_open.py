"""Main modes that others have begun and not finished: how many, and which of them goes when there are too many.

A first message costs its sender nothing, not even an address of its own.  So of those that have not gone on the oldest
makes room: a flood from forged addresses pushes itself out, and who does go on has the time of a whole table to do so.
Who has gone on with message 3 gets what is sent to its address, costs us a key exchange, and is not pushed out.
"""

from __future__ import annotations

from collections import Counter

from secd.ike.v1.context import Context, Session
from secd.ike.v1.state import OfferTaken

#: Unfinished main modes: in all, and from one address.
MAX_HALF_OPEN = 2048
MAX_HALF_OPEN_EACH = 512
#: Of these such as have gone on with message 3.
MAX_PROVEN = 128
MAX_PROVEN_EACH = 8


def make_room(ctx: Context, address: str) -> bool:
    """Make room for one more from `address`; false when there is nothing that could go."""
    mine = ctx.begun_by(address)
    if len(mine) >= MAX_HALF_OPEN_EACH:
        return _push_out(ctx, mine)
    everybody = ctx.half_open()
    return len(everybody) < MAX_HALF_OPEN or _push_out(ctx, everybody)


def may_go_on(ctx: Context, session: Session) -> bool:
    """Whether a main mode may go on to what costs: the key exchange."""
    session.proven = session.proven or can_compute(ctx, session.begun_by)
    return session.proven


def can_compute(ctx: Context, address: str) -> bool:
    """Whether one more unfinished key exchange with `address` may be taken on."""
    proven = Counter(each.begun_by for each in ctx.half_open().values() if each.proven)
    if proven.total() >= MAX_PROVEN or proven[address] >= MAX_PROVEN_EACH:
        ctx.world.log_stranger(
            "warning", "half-open",
            f"phase 1 with {address} does not go on: {proven[address]} unfinished key exchanges are with it "
            f"(limit {MAX_PROVEN_EACH}), {proven.total()} in all (limit {MAX_PROVEN})",
        )  # fmt: skip
        return False
    return True


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
