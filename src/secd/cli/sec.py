"""The `sec` command: one word for what is to be done, each in a module that is imported when it is asked for."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Callable

from secd import __version__
from secd.cli.output import FAILED, OK, USAGE, CommandError, complain

_COMMANDS = {
    "Interfaces": {
        "netstart": ("secd.cli.sec_netstart", "make the interfaces that /etc/hostname.secN describe"),
        "ifconfig": ("secd.cli.sec_ifconfig", "show interfaces, or set one, in ifconfig(8)'s words"),
        "up": ("secd.cli.sec_updown", "set an interface up"),
        "down": ("secd.cli.sec_updown", "set an interface down: nothing goes through it, and nothing leaks past it"),
    },
    "Tunnels": {
        "status": ("secd.cli.sec_status", "every tunnel: its state, SAs and traffic, and why it is down if it is"),
        "rekey": ("secd.cli.sec_rekey", "renew a tunnel's SAs before their time, while traffic goes on"),
        "reset": ("secd.cli.sec_reset", "drop a tunnel's SAs and negotiate anew"),
    },
    "Looking for faults": {
        "doctor": ("secd.cli.sec_doctor", "check this host for what keeps tunnels from working"),
        "counters": ("secd.cli.sec_counters", "what the data plane counted, every reason to drop by its name"),
    },
    "Trying it out": {
        "lab": ("secd.lab.main", "whole networks on this machine: `sec lab announcement` is the demo"),
    },
}
_MODULES = {name: module for group in _COMMANDS.values() for name, (module, _) in group.items()}

_HEAD = """\
usage: sec COMMAND [...]          sec COMMAND --help tells more

Route-based IPsec: each tunnel is an interface secN, and what is routed into secN is encrypted to its peer.
"""
_TAIL = """
First steps
  /etc/ipsec.conf       ike interface sec0 peer 192.0.2.1 psk "a long secret"
  /etc/hostname.sec0    inet 169.254.64.94 255.255.255.252 169.254.64.93
                        up
  sec netstart          makes sec0;   ipsecctl -f /etc/ipsec.conf   loads the rule;   sec status   tells the rest

Exit codes: 0 done, or all well; 1 not done, or not all well; 2 not understood.
The manual: sec(8), ipsec.conf(5), hostname.sec(5), ipsecctl(8), secd(8), sec(4).
"""


def help_text() -> str:
    """What `sec` says when asked for nothing."""
    lines = [_HEAD]
    for title, commands in _COMMANDS.items():
        lines.append(title)
        lines += [f"  {name:<10}{summary}" for name, (_, summary) in commands.items()]
        lines.append("")
    return "\n".join(lines[:-1]) + "\n" + _TAIL


def main(argv: list[str] | None = None) -> int:
    """Run `sec`; the exit code is given back."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(help_text(), end="")
        return OK
    if arguments[0] in {"-V", "--version"}:
        print(f"secd {__version__}")
        return OK
    name, rest = arguments[0], arguments[1:]
    if name not in _MODULES:
        complain("sec", f"{name}: no such command{_nearest(name)}; `sec --help` lists them")
        return USAGE

    def command(arguments: list[str]) -> int:
        return int(importlib.import_module(_MODULES[name]).main(arguments))  # late: none pays for the others

    return run(f"sec {name}", command, [name, *rest] if name in {"up", "down"} else rest)


def run(program: str, command: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Call a command, and turn what stops it into one line and an exit code."""
    try:
        code = command(arguments)
        sys.stdout.flush()
    except CommandError as error:
        complain(program, str(error))
        return error.code
    except BrokenPipeError:  # the reader, `head` perhaps, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        complain(program, f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))
        return FAILED
    except KeyboardInterrupt:
        return 130
    return code


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, _MODULES, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


if __name__ == "__main__":
    sys.exit(main())
