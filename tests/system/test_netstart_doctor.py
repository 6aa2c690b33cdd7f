"""`sec doctor` on a host where secd does not run but another key-exchange daemon does: real strongSwan.

host: charon on UDP 500 and 4500
"""

import json

import pytest

from secd.lab.commands import scripts_directory
from secd.lab.namespaces import Lab
from secd.lab.strongswan import Charon

pytestmark = pytest.mark.root


def test_doctor_names_the_daemon_that_holds_the_ports_and_that_secd_does_not_run(lab: Lab):
    host = lab.host("doctor")
    with Charon(host):
        done = host.run(str(scripts_directory() / "sec"), "doctor", "--json", check=False)
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 1
    for port in ("UDP 500", "UDP 4500"):
        assert findings[port]["level"] == "bad"
        assert findings[port]["text"].startswith("held by charon")
        assert "stop it" in findings[port]["advice"]
    assert findings["secd"]["text"].startswith("secd is not running")
    assert findings["/dev/net/tun"]["level"] == "ok"
