"""ikectl's orders to a running secd: modes, log, resets, and the log as it happens."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from secd.cli.ikectl import Options, UsageError, keyword, no_more
from secd.cli.output import CommandError, clean
from secd.control import client
from secd.control.client import ControlError
from secd.control.messages import Accepted, Behaviour, Logged, Refused
from secd.ike.connection import Signature
from secd.ike.contract import ConnectionStatus

_BEHAVIOUR = {
    "active": Behaviour(passive=False), "passive": Behaviour(passive=True),
    "couple": Behaviour(decoupled=False), "decouple": Behaviour(decoupled=True),
}  # fmt: skip
_LOG = {"brief": Behaviour(verbose=False), "verbose": Behaviour(verbose=True)}
_RESETS = ("all", "ca", "id", "policy", "sa", "user")


def run_order(options: Options, command: str, words: Sequence[str]) -> bool:
    """Do `command`."""
    try:
        if command == "monitor":
            no_more(words)
            return monitor(options)
        if command == "reset":
            return reset(options, words)
        if command == "log":
            if not words:
                raise UsageError("missing argument: log brief or log verbose")
            no_more(words[1:])
            behaviour = _LOG[keyword(words[0], tuple(_LOG))]
        else:
            no_more(words)
            behaviour = _BEHAVIOUR[command]
        _done(client.behave(behaviour))
    except ControlError as error:
        raise CommandError(str(error)) from error
    return True


def monitor(options: Options) -> bool:
    """Print iked's log lines as they happen, until interrupted."""
    try:
        for logged in client.monitor():
            print(_json_line(logged) if options.json else _line(logged), flush=True)
    except KeyboardInterrupt:
        return True
    return True


def _line(logged: Logged) -> str:
    log = logged.log
    tunnel = f"{log.connection}: " if log.connection else ""
    return f"{datetime.fromtimestamp(logged.time).astimezone():%H:%M:%S} {log.level}: {tunnel}{clean(log.message)}"


def _json_line(logged: Logged) -> str:
    return json.dumps(msgspec.to_builtins(logged))


# -- reset ------------------------------------------------------------------------------------------------


def reset(options: Options, words: Sequence[str]) -> bool:
    """`reset all|ca|policy|sa|user|id IKEID`."""
    if not words:
        raise UsageError(f"missing argument: reset {' | '.join(_RESETS)}")
    what, rest = keyword(words[0], _RESETS), list(words[1:])
    if what == "id":
        if not rest:
            raise UsageError("missing argument: reset id IKEID")
        identity = rest.pop(0)
        no_more(rest)
        return _reset_id(identity)
    no_more(rest)
    if what == "user":
        raise CommandError("there are no users to forget: there is no EAP here")
    if what == "ca":
        return _read_again(options)
    if what in ("all", "sa"):
        _reset_tunnels(tunnel.connection.name for tunnel in client.status() if tunnel.connection.version == 2)
    if what in ("all", "policy"):
        for source in _sources():
            _done(client.load(source, (), ()))
    return True


def _reset_id(identity: str) -> bool:
    found = [tunnel.connection.name for tunnel in client.status() if identity in _identities(tunnel)]
    if not found:
        raise CommandError(f"no IKE SA with a peer of the identity {identity}")
    _reset_tunnels(found)
    return True


def _identities(tunnel: ConnectionStatus) -> set[str]:
    """Give how the peers of a tunnel call themselves, as it stands after dstid."""
    return {ike.remote_id.strip('"') for ike in tunnel.ike}


def _reset_tunnels(names: Iterable[str]) -> None:
    for name in list(names):
        _done(client.reset(name))


def _read_again(options: Options) -> bool:
    """Read the certificates anew: with the files whose policies use any."""
    from secd.cli.ikectl_conf import NOT_LOADED, load, print_diagnostics, read

    good = True
    for source in _sources(signed=True):
        parsed, compiled = read(source, options)
        print_diagnostics([*parsed.diagnostics.all, *(compiled.diagnostics.all if compiled else ())])
        if compiled is None or compiled.diagnostics.errors:
            print(NOT_LOADED, file=sys.stderr)
            good = False
        else:
            good = load(source, compiled) and good
    return good


def _sources(*, signed: bool = False) -> list[str]:
    """Give the files whose policies are loaded; with `signed`, those that use certificates."""
    found = {
        part.source: None
        for part in client.rules()
        for connection in part.connections
        if connection.version == 2 and (not signed or isinstance(connection.auth, Signature))
    }
    return list(found)


def _done(answer: Accepted | Refused) -> None:
    if isinstance(answer, Refused):
        raise CommandError("\n".join(answer.errors) or "refused without a reason")
    for warning in answer.warnings:
        print(f"ikectl: {warning}", file=sys.stderr)
