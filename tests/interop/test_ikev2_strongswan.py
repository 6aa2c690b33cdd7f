"""IKEv2 with strongSwan, secd in both roles: suites, identities, rekeys, dead peers, deletes, mismatches, NAT."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from tests.interop.life import (
    BEHIND,
    OUTSIDE,
    behind_a_nat,
    child_spis,
    comes_back_or_waits,
    ike_spis,
    move,
    nothing_lost,
    reboot,
    roles,
    wait_for_new,
)

from secd.lab.commands import wait_until
from secd.lab.namespaces import Host, Lab
from secd.lab.pair import HOSTNAME, INNER_THEM, INNER_US, PSK, THEM, US, Pair, Role, theirs
from secd.lab.secd import Secd
from secd.lab.strongswan import Charon, IkeSA, Tunnel

pytestmark = pytest.mark.root

IKE, ESP = "enc aes-256-gcm prf hmac-sha2-256 group curve25519", "enc aes-256-gcm group curve25519"
IKE_THEM, ESP_THEM = "aes256gcm16-prfsha256-curve25519", "aes256gcm16-curve25519"

#: iked.conf's words: strongSwan's, and as it reports them.
CIPHERS = {
    "enc aes-128-gcm": ("aes128gcm16", "AES_GCM_16_128", ""), "enc aes-256-gcm": ("aes256gcm16", "AES_GCM_16_256", ""),
    "enc chacha20-poly1305": ("chacha20poly1305", "CHACHA20_POLY1305", ""),
    **{
        f"enc aes-{bits} auth hmac-{name}": (f"aes{bits}-{short}", f"AES_CBC_{bits}", told)
        for bits in (128, 192, 256)
        for name, short, told in (
            ("sha1", "sha1", "HMAC_SHA1_96"), ("sha2-256", "sha256", "HMAC_SHA2_256_128"),
            ("sha2-384", "sha384", "HMAC_SHA2_384_192"), ("sha2-512", "sha512", "HMAC_SHA2_512_256"),
        )
    },
}  # fmt: skip
GROUPS = {
    "curve25519": "CURVE_25519", "ecp256": "ECP_256", "ecp384": "ECP_384", "ecp521": "ECP_521",
    "modp2048": "MODP_2048", "modp3072": "MODP_3072", "modp4096": "MODP_4096", "modp8192": "MODP_8192",
}  # fmt: skip


def policy(
    role: Role, ike: str = IKE, child: str = ESP, *, ids: str = f"srcid {US} dstid {THEM}", psk: str = PSK,
    peer: str = f"local {US} peer {THEM}", times: str = "", hosts: str = "from any to any", config: str = "",
) -> str:  # fmt: skip
    """Write secd's policy; `role` is secd's."""
    mode = "active" if role == "initiator" else "passive"
    return (
        f"set {mode}\n"
        f'ikev2 "test" {mode} {hosts} {peer} ikesa {ike} childsa {child} {ids} {times} psk "{psk}" {config} '
        f"iface sec0\n"
    )


def them(**changes: object) -> Tunnel:
    """Charon's side of the usual tunnel with `changes`."""
    return theirs(**{"version": 2, "ike": IKE_THEM, "esp": ESP_THEM, **changes})


@pytest.fixture(scope="module")
def daemons(hosts: tuple[Host, Host]) -> Iterator[Pair]:
    """Both daemons running, without a tunnel."""
    us, other = hosts
    with Charon(other, log_level=2) as charon, Secd(us, "", {"sec0": HOSTNAME}, "-v") as secd:
        charon.inner(INNER_THEM, INNER_US)
        yield Pair(us, other, secd, charon, ike=2)


# -- suites -----------------------------------------------------------------------------------------------


@roles
@pytest.mark.parametrize("words", CIPHERS)
def test_both_kinds_of_sa_by_cipher(pair: Pair, role: Role, words: str) -> None:
    name, encryption, integrity = CIPHERS[words]
    ours = policy(role, f"{words} prf hmac-sha2-256 group ecp256", words)
    sa = pair.negotiate(role, ours, them(ike=f"{name}-prfsha256-ecp256", esp=name))
    assert (sa.version, sa.encryption, sa.integrity) == (2, encryption, integrity)
    assert (sa.children[0].encryption, sa.children[0].integrity) == (encryption, integrity)
    pair.ping(2)


