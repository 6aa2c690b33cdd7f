"""`sec reset`: drop a tunnel's SAs and negotiate anew."""

from __future__ import annotations

from secd.cli.output import OK, CommandError, Parser, complain
from secd.control import client
from secd.control.messages import Refused


def main(arguments: list[str]) -> int:
    """Run `sec reset`."""
    parser = Parser(
        "sec reset",
        "Drop the SAs of a tunnel, or of every tunnel, telling the peer; an active one is negotiated anew at once.",
        "Traffic stops until the new SAs are there.  Exit codes: 0 done, 1 not done, 2 usage.",
    )
    parser.add_argument("interface", nargs="?", metavar="secN", help="this one alone")
    options = parser.parse_args(arguments)
    try:
        answer = client.reset(options.interface)
    except client.ControlError as error:
        raise CommandError(str(error)) from error
    if isinstance(answer, Refused):
        raise CommandError("\n".join(answer.errors) or "refused without a reason")
    for warning in answer.warnings:
        complain("sec reset", warning)
    return OK
