"""`sec counters`: what the data plane counted, every reason to drop by its name."""

from __future__ import annotations

from secd.cli.output import OK, Parser, clean, print_json
from secd.cli.sec_seam import data_plane


def main(arguments: list[str]) -> int:
    """Run `sec counters`."""
    parser = Parser(
        "sec counters",
        "Show the data plane's counters since it started, those at zero left out.",
        "Exit codes: 0 shown, 1 secd cannot be asked, 2 usage.",
    )
    parser.add_argument("-a", "--all", action="store_true", help="those at zero too")
    parser.add_argument("--json", action="store_true", help="all of them as JSON, one object")
    options = parser.parse_args(arguments)
    with data_plane() as sadb:
        counters = dict(sorted(sadb.counters().items()))
    if options.json:
        print_json(counters)
        return OK
    shown = {name: count for name, count in counters.items() if count or options.all}
    width = max((len(str(count)) for count in shown.values()), default=0)
    for name, count in shown.items():
        print(f"{count:>{width}}  {clean(name)}")
    return OK
