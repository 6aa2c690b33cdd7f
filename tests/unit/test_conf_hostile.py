"""Configurations made to hurt: whatever is read, errors come as diagnostics, within bounds of time and memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from secd.conf import addresses
from secd.conf.diagnostics import MAX_ERRORS, Origin
from secd.conf.ipsec.compile import compile_rules
from secd.conf.ipsec.grammar import Parsed, parse_file, parse_text
from secd.conf.ipsec.keywords import KEYWORDS
from secd.conf.ipsec.rules import BundleRule, IkeRule, Rule
from secd.conf.ipsec.unparse import rules_text
from secd.conf.quoting import quote
from secd.control.messages import ToParent


@pytest.fixture(autouse=True)
def _no_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here asks the network."""
    monkeypatch.setattr(addresses, "_ask", lambda name: [])
    monkeypatch.setattr(addresses, "_known", {})


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail when the block takes longer; the limits are far above what is usual."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


def errors(parsed: Parsed) -> list[str]:
    """Give the errors as they are printed."""
    return [str(diagnostic) for diagnostic in parsed.diagnostics.all if diagnostic.severity == "error"]


def write(path: Path, text: str) -> Path:
    """Write a secret file."""
    path.write_text(text)
    path.chmod(0o600)
    return path


# -- one by one -------------------------------------------------------------------------------------------


def test_lists_nested_without_end_are_refused() -> None:
    assert errors(parse_text("flow from " + "{" * 100_000 + " to 10.0.0.1\n")) == [
        "stdin: 1: lists nested deeper than 32"
    ]
    assert errors(parse_text("flow from 10.0.0.1 " + "( 10.0.0.2 " * 50_000))[0].startswith("stdin: 1: ")


def test_macros_that_double_with_every_line_are_stopped() -> None:
    lines = ["a0 = xxxxxxxxxxxxxxxx", *(f"a{i + 1} = $a{i} $a{i}" for i in range(60))]
    with within(20):
        told = errors(parse_text("\n".join(lines) + "\n"))
    assert "macros stand for more than 4194304 characters" in told[0]


def test_a_product_of_lists_is_bounded() -> None:
    hosts = "{ " + " ".join(f"10.{i // 256}.{i % 256}.1" for i in range(1000)) + " }"
    with within(20):
        assert "more than 50000 rules" in errors(parse_text(f"flow from {hosts} to {hosts}\n"))[0]


def test_after_so_many_errors_the_rest_is_not_read() -> None:
    parsed = parse_text("ike interface em0\n" * 100_000)
    assert len(errors(parsed)) == MAX_ERRORS
    assert str(parsed.diagnostics.all[-1]) == f"stdin: {MAX_ERRORS}: too many errors: the rest was not read"


def test_files_that_include_themselves_or_each_other_are_told(tmp_path: Path) -> None:
    me = tmp_path / "me.conf"
    parsed = parse_file(str(write(me, f'\ninclude "{me}"\n')))
    assert errors(parsed) == [f"{me}: 2: failed to include file {me}"]
    assert parsed.diagnostics.all[0].hint == f"{me} includes itself"
    other = tmp_path / "other.conf"
    write(me, f'include "{other}"\n')
    write(other, f'# one\ninclude "{me}"\n')
    assert errors(parse_file(str(me))) == [f"{other}: 2: failed to include file {me}"]


def test_a_chain_of_includes_is_bounded(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path / f"{number}", f'include "{tmp_path}/{number + 1}"\n')
    assert errors(parse_file(str(tmp_path / "0"))) == [f"{tmp_path}/16: 1: failed to include file {tmp_path}/17"]


def test_one_big_file_included_over_and_over_is_stopped(tmp_path: Path) -> None:
    big = write(tmp_path / "big", "#" + "x" * 7_000_000)
    top = write(tmp_path / "top", f'include "{big}"\n' * 1000)
    with within(20):
        assert "failed to include file" in errors(parse_file(str(top)))[0]


def test_errors_in_an_included_file_name_it_and_then_the_outer_file_again(tmp_path: Path) -> None:
    inner = write(tmp_path / "inner", "ike interface em0\nike interface em1")
    outer = write(tmp_path / "outer", f'# first\ninclude "{inner}"\nike interface em2\n')
    told = errors(parse_file(str(outer)))
    assert told == [
        f"{inner}: 1: invalid sec interface name",
        f"{inner}: 2: invalid sec interface name",
        f"{outer}: 3: invalid sec interface name",
    ]


