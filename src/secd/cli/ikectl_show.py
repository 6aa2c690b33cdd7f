"""`ikectl show`: IKE SAs and their children as OpenBSD prints them, numbers, and the certificates at hand."""

from __future__ import annotations

from collections.abc import Sequence

from secd.cli.ikectl import Options, UsageError, keyword, no_more
from secd.cli.output import CommandError

_WHAT = ("ca", "certstore", "sa", "stats")


def run_show(options: Options, words: Sequence[str]) -> bool:
    """Do `show WHAT`."""
    if not words:
        raise UsageError(f"missing argument: show {' | '.join(_WHAT)}")
    what, rest = keyword(words[0], _WHAT), list(words[1:])
    if what == "ca" and rest:
        from secd.cli.ikectl_ca import show_certificates

        return show_certificates(options, rest)
    no_more(rest)
    if what in ("ca", "certstore"):
        from secd.cli.ikectl_certstore import show_store

        return show_store(options, authorities_only=what == "ca")
    from secd.control.client import ControlError

    try:
        if what == "stats":
            from secd.cli.ikectl_stats import show_stats

            return show_stats(options)
        from secd.cli.ikectl_sa import show_sa

        return show_sa(options)
    except ControlError as error:
        raise CommandError(str(error)) from error
