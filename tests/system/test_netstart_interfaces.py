"""hostname.secN, `sec netstart` and `sec ifconfig` against a running secd with real interfaces.

host: secd ---- sec0, sec1, ...      nothing outside: the interfaces themselves are what is tested
"""

import json
import re
import subprocess
import time
from collections.abc import Iterator

import pytest

from secd.lab.commands import scripts_directory
from secd.lab.namespaces import Host, Lab
from secd.lab.secd import Secd

pytestmark = pytest.mark.root

SEC = str(scripts_directory() / "sec")
ANNOUNCEMENT = {
    "sec0": "inet 169.254.64.94 255.255.255.252 169.254.64.93\nup\n",
    "sec1": "inet 169.254.105.134 255.255.255.252 169.254.105.133\nup\n",
}


@pytest.fixture(scope="module")
def host(lab: Lab) -> Iterator[Host]:
    host = lab.host("netstart")
    with Secd(host):
        yield host


@pytest.fixture(autouse=True)
def clean(host: Host) -> Iterator[None]:
    """Each test starts without interfaces and files."""
    yield
    for interface in json.loads(sec(host, "ifconfig", "--json").stdout):
        sec(host, "ifconfig", interface["name"], "destroy")
        host.path(f"/etc/hostname.{interface['name']}").unlink(missing_ok=True)


