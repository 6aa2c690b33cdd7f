"""`sec doctor` on ipsec.conf and iked.conf: understood, or what is wrong and what to do."""

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


def test_what_is_wrong_with_iked_conf_is_told_with_its_line(tmp_path: Path):
    write(tmp_path / "iked.conf", "\nikev2 from any to any peer 192.0.2.2 psk x iface lo0\n")
    (finding,) = rules(str(tmp_path))
    assert finding.level == "bad"
    assert finding.text.startswith(f"{tmp_path}/iked.conf: 2: iface lo0: write secN")
    assert finding.advice == f"put it right, then ikectl load {tmp_path}/iked.conf"
