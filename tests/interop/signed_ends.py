"""IKEv2 by signatures between secd and charon: where both look for keys and certificates, and what they are told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.interop.pki import Pki

from secd.lab.commands import wait_until
from secd.lab.pair import THEM, US, Pair, Role, theirs
from secd.lab.strongswan import IkeSA, Tunnel, Value

IKE, ESP = "enc aes-256-gcm prf hmac-sha2-256 group curve25519", "enc aes-256-gcm"
IKE_THEM, ESP_THEM = "aes256gcm16-prfsha256-curve25519", "aes256gcm16"
OUR_NAME, THEIR_NAME = "us.example.com", "them.example.com"
OUR_DN, THEIR_DN = "C=AU, O=secd, CN=us", "C=AU, O=secd, CN=them"
OUR_MAIL, THEIR_MAIL = "us@example.com", "them@example.com"
NAMES = f"srcid {OUR_NAME} dstid {THEIR_NAME}"


def policy(role: Role, ids: str = NAMES, auth: str = "", *, ike: str = IKE) -> str:
    """Write secd's iked.conf; `role` is secd's, `auth` the words between the lifetimes and iface."""
    mode = "active" if role == "initiator" else "passive"
    return (
        f'ikev2 "test" {mode} from any to any local {US} peer {THEM} ikesa {ike} childsa {ESP} '
        f"{ids} {auth} iface sec0\n"
    )


def them(local_id: str = THEIR_NAME, remote_id: str = OUR_NAME, **changes: object) -> Tunnel:
    """Charon's side of it."""
    return theirs(
        **{"version": 2, "ike": IKE_THEM, "esp": ESP_THEM, "local_id": local_id, "remote_id": remote_id, **changes}
    )


def signing(
    local_id: str = THEIR_NAME, remote_id: str = OUR_NAME, *, local: Mapping[str, Value] | None = None,
    remote: Mapping[str, Value] | None = None, **connection: Value,
) -> Tunnel:  # fmt: skip
    """Charon's side of it, with signatures both ways."""
    ends = {
        "local": {"auth": "pubkey", "id": local_id, **(local or {})},
        "remote": {"auth": "pubkey", "id": remote_id, **(remote or {})},
    }
    return them(local_id, remote_id, extra={**ends, **connection})


class Pair2(Pair):
    """secd and charon, with iked.conf."""

    def load(self, rules: str) -> None:
        """Load `rules` in place of those of before."""
        self.us.write("/etc/iked.conf", rules, mode=0o600)
        self.us.run("ikectl", "load", "/etc/iked.conf")


class Ends:
    """Both daemons, and the files that a test has written for them."""

    def __init__(self, pair: Pair, pki: Pki) -> None:
        """Begin without keys and certificates."""
        self.pair, self.pki = pair, pki
        self._written: list[Path] = []
        self._changed = False
        self._seen = len(pair.secd.daemon.log.read_text()), len(pair.charon.log())

    def ours(self, path: str, text: str) -> None:
        """Write a file for secd, under /etc/iked."""
        self._written.append(self.pair.us.write(f"/etc/iked/{path}", text, mode=0o600))

    def theirs(self, path: str, text: str) -> None:
        """Write a file for charon, under /etc/swanctl."""
        self._written.append(self.pair.them.write(f"/etc/swanctl/{path}", text, mode=0o600))

    def certify_us(self, kind: str = "ecdsa256", *, issuer: str = "root", expired: bool = False) -> None:
        """Give secd a key of this kind, a certificate for all of its names, and the root."""
        names = (OUR_NAME, US, OUR_MAIL)
        self.ours("private/local.key", self.pki.key(f"us-{kind}", kind))
        self.ours("certs/us.crt", self.pki.certificate(f"us-{kind}", OUR_DN, *names, issuer=issuer, expired=expired))
        self.ours("ca/root.crt", self.pki.text("root.crt"))

    def certify_them(self, kind: str = "ecdsa256", *, issuer: str = "root", expired: bool = False) -> None:
        """The same for charon."""
        names = (THEIR_NAME, THEM, THEIR_MAIL)
        self.theirs("private/them.key", self.pki.key(f"them-{kind}", kind))
        text = self.pki.certificate(f"them-{kind}", THEIR_DN, *names, issuer=issuer, expired=expired)
        self.theirs("x509/them.crt", text)
        self.theirs("x509ca/root.crt", self.pki.text("root.crt"))

    def certify(self, kind: str = "ecdsa256") -> None:
        """Give both a certificate of the root."""
        self.certify_us(kind)
        self.certify_them(kind)

    def settings(self, **charon: Value) -> None:
        """Change settings of charon's for this test."""
        self.pair.charon.settings(**charon)
        self._changed = True

    def up(self, role: Role, ours: str = "", tunnel: Tunnel | None = None) -> IkeSA:
        """Bring a tunnel up, secd in `role`, and see that packets pass."""
        sa = self.pair.negotiate(role, ours or policy(role), tunnel or signing())
        assert sa.initiator == (role == "responder")
        self.pair.ping(1)
        return sa

    def refused(self, role: Role, words: str, ours: str = "", tunnel: Tunnel | None = None) -> str:
        """Negotiate in vain; give the line of secd's log that has `words` in it."""
        self.pair.charon.load(tunnel or signing())
        self.pair.load(ours or policy(role))
        if role == "responder":
            self.pair.charon.swanctl("--initiate", "--child", "sec0", "--timeout", "3", check=False)

        def line() -> str:
            return next((each for each in self.said().splitlines() if words in each), "")

        found = wait_until(line, 10, f"{words!r} in what secd says: {self.said()}")
        wait_until(lambda: all(sa["state"] != "mature" for sa in self.pair.secd.sas()), 5, "the end of all SAs")
        return found

    def said(self) -> str:
        """What secd has written since the test began."""
        return self.pair.secd.daemon.log.read_text()[self._seen[0] :]

    def said_charon(self) -> str:
        """What charon has written since the test began."""
        return self.pair.charon.log()[self._seen[1] :]

    def forget(self) -> None:
        """Take the files away."""
        for file in self._written:
            file.unlink(missing_ok=True)
        self._written.clear()
        if self._changed:
            self.pair.charon.settings()
