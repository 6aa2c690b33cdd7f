"""`sec ifconfig`: show sec interfaces, or set one, in ifconfig(8)'s words."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from secd.cli.output import OK, USAGE, CommandError, Parser, clean, complain, print_json
from secd.cli.sec_interface import Changer, read_interface, read_interfaces
from secd.cli.sec_seam import create, data_plane
from secd.cli.sec_show import Shown, flag_names, ifconfig_lines
from secd.conf.hostname_settings import interface_unit
from secd.conf.hostname_words import WordError, ifconfig_settings
from secd.netlink import Netlink

_EPILOG = """\
parameters, carried out in their order:
  create | destroy                              make the interface, or take it away
  inet [alias] A[/len] [-->] [B] [netmask M]    an address and the peer's; `inet A delete` takes it away
  inet6 [alias] A[/len] [-->] [B] [prefixlen N]
  up | down | mtu N | description TEXT | -description | rdomain N | [-]tunneldf | [-]mssclamp

Exit codes: 0 shown or done, 1 not, 2 usage."""


def main(arguments: list[str]) -> int:
    """Run `sec ifconfig`."""
    parser = Parser("sec ifconfig", "Show sec interfaces in ifconfig(8)'s format, or set one.", _EPILOG)
    parser.add_argument("-a", "--all", action="store_true", help="every sec interface, as without a name")
    parser.add_argument("--json", action="store_true", help="as JSON, a list")
    parser.add_argument("interface", nargs="?", metavar="secN", help="this one; `sec`: every one")
    parser.usage = "%(prog)s [-a] [--json] [secN | sec]  or  %(prog)s secN PARAMETER ..."
    words = list(arguments)
    at = next((i for i, word in enumerate(words) if not word.startswith("-")), len(words))
    options = parser.parse_args(words[: at + 1])
    parameters = words[at + 1 :]
    if "--json" in parameters and len(parameters) == 1:
        options.json, parameters = True, []
    name = options.interface
    if name in (None, "sec") or options.all:
        if parameters:
            raise CommandError("name the interface that the parameters are for", USAGE)
        return show(read_interfaces(), as_json=options.json)
    if interface_unit(name) is None:
        raise CommandError(f"{name}: not a sec interface: its name is `sec` and a number (sec0)", USAGE)
    if parameters:
        return change(name, parameters)
    shown = read_interface(name)
    if shown is None:
        raise CommandError(f"{name}: no such interface: sec ifconfig {name} create, or sec netstart {name}")
    return show([shown], as_json=options.json)


def show(interfaces: Sequence[Shown], *, as_json: bool) -> int:
    """Print interfaces."""
    if as_json:
        print_json(_with_options(interfaces))
        return OK
    for shown in interfaces:
        for line in ifconfig_lines(shown):
            print("\t" * line.startswith("\t") + clean(line.lstrip("\t")))
    return OK


def _with_options(interfaces: Sequence[Shown]) -> list[dict[str, object]]:
    """As data, with flags by name, and with what only the data plane knows, if it can be asked."""
    try:
        with data_plane() as sadb:
            served = {entry.name: entry for entry in sadb.interfaces()}
    except CommandError as error:
        complain("sec ifconfig", f"tunneldf and mssclamp are not known: {error}")
        served = {}
    found: list[dict[str, object]] = []
    for shown in interfaces:
        fields = msgspec.structs.asdict(shown)
        entry = served.get(shown.name)
        if entry is not None:
            fields |= {"tunneldf": entry.tunneldf, "mssclamp": entry.mss_clamp}
        found.append(fields | {"flags": flag_names(shown.flags), "up": shown.up})
    return found


def change(name: str, parameters: list[str]) -> int:
    """Carry out parameters, all of them understood before the first is carried out."""
    creates = parameters[0] == "create"
    destroy = parameters[-1] == "destroy"
    if destroy and len(parameters) > 1:
        raise CommandError("destroy stands alone", USAGE)
    try:
        settings = ifconfig_settings(parameters[creates:] if not destroy else [])
    except WordError as error:
        raise CommandError(str(error), USAGE) from error
    if destroy:
        with data_plane() as sadb:
            sadb.destroy(name)
        return OK
    if creates:
        with data_plane() as sadb:
            if not create(sadb, name) and not settings:
                raise CommandError(f"{name}: it exists already")
    with Netlink() as netlink:
        changer = Changer(netlink, name)
        for setting in settings:
            changer.apply(setting)
    return OK
