"""`ikectl ca`: make an authority, certificates and keys, hand them out, revoke them."""

from __future__ import annotations

import io
import re
import shutil
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

from secd.cli import ikectl_pki
from secd.cli.ikectl import Options, UsageError, keyword, no_more
from secd.cli.ikectl_pki import KEY_KINDS, USAGES, Authority
from secd.cli.output import CommandError

#: A host's or an authority's name becomes a file's.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@:+-]{0,127}", re.ASCII)

_CA = ("certificate", "create", "delete", "export", "install", "key", "show")
_CERTIFICATE = ("create", "delete", "export", "install", "revoke")
_KEY = ("create", "delete", "import", "install")


def run_ca(options: Options, words: Sequence[str]) -> bool:
    """Do `ca NAME ..`."""
    if len(words) < 2:
        raise UsageError(f"missing argument: ca name {' | '.join(_CA)}")
    authority = Authority(options.etc / "ssl" / _name(words[0]))
    what, rest = keyword(words[1], _CA), list(words[2:])
    if what == "certificate":
        _certificate(options, authority, rest)
    elif what == "key":
        _key(options, authority, rest)
    elif what == "show":
        return show_certificates(options, [words[0], "certificates", *rest])
    elif what == "create":
        password = _named(rest, "password")
        no_more(rest)
        authority.create(password)
    elif what == "delete":
        no_more(rest)
        authority.certificate()
        shutil.rmtree(authority.directory)
    elif what == "export":
        _export(rest, authority, f"{words[0]}.tgz", None)
    else:
        target = _target(options, rest)
        _install(target / "ca/ca.crt", authority.certificate_path)
        _install(target / "crls/ca.crl", authority.crl_path)
    return True


def show_certificates(options: Options, words: Sequence[str]) -> bool:
    """`show ca NAME certificates [HOST]`."""
    if len(words) < 2:
        raise UsageError("missing argument: show ca name certificates [host]")
    authority = Authority(options.etc / "ssl" / _name(words[0]))
    keyword(words[1], ("certificates",))
    no_more(words[3:])
    hosts = [_name(words[2])] if len(words) > 2 else authority.hosts()
    facts = []
    for host in hosts:
        certificate = authority.load_host_certificate(host)
        facts.append(
            {
                "host": host,
                "file": str(authority.host_certificate(host)),
                "serial": f"{certificate.serial_number:x}",
                "to": certificate.not_valid_after_utc.isoformat(),
                "revoked": authority.is_revoked(host),
            }
        )
    if options.json:
        from secd.cli.ikectl_json import print_json

        print_json(facts)
    else:
        sys.stdout.writelines(
            f"{each['host']}: serial {each['serial']} to {each['to']}{' revoked' if each['revoked'] else ''}\n"
            for each in facts
        )
    return True


# -- certificate HOST, key HOST ---------------------------------------------------------------------------


def _certificate(options: Options, authority: Authority, words: list[str]) -> None:
    host, what, rest = _host_words(words, "certificate", _CERTIFICATE)
    authority.certificate()
    if what == "create":
        usage = rest.pop(0) if rest and rest[0] in USAGES else ""
        kind = rest.pop(0) if rest and rest[0] in KEY_KINDS else "rsa"
        no_more(rest)
        authority.create_key(host, kind)
        authority.certify(host, usage)
    elif what == "revoke":
        no_more(rest)
        authority.revoke(host)
    elif what == "delete":
        no_more(rest)
        _delete(authority.host_certificate(host), authority.host_key(host))
    elif what == "export":
        _export(rest, authority, f"{host}.tgz", host)
    else:
        target = _target(options, rest)
        _install(target / "certs" / f"{host}.crt", authority.host_certificate(host))
        _install_key(target, authority, host)


def _key(options: Options, authority: Authority, words: list[str]) -> None:
    host, what, rest = _host_words(words, "key", _KEY)
    authority.certificate()
    if what == "create":
        kind = rest.pop(0) if rest and rest[0] in KEY_KINDS else "rsa"
        no_more(rest)
        authority.create_key(host, kind)
    elif what == "delete":
        no_more(rest)
        _delete(authority.host_key(host))
    elif what == "import":
        if not rest:
            raise UsageError("missing argument: import FILE")
        data = ikectl_pki.read(Path(rest.pop(0)))
        no_more(rest)
        authority.import_key(host, data)
    else:
        _install_key(_target(options, rest), authority, host)


def _host_words(words: list[str], what: str, commands: tuple[str, ...]) -> tuple[str, str, list[str]]:
    if len(words) < 2:
        raise UsageError(f"missing argument: ca name {what} host {' | '.join(commands)}")
    host = _name(words[0])
    if host == "ca":
        raise UsageError("no host can be called ca: that is the authority itself")
    return host, keyword(words[1], commands), words[2:]


# -- files ------------------------------------------------------------------------------------------------


def _export(words: list[str], authority: Authority, archive: str, host: str | None) -> None:
    """Write an archive that is unpacked in /etc/iked: `tar -C /etc/iked -xzpf HOST.tgz`."""
    peer, password = _named(words, "peer"), _named(words, "password")
    no_more(words)
    authority.certificate()
    files = {
        "ca/ca.crt": ikectl_pki.read(authority.certificate_path),
        "crls/ca.crl": ikectl_pki.read(authority.crl_path),
    }
    if host is not None:
        files[f"certs/{host}.crt"] = ikectl_pki.read(authority.host_certificate(host))
        files["private/local.key"] = ikectl_pki.read(authority.host_key(host))
        files["local.pub"] = ikectl_pki.public_pem(authority.load_host_key(host))
        if password is not None:
            files[f"export/{host}.pfx"] = authority.bundle(host, password)
    if peer is not None:
        files["export/peer.txt"] = f"{peer}\n".encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(data), 0o644, int(time.time())
            if name.startswith("private/") or name.endswith(".pfx"):
                entry.mode = 0o600
            tar.addfile(entry, io.BytesIO(data))
    ikectl_pki.write_file(Path(archive), packed.getvalue(), secret=True)
    print(f"exported to {archive}: unpack it with `tar -C /etc/iked -xzpf {archive}`")


def _install(target: Path, source: Path, *, secret: bool = False) -> None:
    data = ikectl_pki.read(source)
    ikectl_pki.make_directory(target.parent)
    ikectl_pki.write_file(target, data, secret=secret)
    print(f"{source} -> {target}")


def _install_key(target: Path, authority: Authority, host: str) -> None:
    _install(target / "private/local.key", authority.host_key(host), secret=True)
    ikectl_pki.write_file(target / "local.pub", ikectl_pki.public_pem(authority.load_host_key(host)))


def _delete(*paths: Path) -> None:
    if not any(path.exists() for path in paths):
        raise CommandError(f"{paths[0]}: No such file or directory")
    for path in paths:
        path.unlink(missing_ok=True)


def _target(options: Options, words: list[str]) -> Path:
    """Give the directory to install into: /etc/iked unless one is named."""
    target = Path(words.pop(0)) if words else options.etc / "iked"
    no_more(words)
    return target


def _named(words: list[str], name: str) -> str | None:
    """Take `NAME VALUE` off the words."""
    if name not in words:
        return None
    at = words.index(name)
    if at + 1 >= len(words):
        raise UsageError(f"missing argument: {name} {name.upper()}")
    value = words[at + 1]
    del words[at : at + 2]
    return value


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise UsageError(f"{text[:40]!r}: a name is letters, digits and . _ @ : + -")
    return text