@roles
@pytest.mark.parametrize("prf", ["sha1", "sha2-256", "sha2-384", "sha2-512"])
def test_the_ike_sa_by_prf(pair: Pair, role: Role, prf: str) -> None:
    ours = policy(role, f"enc aes-256-gcm prf hmac-{prf} group ecp256")
    pair.negotiate(role, ours, them(ike=f"aes256gcm16-prf{prf.replace('sha2-', 'sha')}-ecp256"))
    pair.ping(1)


@roles
@pytest.mark.parametrize("group", GROUPS)
def test_both_kinds_of_sa_by_group(pair: Pair, role: Role, group: str) -> None:
    ours = policy(role, f"enc aes-256-gcm prf hmac-sha2-256 group {group}", f"enc aes-256-gcm group {group}")
    sa = pair.negotiate(role, ours, them(ike=f"aes256gcm16-prfsha256-{group}", esp=f"aes256gcm16-{group}"))
    assert sa.group == GROUPS[group]
    pair.secd.sec("rekey", "sec0")
    sa = wait_until(lambda: _with_group(pair, GROUPS[group]), 5, "a pair with a key exchange of its own")
    pair.ping(1)


@roles
def test_a_group_that_the_responder_does_not_want_is_not_the_last_word(pair: Pair, role: Role) -> None:
    ours, other = ("group curve25519 group ecp384", "ecp384")
    if role == "responder":
        ours, other = "group ecp384", "curve25519-ecp384"
    sa = pair.negotiate(
        role, policy(role, f"enc aes-256-gcm prf hmac-sha2-256 {ours}"), them(ike=f"aes256gcm16-prfsha256-{other}")
    )
    assert sa.group == "ECP_384"


@roles
def test_the_default_policies_find_each_other(pair: Pair, role: Role) -> None:
    mode = "active" if role == "initiator" else "passive"
    rule = f'ikev2 {mode} from any to any peer {THEM} srcid {US} psk "{PSK}" iface sec0\n'
    pair.negotiate(role, f"set {mode}\n{rule}", them(ike="default", esp="default"))
    pair.ping(1)


# -- identities -------------------------------------------------------------------------------------------


@roles
@pytest.mark.parametrize(("srcid", "dstid"), [
    ("branch.example.com", "hq.example.com"), ("admin@example.com", "root@example.org"), ("branch.example.com", THEM),
    ('"keyid:branch"', "hq.example.com"), ('"/CN=branch"', '"/CN=hq"'),
])  # fmt: skip
def test_identities(pair: Pair, role: Role, srcid: str, dstid: str) -> None:
    def name(text: str) -> str:
        return text.strip('"').replace("keyid:", "keyid:").replace("/CN=", "CN=")

    sa = pair.negotiate(
        role,
        policy(role, ids=f"srcid {srcid} dstid {dstid}"),
        them(remote_id=f'"{name(srcid)}"', local_id=f'"{name(dstid)}"'),
    )
    assert sa.children
    pair.ping(1)


# -- rekeys -----------------------------------------------------------------------------------------------


@roles
@pytest.mark.parametrize("what", ["ike", "child"])
@pytest.mark.parametrize("by", ["secd", "charon", "both"])
def test_a_rekey_loses_nothing(pair: Pair, role: Role, what: str, by: str) -> None:
    before = pair.negotiate(role, policy(role), them())
    with nothing_lost(pair):
        if by in ("secd", "both"):
            pair.secd.sec("rekey", *(["--ike"] if what == "ike" else []), "sec0")
        if by in ("charon", "both"):
            pair.charon.rekey(**{what: "sec0"})
        after = wait_for_new(pair, before, ike_spis if what == "ike" else child_spis)
    assert after
    _wait_for_agreement(pair)


@roles
def test_lifetimes_bring_rekeys_of_both_kinds_and_lose_nothing(pair: Pair, role: Role) -> None:
    before = pair.negotiate(role, policy(role, times="ikelifetime 8 lifetime 6"), them())
    with nothing_lost(pair, settle=0.5):
        wait_for_new(pair, before, child_spis, timeout=15)
        wait_for_new(pair, before, ike_spis, timeout=15)


# -- life and death ---------------------------------------------------------------------------------------


@roles
def test_charon_asks_whether_secd_lives(pair: Pair, role: Role) -> None:
    sa = pair.negotiate(role, policy(role), them(dpd_delay=1))
    seen = len(pair.charon.log())
    time.sleep(3.5)
    said = pair.charon.log()[seen:]
    assert len(re.findall(r"sending DPD request", said)) >= 2
    assert pair.charon.established() == sa


def test_a_peer_that_rebooted_is_back_within_the_time_of_dpd(pair: Pair) -> None:
    rules = policy("initiator").replace("set active", "set active\nset dpd_check_interval 3")
    before = pair.negotiate("initiator", rules, them())
    reboot(pair)
    wait_for_new(pair, before, child_spis, timeout=45)
    pair.ping(1)


