"""`ipsecctl -s` and `-m`: what the sec(4) announcement shows, line for line."""

from __future__ import annotations

import json

import pytest

from secd.cli import ipsecctl, ipsecctl_sad
from secd.cli.ipsecctl_sad import event_line
from secd.cli.ipsecctl_seam import SeamError
from secd.sadb.messages import (
    SA,
    Change,
    Counters,
    Entry,
    Expire,
    Identity,
    InterfaceChange,
    Lifetime,
    NewMapping,
    UdpEncap,
)

US, PEER = "130.102.96.46", "54.153.175.223"


def _sa(**changes: object) -> SA:
    fields: dict[str, object] = {
        "spi": 0x13CA145B, "direction": "in", "iface": "sec1", "source": PEER, "destination": US,
        "encryption": "aes-256", "encryption_key": b"", "auth": "hmac-sha2-256", "auth_key": b"",
        "udpencap": UdpEncap(4500, 4500), "hard": Lifetime(addtime=3600), "soft": Lifetime(addtime=3240),
        "identity_source": Identity("prefix", f"{PEER}/32"), "identity_destination": Identity("prefix", f"{US}/32"),
    }  # fmt: skip
    return SA(**{**fields, **changes})  # type: ignore[arg-type]


INBOUND = Entry(
    seq=1,
    sa=_sa(),
    state="mature",
    current=Lifetime(allocations=9, bytes=752, addtime=1684451878, usetime=1684451880),
    lastuse=1684451888,
    counters=Counters(input_packets=9, input_bytes=2044, input_decompressed_bytes=853),
    rpl=9,
)
OUTBOUND = Entry(
    seq=1,
    sa=_sa(
        spi=0xC9D2ADC1, direction="out", source=US, destination=PEER,
        identity_source=Identity("prefix", f"{US}/32"), identity_destination=Identity("prefix", f"{PEER}/32"),
    ),
    state="mature",
    current=Lifetime(allocations=8, bytes=511, addtime=1684451878, usetime=1684451880),
    lastuse=1684451888,
    counters=Counters(output_packets=8, output_bytes=1136, output_uncompressed_bytes=671),
    rpl=9,
)  # fmt: skip

SHORT = """FLOWS:
No flows

SAD:
esp tunnel from 54.153.175.223 to 130.102.96.46 spi 0x13ca145b auth hmac-sha2-256 enc aes-256
esp tunnel from 130.102.96.46 to 54.153.175.223 spi 0xc9d2adc1 auth hmac-sha2-256 enc aes-256
"""

LINE = SHORT.splitlines()[4]

LONG = """FLOWS:
No flows

SAD:
esp tunnel from 54.153.175.223 to 130.102.96.46 spi 0x13ca145b auth hmac-sha2-256 enc aes-256
	sa: spi 0x13ca145b auth hmac-sha2-256 enc aes
		state mature replay 64 flags 0x204<tunnel,udpencap>
	lifetime_cur: alloc 0 bytes 752 add 1684451878 first 1684451880
	lifetime_hard: alloc 0 bytes 0 add 3600 first 0
	lifetime_soft: alloc 0 bytes 0 add 3240 first 0
	address_src: 54.153.175.223
	address_dst: 130.102.96.46
	identity_src: type prefix id 0: 54.153.175.223/32
	identity_dst: type prefix id 0: 130.102.96.46/32
	src_mask: 0.0.0.0
	dst_mask: 0.0.0.0
	protocol: proto 0 flags 0
	flow_type: type use direction in
	src_flow: 0.0.0.0
	dst_flow: 0.0.0.0
	udpencap: udpencap port 4500
	lifetime_lastuse: alloc 0 bytes 0 add 0 first 1684451888
	counter:
		9 input packets
		2044 input bytes
		853 input bytes, decompressed

	replay: rpl 9
	interface: sec1 direction in
esp tunnel from 130.102.96.46 to 54.153.175.223 spi 0xc9d2adc1 auth hmac-sha2-256 enc aes-256
	sa: spi 0xc9d2adc1 auth hmac-sha2-256 enc aes
		state mature replay 64 flags 0x204<tunnel,udpencap>
	lifetime_cur: alloc 0 bytes 511 add 1684451878 first 1684451880
	lifetime_hard: alloc 0 bytes 0 add 3600 first 0
	lifetime_soft: alloc 0 bytes 0 add 3240 first 0
	address_src: 130.102.96.46
	address_dst: 54.153.175.223
	identity_src: type prefix id 0: 130.102.96.46/32
	identity_dst: type prefix id 0: 54.153.175.223/32
	src_mask: 0.0.0.0
	dst_mask: 0.0.0.0
	protocol: proto 0 flags 0
	flow_type: type use direction out
	src_flow: 0.0.0.0
	dst_flow: 0.0.0.0
	udpencap: udpencap port 4500
	lifetime_lastuse: alloc 0 bytes 0 add 0 first 1684451888
	counter:
		8 output packets
		1136 output bytes
		671 output bytes, uncompressed

	replay: rpl 9
	interface: sec1 direction out
"""


