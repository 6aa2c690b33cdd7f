"""What iked wants to find again when it is restarted, and how often a checkpoint was in use when iked died."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from secd.sadb.messages import Checkpoint

#: Bounds: as many IKE SAs as these can be taken up again after iked dies.
MAX_COUNT = 16_384
MAX_OCTETS = 256 * 1024 * 1024
#: How often iked may die over one checkpoint before it is dropped.
STRIKES = 2


class Checkpoints:
    """Every checkpoint, in memory only."""

    def __init__(self, log: Callable[[str, str], None]) -> None:
        """Keep none."""
        self._log = log
        self._kept: dict[str, bytes] = {}
        self._octets = 0
        self._strikes: dict[str, int] = {}
        self._in_use: str | None = None
        self._full = False

    def __iter__(self) -> Iterator[Checkpoint]:
        """Give them in the order in which their ids were first seen."""
        for name, data in list(self._kept.items()):
            yield Checkpoint(name, data)

    def __len__(self) -> int:
        """Count them."""
        return len(self._kept)

    def keep(self, checkpoint: Checkpoint) -> None:
        """Keep it in place of an older one with the same id, whose strikes no longer count."""
        old = self._kept.get(checkpoint.id)
        octets = self._octets + len(checkpoint.data) - len(old or b"")
        if octets > MAX_OCTETS or (old is None and len(self._kept) >= MAX_COUNT):
            # An old state of an SA is worse than none: its message ids and keys have been used since.
            self.forget(checkpoint.id)
            if not self._full:
                self._full = True
                self._log("error", f"no room for more than {len(self._kept)} checkpoints ({self._octets} octets): "
                                   "some tunnels will be negotiated anew when iked is restarted")  # fmt: skip
            return
        self._full = False
        self._octets = octets
        self._kept[checkpoint.id] = checkpoint.data
        self._strikes.pop(checkpoint.id, None)

    def forget(self, name: str) -> None:
        """Keep it no longer."""
        self._octets -= len(self._kept.pop(name, b""))
        self._strikes.pop(name, None)

    def use(self, name: str | None) -> None:
        """The running iked is about to work on `name`."""
        self._in_use = name

    def died(self) -> str | None:
        """The running iked is gone.  Give the id of a checkpoint that is dropped for it, if there is one."""
        name, self._in_use = self._in_use, None
        if name is None or name not in self._kept:
            return None
        self._strikes[name] = self._strikes.get(name, 0) + 1
        if self._strikes[name] < STRIKES:
            return None
        self.forget(name)
        return name