def test_a_peer_that_rebooted_and_initiates_replaces_what_was(pair: Pair) -> None:
    before = pair.negotiate("responder", policy("responder"), them())
    reboot(pair)
    pair.charon.initiate()
    wait_for_new(pair, before, child_spis)
    pair.ping(1)
    _wait_for_agreement(pair)


@roles
@pytest.mark.parametrize("child_only", [True, False])
def test_the_peer_deletes_the_tunnel_or_the_pair_alone(pair: Pair, role: Role, child_only: bool) -> None:
    before = pair.negotiate(role, policy(role), them())
    pair.charon.terminate(child_only=child_only)
    comes_back_or_waits(pair, role, before)


@roles
def test_a_policy_that_goes_takes_the_tunnel_along_on_both_sides(pair: Pair, role: Role) -> None:
    pair.negotiate(role, policy(role), them())
    pair.load("set active\n")
    wait_until(lambda: not pair.charon.list_sas(), 5, "charon's end of the tunnel")
    assert pair.secd.sas() == []


@roles
def test_a_killed_iked_goes_on_and_the_peer_sees_no_renegotiation(pair: Pair, role: Role) -> None:
    sa = pair.negotiate(role, policy(role), them(unique="replace"))
    with nothing_lost(pair, settle=0.0):
        pair.us.run("kill", "-9", str(pair.secd.processes()["iked"]))
        time.sleep(3)
        pair.secd.sec("rekey", "sec0")
        wait_for_new(pair, sa, child_spis)
    after = pair.charon.established()
    assert after is not None
    assert ike_spis(after) == ike_spis(sa)


# -- mismatches -------------------------------------------------------------------------------------------


@roles
def test_different_keys_are_told(pair: Pair, role: Role) -> None:
    said = _fails(pair, role, policy(role, psk="another"), them(), "pre-shared key")
    assert "compare `psk` at /etc/iked.conf: 2" in said


@roles
def test_different_proposals_are_told(pair: Pair, role: Role) -> None:
    ours = policy(role, "enc aes-256-gcm prf hmac-sha2-256 group ecp384")
    said = _fails(pair, role, ours, them(), "proposal")
    wanted = "nearest: group: peer curve25519, here ecp384" if role == "responder" else "NO_PROPOSAL_CHOSEN"
    assert wanted in said


@roles
def test_different_proposals_for_esp_are_told_and_are_not_those_for_ike(pair: Pair, role: Role) -> None:
    said = _fails(pair, role, policy(role, child="enc aes-128-gcm"), them(), "childsa enc aes-128-gcm")
    assert ("here aes-128-gcm" if role == "responder" else "NO_PROPOSAL_CHOSEN") in said


def test_an_identity_that_is_not_expected_is_told_with_the_words_to_write(pair: Pair) -> None:
    rules = policy("responder", ids=f"srcid {US} dstid hq.example.com")
    said = _fails(pair, "responder", rules, them(local_id="other.example.com"), "calls itself")
    assert "write `dstid other.example.com` at /etc/iked.conf: 2" in said


@roles
@pytest.mark.parametrize(("local_ts", "remote_ts", "told"), [
    (f"{INNER_THEM}/32", "0.0.0.0/0", f"{INNER_THEM}/32"), ("0.0.0.0/0", f"{INNER_US}/32", f"{INNER_US}/32"),
    ("169.254.64.92/30", "169.254.64.92/30", "169.254.64.92/30 <-> 169.254.64.92/30"),
])  # fmt: skip
def test_selectors_that_the_peer_narrows_are_accepted_with_a_warning(
    pair: Pair, role: Role, local_ts: str, remote_ts: str, told: str
) -> None:
    seen = len(_said(pair))
    child = {"local_ts": local_ts, "remote_ts": remote_ts, "esp_proposals": ESP_THEM, "start_action": "none"}
    pair.negotiate(role, policy(role), them(extra={"children": {"sec0": child}}))
    line = next(line for line in _said(pair)[seen:].splitlines() if "carries only" in line)
    assert told in line
    assert "make the peer route-based" in line
    pair.ping(1)


