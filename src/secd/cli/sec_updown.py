"""`sec up` and `sec down`."""

from __future__ import annotations

from secd.cli.output import OK, USAGE, CommandError, Parser
from secd.cli.sec_interface import Changer
from secd.conf.hostname_settings import SetUp, interface_unit
from secd.netlink import Netlink


def main(arguments: list[str]) -> int:
    """Run `sec up` or `sec down`, whichever is the first argument."""
    name, rest = arguments[0], arguments[1:]
    summary = {
        "up": "Set an interface up.",
        "down": "Set an interface down: nothing goes through it, its routes go, and nothing leaks past it.",
    }[name]
    parser = Parser(f"sec {name}", summary, "Until the next start; hostname.sec(5) says what happens then.")
    parser.add_argument("interface", nargs="+", metavar="secN")
    options = parser.parse_args(rest)
    for interface in options.interface:
        if interface_unit(interface) is None:
            raise CommandError(f"{interface}: not a sec interface: its name is `sec` and a number (sec0)", USAGE)
    with Netlink() as netlink:
        for changer in [Changer(netlink, interface) for interface in options.interface]:
            changer.apply(SetUp(name == "up"))
    return OK
