"""iked.conf to connections: what each word comes to, what is refused and what is to be written instead."""

from __future__ import annotations

import socket

import pytest
from msgspec.structs import replace

from secd.conf.iked.compile import Compiled, compile_policies
from secd.conf.iked.credentials import Credentials, CredentialsError
from secd.conf.iked.grammar import parse_text
from secd.conf.iked.unparse import parsed_text
from secd.control.messages import AddConnection
from secd.ike.connection import (
    ChildProposal,
    Cipher,
    Connection,
    DeadPeerDetection,
    IKEProposal,
    IKEv2,
    PostQuantumKey,
    Signature,
)
from secd.ike.wire.distinguished_names import name_from_text
from secd.sadb.messages import Identity

ANY = "from any to any"


class Store:
    """Keys for everybody but `nobody`."""

    def credentials(self, srcid: Identity, words: str, dstid: Identity | None, method: str) -> Credentials:
        if words == "nobody":
            raise CredentialsError("nobody has no certificate")
        return Credentials(srcid, b"key", b"public", (b"own",), (b"ca",), (), (), ("it ends soon",))


def compiled(text: str) -> Compiled:
    parsed = parse_text(text)
    assert not parsed.diagnostics.errors, [str(each) for each in parsed.diagnostics.all]
    return compile_policies(parsed, Store)


def rule(words: str) -> AddConnection:
    made = compiled((words if words.startswith(("ikev2", "set")) else f"ikev2 {ANY} {words}") + "\n")
    assert [str(each) for each in made.diagnostics.all if each.severity == "error"] == []
    return made.connections[0]


def connection(words: str) -> Connection:
    return rule(words).connection


def ikev2(words: str) -> IKEv2:
    made = connection(words).ikev2
    assert made is not None
    return made


def error(words: str) -> str:
    line = words if words.startswith(("ikev2", "user", "set")) else f"ikev2 {ANY} {words}"
    return errors(line + "\n")[0]


def errors(text: str) -> list[str]:
    return [str(each) for each in compiled(text).diagnostics.all if each.severity == "error"]


# -- what it comes to -------------------------------------------------------------------------------------


def test_the_least_that_can_be_written_has_openbsds_defaults(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "gw.example.com")
    made = connection("psk x iface sec3")
    assert (made.name, made.iface, made.version, made.mode) == ("sec3", "sec3", 2, "passive")
    assert (made.srcid, made.dstid) == (Identity("fqdn", "gw.example.com"), None)
    assert made.dpd is not None
    assert made.dpd.interval == 60
    groups = ("curve25519", "ecp521", "ecp384", "ecp256", "modp4096", "modp3072", "modp2048", "modp1536", "modp1024")
    hmacs = ("hmac-sha2-256", "hmac-sha2-384", "hmac-sha2-512", "hmac-sha1")
    gcm = tuple(Cipher("aes-gcm", bits, bits, bits) for bits in (128, 256))
    cbc = tuple(Cipher("aes", bits, bits, bits) for bits in (256, 192, 128))
    assert made.ikev2 == IKEv2(
        ikesa=(
            IKEProposal(gcm, hmacs, (), groups),
            IKEProposal((*cbc, Cipher("3des")), hmacs, hmacs, groups),
        ),
        childsa=(ChildProposal(gcm, (), (), (True, False)), ChildProposal(cbc, hmacs, (), (True, False))),
        ike_lifetime=0,
        lifetime=10800,
        lifetime_bytes=4 << 30,
    )


def test_what_is_left_out_of_a_proposal_is_the_default_of_that_word():
    assert [each.auths for each in ikev2("ikesa auth hmac-sha1 psk x iface sec0").ikesa] == [("hmac-sha1",)]
    assert [len(each.ciphers) for each in ikev2("ikesa group ecp256 psk x iface sec0").ikesa] == [2, 4]
    one = ikev2("childsa enc aes-256-gcm group ecp384 noesn psk x iface sec0").childsa
    assert one == (ChildProposal((Cipher("aes-gcm", 256, 256, 256),), (), ("ecp384",), (False,)),)


def test_a_combined_cipher_goes_alone():
    assert error("ikesa enc aes-128-gcm auth hmac-sha1 psk x iface sec0") == (
        "stdin: 1: authentication is implicit for given encryption transforms"
    )
    assert error("ikesa enc aes-128-gcm enc aes-128 psk x iface sec0") == (
        "stdin: 1: cannot mix encryption transforms with implicit and non-implicit authentication"
    )
    assert error("ikesa group none psk x iface sec0") == 'stdin: 1: IKE group can not be "none".'


