"""Rules to connections: defaults, identities, secrets, addresses; and what grammar alone does not tell."""

from __future__ import annotations

import socket

import pytest

from secd.conf import addresses, services
from secd.conf.interfaces import interface_addresses
from secd.conf.ipsec.compile import compile_rules
from secd.conf.ipsec.grammar import parse_file, parse_text
from secd.control.messages import AddConnection
from secd.ike.connection import Cipher, DeadPeerDetection, Phase1Proposal, Phase2Proposal
from secd.sadb.messages import Identity


def one(words: str) -> AddConnection:
    """Compile the only rule of a file, `ike interface sec0` and `words`."""
    compiled = compile_rules(parse_text(f"ike interface sec0 {words}\n").rules)
    assert not compiled.diagnostics.errors, [str(error) for error in compiled.diagnostics.all]
    return compiled.connections[0]


def test_the_defaults_are_openbsd_s() -> None:
    connection = one("peer 192.0.2.1 psk x").connection
    aes = Cipher("aes", 128, 128, 256)
    assert connection.mode == "active"
    assert connection.exchange == "main"
    assert connection.version == 1
    assert connection.phase1 == (Phase1Proposal(aes, "sha1", "modp3072"),)
    assert connection.phase2 == (Phase2Proposal(aes, "hmac-sha2-256", "modp3072"),)
    assert (connection.phase1_lifetime, connection.phase2_lifetime) == (3600, 1200)
    assert (connection.local, connection.srcid, connection.dstid) == (None, None, None)


def test_dead_peer_detection_is_on_though_no_word_asks_for_it() -> None:
    assert one("peer 192.0.2.1 psk x").connection.dpd == DeadPeerDetection()


@pytest.mark.parametrize("words", ["psk x", "peer any psk x", "local 192.0.2.9 psk x"])
def test_a_rule_without_a_peer_is_for_whoever_comes(words: str) -> None:
    assert one(words).connection.peer is None


def test_no_group_in_quick_mode_means_no_pfs() -> None:
    assert one("peer 192.0.2.1 quick group none psk x").connection.phase2[0].group == ""


def test_a_combined_mode_has_no_auth() -> None:
    proposal = one("peer 192.0.2.1 quick enc aes-256-gcm psk x").connection.phase2[0]
    assert proposal == Phase2Proposal(Cipher("aes-gcm", 256, 256, 256), "", "modp3072")


def test_lifetimes_may_be_minutes_and_hours() -> None:
    connection = one("peer 192.0.2.1 main lifetime 8h quick lifetime 30m psk x").connection
    assert (connection.phase1_lifetime, connection.phase2_lifetime) == (28800, 1800)


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("192.0.2.7", Identity("prefix", "192.0.2.7/32")),
        ("2001:DB8:0::7", Identity("prefix", "2001:db8::7/128")),
        ("gw.example.com", Identity("fqdn", "gw.example.com")),
        ("me@example.com", Identity("ufqdn", "me@example.com")),
        ("keyid:branch", Identity("key_id", "branch")),
    ],
)
def test_an_identity_is_what_it_looks_like(text: str, identity: Identity) -> None:
    connection = one(f"peer 192.0.2.1 srcid {text} dstid {text} psk x").connection
    assert connection.srcid == connection.dstid == identity


def test_dynamic_goes_by_the_host_s_name_unless_told() -> None:
    rule = parse_text("ike dynamic interface sec0 peer 192.0.2.1 psk x\n")
    connection = compile_rules(rule.rules).connections[0].connection
    assert connection.mode == "dynamic"
    assert connection.srcid is not None
    assert connection.srcid.text == socket.gethostname()


@pytest.mark.parametrize(
    ("psk", "secret"),
    [
        ("word", b"word"),
        ('"two words"', b"two words"),
        ("'with \"quotes\"'", b'with "quotes"'),
        ('"gr\u00fcn"', "gr\u00fcn".encode()),
        ("0x00FFaa", b"\x00\xff\xaa"),
        ('"\udcff"', b"\xff"),
    ],
)
def test_a_pre_shared_key_is_its_octets(psk: str, secret: bytes) -> None:
    assert one(f"peer 192.0.2.1 psk {psk}").secret == secret


def test_no_secret_is_in_a_repr() -> None:
    text = 'ike interface sec0 peer 192.0.2.1 psk "hunter2"\n' + (
        f"esp interface sec1 from 192.0.2.1 to 192.0.2.2 spi 0x1000:0x1001 "
        f"authkey {'ab' * 32}:{'ab' * 32} enckey {'cd' * 16}:{'cd' * 16}\n"
    )
    parsed = parse_text(text)
    compiled = compile_rules(parsed.rules)
    shown = repr(parsed) + repr(compiled)
    assert len(compiled.connections) == 1
    assert len(compiled.manual) == 2
    assert not [secret for secret in ("hunter2", "abab", "cdcd", "\\xab", "\\xcd") if secret in shown]


