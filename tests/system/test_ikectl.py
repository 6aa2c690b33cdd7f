"""ikectl(8) and iked.conf against running secds: tunnels by key and by certificate, modes, resets, both versions."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator

import pytest
from ikectl_ends import THEM, US, Ends, policy, two_secds

from secd.lab.commands import wait_until
from secd.lab.namespaces import Lab

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def running(lab: Lab) -> Iterator[Ends]:
    with two_secds(lab, "ikectl") as both:
        yield both


@pytest.fixture
def ends(running: Ends) -> Iterator[Ends]:
    """Both ends with the policies they started with, coupled and active."""
    running.begin()
    running.up()
    yield running
    for word in ("active", "couple"):
        running.ikectl(word)


def test_iked_conf_is_loaded_when_secd_starts(running: Ends):
    running.up()
    assert running.us.status()["sec0"]["state"] == "up"


def test_show_sa_is_openbsds_and_its_numbers_stay(ends: Ends):
    said = ends.ikectl("show", "sa")
    pattern = (
        r"iked_sas: (0x\w+) rspi 0x\w{16} ispi 0x\w{16} 192\.0\.2\.1:\d+->192\.0\.2\.2:\d+<FQDN/there>\[\] "
        r"ESTABLISHED i.* nexti 0x0 pol 0x\w+\n"
        r"  sa_childsas: 0x\w+ ESP (0x\w{8}) out 192\.0\.2\.1:\d+ -> 192\.0\.2\.2:\d+ \(L\) B=0x0 P=0x\w+ @\1\n"
        r"  sa_childsas: 0x\w+ ESP (0x\w{8}) in 192\.0\.2\.2:\d+ -> 192\.0\.2\.1:\d+ \(LA\) B=0x0 P=0x\w+ @\1\n"
    )
    found = re.match(pattern, said)
    assert found, said
    assert {int(found[2], 16), int(found[3], 16)} == ends.spis()
    assert ends.ikectl("show", "sa") == said
    (shown,) = json.loads(ends.ikectl("--json", "show", "sa"))["sas"]
    assert (shown["tunnel"], shown["version"], shown["handle"]) == ("sec0", 2, found[1])


def test_a_policy_loaded_again_disturbs_nothing(ends: Ends):
    before = ends.spis()
    ends.ikectl("reload")
    assert ends.spis() == before
    assert ends.ikectl("check") == "configuration OK\n"


def test_passive_mode_begins_nothing_and_outlives_iked(ends: Ends):
    before = ends.spis()
    ends.ikectl("passive")
    assert ends.spis() == before
    log = len(ends.us.daemon.text())
    os.kill(ends.us.processes()["iked"], signal.SIGKILL)
    ends.us.daemon.wait_for("iked is ready", 10, after=log)
    ends.ping()
    ends.ikectl("reset", "sa")
    wait_until(lambda: not ends.spis(), 5, "the end of the SAs")
    assert ends.us.status()["sec0"]["state"] == "waiting"
    assert ends.ikectl("show", "sa") == ""
    ends.ikectl("active")
    ends.up()


def test_decoupled_the_tunnel_is_there_and_carries_nothing(ends: Ends):
    ends.ikectl("decouple")
    wait_until(lambda: not ends.spis(), 5, "the end of the SAs")
    assert "ESTABLISHED" in ends.ikectl("show", "sa")
    ends.ikectl("couple")
    ends.up()


def test_reset_id_is_of_the_peer_of_that_name(ends: Ends):
    before = ends.spis()
    assert ends.ikectl("reset", "id", "nobody", check=False).startswith("ikectl: no IKE SA with a peer")
    assert ends.spis() == before
    ends.ikectl("reset", "id", "there")
    wait_until(lambda: ends.spis() and not ends.spis() & before, 10, "new SAs")
    ends.up()


def test_reset_policy_takes_the_tunnels_away_and_reload_brings_them_back(ends: Ends):
    ends.ikectl("reset", "policy")
    assert ends.us.status()["sec0"]["keying"] == "none"
    ends.ikectl("reload")
    ends.up()


def test_the_log_is_as_verbose_as_it_is_told_to_be(ends: Ends):
    ends.ikectl("log", "verbose")
    assert "log verbose" in ends.us.daemon.tail()
    ends.ikectl("log", "brief")
    stats = ends.ikectl("show", "stats")
    assert "\t1 ikev2 sas established\n" in stats
    assert "\t1 tunnels up\n" in stats


def test_an_error_leaves_the_tunnel_as_it_is(ends: Ends):
    before = ends.spis()
    ends.us.host.write("/etc/wrong.conf", "ikev2 from any to any nonsense\n", mode=0o600)
    said = ends.ikectl("load", "/etc/wrong.conf", check=False)
    assert said.startswith("/etc/wrong.conf: 1: not a valid authentication mode\n")
    twice = policy("passive", US[0], "192.0.2.77", "psk x")
    ends.us.host.write("/etc/twice.conf", twice, mode=0o600)
    said = ends.ikectl("load", "/etc/twice.conf", check=False)
    assert (
        said
        == "/etc/twice.conf: 1: sec0 is already used by the rule at /etc/iked.conf: 1\nikectl: policies not loaded\n"
    )
    assert ends.spis() == before


def test_tunnels_of_both_versions_stand_side_by_side(ends: Ends):
    rule = 'ike {} interface sec1 local {} peer {} psk "old"\n'
    for secd, mode, (local, peer) in ((ends.them, "passive", (THEM[0], US[0])), (ends.us, "active", (US[0], THEM[0]))):
        secd.ipsecctl("-f", "-", text=rule.format(mode, local, peer))
    try:
        ends.us.wait_up("sec0", "sec1")
        ends.ping()
        shown = json.loads(ends.ikectl("--json", "show", "sa"))["sas"]
        assert {(sa["tunnel"], sa["version"]) for sa in shown} == {("sec0", 2), ("sec1", 1)}
        assert len(re.findall(r"^iked_sas: .* ikev1 ", ends.ikectl("show", "sa"), re.MULTILINE)) == 1
    finally:
        for secd in (ends.us, ends.them):
            secd.ipsecctl("-f", "-", text="")
