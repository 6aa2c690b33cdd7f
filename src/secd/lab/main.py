"""`sec lab`: networks on this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from secd.lab import aws, hub_and_spoke
from secd.lab.announcement import announce
from secd.lab.commands import LabError
from secd.lab.proofs.run import NAMES, run


def main(argv: list[str] | None = None) -> int:
    """Run `sec lab`; give the exit status: 0 when all checks passed, 1 when not, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="sec lab", description="Whole networks in namespaces on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "announcement", help="the sec(4) announcement: two tunnels, BGP over them, failover",
        description="What the sec(4) announcement shows, in its order, against strongSwan gateways; under a minute.",
    )  # fmt: skip
    demo.add_argument("--peer", choices=("strongswan", "secd"), default="strongswan", help="who plays the gateways")
    demo.add_argument("--json", type=Path, metavar="FILE", help="write the checks and the facts there as data")
    cloud = commands.add_parser(
        "aws", help="two IKEv2 tunnels as AWS makes them, BGP, endpoints replaced",
        description="The two tunnels of an AWS Site-to-Site VPN connection, against strongSwan; a minute and a half.",
    )  # fmt: skip
    cloud.add_argument("--short", action="store_true", help="without the endpoint that only DPD finds dead: 20 s")
    cloud.add_argument("--json", type=Path, metavar="FILE", help="write the checks and the facts there as data")
    hub = commands.add_parser(
        "hub-and-spoke", help="five spokes at a strongSwan hub, iBGP through it, one that reboots",
        description="IKEv2 of five spokes with a hub, spoke to spoke by iBGP through it; a minute.",
    )  # fmt: skip
    hub.add_argument("--json", type=Path, metavar="FILE", help="write the checks and the facts there as data")
    proofs = commands.add_parser(
        "prove", help="what secd promises, tried against strongSwan: rekeys, kills, bad networks, ...",
        description="Run proofs, all or those named, and print their figures.  All in full take more than an hour.",
    )  # fmt: skip
    proofs.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(NAMES)}")
    proofs.add_argument("--ike", type=int, choices=(1, 2), default=1, help="the version of IKE: 1, or 2")
    proofs.add_argument("--short", action="store_true", help="the versions that take seconds")
    proofs.add_argument("--json", type=Path, metavar="FILE", help="write figures and checks there as data")
    options = parser.parse_args(argv)
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    try:
        if options.command == "prove":
            return run(console, options.names, short=options.short, json_file=options.json, ike=options.ike)
        if options.command == "aws":
            return aws.connect(console, short=options.short, json_file=options.json)
        if options.command == "hub-and-spoke":
            return hub_and_spoke.gather(console, json_file=options.json)
        return announce(console, peer=options.peer, json_file=options.json)
    except LabError as error:
        print(f"sec lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sec lab: interrupted; everything has been taken away", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
