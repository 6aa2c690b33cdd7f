"""iked.conf made to hurt, and files that are no keys: errors come as diagnostics, within bounds of time and memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from secd.conf import addresses
from secd.conf.diagnostics import MAX_ERRORS
from secd.conf.iked.certificates import Store
from secd.conf.iked.compile import compile_policies
from secd.conf.iked.credentials import CredentialsError
from secd.conf.iked.grammar import Parsed, parse_text
from secd.conf.iked.keywords import KEYWORDS
from secd.conf.iked.unparse import parsed_text
from secd.conf.quoting import quote
from secd.control.messages import AddConnection, ToParent
from secd.sadb.messages import Identity

NOWHERE = Path("/nonexistent/iked")


@pytest.fixture(autouse=True)
def _no_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here asks the network."""
    monkeypatch.setattr(addresses, "_ask", lambda name: [])
    monkeypatch.setattr(addresses, "_known", {})


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail when the block takes longer."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


def store() -> Store:
    return Store(NOWHERE)


def errors(parsed: Parsed) -> list[str]:
    return [str(each) for each in parsed.diagnostics.all if each.severity == "error"]


def connections(parsed: Parsed) -> list[AddConnection]:
    """Compile, and see that what comes of it can be sent."""
    made = compile_policies(parsed, store)
    for each in made.connections:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(each), type=ToParent) == each
    return [replace(each, connection=replace(each.connection, origin="")) for each in made.connections]


# -- bounds -----------------------------------------------------------------------------------------------


def test_a_thousand_policies_take_less_than_a_second():
    text = "".join(
        f"ikev2 active from any to any peer 10.{number // 256}.{number % 256}.1 "
        f'ikesa enc aes-256-gcm group ecp384 dstid gw{number}.example.com psk "secret {number}" iface sec{number}\n'
        for number in range(1000)
    )
    start = time.process_time()
    made = compile_policies(parse_text(text), store)
    assert time.process_time() - start < 1.0
    assert len(made.connections) == 1000
    assert not made.diagnostics.errors


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ikev2 " + "from any to any " * 100_000 + "\n", "more than 256 traffic selectors in a policy"),
        ("ikev2 proto { " + "tcp " * 100_000 + "} from any to any\n", "more than 256 protocols in a list"),
        ("ikev2 from any to any " + "ikesa " * 100_000 + "\n", "more than 16 proposals of ikesa"),
        ("ikev2 from any to any ikesa " + "enc aes " * 100_000 + "\n", "more than 64 transforms in a proposal"),
        ("ikev2 from any to any " + "request address any " * 9_999 + "\n", "more than 32 configuration payloads"),
        ("ikev2 from any to any psk " + "x" * 8_000 + "\n", "psk: the key is longer than 4096 octets"),
        ("ikev2 from any to any lifetime " + "9" * 5_000 + "h\n", "invalid time specification"),
        ("nonsense = " + "$a " * 10 + "\n", "macro 'a' not defined"),
    ],
)
def test_what_has_no_end_is_cut_short(text: str, told: str):
    with within(20):
        assert told in errors(parse_text(text))[0]


def test_more_policies_than_can_be_loaded_are_refused():
    with within(30):
        parsed = parse_text("ikev2 from any to any psk x iface sec0\n" * 10_001)
    assert errors(parsed) == ["stdin: 10001: more than 10000 policies"]
    with within(30):
        assert len(compile_policies(parsed, store).diagnostics.all) == MAX_ERRORS


# -- anything ---------------------------------------------------------------------------------------------

_WORDS = (
    *sorted(KEYWORDS), "192.0.2.1", "10.0.0.0/8", "2001:db8::1", "::/0", "/", "24", "(", ")", "{", "}", ",", "=", "tcp",
    "ssh", "aes-256", "aes-128-gcm", "hmac-sha2-256", "curve25519", "mlkem768", "none", "modp2048", "30m", "1G", "0",
    "-1", "99999999999", "rsa", "ecdsa256", "rfc7427", "0x00ff", "0xg", '"two words"', "'", '"', "address", "netmask",
    "name-server", "sec0", "sec1", "lo0", "sec99999999999", "a@b.c", '"/C=DE/CN=x"', '"/x"', "$x", "\\", "#",
    '"/dev/null"', '"/nonexistent"', "\0", "\udcff",
)  # fmt: skip

