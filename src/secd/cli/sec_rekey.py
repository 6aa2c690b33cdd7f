"""`sec rekey`: renew a tunnel's SAs before their time."""

from __future__ import annotations

from secd.cli.output import OK, CommandError, Parser
from secd.control import client
from secd.control.messages import Refused


def main(arguments: list[str]) -> int:
    """Run `sec rekey`."""
    parser = Parser(
        "sec rekey",
        "Negotiate new ESP SAs for a tunnel now, or with --ike a new ISAKMP SA; the old ones end when replaced.",
        "No packet is lost.  `sec status` shows the new SAs.  Exit codes: 0 begun, 1 not done, 2 usage.",
    )
    parser.add_argument("--ike", action="store_true", help="the ISAKMP SA (phase 1) instead of the ESP SAs (phase 2)")
    parser.add_argument("interface", metavar="secN", help="the tunnel")
    options = parser.parse_args(arguments)
    try:
        answer = client.rekey(options.interface, "ike" if options.ike else "child")
    except client.ControlError as error:
        raise CommandError(str(error)) from error
    if isinstance(answer, Refused):
        raise CommandError("\n".join(answer.errors) or "refused without a reason")
    return OK
