"""A configuration is accepted whole or not at all, and keeps its secrets to itself."""

import msgspec
import pytest

from secd.control.messages import MAX_RULES, AddConnection, AddManual
from secd.ike.connection import Cipher, Connection, Phase1Proposal, Phase2Proposal, PreSharedKey
from secd.parent.configuration import MAX_SOURCES, Configuration, LoadRefused
from secd.parent.control import rule_parts
from secd.parent.keys import KeyHolder
from secd.parent.rules import Load
from secd.sadb.messages import SA, Identity

AES = Cipher("aes", 128, 128, 256)


def connection(iface="sec0", *, peer="198.51.100.1", line=1, source="/etc/ipsec.conf", **fields):
    return Connection(
        name=iface,
        origin=f"{source}: {line}",
        iface=iface,
        peer=peer,
        phase1=(Phase1Proposal(AES, "sha1", "modp3072"),),
        phase2=(Phase2Proposal(AES, "hmac-sha2-256", "modp3072"),),
        **fields,
    )


def sa(spi=0x1000, iface="sec5", direction="out", destination="198.51.100.9", **fields):
    keys = {"encryption": "aes-128", "encryption_key": b"e" * 16, "auth": "hmac-sha1", "auth_key": b"a" * 20} | fields
    return SA(spi=spi, direction=direction, iface=iface, source="192.0.2.1", destination=destination, **keys)


def load(*rules, source="/etc/ipsec.conf", delete=False):
    made = Load(source, delete)
    for rule in rules:
        if isinstance(rule, Connection):
            made.take(AddConnection(rule, b"secret of " + rule.name.encode()))
        elif isinstance(rule, SA):
            made.take(AddManual(f"{source}: 7", rule))
        else:
            made.take(rule)
    return made


@pytest.fixture
def configuration():
    return Configuration(KeyHolder())


def accept(configuration, loaded):
    prepared = configuration.prepare(loaded)
    configuration.commit(prepared)
    return prepared


def refused(configuration, loaded):
    before = configuration.connections(), configuration.manual(), len(configuration._keys)
    with pytest.raises(LoadRefused) as raised:
        configuration.prepare(loaded)
    assert (configuration.connections(), configuration.manual(), len(configuration._keys)) == before
    return raised.value.errors


def names(configuration):
    return [c.name for c in configuration.connections()]


def test_a_source_replaces_its_own_rules_and_no_others(configuration):
    accept(configuration, load(connection("sec0"), connection("sec1", peer="198.51.100.2")))
    accept(configuration, load(connection("sec2", peer="198.51.100.3"), source="-"))
    accept(configuration, load(connection("sec1", peer="198.51.100.2")))
    assert sorted(names(configuration)) == ["sec1", "sec2"]


def test_the_secret_becomes_a_handle_that_stays_when_it_is_loaded_again(configuration):
    accept(configuration, load(connection()))
    (first,) = configuration.connections()
    assert first.auth != PreSharedKey("")
    assert b"secret" not in msgspec.msgpack.encode(configuration.connections())
    accept(configuration, load(connection()))
    assert configuration.connections() == [first]


def test_another_secret_is_another_handle_and_the_old_one_is_forgotten(configuration):
    accept(configuration, load(connection()))
    (first,) = configuration.connections()
    accept(configuration, load(AddConnection(connection(), b"another")))
    (second,) = configuration.connections()
    assert second.auth != first.auth
    assert len(configuration._keys) == 1


def test_an_empty_load_takes_the_source_away(configuration):
    accept(configuration, load(connection()))
    accept(configuration, load())
    assert configuration.connections() == []
    assert configuration.sources == {}
    assert len(configuration._keys) == 0


def test_one_interface_from_two_sources_is_refused_with_both_places(configuration):
    accept(configuration, load(connection("sec0")))
    errors = refused(configuration, load(connection("sec0", peer="198.51.100.2", source="-", line=3), source="-"))
    assert errors == ["-: 3: sec0 is already used by the rule at /etc/ipsec.conf: 1"]


def test_one_interface_twice_in_a_source_is_refused(configuration):
    errors = refused(configuration, load(connection(line=1), connection(peer="198.51.100.2", line=2)))
    assert errors == ["/etc/ipsec.conf: 2: sec0 is already used by the rule at /etc/ipsec.conf: 1"]


def test_rules_that_a_peer_cannot_tell_apart_are_refused(configuration):
    (error,) = refused(configuration, load(connection("sec0", line=1), connection("sec1", line=2)))
    assert error.startswith("/etc/ipsec.conf: 2: sec1 and sec0 (/etc/ipsec.conf: 1) have the same local, peer, srcid")


def test_equal_peers_are_accepted_when_the_identities_differ(configuration):
    west, east = (Identity("fqdn", f"{name}.example.org") for name in ("west", "east"))
    accept(configuration, load(connection("sec0", dstid=west), connection("sec1", dstid=east)))
    assert names(configuration) == ["sec0", "sec1"]