_SOUP = st.lists(
    st.one_of(st.sampled_from(_WORDS), st.sampled_from(["\n", "\\\n", "ikev2 from any to any"]), st.text(max_size=3)),
    max_size=60,
).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(_SOUP)
def test_no_text_makes_anything_but_diagnostics(text: str):
    parsed = parse_text("x = 10.0.0.9\n" + text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"))
    for diagnostic in parsed.diagnostics.all:
        assert diagnostic.message
    connections(parsed)
    list(parsed_text(parsed, with_keys=True))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_no_octets_make_anything_but_diagnostics(data: bytes):
    connections(parse_text(data.decode("utf-8", "surrogateescape")))


# -- printed and read again -------------------------------------------------------------------------------

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), min_size=1, max_size=20)
_PROPOSALS = st.sampled_from([
    "", "ikesa enc aes-256-gcm group ecp384 addke1 mlkem768", "ikesa enc aes auth hmac-sha1 prf hmac-sha2-512",
    "ikesa group grp14 ikesa enc 3des childsa enc chacha20-poly1305 noesn", "childsa group modp2048 group none esn",
])  # fmt: skip
_TAILS = st.sampled_from([
    "", "config address 10.0.0.2 request address any",
    "request name-server 2001:db8::53 config protected-subnet 10.0.0.0/8",
])  # fmt: skip
_HEADS = st.sampled_from([
    "from any to any", "quick natt from 0.0.0.0/0 to 0.0.0.0/0 peer 192.0.2.1", "from any to any local 192.0.2.9",
    "active inet6 from ::/0 to any peer 2001:db8::1", "default from any to any",
])  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    _HEADS, _PROPOSALS, st.none() | _TEXT, st.none() | _TEXT,
    st.sampled_from(["", "ikelifetime 8h lifetime 0 bytes 1K"]), _TEXT, st.none() | st.tuples(_TEXT, _TEXT), _TAILS,
    st.none() | _TEXT,
)  # fmt: skip
def test_policies_printed_are_read_as_the_same(
    head: str, proposals: str, srcid: str | None, dstid: str | None, times: str, psk: str, ppk: tuple[str, str] | None,
    tail: str, name: str | None,
) -> None:  # fmt: skip
    def word(text: str) -> str:
        return quote(text, KEYWORDS)

    words = ["ikev2", word(name) if name is not None else "", head, proposals]
    words += [f"{keyword} {word(text)}" for keyword, text in (("srcid", srcid), ("dstid", dstid)) if text is not None]
    words += [times, f"psk {word(psk)}", f"ppk {word(ppk[0])} ppkid {word(ppk[1])}" if ppk else "", tail, "iface sec7"]
    once = parse_text(" ".join(words) + "\n")
    if once.diagnostics.errors:  # a text that begins with 0x, for example, is no key
        return
    printed = "\n".join(parsed_text(once, with_keys=True)) + "\n"
    again = parse_text(printed)
    assert not again.diagnostics.errors, (printed, errors(again))
    assert connections(again) == connections(once), printed
    assert "\n".join(parsed_text(again, with_keys=True)) + "\n" == printed


# -- keys and certificates --------------------------------------------------------------------------------

_FILES = ("private/local.key", "certs/a.crt", "ca/ca.crt", "crls/ca.crl", "pubkeys/fqdn/peer")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(_FILES),
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=60).map(
            lambda data: b"-----BEGIN CERTIFICATE-----\n" + data + b"\n-----END CERTIFICATE-----\n"
        ),
        st.binary(max_size=60).map(lambda data: b"-----BEGIN X509 CRL-----\n" + data),
    ),
)
def test_no_octets_in_a_key_file_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, name: str, data: bytes):
    place = tmp_path_factory.mktemp("iked")
    path = place / name
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    path.chmod(0o600)
    keys = Store(place)
    for ask in (
        lambda: keys.credentials(Identity("fqdn", "us"), "us", Identity("fqdn", "peer"), "any"),
        lambda: keys.certificates,
        lambda: keys.authorities,
        lambda: keys.crls,
        lambda: keys._peer_keys(Identity("fqdn", "peer")),
    ):
        with suppress(CredentialsError):
            ask()
