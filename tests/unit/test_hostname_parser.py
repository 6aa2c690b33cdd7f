"""hostname.secN: what each line means, and what a wrong one is told."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secd.conf.hostname import HostnameError, InterfaceFile, parse_hostname, read_hostname
from secd.conf.hostname_settings import (
    InterfaceAddress,
    RunCommand,
    SetAddress,
    SetDescription,
    SetMTU,
    SetOption,
    SetRDomain,
    Setting,
    SetUp,
    interface_unit,
)
from secd.conf.hostname_words import dotted_netmask, parse_netmask


def parse(text: str) -> InterfaceFile:
    return parse_hostname(text, path="/etc/hostname.sec0", interface="sec0")


def settings(text: str) -> list[Setting]:
    return [located.setting for located in parse(text).settings]


def refusal(text: str) -> str:
    with pytest.raises(HostnameError) as raised:
        parse(text)
    return str(raised.value)


def address(local: str, prefixlen: int, peer: str | None = None, *, alias: bool = False) -> SetAddress:
    return SetAddress(InterfaceAddress(local, prefixlen, peer), alias)


def test_the_announcements_file_gives_both_ends_and_goes_up():
    file = parse("inet 169.254.64.94 255.255.255.252 169.254.64.93\nup\n")
    assert file.addresses == (InterfaceAddress("169.254.64.94", 30, "169.254.64.93"),)
    assert file.goes_up


GOLDEN = [
    ("", []),
    ("# nothing\n\n   \n", []),
    ("inet 10.0.0.1", [address("10.0.0.1", 32)]),
    ("inet 10.0.0.1/30", [address("10.0.0.1", 30)]),
    ("inet 10.0.0.1/30\ndest 10.0.0.2", [address("10.0.0.1", 30, "10.0.0.2")]),
    ("inet 10.0.0.1 255.255.255.252", [address("10.0.0.1", 30)]),
    ("inet 10.0.0.1 0xfffffffe 10.0.0.0", [address("10.0.0.1", 31, "10.0.0.0")]),
    ("inet 10.0.0.1 255.255.255.252 NONE mtu 1400", [address("10.0.0.1", 30), SetMTU(1400)]),
    ("inet 10.0.0.1 255.255.255.252 10.0.0.2 up", [address("10.0.0.1", 30, "10.0.0.2"), SetUp(True)]),
    ("inet alias 10.0.0.1/32", [address("10.0.0.1", 32, alias=True)]),
    ("inet6 fd00::1 126", [address("fd00::1", 126)]),
    ("inet6 FD00:0::1 126 fd00::2", [address("fd00::1", 126, "fd00::2")]),
    ("inet6 fd00::1/126\ndest fd00::2", [address("fd00::1", 126, "fd00::2")]),
    ("inet6 alias fd00::1", [address("fd00::1", 128, alias=True)]),
    ("mtu 1280 up", [SetMTU(1280), SetUp(True)]),
    ("mtu 32768", [SetMTU(32768)]),
    ("down", [SetUp(False)]),
    ('description "to Sydney # 2"  # the second', [SetDescription("to Sydney # 2")]),
    ("description 'it''s'", [SetDescription("its")]),
    (r"descr to\ Sydney", [SetDescription("to Sydney")]),
    ("-description", [SetDescription("")]),
    ("rdomain 3\n-rdomain", [SetRDomain(3), SetRDomain(0)]),
    ("tunneldf\n-mssclamp", [SetOption("tunneldf", True), SetOption("mssclamp", False)]),
    ("!ip route replace 10.1.0.0/16 dev $if", [RunCommand("ip route replace 10.1.0.0/16 dev sec0")]),
    (r"!echo \$if ${if} $iface '#'", [RunCommand("echo sec0 sec0 $iface '#'")]),
    ("mtu \\\n  1400", [SetMTU(1400)]),
    ("up\r\n", [SetUp(True)]),
]


@pytest.mark.parametrize(("text", "wanted"), GOLDEN)
def test_a_line_means_what_openbsd_means_by_it(text: str, wanted: list[Setting]):
    assert settings(text) == wanted


ERRORS = [
    ("inet", "1: the address is missing after `inet`"),
    ("inet 10.0.0.300", "1: 10.0.0.300: not an IPv4 address"),
    ("inet fd00::1", "1: fd00::1: an IPv6 address where an IPv4 address belongs"),
    ("inet 224.0.0.5/32", "1: 224.0.0.5: no host can have this address"),
    ("inet 10.0.0.1/33", "1: 33: a prefix length is a number from 1 to 32"),
    (
        "inet 10.0.0.1/30 10.0.0.2",
        "1: after an address with a prefix length 10.0.0.2 means a netmask: "
        "write inet 10.0.0.1 255.255.255.252 10.0.0.2",
    ),
    (
        "up\ninet 10.0.0.1 10.0.0.2",
        "2: 10.0.0.2: no netmask; the netmask comes before the peer's address: "
        "write inet 10.0.0.1 255.255.255.252 10.0.0.2",
    ),
    ("inet 10.0.0.1 0xff00ff00", "1: 0xff00ff00: no netmask: ones, then zeros, as 255.255.255.252 or 0xfffffffc"),
    ("inet 10.0.0.1 255.255.255.253 10.0.0.2", "1: 255.255.255.253: no netmask: ones, then zeros, as 255.255.255.252"),
    (
        "inet 10.0.0.1 255.255.255.252 10.0.0.1",
        "1: 10.0.0.1 is given as both ends: the peer has another address than this host",
    ),
    (
        "inet 10.0.0.1/32\ninet 10.0.0.5/32",
        "2: inet 10.0.0.5 would replace 10.0.0.1 of line 1: write inet alias 10.0.0.5 ...",
    ),
    ("dest 10.0.0.2", "1: dest belongs on the line after the inet or inet6 line whose other end it names"),
    ("inet 10.0.0.1/30\ndest fd00::1", "2: fd00::1: an IPv6 address where an IPv4 address belongs"),
    ("inet6 fe80::1%eth0 64", "1: fe80::1%eth0: write the address without a zone and not as an IPv4-mapped one"),
    ("mtu", "1: the MTU is missing after `mtu`"),
    ("mtu 1279", "1: mtu 1279: mtu is a number from 1280 to 32768"),
    ("mtu 9" * 9, "1: mtu 9mtu: mtu is a number from 1280 to 32768"),
    ("description", "1: the text is missing after `description`"),
    ('description "to Sydney', '1: the closing " is missing'),
    ("group aws", "1: group: Linux gives an interface one group, and every secN is in `sec`"),
    ("rdomain 254", "1: rdomain 254: rdomain is a number from 0 to 252"),
    ("tunnel 1.2.3.4 5.6.7.8", "1: tunnel: a sec interface has no tunnel addresses of its own"),
    ("dhcp", "1: dhcp: there is no DHCP through a tunnel: write the address"),
    ("inet autoconf", "1: autoconf: nothing sends router advertisements through a tunnel: write the address"),
    ("mut 1400", "1: mut: unknown; known are inet, inet6, mtu, description"),
]


@pytest.mark.parametrize(("text", "message"), ERRORS)
def test_a_wrong_line_is_named_with_its_file_and_number_and_told_what_to_write(text: str, message: str):
    assert refusal(text).startswith(f"/etc/hostname.sec0: {message}")


def test_every_wrong_line_is_reported_at_once():
    assert refusal("mtu 1\nup\ninet x\n").splitlines() == [
        "/etc/hostname.sec0: 1: mtu 1: mtu is a number from 1280 to 32768",
        "/etc/hostname.sec0: 3: x: not an IPv4 address",
    ]


@pytest.mark.parametrize("name", ["sec", "sec01", "sec-1", "sec4294967296", "gif0", "sec0 ", "sec٣"])
def test_a_name_that_is_no_sec_interface_has_no_unit(name: str):
    assert interface_unit(name) is None


def test_any_unit_of_32_bits_is_a_sec_interface():
    assert (interface_unit("sec0"), interface_unit("sec4294967295")) == (0, 0xFFFFFFFF)


def test_a_peer_outside_the_mask_is_routed_alone():
    assert InterfaceAddress("10.0.0.1", 24, "10.9.0.1").routed == InterfaceAddress("10.0.0.1", 32, "10.9.0.1")
    assert InterfaceAddress("10.0.0.1", 30, "10.0.0.2").routed == InterfaceAddress("10.0.0.1", 30, "10.0.0.2")


@given(st.integers(min_value=1, max_value=32))
def test_a_netmask_is_read_back_from_its_dotted_and_its_hexadecimal_form(prefixlen: int):
    assert parse_netmask(dotted_netmask(prefixlen)) == prefixlen
    assert parse_netmask(f"0x{0xFFFFFFFF << (32 - prefixlen) & 0xFFFFFFFF:08x}") == prefixlen


WORDS = st.sampled_from(
    ["inet", "inet6", "alias", "dest", "mtu", "up", "description", "group", "rdomain", "!echo $if", "-group", "tunnel",
     "10.0.0.1", "10.0.0.2/30", "255.255.255.252", "fd00::1", "64", "1400", "NONE", '"', "'", "\\", "#", "\n", "0x",
     "²", "-->", "0xfffffffc", "delete", "\0"]
)  # fmt: skip


@given(st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=30).map(" ".join)))
def test_whatever_the_file_holds_only_its_own_error_comes_out(text: str):
    message = ""
    try:
        parse(text)
    except HostnameError as error:
        message = str(error)
    assert all(line.startswith("/etc/hostname.sec0: ") for line in message.split("\n") if message)


def test_a_file_that_the_world_can_read_is_closed_with_a_word(tmp_path):
    path = tmp_path / "hostname.sec0"
    path.write_text("up\n")
    path.chmod(0o644)
    file, warnings = read_hostname(str(path), interface="sec0")
    assert file.goes_up
    assert warnings == [f"{path}: everybody could read it (mode 0644): changed to 0640"]
    assert path.stat().st_mode & 0o777 == 0o640
    assert read_hostname(str(path), interface="sec0")[1] == []


def test_a_file_that_others_can_write_is_not_obeyed(tmp_path):
    path = tmp_path / "hostname.sec0"
    path.write_text("!id\n")
    path.chmod(0o666)
    with pytest.raises(HostnameError, match="others than root can write it"):
        read_hostname(str(path), interface="sec0")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_not_obeyed(tmp_path):
    path = tmp_path / "hostname.sec0"
    path.write_text("!id\n")
    path.chmod(0o600)
    os.chown(path, 12345, 0)
    with pytest.raises(HostnameError, match="belongs to user 12345"):
        read_hostname(str(path), interface="sec0")


def test_a_missing_file_a_directory_and_bytes_that_are_no_text_are_named(tmp_path):
    for make, message in [
        (lambda p: None, "No such file"),
        (lambda p: p.mkdir(mode=0o700), "not a regular file"),
        (lambda p: p.write_bytes(b"up\n\xff\n"), "2: not UTF-8 text"),
    ]:
        path = tmp_path / message.split(maxsplit=1)[0]
        make(path)
        if path.is_file():
            path.chmod(0o600)
        with pytest.raises(HostnameError, match=message):
            read_hostname(str(path), interface="sec0")
