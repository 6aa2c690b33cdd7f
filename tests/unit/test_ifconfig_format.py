"""`sec ifconfig` prints what the sec(4) announcement shows, to the letter."""

import pytest

from secd.cli.sec_show import Shown, ifconfig_lines
from secd.conf.hostname_settings import (
    InterfaceAddress,
    RemoveAddress,
    SetAddress,
    SetDescription,
    SetMTU,
    Setting,
    SetUp,
)
from secd.conf.hostname_words import WordError, ifconfig_settings

# As in the announcement (https://undeadly.org, 2023-07-05).
ANNOUNCEMENT = """\
sec0: flags=8051<UP,POINTOPOINT,RUNNING,MULTICAST> mtu 1280
        index 14 priority 0 llprio 3
        groups: sec
        inet 169.254.64.94 --> 169.254.64.93 netmask 0xfffffffc
sec1: flags=8051<UP,POINTOPOINT,RUNNING,MULTICAST> mtu 1280
        index 15 priority 0 llprio 3
        groups: sec
        inet 169.254.105.134 --> 169.254.105.133 netmask 0xfffffffc
"""
# Linux: UP, POINTOPOINT, RUNNING, NOARP, MULTICAST, LOWER_UP; then without UP.
UP, DOWN = 0x110D1, 0x1090
FIRST = InterfaceAddress("169.254.64.94", 30, "169.254.64.93")
SECOND = InterfaceAddress("169.254.105.134", 30, "169.254.105.133")


def test_the_announcements_two_interfaces_are_printed_as_there():
    shown = [
        Shown(name="sec0", index=14, flags=UP, mtu=1280, addresses=(FIRST,)),
        Shown(name="sec1", index=15, flags=UP, mtu=1280, addresses=(SECOND,)),
    ]
    lines = [line.replace("\t", "        ") for interface in shown for line in ifconfig_lines(interface)]
    assert "\n".join(lines) + "\n" == ANNOUNCEMENT


def test_an_interface_that_is_down_has_flags_8010():
    shown = Shown(name="sec0", index=14, flags=DOWN, mtu=1280)
    assert ifconfig_lines(shown)[0] == "sec0: flags=8010<POINTOPOINT,MULTICAST> mtu 1280"


def test_description_rdomain_and_ipv6_have_their_places():
    shown = Shown(
        name="sec3",
        index=26,
        flags=UP,
        mtu=1400,
        description="to Sydney",
        rdomain=3,
        addresses=(
            InterfaceAddress("10.0.0.1", 32),
            InterfaceAddress("fd00::1", 126, "fd00::2"),
            InterfaceAddress("fe80::1", 64),
        ),
    )
    assert ifconfig_lines(shown) == [
        "sec3: flags=8051<UP,POINTOPOINT,RUNNING,MULTICAST> rdomain 3 mtu 1400",
        "\tdescription: to Sydney",
        "\tindex 26 priority 0 llprio 3",
        "\tgroups: sec",
        "\tinet 10.0.0.1 --> 0.0.0.0 netmask 0xffffffff",
        "\tinet6 fd00::1 --> fd00::2 prefixlen 126",
        "\tinet6 fe80::1%sec3 -->  prefixlen 64 scopeid 0x1a",
    ]


def put(local: str, prefixlen: int, peer: str | None = None, *, alias: bool = False) -> SetAddress:
    return SetAddress(InterfaceAddress(local, prefixlen, peer), alias)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("inet 169.254.64.94 --> 169.254.64.93 netmask 0xfffffffc", [SetAddress(FIRST)]),
        ("inet 169.254.64.94/30 169.254.64.93 up", [SetAddress(FIRST), SetUp(True)]),
        ("inet 169.254.64.94 169.254.64.93 netmask 255.255.255.252", [SetAddress(FIRST)]),
        ("inet 10.0.0.1 10.0.0.2", [put("10.0.0.1", 32, "10.0.0.2")]),
        ("inet alias 10.0.0.1/32 mtu 1400", [put("10.0.0.1", 32, alias=True), SetMTU(1400)]),
        ("inet 10.0.0.1 netmask 255.255.255.0 alias", [put("10.0.0.1", 24, alias=True)]),
        ("inet 10.0.0.1 delete", [RemoveAddress("10.0.0.1")]),
        ("inet 10.0.0.1/30 -alias down", [RemoveAddress("10.0.0.1"), SetUp(False)]),
        ("inet delete 10.0.0.1", [RemoveAddress("10.0.0.1")]),
        ("inet6 fd00::1 fd00::2 prefixlen 126", [put("fd00::1", 126, "fd00::2")]),
        ("inet6 fd00::1/64", [put("fd00::1", 64)]),
        ("description x", [SetDescription("x")]),
    ],
)
def test_parameters_mean_what_ifconfig_means_by_them(words: str, wanted: list[Setting]):
    assert ifconfig_settings(words.split()) == wanted


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("inet 10.0.0.1 netmask 255.0.255.0", "255.0.255.0: no netmask; a netmask is 255.255.255.252 or 0xfffffffc"),
        ("inet 10.0.0.1 --> fd00::1", "fd00::1: an IPv6 address where an IPv4 address belongs"),
        ("inet", "the address is missing after `inet`"),
        ("tunnelttl 3", "tunnelttl: the outer TTL is always 64"),
        ("media autoselect", "media: unknown; known are inet, inet6, mtu,"),
    ],
)
def test_parameters_that_cannot_be_are_refused_with_a_reason(words: str, message: str):
    with pytest.raises(WordError) as raised:
        ifconfig_settings(words.split())
    assert str(raised.value).startswith(message)