class Printed:
    """Runs ipsecctl over given SAs and gives what it prints."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.entries = [INBOUND, OUTBOUND]
        self.asked_for_keys = False
        self._capsys = capsys
        monkeypatch.setattr(ipsecctl_sad, "dump", self._dump)

    def _dump(self, *, with_keys: bool) -> list[Entry]:
        self.asked_for_keys = with_keys
        return self.entries

    def __call__(self, *argv: str) -> str:
        assert ipsecctl.main(argv) == 0
        return self._capsys.readouterr().out


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Printed:
    return Printed(monkeypatch, capsys)


def test_sa_prints_what_the_announcement_shows(printed: Printed) -> None:
    assert printed("-sa") == SHORT
    assert printed("-s", "all") == SHORT


def test_sa_v_prints_what_the_announcement_shows(printed: Printed) -> None:
    assert printed("-sa", "-v") == LONG


def test_ss_prints_the_sas_alone_and_sf_says_that_there_are_no_flows(printed: Printed) -> None:
    assert printed("-ss") == "".join(SHORT.splitlines(keepends=True)[4:])
    assert printed("-sf") == "No flows\n"


def test_an_empty_sad_is_said(printed: Printed) -> None:
    printed.entries = []
    assert printed("-sa") == "FLOWS:\nNo flows\n\nSAD:\nNo entries\n"


def test_keys_are_asked_for_and_shown_with_k_only(printed: Printed) -> None:
    printed("-sa", "-v")
    assert not printed.asked_for_keys
    printed.entries = [
        Entry(1, _sa(encryption_key=bytes(32), auth_key=b"\xaa" * 32), "mature", Lifetime(), 0, Counters(), 0)
    ]
    text = printed("-ss", "-kv")
    assert printed.asked_for_keys
    assert f"enc aes-256 \\\n\tauthkey 0x{'aa' * 32} \\\n\tenckey 0x{'00' * 32}\n" in text
    assert f"\tkey_auth: bits 256: {'aa' * 32}\n\tkey_encrypt: bits 256: {'00' * 32}\n" in text


def test_vv_shows_the_counters_that_are_zero_too(printed: Printed) -> None:
    printed.entries = [Entry(1, _sa(), "dying", Lifetime(), 0, Counters(input_packets=1, input_drops=1), 0)]
    text = printed("-ss", "-vv")
    assert "\t\t1 input packet\n\t\t0 output packets\n\t\t0 input bytes\n" in text
    assert "\t\t1 packet dropped on input\n\t\t0 packets dropped on output\n\n" in text
    assert "lifetime_lastuse" not in text


@pytest.mark.parametrize(
    ("encryption", "auth", "short", "long"),
    [
        ("aes-128", "hmac-sha1", "auth hmac-sha1 enc aes", "auth hmac-sha1 enc aes"),
        ("aes-192", "hmac-sha1", "auth hmac-sha1 enc aes-192", "auth hmac-sha1 enc aes"),
        ("aes-256-gcm", "", "enc aes-256-gcm", "enc aes-gcm"),
        ("chacha20-poly1305", "", "enc chacha20-poly1305", "enc chacha20-poly1305"),
        ("null", "hmac-sha2-512", "auth hmac-sha2-512 enc null", "auth hmac-sha2-512 enc null"),
    ],
)
def test_algorithms_have_openbsd_s_names(printed: Printed, encryption: str, auth: str, short: str, long: str) -> None:
    sa = _sa(encryption=encryption, auth=auth, udpencap=None, esn=True, identity_source=None)
    printed.entries = [Entry(1, sa, "mature", Lifetime(), 0, Counters(), 0, pmtu=1400)]
    lines = printed("-ss", "-v").splitlines()
    assert lines[0].endswith(f"spi 0x13ca145b {short}")
    assert lines[1] == f"\tsa: spi 0x13ca145b {long}"
    assert lines[2] == "\t\tstate mature replay 64 flags 0x404<tunnel,esn>"
    assert "\tmtu: mtu 1400" in lines
    assert not [line for line in lines if line.startswith(("\tudpencap", "\tidentity_src"))]


def test_json_has_the_same_and_no_keys_unless_asked(printed: Printed) -> None:
    printed.entries = [Entry(1, _sa(encryption_key=b"secret"), "mature", Lifetime(), 0, Counters(), 0)]
    told = json.loads(printed("-sa", "--json"))
    assert told["flows"] == []
    assert told["sas"][0]["sa"]["iface"] == "sec1"
    assert "encryption_key" not in told["sas"][0]["sa"]
    assert json.loads(printed("-sa", "-k", "--json"))["sas"][0]["sa"]["encryption_key"] == b"secret".hex()


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Change("add", _sa()), f"sadb_add: {LINE} interface sec1 direction in"),
        (Change("flush", None), "sadb_flush: satype esp"),
        (Expire(_sa(), "soft", "seconds"), f"sadb_expire: soft after seconds: {LINE} interface sec1 direction in"),
        (Expire(_sa(), "deleted"), f"sadb_expire: deleted: {LINE} interface sec1 direction in"),
        (NewMapping(0x1000, "sec0", "192.0.2.1", 61234),
         "sadb_x_nat_t_new_mapping: spi 0x00001000 address 192.0.2.1 port 61234 interface sec0"),
        (InterfaceChange("sec0", False, True), "interface: sec0 not running"),
    ],
)  # fmt: skip
def test_an_event_is_a_line(event: Change | Expire | NewMapping | InterfaceChange, line: str) -> None:
    assert event_line(event) == line


def test_m_prints_events_until_the_data_plane_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def events() -> object:
        yield Change("delete", _sa())
        raise SeamError("gone")

    monkeypatch.setattr(ipsecctl_sad, "events", events)
    assert ipsecctl.main(["-m"]) == 1
    told = capsys.readouterr()
    assert told.out.startswith("sadb_delete: esp tunnel from ")
    assert told.err == "ipsecctl: gone\n"


def test_without_secd_the_answer_says_how_to_start_it(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SECD_RUNDIR", str(tmp_path))
    for option in ("-sa", "-F", "-m"):
        assert ipsecctl.main([option]) == 1
        assert capsys.readouterr().err == (
            f"ipsecctl: secd is not running (nobody answers at {tmp_path}/sadb.sock): "
            "start it with `systemctl start secd` or `secd`\n"
        )