def test_additional_key_exchanges_follow_a_first_one():
    made = ikev2(
        "ikesa group curve25519 addke1 mlkem768 childsa group ecp256 addke1 mlkem768 addke1 none psk x iface sec0"
    )
    assert {each.additional for each in made.ikesa} == {(("mlkem768",),)}
    assert {each.additional for each in made.childsa} == {(("mlkem768", "none"),)}
    assert error("childsa addke1 mlkem768 psk x iface sec0").endswith("write group curve25519 before addke1")


def test_optional_perfect_forward_secrecy_is_a_group_or_none():
    assert ikev2("childsa group modp2048 group none psk x iface sec0").childsa[0].groups == ("modp2048", "none")
    assert ikev2("childsa group none psk x iface sec0").childsa[0].groups == ()


def test_names_of_groups_are_those_of_the_rest_of_secd():
    assert ikev2("ikesa group brainpool256 group grp20 psk x iface sec0").ikesa[0].groups == ("bp256", "ecp384")


def test_selectors_of_one_family_are_that_family():
    assert ikev2("psk x iface sec0").families == (4, 6)
    assert ikev2("ikev2 from 0.0.0.0/0 to 0.0.0.0/0 psk x iface sec0").families == (4,)
    assert ikev2("ikev2 from any to ::/0 psk x iface sec0").families == (6,)


def test_settings_are_for_every_policy():
    made = connection(f"set nomobike\nikev2 natt {ANY} psk x iface sec0\nset novendorid\nset dpd_check_interval 0")
    assert made.dpd is None
    assert made.ikev2 is not None
    assert (made.ikev2.mobike, made.ikev2.vendorid, made.ikev2.force_natt) == (False, False, True)
    assert compiled("set passive\nset decouple\n").behaviour.passive
    assert compiled("").behaviour.passive is False


def test_identities_of_every_kind():
    def names(words: str) -> tuple[Identity | None, Identity | None]:
        made = connection(f"{words} psk x iface sec0")
        return made.srcid, made.dstid

    assert names("srcid 192.0.2.1 dstid 2001:db8:0::1") == (
        Identity("prefix", "192.0.2.1/32"), Identity("prefix", "2001:db8::1/128"),
    )  # fmt: skip
    assert names("srcid a@b.c dstid keyid:k") == (Identity("ufqdn", "a@b.c"), Identity("key_id", "k"))
    assert names('srcid "/CN=x"')[0] == Identity("asn1_dn", f"0x{name_from_text('/CN=x').hex()}")
    assert names('srcid "C=DE, CN=x"')[0] == Identity("asn1_dn", f"0x{name_from_text('/C=DE/CN=x').hex()}")
    assert error('srcid "/x" psk x iface sec0').startswith("stdin: 1: srcid: /x: expected a distinguished name")
    assert "1 to 255 octets" in error(f"srcid {'x' * 256} psk x iface sec0")


def test_secrets_go_beside_the_connection():
    made = rule("psk one ppk optional two ppkid me iface sec0")
    assert (made.secret, made.ppk) == (b"one", b"two")
    assert made.connection.ikev2 is not None
    assert made.connection.ikev2.ppk == PostQuantumKey("sec0", b"me", required=False)
    assert b"one" not in repr(made).encode()


def test_signatures_take_what_the_store_has():
    made = rule("srcid gw rfc7427 iface sec0")
    assert made.secret == b"key"
    assert made.connection.auth == Signature("sec0", (b"own",), (b"ca",), (), (), "rfc7427")
    text = f"ikev2 {ANY} srcid gw iface sec0\n"
    assert [str(each) for each in compiled(text).diagnostics.all] == ["stdin: 1: it ends soon"]
    assert error("srcid nobody iface sec0") == "stdin: 1: nobody has no certificate"


def test_configuration_payloads_are_words_and_values():
    made = ikev2(
        "psk x config address 10.0.0.2 config protected-subnet 10.0.0.0/8 request address any "
        "request name-server 10.0.0.53 iface sec0"
    )
    assert made.provide == (("address", "10.0.0.2"), ("protected-subnet", "10.0.0.0/8"))
    pools = ikev2(
        "psk x config address 10.0.0.1/24 config address 2001:db8::/64 config netmask 255.255.255.0 iface sec0"
    )
    assert pools.provide == (("address", "10.0.0.1/24"), ("address", "2001:db8::/64"), ("netmask", "255.255.255.0"))
    assert made.request == (("address", "any"), ("name-server", "10.0.0.53"))