@roles
def test_a_refusal_of_the_selectors_is_told_apart(pair: Pair, role: Role) -> None:
    child = {"local_ts": "2001:db8::/64", "remote_ts": "2001:db8:1::/64", "esp_proposals": ESP_THEM}
    rules = policy(role, hosts="from 0.0.0.0/0 to 0.0.0.0/0")
    line = _fails(pair, role, rules, them(extra={"children": {"sec0": child}}), "TS_UNACCEPTABLE")
    if role == "responder":
        assert "asks for a tunnel for 2001:db8::/64 <-> 2001:db8:1::/64" in line
        assert "or write `from any to any` at /etc/iked.conf: 2" in line
    else:
        assert "refuses 0.0.0.0/0" in line


# -- NAT --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nat_hosts(lab: Lab) -> tuple[Host, Host, Host]:
    """One host behind a NAT that also changes ports, the NAT, one host outside."""
    return behind_a_nat(lab)


@pytest.mark.parametrize("who", ["secd", "charon"])
def test_either_side_behind_a_nat_and_a_mapping_that_moves(nat_hosts: tuple[Host, Host, Host], who: str) -> None:
    behind, nat, outside = nat_hosts
    ours, other = (behind, outside) if who == "secd" else (outside, behind)
    if who == "secd":
        tunnel = Tunnel(OUTSIDE, "%any", PSK, version=2, remote_id="branch.example.com", ike=IKE_THEM, esp=ESP_THEM)
        rules = policy("initiator", ids="srcid branch.example.com", peer=f"peer {OUTSIDE}")
        rules = f"set dpd_check_interval 3\n{rules}"
    else:
        tunnel = Tunnel(
            BEHIND, OUTSIDE, PSK, version=2, local_id="branch.example.com", ike=IKE_THEM, esp=ESP_THEM, dpd_delay=2
        )
        rules = policy("responder", ids=f"srcid {OUTSIDE} dstid branch.example.com", peer="")
    with Charon(other, tunnel, log_level=2) as charon, Secd(ours, "", {"sec0": HOSTNAME}, "-v") as secd:
        charon.inner(INNER_THEM, INNER_US)
        both = Pair(ours, other, secd, charon, ike=2)
        both.load(rules)
        if who == "charon":
            charon.initiate()
        secd.wait_up("sec0")
        both.ping(3)
        assert [sa["udpencap"] is not None for sa in secd.sas()] == [True, True]
        for what in ("ike", "child"):
            spis = ike_spis if what == "ike" else child_spis
            for rekey in (
                lambda what=what: secd.sec("rekey", *(["--ike"] if what == "ike" else []), "sec0"),
                lambda what=what: charon.rekey(**{what: "sec0"}),
            ):
                _wait_for_agreement(both)
                before = wait_until(charon.established, 5, "charon's IKE SA")
                rekey()
                wait_for_new(both, before, spis)
            _wait_for_agreement(both)
            both.ping(2)
        move(nat, "203.0.113.77")
        with both.told():
            wait_until(lambda: _pings(ours, INNER_THEM), 20, "packets through the new mapping")


def _pings(host: Host, address: str) -> bool:
    return " 1 received" in host.run("ping", "-q", "-n", "-c1", "-W1", address, check=False).stdout


# -- helpers ----------------------------------------------------------------------------------------------


def _fails(pair: Pair, role: Role, ours: str, other: Tunnel, words: str) -> str:
    """Negotiate in vain; gives the line of secd's log that says why, with `words` in it."""
    seen = len(_said(pair))
    pair.charon.load(other)
    pair.load(ours)
    if role == "responder":
        pair.charon.swanctl("--initiate", "--child", "sec0", "--timeout", "2", check=False)

    def said() -> str:
        return next((line for line in _said(pair)[seen:].splitlines() if words in line), "")

    line = wait_until(said, 10, f"a line with {words!r}")
    assert not [sa for sa in pair.secd.sas() if sa["state"] == "mature"]
    return line


def _said(pair: Pair) -> str:
    """What secd has written."""
    return pair.secd.daemon.log.read_text()


def _with_group(pair: Pair, group: str) -> IkeSA | None:
    sa = pair.charon.established()
    return sa if sa is not None and any(each.group == group for each in sa.children) else None


def _wait_for_agreement(pair: Pair) -> None:
    """Wait until both sides have one pair, the same, in one IKE SA."""

    def agree() -> bool:
        sas = [sa for sa in pair.charon.list_sas() if sa.state == "ESTABLISHED"]
        kept = [c for sa in sas for c in sa.children if c.state == "INSTALLED"]
        ours = {sa["spi"] for sa in pair.secd.sas()}
        return len(sas) == len(kept) == 1 and {int(kept[0].spi_in, 16), int(kept[0].spi_out, 16)} == ours

    with pair.told():
        wait_until(agree, 15, "one pair, the same on both sides")
