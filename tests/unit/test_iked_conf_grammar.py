"""iked.conf: what a policy may say, in OpenBSD's grammar, and what is told when it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from secd.conf.iked.grammar import Parsed, parse_file, parse_text
from secd.conf.iked.rules import EAP, PPK, PSK, Policy, Signed

ANY = "from any to any"


def errors(parsed: Parsed) -> list[str]:
    return [str(each) for each in parsed.diagnostics.all if each.severity == "error"]


def policy(words: str) -> Policy:
    """Read `ikev2 ANY WORDS`, or a whole line."""
    parsed = parse_text((words if words.startswith("ikev2") else f"ikev2 {ANY} {words}") + "\n")
    assert errors(parsed) == []
    return parsed.policies[0]


def error(words: str) -> str:
    """Read what is wrong; give the one error without its place."""
    line = words if words.startswith(("ikev2", "set", "user", "ike ", "flow")) else f"ikev2 {ANY} {words}"
    told = errors(parse_text(line + "\n"))
    assert len(told) == 1, told
    return told[0].removeprefix("stdin: 1: ")


# -- the head of a policy ---------------------------------------------------------------------------------


def test_a_policy_waits_unless_it_is_told_otherwise():
    assert not policy(f"ikev2 {ANY} peer 192.0.2.1").active
    assert policy(f"ikev2 active {ANY} peer 192.0.2.1").active


def test_policies_without_a_name_are_numbered():
    parsed = parse_text(f'ikev2 {ANY}\nikev2 "hq" {ANY}\nikev2 {ANY}\n')
    assert [each.name for each in parsed.policies] == ["policy1", "hq", "policy3"]


def test_every_flag_has_its_place():
    all_of_it = policy(f'ikev2 "x" quick passive ipcomp transport natt ah inet6 proto {{ tcp, 17 }} rdomain 3 {ANY}')
    assert (all_of_it.eval, all_of_it.ipcomp, all_of_it.transport, all_of_it.natt) == ("quick", True, True, True)
    assert (all_of_it.satype, all_of_it.family, all_of_it.protos, all_of_it.rdomain) == ("ah", 6, (6, 17), 3)
    assert error(f"ikev2 passive quick {ANY}") == "syntax error"
    assert error(f"ikev2 esp natt {ANY}") == "syntax error"


def test_any_is_both_families_and_pairs_are_of_one():
    both = policy(f"ikev2 {ANY}").hosts
    assert [(str(each.source.address), str(each.destination.address)) for each in both] == [
        ("0.0.0.0/0", "0.0.0.0/0"), ("::/0", "::/0"),
    ]  # fmt: skip
    assert len(policy("ikev2 to 0.0.0.0/0 from any").hosts) == 1
    assert error("ikev2 from 10.0.0.0/8 to 2001:db8::/32") == "cannot mix different address families."


def test_selectors_may_be_many_with_ports_and_nat():
    hosts = policy("ikev2 proto tcp from 10.0.0.1 (10.9.0.1) port 22 to 10.0.0.2 port ssh, from dynamic to any").hosts
    assert (str(hosts[0].source.nat), hosts[0].source.port, hosts[0].destination.port) == ("10.9.0.1", 22, 22)
    assert hosts[1].source.address is None
    assert len(hosts) == 3


def test_an_active_policy_names_its_peer():
    assert error(f"ikev2 active {ANY}") == "active mode requires local/peer address"
    assert error(f"ikev2 active {ANY} local 192.0.2.1") == "active mode requires local/peer address"
    assert error(f"ikev2 active {ANY} peer 192.0.2.0/24") == "active mode requires local/peer address"


def test_local_and_peer_stand_in_either_order_and_are_of_one_family():
    one, other = policy("local 192.0.2.1 peer 192.0.2.2"), policy("peer 192.0.2.2 local 192.0.2.1")
    assert (one.local, one.peer) == (other.local, other.peer)
    assert one.family == 4
    assert policy("local any peer any").peer is None
    assert error("local 192.0.2.1 peer 2001:db8::1") == "local and peer are of different address families"
    assert error(f"ikev2 inet6 {ANY} peer 192.0.2.1") == "policy address family mismatch"


# -- proposals --------------------------------------------------------------------------------------------


def test_proposals_are_as_many_as_ikesa_stands_there():
    made = policy("ikesa enc aes-256-gcm prf hmac-sha2-384 group ecp384 ikesa enc aes-128 enc aes-256 auth hmac-sha2")
    assert [each.encs for each in made.ikesa] == [("aes-256-gcm",), ("aes-128", "aes-256")]
    assert made.ikesa[1].auths == ("hmac-sha2-256",)
    assert made.childsa == ()


def test_names_may_be_shortened_and_have_aliases():
    made = policy("ikesa enc aes enc 3des-cbc group grp14 group grp31 group curve childsa group none")
    assert made.ikesa[0].encs == ("aes-128", "3des")
    assert made.ikesa[0].groups == ("modp2048", "curve25519")
    assert made.childsa[0].groups == ("none",)


def test_esn_is_for_childsa_and_prf_for_ikesa():
    assert policy("childsa esn noesn").childsa[0].esn == (True, False)
    assert error("ikesa esn") == "cannot use ESN with ikesa."
    assert error("childsa prf hmac-sha1") == "prf goes with ikesa, not with childsa"


def test_additional_key_exchanges_are_numbered_without_a_gap():
    made = policy("ikesa group curve25519 addke1 mlkem768 addke2 mlkem1024 addke2 none").ikesa[0]
    assert made.additional == (("mlkem768",), ("mlkem1024", "none"))
    assert error("ikesa addke2 mlkem768").startswith("addke1 is missing")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("ikesa enc aes-512", "aes-512 not a valid transform"),
        ("ikesa enc aes-128-ctr", "aes-128-ctr not a valid transform"),
        ("childsa enc aes-128-ctr", "enc aes-128-ctr is not available here: write enc aes-128-gcm"),
        ("childsa enc blowfish", "enc blowfish is not available here: write enc aes-256"),
        ("ikesa auth hmac-md5", "auth hmac-md5 is not available here: write auth hmac-sha2-256"),
        ("ikesa group ecp192", "group ecp192 is not available here: write group curve25519"),
        ("ikesa group sntrup", "group sntrup761x25519 is not available here: write group curve25519 addke1 mlkem768"),
    ],
)
def test_an_algorithm_that_is_not_there_is_refused_by_name(words: str, told: str):
    assert error(words) == told


# -- identities, lifetimes, authentication ----------------------------------------------------------------


def test_srcid_comes_before_dstid():
    made = policy('srcid a@example.com dstid "/C=DE/CN=x"')
    assert (made.srcid, made.dstid) == ("a@example.com", "/C=DE/CN=x")
    assert error("dstid x srcid y") == "syntax error"


def test_lifetimes_have_units_and_openbsds_defaults():
    plain = policy("psk x")
    assert (plain.ikelifetime, plain.lifetime, plain.lifetime_bytes) == (0, 10800, 4 << 30)
    made = policy("ikelifetime 8H lifetime 30m bytes 512M")
    assert (made.ikelifetime, made.lifetime, made.lifetime_bytes) == (28800, 1800, 512 << 20)
    assert policy("lifetime 0 bytes 0").lifetime == 0
    assert error("lifetime 5s") == "invalid time unit"
    assert error("lifetime 5 bytes 5T") == "invalid byte unit"
    assert error("ikelifetime -5") == "time outside range: 0 to 4294967295"
    assert error("ikelifetime 9999999h") == "time outside range: 0 to 4294967295"


def test_authentication_is_a_key_a_method_or_any_signature():
    assert policy('psk "two words"').auth == PSK(b"two words")
    assert policy("psk 0x00ff").auth == PSK(b"\0\xff")
    assert policy("").auth == Signed("any")
    assert policy("rfc7427").auth == Signed("rfc7427")
    assert policy('eap "mschap-v2"').auth == EAP("mschap-v2")
    assert error("dsa") == "not a valid authentication mode"
    assert error("psk 0x0g") == "psk: keys need to be specified in hex digits, an even number of them"
    assert error('psk ""') == "psk: the key is empty"


def test_a_post_quantum_key_may_be_optional():
    assert policy("psk x ppk y ppkid z").ppk == PPK(b"y", "z", required=True)
    assert policy("rsa ppk optional 0x0102 ppkid z").ppk == PPK(b"\1\2", "z", required=False)


def test_secrets_do_not_show():
    shown = repr(policy("psk verysecret ppk moresecret ppkid z"))
    assert "secret" not in shown


def test_a_key_may_be_in_a_secret_file(tmp_path: Path):
    key = tmp_path / "key"
    key.write_text("00112233\n")
    key.chmod(0o600)
    assert policy(f'psk file "{key}"').auth == PSK(bytes.fromhex("00112233"))
    key.chmod(0o644)
    assert "group writable or world read/writable" in error(f'psk file "{key}"')


def test_configuration_payloads_are_given_and_asked_for():
    items = policy("config address 10.0.0.2 config protected-subnet 10.0.0.0/8 request address any").config
    assert [(each.provide, each.option, str(each.address)) for each in items] == [
        (True, "address", "10.0.0.2"), (True, "protected-subnet", "10.0.0.0/8"), (False, "address", "None"),
    ]  # fmt: skip
    assert error("request dns 10.0.0.1") == "not a valid ikecfg option"
    assert error("config address any") == "syntax error"


def test_the_tail_of_a_policy():
    made = policy('psk x iface sec0 tag "ipsec-$id" tap enc1')
    assert (made.iface, made.tag, made.tap) == ("sec0", "ipsec-$id", "enc1")


# -- settings, users, files -------------------------------------------------------------------------------


def test_settings_are_openbsds_except_for_fragmentation():
    plain = parse_text("").settings
    assert (plain.passive, plain.decouple, plain.mobike, plain.vendorid) == (False, False, True, True)
    assert (plain.dpd_check_interval, plain.fragmentation) == (60, True)
    words = "passive decouple nofragmentation nomobike redirect novendorid enforcesingleikesa stickyaddress"
    said = parse_text(
        "".join(f"set {word}\n" for word in [*words.split(), "cert_partial_chain", "dpd_check_interval 0"])
    )
    assert errors(said) == []
    assert (said.settings.passive, said.settings.decouple, said.settings.mobike) == (True, True, False)
    assert (said.settings.redirect, plain.redirect) == (True, False)
    assert (said.settings.dpd_check_interval, said.settings.fragmentation, said.settings.vendorid) == (0, False, False)


def test_a_setting_that_does_nothing_is_told():
    parsed = parse_text("set noenforcesingleikesa\n")
    assert [str(each) for each in parsed.diagnostics.all] == [
        "stdin: 1: noenforcesingleikesa: a tunnel has one peer and one IKE SA here"
    ]
    assert error('set ocsp "http://x/" tolerate 30').startswith("ocsp is not available here")
    assert error("set nonsense") == "syntax error"


def test_lines_of_ipsec_conf_are_errors_here():
    assert error('ike interface sec0 psk "x"').startswith("ike: this line is ipsec.conf's")
    assert error("flow from 10.0.0.1 to 10.0.0.2").startswith("flow: this line is ipsec.conf's")


def test_the_file_and_what_it_includes_must_be_secret(tmp_path: Path):
    inner = tmp_path / "inner"
    inner.write_text("gw = 192.0.2.1\n")
    inner.chmod(0o644)
    outer = tmp_path / "outer"
    outer.write_text(f'include "{inner}"\n')
    outer.chmod(0o644)
    assert errors(parse_file(str(outer)))[0].startswith(f"ikectl: {outer}: group writable or world read/writable")
    outer.chmod(0o600)
    assert errors(parse_file(str(outer))) == [f"{outer}: 1: failed to include file {inner}"]
    inner.chmod(0o600)
    assert errors(parse_file(str(outer))) == []


def test_macros_and_continued_lines():
    parsed = parse_text(f'gw = "192.0.2.1"\nikev2 "x" active {ANY} \\\n\tpeer $gw \\\n\tpsk k iface sec0\n')
    assert str(parsed.policies[0].peer) == "192.0.2.1"
    assert str(parsed.policies[0].origin) == "stdin: 4"
    assert errors(parse_text(f"ikev2 {ANY} peer $nobody\n"))[0] == "stdin: 1: macro 'nobody' not defined"


def test_after_an_error_reading_goes_on_with_the_next_line():
    parsed = parse_text(f"ikev2 {ANY} nonsense\nikev2 {ANY} psk x\nikev2 {ANY} peer 1.2.3.4/99\n")
    assert errors(parsed) == [
        "stdin: 1: not a valid authentication mode", "stdin: 3: could not parse host specification",
    ]  # fmt: skip
    assert len(parsed.policies) == 1