def test_a_rule_without_a_secret_or_transforms_is_refused(configuration):
    bare = msgspec.structs.replace(connection(), phase1=())
    errors = refused(configuration, load(AddConnection(bare, b"")))
    assert len(errors) == 2
    assert errors[0] == '/etc/ipsec.conf: 1: no key for sec0: give `psk "..."`'


def test_one_error_refuses_everything(configuration):
    good = [connection(f"sec{n}", peer=f"198.51.100.{n}") for n in range(2, 50)]
    assert len(refused(configuration, load(*good, AddConnection(connection("sec0"), b"")))) == 1


def test_too_many_rules_are_refused_without_being_kept(configuration):
    huge = load(*(sa(0x1000 + n) for n in range(MAX_RULES + 5)))
    assert len(huge.manual) == MAX_RULES
    assert refused(configuration, huge) == [f"/etc/ipsec.conf: more than {MAX_RULES} rules"]


def test_too_many_sources_are_refused(configuration):
    for n in range(MAX_SOURCES):
        accept(configuration, load(connection(f"sec{n}", peer=f"198.51.100.{n}"), source=f"/etc/{n}"))
    assert "put them into fewer files" in refused(configuration, load(connection("sec99"), source="/etc/more"))[0]


def test_a_rule_with_absurdly_many_transforms_is_refused(configuration):
    big = msgspec.structs.replace(connection(), phase1=(Phase1Proposal(AES, "sha1", "modp3072"),) * 1000)
    assert "too many transforms" in refused(configuration, load(big))[0]


def test_delete_removes_the_listed_rules_whatever_their_source(configuration):
    accept(configuration, load(connection("sec0"), connection("sec1", peer="198.51.100.2")))
    prepared = accept(configuration, load(connection("sec1"), connection("sec9", line=4), source="-", delete=True))
    assert names(configuration) == ["sec0"]
    assert prepared.warnings == ["/etc/ipsec.conf: 4: sec9 is not loaded"]
    assert len(configuration._keys) == 1


def test_delete_needs_no_secret(configuration):
    accept(configuration, load(connection("sec0")))
    accept(configuration, load(AddConnection(connection("sec0"), b""), delete=True))
    assert configuration.connections() == []


def test_manual_sas_are_applied_as_a_difference(configuration):
    stays, goes, comes = sa(0x1000), sa(0x2000, direction="in", destination="192.0.2.1"), sa(0x3000)
    accept(configuration, load(stays, goes))
    prepared = accept(configuration, load(stays, comes))
    assert prepared.remove == [goes]
    assert prepared.add == [stays, comes]  # what stays may have been flushed: EEXIST is no error
    assert configuration.manual() == [stays, comes]


def test_a_manual_sa_with_other_keys_is_removed_and_added(configuration):
    old, new = sa(), sa(auth_key=b"b" * 20)
    accept(configuration, load(old))
    prepared = accept(configuration, load(new))
    assert (prepared.remove, prepared.add) == ([old], [new])


def test_a_counter_mode_with_a_fixed_key_is_refused(configuration):
    errors = refused(configuration, load(sa(encryption="aes-128-gcm", encryption_key=b"k" * 20, auth="", auth_key=b"")))
    assert errors == [
        "/etc/ipsec.conf: 7: aes-128-gcm cannot be used with a fixed key, its counter must never repeat: "
        "use `enc aes auth ...`"
    ]


def test_a_key_of_a_wrong_size_is_refused_and_not_shown(configuration):
    errors = refused(configuration, load(sa(encryption_key=b"k" * 15)))
    assert errors == ["/etc/ipsec.conf: 7: aes-128 takes a key of 128 bits, this one has 120"]


def test_an_interface_is_either_ikes_or_manual(configuration):
    accept(configuration, load(sa(iface="sec0")))
    assert "sec0 is already used" in refused(configuration, load(connection("sec0"), source="-"))[0]


def test_the_same_sa_twice_is_refused(configuration):
    accept(configuration, load(sa(iface="sec5")))
    assert "SPI 0x00001000" in refused(configuration, load(sa(iface="sec6"), source="-"))[0]


def test_what_is_loaded_is_shown_in_parts_without_secrets(configuration):
    accept(
        configuration, load(*(connection(f"sec{n}", peer=f"198.51.100.{n}") for n in range(200)), sa(iface="sec500"))
    )
    parts = list(rule_parts(configuration.sources))
    assert len(parts) > 2
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    assert sum(len(part.connections) for part in parts) == 200
    assert [rule.sa.encryption_key for part in parts for rule in part.manual] == [b""]
    assert all(len(msgspec.msgpack.encode(part)) < 64 * 1024 for part in parts)


def test_nothing_loaded_is_one_empty_part(configuration):
    (part,) = rule_parts(configuration.sources)
    assert (part.connections, part.more) == ((), False)
