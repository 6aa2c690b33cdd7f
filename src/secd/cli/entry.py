"""Where the commands begin: Ctrl-C ends them without a word, also while they are still being loaded."""

from __future__ import annotations

import importlib
import signal

#: What a shell says of a command that was ended by Ctrl-C.
INTERRUPTED = 128 + signal.SIGINT


def secd() -> int:
    """Run secd(8)."""
    return _run("secd.cli.secd")


def ipsecctl() -> int:
    """Run ipsecctl(8)."""
    return _run("secd.cli.ipsecctl")


def ikectl() -> int:
    """Run ikectl(8)."""
    return _run("secd.cli.ikectl")


def sec() -> int:
    """Run sec(8)."""
    return _run("secd.cli.sec")


def _run(module: str) -> int:
    """Load a command and run its `main`; until there is something to be put in order, Ctrl-C just ends it."""
    # A job in the background ignores SIGINT, and goes on doing so.
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        if ours:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        main = importlib.import_module(module).main
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = int(main())
        if ours:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    except KeyboardInterrupt:
        return INTERRUPTED
    return code
