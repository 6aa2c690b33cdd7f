"""What `sec status` makes of rules, SAs and interfaces."""

from typing import Literal

from msgspec.structs import replace

from secd.cli.sec_checks import inner_mtu
from secd.cli.sec_show import Shown
from secd.cli.sec_status import detail_lines, table_lines
from secd.cli.sec_tunnels import Tunnel, tunnels
from secd.ike.connection import Connection
from secd.ike.contract import ConnectionStatus, IKEStatus
from secd.sadb.messages import SA, Counters, Entry, Lifetime, UdpEncap

UP, DOWN = 0x110D1, 0x1090
HERE, THERE = "130.102.96.46", "52.65.9.248"


def interface(name: str, *, up: bool = True, description: str = "") -> Shown:
    return Shown(name=name, index=1, flags=UP if up else DOWN, mtu=1280, description=description)


def entry(name: str, direction: str, spi: int, *, octets: int = 0, state: str = "mature") -> Entry:
    inward = direction == "in"
    sa = SA(
        spi=spi,
        direction="in" if inward else "out",
        iface=name,
        source=THERE if inward else HERE,
        destination=HERE if inward else THERE,
        encryption="aes-256",
        encryption_key=b"",
        auth="hmac-sha2-256",
        udpencap=UdpEncap(),
    )
    counters = Counters(
        input_packets=6 if inward else 0,
        input_decompressed_bytes=octets if inward else 0,
        output_packets=0 if inward else 7,
        output_uncompressed_bytes=0 if inward else octets,
    )
    current = Lifetime(bytes=octets, addtime=1684451878, usetime=1684451882)
    return Entry(1, sa, "larval" if state == "larval" else "mature", current, 0, counters, 6, idle=3.2)


def status(
    name: str,
    state: Literal["up", "connecting", "waiting", "down"],
    reason: str = "",
    *,
    ike: IKEStatus | None = None,
    last_rekey: float | None = None,
    next_attempt: float | None = None,
) -> ConnectionStatus:
    return ConnectionStatus(
        connection=Connection(name=name, origin="/etc/ipsec.conf: 6", iface=name, peer=THERE),
        state=state,
        reason=reason,
        ike=[ike] if ike else [],
        children=[],
        last_rekey=last_rekey,
        next_attempt=next_attempt,
        retries=3 if next_attempt else 0,
    )


IKE = IKEStatus(
    version=1, role="initiator", state="established",
    initiator_spi="0011223344556677", responder_spi="8899aabbccddeeff",
    local=HERE, local_port=4500, remote=THERE, remote_port=4500, local_id=HERE, remote_id=THERE,
    encryption="aes-256", hash="sha2-256", group="modp3072",
    age=725.0, rekey_in=24000.0, expires_in=28000.0, nat=True, vendor="strongSwan",
)  # fmt: skip


def one(found: list[Tunnel]) -> Tunnel:
    assert len(found) == 1
    return found[0]


def test_a_tunnel_is_up_when_iked_says_so_and_its_interface_is_up():
    sas = [entry("sec0", "out", 0xCA1ADC30, octets=592), entry("sec0", "in", 0x8E5FEC4B, octets=597)]
    tunnel = one(tunnels([status("sec0", "up", ike=IKE, last_rekey=60.0)], sas, [interface("sec0")]))
    assert (tunnel.state, tunnel.reason, tunnel.keying, tunnel.local) == ("up", "", "ikev1", HERE)
    assert (tunnel.octets_in, tunnel.octets_out) == (597, 592)
    assert [sa.spi for sa in tunnel.esp] == ["0x8e5fec4b", "0xca1adc30"]


def test_a_rule_without_an_interface_says_which_file_to_write():
    tunnel = one(tunnels([status("sec2", "up")], [], []))
    assert tunnel.state == "down"
    assert tunnel.reason == "ike rule for sec2 but no interface: write /etc/hostname.sec2, then sec netstart sec2"


def test_an_interface_that_is_down_is_the_reason_whatever_iked_says():
    tunnel = one(tunnels([status("sec0", "up")], [], [interface("sec0", up=False)]))
    assert tunnel.state == "down"
    assert tunnel.reason == "the interface is down: sec up sec0; for the next boot, `up` in /etc/hostname.sec0"


def test_two_troubles_are_both_told():
    silent = status("sec0", "waiting", "52.65.9.248 does not answer")
    tunnel = one(tunnels([silent], [], [interface("sec0", up=False)]))
    assert tunnel.reason.startswith("the interface is down: sec up sec0;")
    assert tunnel.reason.endswith("; besides, 52.65.9.248 does not answer")
    assert "; besides, no rule for sec3" in one(tunnels([], [], [interface("sec3", up=False)])).reason


def test_an_interface_without_a_rule_says_which_rule_to_write():
    tunnel = one(tunnels([], [], [interface("sec3")]))
    assert (tunnel.state, tunnel.keying) == ("down", "none")
    assert tunnel.reason.startswith("no rule for sec3: write `ike interface sec3 peer ADDRESS")


def test_manual_keys_are_up_with_an_sa_each_way_and_say_which_way_is_missing():
    both = [entry("sec1", "in", 0x1000), entry("sec1", "out", 0x1001)]
    tunnel = one(tunnels([], both, [interface("sec1")]))
    assert (tunnel.state, tunnel.keying, tunnel.peer) == ("up", "manual", THERE)
    assert one(tunnels([], both[:1], [interface("sec1")])).reason == "no outbound SA: nothing goes out"
    assert one(tunnels([], both[1:], [interface("sec1")])).reason == "no inbound SA: nothing comes in"