def sec(host: Host, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = host.run(SEC, *arguments, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def write(host: Host, files: dict[str, str]) -> None:
    for name, text in files.items():
        host.write(f"/etc/hostname.{name}", text, mode=0o640)


def shown(host: Host, name: str) -> dict[str, object]:
    found: list[dict[str, object]] = json.loads(sec(host, "ifconfig", name, "--json").stdout)
    return found[0]


def changes(host: Host, *arguments: str) -> str:
    """Run `sec` and give what the kernel told of links, addresses and routes meanwhile."""
    monitor = subprocess.Popen(
        host.argv("stdbuf", "-oL", "ip", "monitor", "link", "address", "route"), stdout=subprocess.PIPE, text=True
    )
    try:
        time.sleep(0.3)
        sec(host, *arguments)
        time.sleep(0.3)
    finally:
        monitor.terminate()
        output, _ = monitor.communicate()
    return output


def test_the_announcements_files_give_the_announcements_interfaces(host: Host):
    write(host, ANNOUNCEMENT)
    sec(host, "netstart")
    printed = re.sub(r"index \d+", "index 14", sec(host, "ifconfig").stdout)
    assert printed == (
        "sec0: flags=8051<UP,POINTOPOINT,RUNNING,MULTICAST> mtu 1280\n"
        "\tindex 14 priority 0 llprio 3\n"
        "\tgroups: sec\n"
        "\tinet 169.254.64.94 --> 169.254.64.93 netmask 0xfffffffc\n"
        "sec1: flags=8051<UP,POINTOPOINT,RUNNING,MULTICAST> mtu 1280\n"
        "\tindex 14 priority 0 llprio 3\n"
        "\tgroups: sec\n"
        "\tinet 169.254.105.134 --> 169.254.105.133 netmask 0xfffffffc\n"
    )
    assert "169.254.64.92/30 dev sec0" in host.ip("route")


def test_a_second_run_changes_nothing_and_no_link_flaps(host: Host):
    down_then_up = "down\nmtu 1300\nmtu 1400\n"
    write(host, {"sec0": down_then_up + "inet6 fd00::1 126 fd00::2\ndescription x\ntunneldf\n" + ANNOUNCEMENT["sec0"]})
    assert "created" in sec(host, "netstart", "-v").stdout
    assert shown(host, "sec0")["mtu"] == 1400
    assert changes(host, "netstart") == ""
    assert sec(host, "netstart", "-v").stdout == ""


def test_an_address_that_the_file_no_longer_has_is_removed_and_the_others_are_not_touched(host: Host):
    keep = "inet 10.0.0.1/30\ndest 10.0.0.2\nup\n"
    write(host, {"sec0": keep + "inet alias 10.0.9.1/32\ninet6 fd00::9 128\n"})
    sec(host, "netstart")
    write(host, {"sec0": keep})
    told = changes(host, "netstart", "sec0")
    assert "10.0.9.1" in told
    assert "fd00::9" in told
    assert "10.0.0.1" not in told
    assert shown(host, "sec0")["addresses"] == [{"local": "10.0.0.1", "prefixlen": 30, "peer": "10.0.0.2"}]


def test_an_address_gets_a_new_peer(host: Host):
    write(host, {"sec0": "inet 10.0.0.1 255.255.255.0 10.0.0.2\nup\n"})
    sec(host, "netstart")
    write(host, {"sec0": "inet 10.0.0.1 255.255.255.0 10.0.0.3\nup\n"})
    sec(host, "netstart")
    assert shown(host, "sec0")["addresses"] == [{"local": "10.0.0.1", "prefixlen": 24, "peer": "10.0.0.3"}]


def test_commands_run_in_their_place_and_one_that_fails_does_not_stop_the_rest(host: Host):
    text = (
        "!ip -br address show dev $if >/run/before\n"
        "inet 10.0.0.1/30\ndest 10.0.0.2\n"
        "!false\n"
        "up\n"
        "!ip route replace 10.20.0.0/16 dev $if; ip -br address show dev $if >/run/after\n"
    )
    write(host, {"sec0": text})
    done = sec(host, "netstart", code=1)
    assert done.stderr == ("sec netstart: /etc/hostname.sec0: 4: sec0: the command `false` ended with status 1\n")
    assert "10.0.0.1" not in host.path("/run/before").read_text()
    assert "10.0.0.1" in host.path("/run/after").read_text()
    assert "10.20.0.0/16 dev sec0" in host.ip("route")


def test_one_wrong_file_leaves_every_interface_alone(host: Host):
    write(host, {"sec0": ANNOUNCEMENT["sec0"], "sec1": "mtu 1000\nup\n"})
    done = sec(host, "netstart", code=1)
    assert done.stderr == "sec netstart: /etc/hostname.sec1: 1: mtu 1000: mtu is a number from 1280 to 32768\n"
    assert sec(host, "ifconfig").stdout == ""
    host.path("/etc/hostname.sec1").unlink()


def test_both_families_survive_down_and_up(host: Host):
    write(host, {"sec0": ANNOUNCEMENT["sec0"] + "inet6 fd00::1 126 fd00::2\n"})
    sec(host, "netstart")
    before = shown(host, "sec0")["addresses"]
    sec(host, "down", "sec0")
    assert sec(host, "ifconfig", "sec0").stdout.startswith("sec0: flags=8010<POINTOPOINT,MULTICAST> mtu 1280\n")
    sec(host, "up", "sec0")
    assert shown(host, "sec0")["addresses"] == before
    assert sec(host, "ifconfig", "sec0").stdout.startswith("sec0: flags=8051<")


def test_ifconfig_makes_sets_and_destroys(host: Host):
    sec(host, "ifconfig", "sec7", "create", "inet", "169.254.64.94/30", "-->", "169.254.64.93", "mtu", "1400", "up")
    sec(host, "ifconfig", "sec7", "description", "to Sydney", "tunneldf", "mssclamp")
    told = shown(host, "sec7")
    assert (told["mtu"], told["description"], told["tunneldf"], told["mssclamp"]) == (1400, "to Sydney", True, True)
    sec(host, "ifconfig", "sec7", "-tunneldf", "-description", "inet", "10.0.0.1", "10.0.0.2")
    told = shown(host, "sec7")
    assert (told["description"], told["tunneldf"]) == ("", False)
    assert told["addresses"] == [{"local": "10.0.0.1", "prefixlen": 32, "peer": "10.0.0.2"}]
    assert "exists already" in sec(host, "ifconfig", "sec7", "create", code=1).stderr
    sec(host, "ifconfig", "sec7", "destroy")
    assert "no such interface" in sec(host, "ifconfig", "sec7", code=1).stderr
    assert "sec7" not in host.ip("link")


def test_an_interface_that_secd_did_not_make_is_left_alone(host: Host):
    host.ip("tuntap", "add", "sec5", "mode", "tun")
    try:
        write(host, {"sec5": ANNOUNCEMENT["sec0"]})
        assert "did not make" in sec(host, "netstart", code=1).stderr
        assert "169.254" not in host.ip("address")
    finally:
        host.ip("link", "del", "sec5")
        host.path("/etc/hostname.sec5").unlink()


def test_a_routing_domain_is_refused_by_name_where_the_kernel_has_no_vrf(host: Host):
    sec(host, "ifconfig", "sec0", "create")
    done = host.run(SEC, "ifconfig", "sec0", "rdomain", "7", check=False)
    if done.returncode == 0:
        assert shown(host, "sec0")["rdomain"] == 7
        sec(host, "ifconfig", "sec0", "-rdomain")
        host.ip("link", "del", "vrf7")
    else:
        assert "rdomain: this kernel has no VRF (CONFIG_NET_VRF)" in done.stderr


def test_status_names_interfaces_without_a_rule_and_a_packet_without_an_sa_is_counted(host: Host):
    write(host, ANNOUNCEMENT)
    sec(host, "netstart")
    told = json.loads(sec(host, "status", "--json", code=1).stdout)
    assert told["all_up"] is False
    assert [(tunnel["iface"], tunnel["state"]) for tunnel in told["tunnels"]] == [("sec0", "down"), ("sec1", "down")]
    assert all("no rule for" in tunnel["reason"] for tunnel in told["tunnels"])
    before = json.loads(sec(host, "counters", "--json").stdout)
    host.run("ping", "-c1", "-W1", "169.254.64.93", check=False)
    after = json.loads(sec(host, "counters", "--json").stdout)
    assert after["drop_no_sa"] == before["drop_no_sa"] + 1


def test_doctor_finds_a_strict_reverse_path_filter_and_a_file_without_up(host: Host):
    write(host, {"sec0": "inet 10.0.0.1/30\ndest 10.0.0.2\n"})
    sec(host, "netstart")
    host.sysctl(net__ipv4__conf__sec0__rp_filter=1, net__ipv4__conf__all__rp_filter=0)
    findings = json.loads(host.run(SEC, "doctor", "--json", check=False).stdout)
    bad = {(finding["subject"], finding["advice"]) for finding in findings if finding["level"] != "ok"}
    assert ("sec0", "sysctl -w net.ipv4.conf.sec0.rp_filter=2") in bad
    assert ("hostname.sec0", "add a line `up`") in bad
    ports = {finding["subject"]: finding["text"] for finding in findings}
    assert (ports["UDP 500"], ports["UDP 4500"]) == ("held by secd", "held by secd")
