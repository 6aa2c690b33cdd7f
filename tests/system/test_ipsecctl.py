"""ipsecctl(8) against a running secd: manual keys loaded, shown, watched, flushed; sources kept apart."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from secd.lab.commands import wait_until
from secd.lab.namespaces import Host, Lab
from secd.lab.processes import Daemon
from secd.lab.secd import Secd

pytestmark = pytest.mark.root

KEYS = f"authkey {'aa' * 32}:{'bb' * 32} enckey {'cc' * 32}:{'dd' * 32}"
MANUAL = f"esp interface sec0 from 127.0.0.1 to 127.0.0.2 spi 0x1001:0x1002 udpencap enc aes-256 {KEYS}\n"
NUMBERS = re.compile(r"(?<=add )\d{9,}|(?<=first )\d{9,}")

SHOWN = """FLOWS:
No flows

SAD:
esp tunnel from 127.0.0.1 to 127.0.0.2 spi 0x00001001 auth hmac-sha2-256 enc aes-256
	sa: spi 0x00001001 auth hmac-sha2-256 enc aes
		state mature replay 64 flags 0x204<tunnel,udpencap>
	lifetime_cur: alloc 0 bytes 0 add EPOCH first 0
	address_src: 127.0.0.1
	address_dst: 127.0.0.2
	identity_src: type prefix id 0: 127.0.0.1/32
	identity_dst: type prefix id 0: 127.0.0.2/32
	src_mask: 0.0.0.0
	dst_mask: 0.0.0.0
	protocol: proto 0 flags 0
	flow_type: type use direction out
	src_flow: 0.0.0.0
	dst_flow: 0.0.0.0
	udpencap: udpencap port 4500
	counter:

	replay: rpl 1
	interface: sec0 direction out
esp tunnel from 127.0.0.2 to 127.0.0.1 spi 0x00001002 auth hmac-sha2-256 enc aes-256
"""


@pytest.fixture(scope="module")
def host(lab: Lab) -> Host:
    made = lab.host("ipsecctl")
    made.run("ip", "link", "set", "lo", "up")
    return made


@pytest.fixture(scope="module")
def secd(host: Host) -> Iterator[Secd]:
    with Secd(host, "", None, "--no-boot") as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_loaded(host: Host, secd: Secd) -> Iterator[None]:
    yield
    host.run("ipsecctl", "-f", "-", text="")
    host.run("ipsecctl", "-F")


def refused(host: Host, text: str) -> str:
    """Load `text`, which is to be refused; give what was said."""
    result = host.run("ipsecctl", "-f", "-", text=text, check=False)
    assert result.returncode == 1
    assert result.stdout == ""
    return result.stderr


def test_manual_keys_are_loaded_and_shown(secd: Secd) -> None:
    secd.ipsecctl("-f", "-", text=MANUAL)
    told = NUMBERS.sub("EPOCH", secd.ipsecctl("-sa", "-v"))
    assert told.startswith(SHOWN)
    assert "aa" * 32 not in secd.ipsecctl("-ss", "-vv")
    with_keys = secd.ipsecctl("-ss", "-kv")
    assert f"\tauthkey 0x{'aa' * 32} \\\n\tenckey 0x{'cc' * 32}\n" in with_keys
    assert f"\tkey_auth: bits 256: {'bb' * 32}\n" in with_keys


def test_loading_a_source_again_replaces_it_and_d_takes_it_away(secd: Secd) -> None:
    secd.ipsecctl("-f", "-", text=MANUAL)
    secd.ipsecctl("-f", "-", text=MANUAL.replace("0x1001:0x1002", "0x2001:0x2002"))
    assert [entry["sa"]["spi"] for entry in json.loads(secd.ipsecctl("-ss", "--json"))["sas"]] == [0x2001, 0x2002]
    secd.ipsecctl("-d", "-f", "-", text=MANUAL.replace("0x1001:0x1002", "0x2001:0x2002"))
    assert secd.ipsecctl("-sa") == "FLOWS:\nNo flows\n\nSAD:\nNo entries\n"


def test_f_flushes_the_sad(secd: Secd) -> None:
    secd.ipsecctl("-f", "-", text=MANUAL)
    secd.ipsecctl("-F")
    assert secd.ipsecctl("-ss") == ""


def test_an_interface_belongs_to_one_source(host: Host, secd: Secd) -> None:
    secd.ipsecctl("-f", "-", text=MANUAL)
    path = "/etc/other.conf"
    host.write(path, "\nike passive interface sec0 peer 192.0.2.1 psk x\n", mode=0o600)
    result = host.run("ipsecctl", "-f", path, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"{path}: 2: sec0 is already used by the rule at stdin: 1")
    assert result.stderr.endswith("ipsecctl: ipsec rules not loaded\n")
    assert len(json.loads(secd.ipsecctl("-ss", "--json"))["sas"]) == 2


def test_after_an_error_the_old_rules_stay(host: Host, secd: Secd) -> None:
    secd.ipsecctl("-f", "-", text=MANUAL)
    assert refused(host, MANUAL + "ike interface sec0 peer 192.0.2.1 psk x\n").startswith(
        "stdin: 2: sec0 is already used"
    )
    assert refused(host, "nonsense\n") == (
        "stdin: 1: syntax error\nipsecctl: Syntax error in config file: ipsec rules not loaded\n"
    )
    assert len(json.loads(secd.ipsecctl("-ss", "--json"))["sas"]) == 2


def test_m_tells_what_happens(host: Host, secd: Secd) -> None:
    with Daemon(host, "monitor", "ipsecctl", "-m") as monitor:

        def told() -> str | None:
            # Loaded over and over until the monitor is registered.
            secd.ipsecctl("-f", "-", text=MANUAL)
            secd.ipsecctl("-F")
            # Registered between the two, it sees the end of one round first.
            text = monitor.tail()
            return text if re.search(r"sadb_add(?s:.*)sadb_flush", text) else None

        text = wait_until(told, 10, "the monitor's lines")
    assert (
        "sadb_add: esp tunnel from 127.0.0.1 to 127.0.0.2 spi 0x00001001 auth hmac-sha2-256 enc aes-256 "
        "interface sec0 direction out" in text
    )