def test_macros_of_an_included_file_are_known_afterwards(tmp_path: Path) -> None:
    inner = write(tmp_path / "inner", "peer_a = 192.0.2.1")
    outer = write(tmp_path / "outer", f'include "{inner}"\nike interface sec0 peer $peer_a psk x\n')
    rule = parse_file(str(outer)).rules[0]
    assert isinstance(rule, IkeRule)
    assert str(rule.peer) == "192.0.2.1"


def test_a_quote_left_open_in_an_included_file_ends_with_that_file(tmp_path: Path) -> None:
    inner = write(tmp_path / "inner", 'a = "left open')
    outer = write(tmp_path / "outer", f'include "{inner}"\nike interface em0\n')
    assert errors(parse_file(str(outer))) == [
        f"{inner}: 1: reached end of file while parsing quoted string",
        f"{outer}: 2: invalid sec interface name",
    ]


def test_a_directory_and_a_device_are_no_configuration() -> None:
    assert errors(parse_file("/")) == ["ipsecctl: /: Is a directory"]
    assert len(errors(parse_file("/dev/full"))) == 1


# -- anything ---------------------------------------------------------------------------------------------

_WORDS = (
    "ike", "esp", "ah", "ipcomp", "ipip", "tcpmd5", "flow", "interface", "sec0", "sec1", "em0", "from", "to", "any",
    "{", "}", "(", ")", ",", "=", "10.0.0.1", "10.0.0.0/24", "::1", "::/0", "local", "peer", "main", "aggressive",
    "quick", "auth", "enc", "comp", "group", "lifetime", "hmac-sha1", "aes", "aes-128-gcm", "modp3072", "none", "3600",
    "30m", "srcid", "dstid", "a@b.c", "psk", "rsa", '"secret"', "'x", "y'", "tag", "proto", "tcp", "udp", "6", "port",
    "ssh", "22", "spi", "0x1000:0x1001", "4096", "authkey", "enckey", "file", "0x00112233445566778899aabbccddeeff",
    "in", "out", "type", "require", "deny", "bypass", "udpencap", "bundle", "active", "passive", "dynamic", "tunnel",
    "transport", "include", '"/dev/null"', "x", "$x", "$y", "\\", "#", "deflate", "null",
)  # fmt: skip

_SOUP = st.lists(
    st.one_of(st.sampled_from(_WORDS), st.sampled_from(["\n", "\\\n"]), st.text(max_size=3)), max_size=60
).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(_SOUP)
def test_no_text_makes_anything_but_diagnostics(text: str) -> None:
    parsed = parse_text("x = 10.0.0.9\n" + text)
    for diagnostic in parsed.diagnostics.all:
        assert diagnostic.message
    compiled = compile_rules(parsed.rules)
    for rule in (*compiled.connections, *compiled.manual):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(rule), type=ToParent) == rule
    list(rules_text(parsed.rules, with_keys=True))


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), max_size=300),
    st.text(st.characters(codec="utf-8", exclude_characters="\0\n")),
)
def test_what_comes_of_any_identity_and_key_can_be_sent(identity: str, psk: str) -> None:
    parsed = parse_text(f"ike interface sec0 srcid {quote(identity, KEYWORDS)} psk {quote(psk, KEYWORDS)}\n")
    compiled = compile_rules(parsed.rules)
    for rule in compiled.connections:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(rule), type=ToParent) == rule


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_no_octets_make_anything_but_diagnostics(data: bytes) -> None:
    parse_text(data.decode("utf-8", "surrogateescape"))


# -- printed and read again -------------------------------------------------------------------------------


def _plain(rule: Rule) -> Rule:
    """Give a rule without the line it came from."""
    if isinstance(rule, BundleRule):
        return BundleRule(Origin("", 0), *(replace(part, origin=Origin("", 0)) for part in (rule.first, rule.second)))
    return replace(rule, origin=Origin("", 0))


