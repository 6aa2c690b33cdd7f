"""iked.conf as OpenIKED's own parser reads it (`iked -n -v`), and as ours does.

Debian's build of it leaves out ESP transforms that its kernel interface lacks, and has no `iface`: the words after
`childsa` are not compared, and `iface` is added to ours.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from secd.conf.iked.compile import compile_policies
from secd.conf.iked.credentials import Credentials, CredentialsError
from secd.conf.iked.grammar import Parsed, parse_text
from secd.conf.iked.unparse import parsed_text
from secd.sadb.messages import Identity

IKED = Path(__file__).resolve().parents[2] / "build/openiked/iked"
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not IKED.exists(), reason=f"no {IKED}: tools/install peers"),
]

#: `iked` wants a user to become, also when it only reads.
_RUN = "mount --bind {passwd} /etc/passwd && exec {iked} -n -v -f {file}"


class NoKeys:
    """A store without any key."""

    def credentials(self, srcid: Identity, words: str, dstid: Identity | None, method: str) -> Credentials:
        raise CredentialsError("no keys")


def openiked(text: str, place: Path) -> list[str]:
    """Give what `iked -nv` says, standard error first."""
    file, passwd = place / "iked.conf", place / "passwd"
    file.write_text(text)
    file.chmod(0o600)
    passwd.write_text("root:x:0:0::/root:/bin/sh\n_iked:x:64124:64124::/nonexistent:/bin/false\n")
    command = _RUN.format(passwd=passwd, iked=IKED, file=file)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command], capture_output=True, text=True, timeout=30, check=False
    )
    return [line.replace(str(file), "FILE") for line in (done.stderr + done.stdout).splitlines()]


def _comparable(line: str) -> str:
    """Leave out what is not comparable; `signature` is what it prints where nothing was said."""
    line = re.sub(r" childsa .*?(?= srcid | dstid | ikelifetime | lifetime )", "", line)
    line = re.sub(r' (dstid|srcid) "([^"]*)"', r" \1 \2", line)
    return re.sub(r"( signature)?( iface sec0)?( tag .*| tap .*)?$", "", line.replace(" request ", " config "))


POLICIES = [
    "ikev2 from any to any",
    'ikev2 "hq" active from any to any peer 192.0.2.1 psk "two words"',
    "ikev2 from any to any local 192.0.2.2 peer 192.0.2.1 psk 0x00ff",
    "ikev2 quick passive esp inet from any to any local any peer 192.0.2.1 rsa",
    "ikev2 from 0.0.0.0/0 to 0.0.0.0/0 peer any local any ecdsa256",
    "ikev2 to any from any peer 192.0.2.1",
    "ikev2 from any to any ikesa enc aes group modp2048",
    "ikev2 from any to any ikesa auth hmac-sha1",
    "ikev2 from any to any ikesa prf hmac-sha2-512",
    "ikev2 from any to any ikesa enc aes-256 auth hmac-sha2 prf hmac-sha2-512 group modp2048 group curve25519 "
    "ikesa enc aes-256-gcm group ecp256",
    "ikev2 from any to any ikesa enc aes-128-gcm-12 group grp20 group brainpool256",
    "ikev2 from any to any ikesa enc 3des-cbc group grp31",
    "ikev2 from any to any srcid host.example.com dstid 192.0.2.9",
    'ikev2 from any to any srcid a@example.com dstid "/C=DE/CN=x" ikelifetime 8h',
    "ikev2 from any to any lifetime 30m bytes 1G",
    "ikev2 from any to any ikelifetime 2h lifetime 0 bytes 512M rfc7427",
    "ikev2 from any to any psk x config address 10.0.0.1 config name-server 10.0.0.53 request netmask any",
    'ikev2 transport from any to any tag "x-$id" tap "enc1"',
    "ikev2 ipcomp from any to any",
    "ikev2 ah from any to any",
    "ikev2 proto { tcp, udp } from 10.0.0.0/8 port 5 to 10.1.0.0/16 port 6 peer 192.0.2.1",
    "ikev2 from 10.0.0.0/8 to 10.1.0.0/16 from 10.2.0.0/16 to 10.3.0.0/16 peer 192.0.2.1",
    'ikev2 from any to any eap "mschap-v2"',
]


@pytest.mark.parametrize("text", POLICIES)
def test_a_policy_means_the_same(text: str, tmp_path: Path) -> None:
    said = openiked(text + "\n", tmp_path)
    assert said[-1] == "configuration OK"
    theirs = next(line for line in said if line.startswith("ikev2 "))
    parsed = parse_text(text + "\n")
    assert not parsed.diagnostics.errors
    (ours,) = parsed_text(parsed, with_keys=True)
    ours = ours.replace("eap mschap-v2", 'eap "MSCHAP_V2"')
    if "proto {" in ours:  # it says protocols by name and in another place, and the selectors once for each
        theirs = theirs.replace("proto { tcp, udp } inet", "inet proto { 6, 17 }")
        theirs = re.sub(r"( from [^l]*?)\1", r"\1", theirs)
    assert _comparable(ours) == _comparable(theirs)


@pytest.mark.parametrize(
    "text",
    [
        "ikev2 active from any to any",
        "ikev2 active from any to any local 192.0.2.1",
        "ikev2 from any to any dstid x srcid y",
        "ikev2 from any to any lifetime 5 ikelifetime 3",
        "ikev2 from any to any lifetime 3G",
        "ikev2 from any to any lifetime 30 bytes 5T",
        "ikev2 from any to any rsa psk x",
        "ikev2 from any to any dsa",
        "ikev2 passive esp quick from any to any",
        "ikev2 from any to any config address any",
        "ikev2 from any to any request dns 192.0.2.1",
        "ikev2 from { 10.0.0.1, 10.0.0.2 } to 10.0.0.3",
        "ikev2 from any to any ikesa enc aes-128-ctr",
        "ikev2 from any to any ikesa esn",
        "ikev2 from any to any ikesa group none",
        "ikev2 from any to any ikesa enc aes-128-gcm enc aes-256",
        "ikev2 from any to any childsa enc aes-128 enc aes-256 auth hmac-sha3",
        "ikev2 from any to any ikesa enc aes-128-gcm auth hmac-sha1",
        "ikev2 from 10.0.0.0/8 to 2001:db8::/32",
        "ikev2 from any to any local 192.0.2.1 local 192.0.2.2",
        "ikev2 proto all from any to any",
        "set active passive",
        "set nonsense",
        "set dpd_check_interval 5m",
        "nonsense",
        'include "/nonexistent"',
    ],
)
def test_what_is_wrong_is_told_in_the_same_words(text: str, tmp_path: Path) -> None:
    theirs = [line for line in openiked(text + "\n", tmp_path) if line.startswith("FILE: 1: ")]
    parsed = parse_text(text + "\n", name="FILE")
    told = [
        str(each) for each in (parsed.diagnostics.all or compile_policies(_with_iface(text), NoKeys).diagnostics.all)
    ]
    assert told[0] == theirs[0]


def _with_iface(text: str) -> Parsed:
    return parse_text(f"{text} psk x iface sec0\n", name="FILE")