def test_without_iked_no_rule_is_denied_and_no_key_called_manual():
    tunnel = one(tunnels(None, [], [interface("sec0")]))
    assert (tunnel.state, tunnel.keying, tunnel.reason) == ("down", "unknown", "no SA, and iked cannot be asked why")
    both = [entry("sec0", "in", 0x1000), entry("sec0", "out", 0x1001)]
    assert (one(tunnels(None, both, [interface("sec0")])).state) == "up"


def test_an_spi_that_is_merely_reserved_is_no_sa():
    assert one(tunnels([], [entry("sec0", "in", 0x1000, state="larval")], [interface("sec0")])).keying == "none"


def test_tunnels_come_in_the_order_of_their_numbers_and_one_can_be_picked():
    interfaces = [interface(name) for name in ("sec10", "sec9", "sec1")]
    assert [tunnel.iface for tunnel in tunnels([], [], interfaces)] == ["sec1", "sec9", "sec10"]
    assert [tunnel.iface for tunnel in tunnels([], [], interfaces, only="sec9")] == ["sec9"]


def test_the_table_has_a_line_for_each_tunnel_and_the_reason_below():
    sas = [entry("sec0", "out", 0xCA1ADC30, octets=592), entry("sec0", "in", 0x8E5FEC4B, octets=1500)]
    waiting = status("sec1", "waiting", "52.65.9.248 does not answer", next_attempt=43.4)
    found = tunnels(
        [status("sec0", "up", ike=IKE, last_rekey=725.0), waiting], sas, [interface("sec0"), interface("sec1")]
    )
    assert [" ".join(line.split()) for line in table_lines(found)] == [
        "INTERFACE PEER STATE IKE ESP IN OUT LAST REKEY NEXT ATTEMPT",
        "sec0 52.65.9.248 up established 12m05s aes-256 hmac-sha2-256 1.5K 592 12m05s ago -",
        "sec1 52.65.9.248 waiting - - 0 0 - in 43s",
        "52.65.9.248 does not answer",
    ]


def test_the_details_name_both_ends_their_identities_and_every_sa():
    sas = [entry("sec0", "out", 0xCA1ADC30, octets=592), entry("sec0", "in", 0x8E5FEC4B, octets=597)]
    shown = [interface("sec0", description="Sydney\x1b[2J")]
    text = "\n".join(detail_lines(tunnels([status("sec0", "up", ike=IKE)], sas, shown)))
    assert (
        text
        == """\
sec0: up
    description  Sydney?[2J
    rule         /etc/ipsec.conf: 6 (active, ikev1)
    local        130.102.96.46
    peer         52.65.9.248
    IKEv1        established as initiator, aes-256 sha2-256 modp3072, a NAT between
                 130.102.96.46 port 4500 (130.102.96.46)
                 52.65.9.248 port 4500 (52.65.9.248, strongSwan)
                 SPIs 0011223344556677 8899aabbccddeeff, 12m05s old, rekey in 6h40m, ends in 7h46m
    ESP in       0x8e5fec4b aes-256 hmac-sha2-256, mature, 6 packets, 597 octets, last used 3s ago, in UDP
    ESP out      0xca1adc30 aes-256 hmac-sha2-256, mature, 7 packets, 592 octets, last used 3s ago, in UDP
    traffic      597 in, 592 out through these SAs"""
    )


def test_the_details_name_inner_addresses_and_what_is_left_to_people():
    given = {"address": ("10.9.0.7/24",), "name-server": ("10.9.0.1", "2001:db8::53")}
    told = replace(status("sec0", "up", ike=IKE), assigned=given, provided=("10.8.0.2",))
    lines = list(detail_lines(tunnels([told], [], [interface("sec0")])))
    assert "    from peer    address 10.9.0.7/24" in lines
    left = "(not set by secd: iked.conf(5), Inner addresses)"
    assert f"    from peer    name-server 10.9.0.1, 2001:db8::53 {left}" in lines
    assert "    to peer      address 10.8.0.2" in lines


def test_no_tunnels_at_all_points_to_the_first_steps():
    assert list(table_lines([])) == [
        "No tunnels: there is no ike rule and no sec interface.  `sec --help` tells the first steps."
    ]


def test_the_largest_inside_packet_is_what_fits_after_padding():
    def best(encryption: str, auth: str, *, udp: bool, outer: str = THERE) -> int:
        esp = one(tunnels([], [entry("sec0", "out", 0x1000)], [interface("sec0")])).esp[0]
        return inner_mtu(1500, replace(esp, encryption=encryption, auth=auth, udpencap=udp, destination=outer))

    # Computed from RFC 4303 §2.4; the IPv4 ones are those that AWS documents for its VPN.
    assert best("aes-256-gcm", "", udp=False) == 1446
    assert best("aes-256-gcm", "", udp=True) == 1438
    assert best("aes-128", "hmac-sha1", udp=False) == 1438
    assert best("aes-256", "hmac-sha2-256", udp=True) == 1422
    assert best("aes-256", "hmac-sha2-512", udp=False) == 1422
    assert best("aes-256", "hmac-sha2-512", udp=True) == 1406
    assert best("aes-256-gcm", "", udp=False, outer="2001:db8::1") == 1426