#: What a rule can hold: nothing in quotes ends with a backslash, and of words those alone that hold nothing special.
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), min_size=1, max_size=20).filter(
    lambda text: not text.endswith("\\")
) | st.from_regex(r"[a-z][a-z0-9]{0,5}\\[a-z]{0,3}\\", fullmatch=True)
_HOSTS = st.sampled_from([
    "from 10.0.0.1 to 10.0.0.2", "from 10.0.0.0/24 (10.1.0.0/24) to 10.2.0.0/16", "from any to any",
    "from 2001:db8::/64 to 2001:db8:1::/48", "from { 10.0.0.1, 10.0.0.2 } to { 10.0.0.3 10.0.0.0/8 }",
])  # fmt: skip
_PEERS = st.sampled_from(["", "peer 192.0.2.1", "peer any", "local 192.0.2.9 peer 192.0.2.1", "peer 2001:db8::9"])
_PHASE = st.sampled_from(["", "auth hmac-sha2-512 enc aes-192 group ecp256", "enc 3des lifetime 30m", "group grp14"])
_QUICK = st.sampled_from(["", "quick enc aes-256-gcm group none", "quick auth hmac-md5 enc null lifetime 60"])


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["", "active", "passive", "dynamic"]), st.one_of(st.just("interface sec7"), _HOSTS), _PEERS,
    st.sampled_from(["main", "aggressive"]), _PHASE, _QUICK, st.none() | _TEXT, st.none() | _TEXT, st.none() | _TEXT,
)  # fmt: skip
def test_connections_printed_are_read_as_the_same(
    mode: str, hosts: str, peers: str, exchange: str, phase: str, quick: str, srcid: str | None, dstid: str | None,
    psk: str | None,
) -> None:  # fmt: skip
    words = ["ike", mode, hosts, peers, f"{exchange} {phase}", quick]
    for keyword, value in (("srcid", srcid), ("dstid", dstid), ("psk", psk)):
        if value is not None:
            words.append(f"{keyword} {quote(value, KEYWORDS)}")
    _read_twice(" ".join(words))


@pytest.mark.parametrize(
    "line",
    [
        "flow esp from 10.0.0.1 to 10.0.0.0/24 peer 10.0.0.9",
        "flow proto udp from 10.0.0.1 port ntp to 10.0.0.2 port 4500 srcid a dstid b type use",
        "flow in from any to 10.0.0.0/8 type deny",
        "esp from 10.0.0.1 to 10.0.0.2 spi 0x1000:0x1001 enc null authkey 0x" + "aa" * 32 + ":0x" + "bb" * 32,
        "ah transport from 2001:db8::1 to 2001:db8::2 spi 4096 auth hmac-md5 authkey " + "ab" * 16 + " bundle x",
        "ipcomp from 10.0.0.1 to 10.0.0.2 spi 0x1000:0x2000",
        "ipip from 10.0.0.1 to 10.0.0.2 spi 0x1000",
        "tcpmd5 from 10.0.0.1 to 10.0.0.2 spi 0x1000:0x2000 authkey 0xaa:0xbb",
        "esp interface sec0 from 10.0.0.1 to 10.0.0.2 spi 0x1000:0x2000 udpencap port 4501 enc aes-192 "
        f"authkey {'aa' * 32}:{'bb' * 32} enckey {'cc' * 24}:{'dd' * 24}",
        "ike ah transport proto tcp from 10.0.0.1 port 22 to 10.0.0.2 tag VPN",
    ],
)
def test_rules_printed_are_read_as_the_same(line: str) -> None:
    _read_twice(line)


def _read_twice(line: str) -> None:
    once = parse_text(line + "\n")
    assert not once.diagnostics.errors, errors(once)
    printed = "\n".join(rules_text(once.rules, with_keys=True)) + "\n"
    again = parse_text(printed)
    assert not again.diagnostics.errors, (printed, errors(again))
    assert [_plain(rule) for rule in again.rules] == [_plain(rule) for rule in once.rules], printed


@settings(deadline=None)
@given(_TEXT)
def test_a_text_in_quotes_is_read_as_it_was_unless_it_ends_with_a_backslash(text: str) -> None:
    if not text.endswith("\\"):
        rule = parse_text(f"ike interface sec0 psk {quote(text, KEYWORDS)}\n").rules[0]
        assert isinstance(rule, IkeRule)
        assert rule.psk is not None
        assert rule.psk.text == text