#: Every word that OpenIKED has after `set`: what it comes to here, or what is said.
GLOBALS = {
    "active": lambda made: made.behaviour.passive is False,
    "passive": lambda made: made.behaviour.passive is True,
    "couple": lambda made: made.behaviour.decoupled is False,
    "decouple": lambda made: made.behaviour.decoupled is True,
    "fragmentation": lambda made: _only(made).fragmentation,
    "nofragmentation": lambda made: not _only(made).fragmentation,
    "mobike": lambda made: _only(made).mobike,
    "nomobike": lambda made: not _only(made).mobike,
    "vendorid": lambda made: _only(made).vendorid,
    "novendorid": lambda made: not _only(made).vendorid,
    "dpd_check_interval 7": lambda made: made.connections[0].connection.dpd == DeadPeerDetection(7),
    "dpd_check_interval 0": lambda made: made.connections[0].connection.dpd is None,
    # so in any case
    "enforcesingleikesa": lambda made: not made.diagnostics.all,
    "stickyaddress": lambda made: not made.diagnostics.all,
    "cert_partial_chain": lambda made: not made.diagnostics.all,
}
SAID = {
    "noenforcesingleikesa": "noenforcesingleikesa: a tunnel has one peer",
    "nostickyaddress": "nostickyaddress: a peer is given the inner address that it had before",
    'ocsp "http://192.0.2.1"': "ocsp is not available here: put the revocation lists",
}


def _only(made: Compiled) -> IKEv2:
    found = made.connections[0].connection.ikev2
    assert found is not None
    return found


@pytest.mark.parametrize("words", GLOBALS)
def test_a_global_setting_has_its_effect(words: str):
    assert GLOBALS[words](compiled(f"set {words}\nikev2 {ANY} psk x iface sec0\n"))


@pytest.mark.parametrize("words", SAID)
def test_a_global_setting_without_effect_is_said(words: str):
    assert SAID[words] in str(parse_text(f"set {words}\n").diagnostics.all[0])


# -- which counts -----------------------------------------------------------------------------------------


def test_policies_stand_in_the_order_in_which_they_count():
    made = compiled(
        f"ikev2 quick {ANY} peer 192.0.2.1 psk x iface sec0\n"
        f"ikev2 {ANY} peer 192.0.2.2 psk x iface sec1\n"
        f"ikev2 quick {ANY} peer 192.0.2.3 psk x iface sec2\n"
        f"ikev2 {ANY} peer 192.0.2.4 psk x iface sec3\n"
        f"ikev2 default {ANY} psk x iface sec4\n"
    )
    assert [each.connection.name for each in made.connections] == ["sec4", "sec1", "sec3", "sec2", "sec0"]


def test_what_nothing_tells_apart_is_refused():
    twice = f"ikev2 {ANY} peer 192.0.2.1 psk x iface sec0\n"
    assert errors(twice + twice) == ["stdin: 2: sec0 is already used by the policy at stdin: 1"]
    assert "(equal local, peer, srcid and dstid)" in errors(twice + twice.replace("sec0", "sec1"))[0]
    default = f"ikev2 default {ANY} psk x iface sec0\nikev2 default {ANY} dstid y psk x iface sec1\n"
    assert errors(default) == ["stdin: 2: default policy already set, at stdin: 1"]


