"""`ipsecctl -s`, `-F` and `-m`: the SAs of the data plane, shown, flushed, watched."""

from __future__ import annotations

import sys

from secd.cli.ipsecctl_seam import SeamError, dump, events
from secd.cli.ipsecctl_seam import flush as flush_sad
from secd.cli.sad_print import sa_line, sa_lines
from secd.sadb.messages import SA, Change, Entry, Expire, FromServer, InterfaceChange, NewMapping


def flush() -> bool:
    """Delete every SA; there is no SPD here."""
    try:
        flush_sad()
    except SeamError as error:
        return _failed(error)
    return True


def show(what: str, *, keys: bool, verbose: int, as_json: bool) -> bool:
    """Print flows (there are none), SAs, or both."""
    entries: list[Entry] = []
    if what != "flow":
        try:
            entries = dump(with_keys=keys)
        except SeamError as error:
            return _failed(error)
    if as_json:
        from secd.cli.ipsecctl_json import print_sas

        print_sas(what, entries, with_keys=keys)
        return True
    lines: list[str] = []
    if what == "all":
        lines += ["FLOWS:", "No flows", "", "SAD:"]
    elif what == "flow":
        lines.append("No flows")
    if what == "all" and not entries:
        lines.append("No entries")
    for entry in entries:
        lines.extend(sa_lines(entry, with_keys=keys, verbose=verbose))
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return True


def monitor(*, as_json: bool) -> bool:
    """Print what happens to SAs as it happens, a line each, until interrupted."""
    try:
        for event in events():
            if as_json:
                from secd.cli.ipsecctl_json import json_line

                text = json_line(event)
            else:
                text = event_line(event)
            if text:
                print(text, flush=True)
    except SeamError as error:
        return _failed(error)
    except KeyboardInterrupt:
        return True
    return True


def event_line(event: FromServer) -> str:
    """Give an event in the words of PF_KEY, or nothing when it is none."""
    if isinstance(event, Change):
        return f"sadb_{event.what}: {_words(event.sa)}" if event.sa else f"sadb_{event.what}: satype esp"
    if isinstance(event, Expire):
        limit = f" after {event.limit}" if event.limit else ""
        return f"sadb_expire: {event.kind}{limit}: {_words(event.sa)}"
    if isinstance(event, NewMapping):
        return (
            f"sadb_x_nat_t_new_mapping: spi 0x{event.spi:08x} address {event.source} port {event.port} "
            f"interface {event.iface}"
        )
    if isinstance(event, InterfaceChange):
        state = "destroyed" if not event.exists else "running" if event.running else "not running"
        return f"interface: {event.name} {state}"
    return ""


def _words(sa: SA) -> str:
    return f"{sa_line(sa)} interface {sa.iface} direction {sa.direction}"


def _failed(error: SeamError) -> bool:
    print(f"ipsecctl: {error}", file=sys.stderr)
    return False
