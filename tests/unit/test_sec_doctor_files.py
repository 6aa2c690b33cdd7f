"""`sec doctor` on ipsec.conf and iked.conf: understood, or what is wrong and what to do."""

import json
import subprocess
import sys
from pathlib import Path

from secd.cli.sec_checks import rules


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def test_files_that_can_be_loaded_are_understood(tmp_path: Path):
    write(tmp_path / "ipsec.conf", 'ike interface sec0 peer 192.0.2.1 psk "x"\n')
    write(tmp_path / "iked.conf", 'ikev2 active from any to any peer 192.0.2.2 psk "x" iface sec1\n')
    assert [(each.level, each.subject, each.text) for each in rules(str(tmp_path))] == [
        ("ok", "ipsec.conf", "understood"), ("ok", "iked.conf", "understood"),
    ]  # fmt: skip


def test_the_files_are_those_of_the_directory_that_was_named(tmp_path: Path):
    write(tmp_path / "ipsec.conf", "ike interface em0\n")
    write(tmp_path / "hostname.sec7", "inet 10.0.0.1/30 10.0.0.2\n")
    command = [sys.executable, "-m", "secd.cli.sec", "doctor", "--json", "--etc"]
    done = subprocess.run([*command, tmp_path], capture_output=True, text=True, timeout=60, check=False)
    texts = {each["subject"]: each["text"] for each in json.loads(done.stdout)}
    assert texts["ipsec.conf"] == f"{tmp_path}/ipsec.conf: 1: invalid sec interface name"
    assert texts["hostname.sec7"].startswith(f"{tmp_path}/hostname.sec7: 1: ")
    done = subprocess.run([*command, tmp_path / "typo"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, f"sec doctor: {tmp_path}/typo: no such directory\n")


def test_what_is_wrong_with_iked_conf_is_told_with_its_line(tmp_path: Path):
    write(tmp_path / "iked.conf", "\nikev2 from any to any peer 192.0.2.2 psk x iface lo0\n")
    (finding,) = rules(str(tmp_path))
    assert finding.level == "bad"
    assert finding.text.startswith(f"{tmp_path}/iked.conf: 2: iface lo0: write secN")
    assert finding.advice == f"put it right, then ikectl load {tmp_path}/iked.conf"
