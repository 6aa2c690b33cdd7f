"""`ikectl show certstore` and `show ca`: the certificates in /etc/iked, and what is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from secd.cli.ikectl import Options
from secd.cli.output import CommandError, clean
from secd.conf.iked.certificates import Store
from secd.conf.iked.credentials import CredentialsError
from secd.conf.iked.decode import identities_of, name_of


def show_store(options: Options, *, authorities_only: bool) -> bool:
    """Print what there is."""
    store = Store(options.etc / "iked")
    try:
        found = [_facts("ca", path, each) for path, each in store.authorities]
        if not authorities_only:
            found += [_facts("certificate", path, each) for path, each in store.certificates]
            found += [_crl_facts(path, each) for path, each in store.crls]
    except CredentialsError as error:
        raise CommandError(str(error)) from error
    if options.json:
        from secd.cli.ikectl_json import print_json

        print_json(found)
        return True
    sys.stdout.writelines(f"{line}\n" for facts in found for line in _lines(facts))
    return True


def _facts(kind: str, path: Path, certificate: x509.Certificate) -> dict[str, Any]:
    return {
        "kind": kind,
        "file": str(path),
        "subject": name_of(certificate.subject),
        "issuer": name_of(certificate.issuer),
        "serial": f"{certificate.serial_number:x}",
        "from": certificate.not_valid_before_utc.isoformat(),
        "to": certificate.not_valid_after_utc.isoformat(),
        "state": _state(certificate.not_valid_before_utc, certificate.not_valid_after_utc),
        "identities": identities_of(certificate),
    }


def _crl_facts(path: Path, crl: x509.CertificateRevocationList) -> dict[str, Any]:
    after = crl.next_update_utc
    return {
        "kind": "crl",
        "file": str(path),
        "issuer": name_of(crl.issuer),
        "from": crl.last_update_utc.isoformat(),
        "to": after.isoformat() if after else None,
        "state": _state(crl.last_update_utc, after) if after else "valid",
        "revoked": [f"{revoked.serial_number:x}" for revoked in crl],
    }


def _state(before: datetime, after: datetime) -> str:
    now = datetime.now(UTC)
    return "not valid yet" if now < before else "ended" if now > after else "valid"


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    yield f"{facts['kind']}: {clean(facts.get('subject') or facts['issuer'])}"
    for name in ("file", "issuer", "serial", "from", "to", "state"):
        if facts.get(name) and (name != "issuer" or facts["kind"] != "crl"):
            yield f"\t{name}: {clean(str(facts[name]))}"
    for name in ("identities", "revoked"):
        for value in facts.get(name, ()):
            yield f"\t{name}: {clean(value)}"
