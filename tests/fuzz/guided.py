"""Guided fuzzing of the parsers: Atheris keeps what reaches new lines of them, and changes that further.

    python tests/fuzz/guided.py PARSER DIRECTORY [-max_total_time=60] [-seed=7]     # libFuzzer's options

DIRECTORY gets what it begins with, what it finds worth keeping, and as `crash-...` what made something give way.
Needs `pip install atheris`, which there is for Linux on x86-64.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parent), *(str(Path(__file__).parents[1] / each) for each in ("unit", "pair", ".."))]

with atheris.instrument_imports(include=["secd"]):
    from targets import TESTS, texts

    from secd.conf.hostname import HostnameError, parse_hostname
    from secd.conf.iked import grammar as iked_grammar
    from secd.conf.ipsec.compile import compile_rules
    from secd.conf.ipsec.grammar import parse_text
    from secd.ike.wire import isakmp
    from secd.ike.wire.cursor import WireError
    from secd.ike.wire.ikev2 import message

Parser = Callable[[bytes], object]


def ikev1(data: bytes) -> None:
    """A datagram of IKEv1."""
    try:
        header = isakmp.parse_header(data)
        chain = isakmp.parse_payloads(header.next_payload, data[isakmp.HEADER_OCTETS :], padded=True)
    except WireError:
        return
    if isakmp.encode_payloads(chain.payloads) != chain.octets:
        raise AssertionError("written otherwise than it came")


def ikev2(data: bytes) -> None:
    """A datagram of IKEv2; generic headers are made anew, and what is reserved in them may differ."""
    try:
        header = message.parse_header(data)
        chain = message.parse_payloads(header.next_payload, data[message.HEADER_OCTETS :])
    except WireError:
        return
    octets = message.encode_payloads(chain.payloads)
    if message.parse_payloads(header.next_payload, octets).payloads != chain.payloads:
        raise AssertionError("read otherwise when it is written again")


def ipsec_conf(data: bytes) -> None:
    """A file of rules, as ipsecctl compiles it."""
    compile_rules(parse_text(_text(data)).rules)


def iked_conf(data: bytes) -> None:
    """A file of policies."""
    iked_grammar.parse_text(_text(data))


def hostname(data: bytes) -> None:
    """A file of an interface."""
    try:
        parse_hostname(_text(data), path="f", interface="sec0")
    except HostnameError as error:
        if not str(error).startswith("f"):
            raise


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape").replace("include", "exclude")


#: What is parsed, and what the fuzzer begins with.
PARSERS: dict[str, tuple[Parser, Callable[[], list[bytes]]]] = {
    "ikev1": (ikev1, lambda: datagrams("ikev1")),
    "ikev2": (ikev2, lambda: datagrams("ikev2")),
    "ipsec.conf": (ipsec_conf, lambda: [each.encode() for each in texts("ipsecctl/*.in")]),
    "iked.conf": (iked_conf, lambda: [each.encode() for each in texts("ikectl/*.in")]),
    "hostname.secN": (hostname, lambda: [b"inet 169.254.64.94/30 169.254.64.93\nmtu 1400\n!ip link show $if\nup\n"]),
}


def datagrams(version: str) -> list[bytes]:
    """What strongSwan sent, from the recordings."""
    import json

    found = []
    for path in sorted((TESTS / "vectors").glob(f"{version}*.json")):
        found += [bytes.fromhex(each) for each in _hex(json.loads(path.read_text())) if len(each) >= 56]
    return found


def _hex(value: object) -> list[str]:
    """Every string of a document that is hexadecimal."""
    if isinstance(value, dict):
        return [each for one in value.values() for each in _hex(one)]
    if isinstance(value, list):
        return [each for one in value for each in _hex(one)]
    return [value] if isinstance(value, str) and not len(value) % 2 and not set(value) - set("0123456789abcdef") else []


def main() -> None:
    """Run libFuzzer, which ends the process."""
    if len(sys.argv) < 3 or sys.argv[1] not in PARSERS:
        raise SystemExit(f"usage: guided.py {'|'.join(PARSERS)} DIRECTORY [libFuzzer's options]")
    name, directory, *options = sys.argv[1:]
    parse, begin = PARSERS[name]
    corpus = Path(directory)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(begin()):
        (corpus / f"begin-{number}").write_bytes(data)
    atheris.Setup([sys.argv[0], "-max_len=4096", f"-artifact_prefix={corpus}/", *options, directory], parse)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