def test_a_hint_quotes_no_word_that_may_be_part_of_a_key() -> None:
    hint = parse_text("ike interface sec0 psk correct horse\n").diagnostics.all[0].hint
    assert hint.startswith("found a word, expected")
    assert "horse" not in hint


def test_a_name_stands_for_the_address_of_the_other_end_s_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_ask", lambda name: ["2001:db8::1", "192.0.2.1", "192.0.2.2"])
    monkeypatch.setattr(addresses, "_known", {})
    assert one("local 192.0.2.9 peer gw.example psk x").connection.peer == "192.0.2.1"
    assert one("local 2001:db8::9 peer gw.example psk x").connection.peer == "2001:db8::1"
    assert one("peer gw.example psk x").connection.peer == "2001:db8::1"


def _resolver_that_says(error: OSError, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make every look-up fail with `error`; the names that were asked for are given back."""
    asked: list[str] = []

    def fail(name: str, *_: object, **__: object) -> None:
        asked.append(name)
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(addresses, "_known", {})
    return asked


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (
            socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
            "Temporary failure in name resolution",
        ),
        (OSError(24, "Too many open files"), "Too many open files"),
    ],
)
def test_a_resolver_that_cannot_answer_is_not_the_file_s_fault(
    error: OSError, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _resolver_that_says(error, monkeypatch)
    rules = "ike interface sec0 peer gw.example psk x\nike interface sec1 peer gw.example psk y\n"
    diagnostics = parse_text(rules).diagnostics
    assert [str(each) for each in diagnostics.all] == [
        f"stdin: {line}: cannot look up gw.example: {why}" for line in (1, 2)
    ]
    assert not diagnostics.blames_file
    assert asked == ["gw.example"], "without a name server each question takes many seconds"


def test_a_name_that_does_not_exist_is_told_as_openbsd_does(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _resolver_that_says(socket.gaierror(socket.EAI_NONAME, "Name or service not known"), monkeypatch)
    for name in ("gw.example", "gw.invalid"):
        diagnostics = parse_text(f"ike interface sec0 peer {name} psk x\n").diagnostics
        assert [str(each) for each in diagnostics.all] == [
            f"no IP address found for {name}",
            "stdin: 1: could not parse host specification",
        ]
        assert diagnostics.blames_file
    assert asked == ["gw.example"]


def test_localhost_needs_no_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolver_that_says(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), monkeypatch)
    assert [str(each) for each in addresses.host("localhost")] == ["127.0.0.1", "::1"]


def test_an_interface_stands_for_its_addresses() -> None:
    assert "127.0.0.1" in (interface_addresses("lo") or [])
    assert interface_addresses("lo0") == interface_addresses("lo")
    assert interface_addresses("nosuchif9") is None
    assert one("local lo peer 192.0.2.1 psk x").connection.local == "127.0.0.1"


@pytest.mark.parametrize(
    ("text", "prefix", "shown"),
    [
        ("10.0.2", 24, "10.0.2.0/24"),
        ("10.1.2.3", 8, "10.1.2.3/8"),
        ("10.0.0.1", 32, "10.0.0.1/32"),
        ("2001:DB8::1", 128, "2001:db8::1"),
        ("::", 0, "::/0"),
    ],
)
def test_an_address_is_shown_in_its_usual_form(text: str, prefix: int, shown: str) -> None:
    assert [str(address) for address in addresses.host(text, prefix)] == [shown]


@pytest.mark.parametrize(("text", "prefix"), [("10.0.0.1", 33), ("::1", 129), ("1.2.3.4.5", 8), ("10..1", 8), ("a", 8)])
def test_what_is_no_network_stands_for_nothing(text: str, prefix: int) -> None:
    assert addresses.host(text, prefix) == ()


def test_protocols_and_ports_have_names_even_without_the_system_s_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> int:
        raise OSError

    for function in ("getprotobyname", "getservbyname", "getservbyport"):
        monkeypatch.setattr(socket, function, missing)
    assert services.protocol_number("esp") == 50
    assert services.protocol_number("nosuch") is None
    assert services.protocol_name(97) == "etherip"
    assert services.protocol_name(200) == "200"
    assert services.port_number("ntp") == 123
    assert services.port_number("nosuch") is None
    assert services.port_name(22, services.TCP) == "ssh"
    assert services.port_name(2022, services.TCP) == "2022"


def test_more_rules_than_secd_takes_are_refused() -> None:
    text = "".join(f"ike interface sec{n} peer 10.0.{n >> 8}.{n & 255} psk x\n" for n in range(10_001))
    compiled = compile_rules(parse_text(text).rules)
    assert [str(error) for error in compiled.diagnostics.all] == ["stdin: 10001: more than 10000 rules"]


def test_a_file_that_is_not_there_is_told_as_openbsd_does() -> None:
    assert [str(error) for error in parse_file("/nonexistent/ipsec.conf").diagnostics.all] == [
        "ipsecctl: /nonexistent/ipsec.conf: No such file or directory"
    ]