# -- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("psk x", "this system is route-based: write `ikev2 passive from any to any .. iface secN`, and route into it"),
        (
            "ikev2 active from 10.0.0.0/8 to 10.1.0.0/16 peer 192.0.2.1 psk x iface sec0",
            "this system is route-based: write `ikev2 active from any to any peer 192.0.2.1 .. iface sec0`, and "
            "`ip route add 10.1.0.0/16 dev secN`",
        ),
        (f"ikev2 proto tcp {ANY} psk x iface sec0", "this system is route-based: leave out proto and port"),
        (f"ikev2 {ANY} port 22 psk x iface sec0", "this system is route-based: leave out proto and port"),
        ("ikev2 from 10.0.0.1 (10.0.0.2) to any psk x iface sec0", "this system is route-based: leave out the address"),
        ("ikev2 from dynamic to any psk x iface sec0", "dynamic: write `from any to any`"),
        (f"ikev2 ah {ANY} psk x iface sec0", "ah: there is ESP only"),
        (f"ikev2 transport {ANY} psk x iface sec0", "transport: a tunnel interface needs tunnel mode"),
        (f"ikev2 ipcomp {ANY} psk x iface sec0", "ipcomp: there is no compression here"),
        (f"ikev2 skip {ANY} psk x iface sec0", "skip: a peer that the policy names may call too"),
        (f"ikev2 default {ANY} peer 192.0.2.1 psk x iface sec0", "default: that is a policy for peers that no other"),
        (f"ikev2 inet {ANY} psk x iface sec0", "inet: name a local or peer address"),
        (f"ikev2 rdomain 3 {ANY} psk x iface sec0", "rdomain: write `rdomain 3` into /etc/hostname.sec0 instead"),
        ("eap mschap-v2 iface sec0", "eap mschap-v2: there is no EAP here"),
        ('psk x iface sec0 tag "x"', "tag: there is no pf here: match the interface sec0"),
        ("psk x iface sec0 tap enc1", "tap: there is no enc interface here: listen on sec0"),
        ("peer 192.0.2.0/24 psk x iface sec0", "peer 192.0.2.0/24: a tunnel has one peer address: write it, or `any`"),
        ("local 192.0.2.0/24 psk x iface sec0", "local 192.0.2.0/24: a tunnel has one local address"),
        ("psk x iface lo0", "iface lo0: write secN"),
        ("psk x iface sec4294967296", "iface sec4294967296: the number is too large"),
        ("psk x request address 10.0.0.0/24 iface sec0", "request address 10.0.0.0/24: write one address"),
        ("psk x config name-server 10.0.0.0/24 iface sec0", "config name-server 10.0.0.0/24: write one address"),
        ("psk x config access-server 10.0.0.1 iface sec0", "config access-server: no standard knows it"),
        ("psk x config netmask 2001:db8::1 iface sec0", "config netmask 2001:db8::1: there is no such thing for IPv6"),
        ('user "joe" "secret"', "user joe: there is no EAP here"),
    ],
)
def test_what_cannot_be_is_refused_by_name_with_what_to_write(words: str, told: str):
    said = error(words)
    assert said.startswith(f"stdin: 1: {told}")
    assert "secret" not in said


def test_everything_that_is_wrong_with_a_policy_is_told_at_once():
    assert len(errors(f"ikev2 ipcomp transport ah {ANY} eap x iface sec0 tag y\n")) == 5


def test_who_is_passive_can_ask_for_nothing():
    said = [str(each) for each in compiled(f"ikev2 {ANY} psk x request address any iface sec0\n").diagnostics.all]
    assert len(said) == 1
    assert "request: only who begins can ask for an address" in said[0]
    text = f"ikev2 active {ANY} peer 192.0.2.1 psk x request address any iface sec0\n"
    assert not compiled(text).diagnostics.all


# -- printed and read again -------------------------------------------------------------------------------


def _without_place(made: Compiled) -> list[AddConnection]:
    return [replace(each, connection=replace(each.connection, origin="")) for each in made.connections]


@pytest.mark.parametrize(
    "text",
    [
        f"ikev2 {ANY} psk x iface sec0\n",
        "set passive\nset nofragmentation\nset dpd_check_interval 10\n"
        f'ikev2 "a b" quick active natt {ANY} peer 192.0.2.1 '
        'psk "x \\" y" ppk optional z ppkid "a b" iface sec0\n',
        f"ikev2 {ANY} ikesa group grp14 addke1 mlkem768 addke1 none childsa enc chacha20-poly1305 esn srcid a@b "
        'dstid "/CN=x" ikelifetime 1h lifetime 0 bytes 0 rsa config address 10.0.0.2 request address any iface sec0\n',
        "ikev2 from 0.0.0.0/0 to 0.0.0.0/0 local 192.0.2.1 psk x iface sec0\n",
        "ikev2 inet6 from any to any peer 2001:db8::1 psk x iface sec0\n",
    ],
)
def test_what_is_printed_is_read_as_the_same(text: str):
    printed = "".join(f"{line}\n" for line in parsed_text(parse_text(text), with_keys=True))
    assert _without_place(compiled(printed)) == _without_place(compiled(text))
    assert compiled(printed).behaviour == compiled(text).behaviour
    again = "".join(f"{line}\n" for line in parsed_text(parse_text(printed), with_keys=True))
    assert again == printed


def test_secrets_are_printed_on_demand_only():
    text = f"ikev2 {ANY} psk verysecret ppk othersecret ppkid x iface sec0\n"
    printed = "".join(parsed_text(parse_text(text), with_keys=False))
    assert " psk ... ppk ... ppkid x " in printed
    assert b"verysecret".hex() not in printed
