"""Keys and certificates made by strongSwan's pki(1)."""

from __future__ import annotations

import subprocess
from pathlib import Path

#: Kinds of keys: pki(1)'s words.
KINDS = {
    "rsa2048": ("rsa", "--size", "2048"), "rsa3072": ("rsa", "--size", "3072"), "ecdsa256": ("ecdsa", "--size", "256"),
    "ecdsa384": ("ecdsa", "--size", "384"), "ecdsa521": ("ecdsa", "--size", "521"), "ed25519": ("ed25519",),
}  # fmt: skip


class Pki:
    """Keys, two authorities and certificates, each made once."""

    def __init__(self, directory: Path) -> None:
        """Make the authorities."""
        self._directory = directory
        for name in ("root", "other"):
            self.key(f"{name}-ca")
            self._make(
                f"{name}.crt", "--self", "--ca", "--in", self.path(f"{name}-ca.key"), "--dn", f"C=AU, O=secd, CN={name}"
            )

    def path(self, name: str) -> str:
        return str(self._directory / name)

    def text(self, name: str) -> str:
        return Path(self.path(name)).read_text()

    def key(self, name: str, kind: str = "rsa2048") -> str:
        """A private key in PEM; `kind` is one of `KINDS`."""
        if not Path(self.path(f"{name}.key")).exists():
            self._make(f"{name}.key", "--gen", "--type", *KINDS[kind])
            self._make(f"{name}.pub", "--pub", "--type", "priv", "--in", self.path(f"{name}.key"))
        return self.text(f"{name}.key")

    def public(self, name: str, kind: str = "rsa2048") -> str:
        """The public half."""
        self.key(name, kind)
        return self.text(f"{name}.pub")

    def certificate(
        self, name: str, subject: str, *names: str, issuer: str = "root", ca: bool = False, expired: bool = False
    ) -> str:
        """A certificate for the key `name`."""
        file = f"{name}-{issuer}{'-expired' if expired else ''}.crt"
        if not Path(self.path(file)).exists():
            self.key(name)
            issuer_file = f"{issuer}.crt" if Path(self.path(f"{issuer}.crt")).exists() else f"{issuer}-root.crt"
            issuer_key = f"{issuer}-ca.key" if Path(self.path(f"{issuer}-ca.key")).exists() else f"{issuer}.key"
            when = ["--not-before", "01.01.20 00:00:00", "--not-after", "01.01.21 00:00:00"] if expired else []
            sans = [word for each in names for word in ("--san", each)]
            self._make(
                file, "--issue", "--in", self.path(f"{name}.key"), "--type", "priv", "--cacert", self.path(issuer_file),
                "--cakey", self.path(issuer_key), "--dn", subject, *sans, *when, *(["--ca"] if ca else []),
            )  # fmt: skip
        return self.text(file)

    def crl(self, *revoked: str) -> str:
        """The root's revocation list, with these certificates."""
        words = [word for each in revoked for word in ("--reason", "superseded", "--cert", self.path(each))]
        self._make(
            "root.crl", "--signcrl", "--cacert", self.path("root.crt"), "--cakey", self.path("root-ca.key"), *words
        )
        return self.text("root.crl")

    def _make(self, file: str, *argv: str) -> None:
        done = subprocess.run(["pki", *argv, "--outform", "pem"], capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr.decode()
        Path(self.path(file)).write_bytes(done.stdout)

    def bundle(self, file: str, name: str) -> bytes:
        """Certificate, key and root as PKCS #12 without a password, as NSS imports them."""
        command = [
            "openssl", "pkcs12", "-export", "-in", self.path(file), "-inkey", self.path(f"{name}.key"), "-certfile",
            self.path("root.crt"), "-name", name, "-passout", "pass:",
        ]  # fmt: skip
        return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
