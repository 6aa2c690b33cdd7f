"""`sec netstart`: make the interfaces that hostname.secN files describe.  A second run changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from secd.cli.output import FAILED, OK, CommandError, Parser, complain
from secd.cli.sec_interface import Changer
from secd.cli.sec_seam import create, data_plane
from secd.conf.hostname import HostnameError, InterfaceFile, read_hostname
from secd.conf.hostname_settings import RunCommand, SetAddress, SetOption, Setting, interface_unit
from secd.netlink import Netlink
from secd.sadb.client import SADB

_PROGRAM = "sec netstart"


def main(arguments: list[str]) -> int:
    """Run `sec netstart`."""
    parser = Parser(
        _PROGRAM,
        "Make the interfaces that hostname.secN files describe, and set them up as the files say.",
        "A file with an error changes nothing, of any interface.  Exit codes: 0 done, 1 not or not all, 2 usage.",
    )
    parser.add_argument("interface", nargs="*", metavar="secN", help="these; without, all that have a file")
    parser.add_argument("--etc", default="/etc", metavar="DIR", help="where the files are (default: %(default)s)")
    parser.add_argument("-n", "--check", action="store_true", help="check the files; change nothing")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell each thing that is changed")
    options = parser.parse_args(arguments)
    directory = Path(options.etc)
    if not directory.is_dir():
        raise CommandError(f"{directory}: no such directory")
    files = read_files(directory, options.interface)
    if not files:
        complain(_PROGRAM, f"there is no hostname.secN in {directory}, so there is nothing to make: hostname.sec(5)")
    if options.check or not files:
        return OK
    failed = False
    with Netlink() as netlink, data_plane() as sadb:
        for file in files:
            try:
                for line in start(netlink, sadb, file):
                    if options.verbose:
                        print(f"{file.interface}: {line}", flush=True)
            except CommandError as error:
                complain(_PROGRAM, str(error))
                failed = True
    return FAILED if failed else OK


def read_files(directory: Path, names: list[str]) -> list[InterfaceFile]:
    """Read the files of `names`, or all; CommandError has every error of every file."""
    if not names:
        found = (path.name.removeprefix("hostname.") for path in directory.glob("hostname.sec*"))
        names = sorted((n for n in found if interface_unit(n) is not None), key=lambda name: interface_unit(name) or 0)
    files: list[InterfaceFile] = []
    errors: list[str] = []
    for name in names:
        try:
            file, warnings = read_hostname(str(directory / f"hostname.{name}"), interface=name)
        except HostnameError as error:
            errors.append(str(error))
            continue
        files.append(file)
        if not file.goes_up:
            warnings.append(f"{file.path}: no line `up`, so {name} stays as it is; a new one is down")
        for warning in warnings:
            complain(_PROGRAM, warning)
    if errors:
        raise CommandError("\n".join(errors))
    return files


def start(netlink: Netlink, sadb: SADB, file: InterfaceFile) -> Iterator[str]:
    """Make one interface what its file says, line by line; yield what had to be changed.

    Whatever fails does not keep the lines after it from being carried out; CommandError at the end has it all.
    """
    if create(sadb, file.interface):
        yield "created"
    changer = Changer(netlink, file.interface)
    yield from changer.keep_only(file.addresses)
    errors: list[str] = []
    for at, located in enumerate(file.settings):
        if any(_overrides(later.setting, located.setting) for later in file.settings[at + 1 :]):
            continue  # or `down` and then `up` would break the link each time
        try:
            yield from changer.apply(located.setting)
        except CommandError as error:
            errors.append(f"{file.path}: {located.line}: {error}")
    if errors:
        raise CommandError("\n".join(errors))


def _overrides(later: Setting, earlier: Setting) -> bool:
    """Whether nothing is left of `earlier` once `later` is carried out."""
    if type(later) is not type(earlier) or isinstance(later, SetAddress | RunCommand):
        return False
    return not isinstance(later, SetOption) or not isinstance(earlier, SetOption) or later.name == earlier.name
