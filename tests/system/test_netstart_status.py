"""`sec status`, `sec reset` and `sec doctor` with a real peer.

us: secd, sec0 and sec1 ---- 192.0.2.0/30 ---- them: charon (strongSwan)
    sec1's peer is an address that nobody has; sec2 has a rule and no interface; sec3 has no rule
"""

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from secd.lab.commands import scripts_directory, wait_until
from secd.lab.namespaces import Host, Lab
from secd.lab.secd import Secd
from secd.lab.strongswan import Charon, Tunnel

pytestmark = pytest.mark.root

SEC = str(scripts_directory() / "sec")
PHASES = "main auth hmac-sha2-256 enc aes-256 quick enc aes-256"
RULES = f"""\
ike interface sec0 peer 192.0.2.2 {PHASES} psk "a secret"
ike interface sec1 local 192.0.2.1 peer 192.0.2.3 {PHASES} psk "another"
ike passive interface sec2 peer 192.0.2.9 {PHASES} psk "a third"
"""
HOSTNAMES = {
    "sec0": "inet 169.254.64.94 255.255.255.252 169.254.64.93\ndescription Sydney\nup\n",
    "sec1": "inet 169.254.65.94 255.255.255.252 169.254.65.93\nup\n",
    "sec3": "inet 169.254.66.94 255.255.255.252 169.254.66.93\nup\n",
}


@pytest.fixture(scope="module")
def us(lab: Lab) -> Iterator[Host]:
    us, them = lab.host("us"), lab.host("them")
    lab.link(us, "192.0.2.1/29", them, "192.0.2.2/29")
    with Charon(them, Tunnel(local="192.0.2.2", remote="192.0.2.1", psk="a secret")) as charon:
        charon.inner("169.254.64.93", "169.254.64.94")
        with Secd(us, RULES, HOSTNAMES) as secd:
            secd.wait_up("sec0")
            yield us


def sec(host: Host, *arguments: str) -> subprocess.CompletedProcess[str]:
    return host.run(SEC, *arguments, check=False)


def test_the_tunnel_to_strongswan_is_up_and_counts_what_passes(us: Host):
    us.run("ping", "-c2", "-i0.2", "169.254.64.93")
    done = sec(us, "status", "sec0", "--json")
    assert done.returncode == 0
    tunnel = json.loads(done.stdout)["tunnels"][0]
    assert (tunnel["iface"], tunnel["state"], tunnel["reason"]) == ("sec0", "up", "")
    assert (tunnel["peer"], tunnel["local"], tunnel["description"]) == ("192.0.2.2", "192.0.2.1", "Sydney")
    assert (tunnel["octets_in"], tunnel["octets_out"]) == (168, 168)
    assert [(sa["direction"], sa["encryption"], sa["auth"]) for sa in tunnel["esp"]] == [
        ("in", "aes-256", "hmac-sha2-256"),
        ("out", "aes-256", "hmac-sha2-256"),
    ]
    assert tunnel["ike"][0]["encryption"] == "aes-256"


def test_the_details_are_words_for_a_person(us: Host):
    lines = sec(us, "status", "sec0").stdout.splitlines()
    assert lines[0] == "sec0: up"
    assert "    rule         /etc/ipsec.conf: 1 (active, ikev1)" in lines
    assert any(
        line.startswith("    IKEv1        established as initiator, aes-256 sha2-256 modp3072") for line in lines
    )


def test_every_tunnel_that_is_not_up_says_why_and_the_exit_code_tells(us: Host):
    done = sec(us, "status", "--json")
    assert done.returncode == 1
    told = {tunnel["iface"]: tunnel for tunnel in json.loads(done.stdout)["tunnels"]}
    assert sorted(told) == ["sec0", "sec1", "sec2", "sec3"]
    assert told["sec1"]["state"] in {"connecting", "waiting"}
    assert told["sec2"]["reason"].startswith("ike rule for sec2 but no interface: write /etc/hostname.sec2")
    assert told["sec3"]["reason"].startswith("no rule for sec3: write `ike interface sec3 peer ADDRESS")
    table = sec(us, "status").stdout.splitlines()
    assert [line.split()[0] for line in table if line.startswith(("INTERFACE", "sec"))] == ["INTERFACE", *sorted(told)]


def test_a_reset_makes_new_sas(us: Host):
    def spis() -> set[str]:
        tunnel = json.loads(sec(us, "status", "sec0", "--json").stdout)["tunnels"][0]
        return {sa["spi"] for sa in tunnel["esp"]} if tunnel["state"] == "up" else set()

    before = spis()
    assert sec(us, "reset", "sec0").returncode == 0
    wait_until(lambda: len(spis()) == 2 and not spis() & before, 10, "new SAs")
    us.run("ping", "-c1", "169.254.64.93")
    assert "sec7" in sec(us, "reset", "sec7").stderr


def test_doctor_computes_the_mtu_that_fits_the_path(us: Host):
    us.run(SEC, "ifconfig", "sec0", "mtu", "1500")
    findings = json.loads(sec(us, "doctor", "--json").stdout)
    wrong = next(f for f in findings if f["subject"] == "sec0" and "MTU 1500, but the path" in f["text"])
    assert wrong["level"] == "bad"
    assert wrong["advice"].startswith("sec ifconfig sec0 mtu 1422")
    us.run(SEC, "ifconfig", "sec0", "mtu", "1422")
    us.run("ping", "-c1", "-Mdo", "-s", str(1422 - 28), "169.254.64.93")
    findings = json.loads(sec(us, "doctor", "--json").stdout)
    assert not any("but the path" in f["text"] for f in findings)
    assert any(f["subject"] == "sec2" and f["level"] == "bad" for f in findings)


def test_watching_shows_it_again_and_again_until_interrupted(us: Host):
    watching = subprocess.Popen(us.argv(SEC, "status", "--watch", "0.3"), stdout=subprocess.PIPE, text=True)
    time.sleep(1.5)
    watching.terminate()
    output, _ = watching.communicate()
    assert output.count("INTERFACE") >= 2


def test_an_iked_that_cannot_be_asked_is_a_note_and_not_all_well(us: Host, tmp_path):
    for name in ("sadb.sock", "secd.sock"):
        (tmp_path / name).symlink_to(us.path(f"/run/secd/{name}"))
    done = us.run(SEC, "status", "--json", check=False, env={"SECD_RUNDIR": str(tmp_path)})
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert len(told["notes"]) == 1
    assert "iked.sock" in told["notes"][0]
    assert {tunnel["iface"]: tunnel["state"] for tunnel in told["tunnels"]} == {
        "sec0": "up",
        "sec1": "down",
        "sec3": "down",
    }
