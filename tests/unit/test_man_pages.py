"""The manual and the README: well-formed, and what they show can be done."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from secd.cli.ikectl import USAGE as IKECTL_USAGE
from secd.cli.ipsecctl import USAGE
from secd.cli.sec import help_text
from secd.conf.hostname import parse_hostname
from secd.conf.hostname_words import ifconfig_settings
from secd.conf.iked import compile as iked_compile
from secd.conf.iked import grammar as iked_grammar
from secd.conf.iked.credentials import CredentialsError
from secd.conf.ipsec.compile import compile_rules
from secd.conf.ipsec.grammar import parse_text

LABS = ("announcement", "aws", "hub-and-spoke", "prove")
MAN = Path(__file__).parents[2] / "man"
PAGES = sorted(MAN.glob("*.[1-9]"))


class NoKeys:
    """A store without any key."""

    def credentials(self, *_):
        raise CredentialsError("no keys here")


def examples(page: str) -> list[str]:
    """The literal blocks of a page's EXAMPLES, as they are read."""
    text = (MAN / page).read_text().partition("\n.Sh EXAMPLES\n")[2].partition("\n.Sh ")[0]
    blocks = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", text, re.MULTILINE | re.DOTALL)
    return [block.replace("\\e", "\\").replace("\\&", "") for block in blocks]


def test_all_eight_pages_are_there():
    assert [page.name for page in PAGES] == [
        "hostname.sec.5", "ikectl.8", "iked.conf.5", "ipsec.conf.5", "ipsecctl.8", "sec.4", "sec.8", "secd.8",
    ]  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_mandoc_finds_nothing_to_say_about_a_page(page: Path):
    done = subprocess.run(["mandoc", "-Tlint", "-Wall", page], capture_output=True, text=True, timeout=30, check=False)
    said = [line for line in done.stdout.splitlines() if "referenced manual not found" not in line]
    assert said == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_refers_only_to_pages_that_exist(page: Path):
    others = {"sh 1", "systemd 1", "ifconfig 8"}
    ours = {f"{other.stem} {other.suffix[1:]}" for other in PAGES}
    assert set(re.findall(r"^\.Xr (\S+ \d)", page.read_text(), re.MULTILINE)) <= ours | others


@pytest.mark.parametrize("text", examples("hostname.sec.5"))
def test_an_example_of_hostname_sec_is_understood(text: str):
    assert parse_hostname(text, path="hostname.sec0", interface="sec0").goes_up


@pytest.mark.parametrize("text", examples("ipsec.conf.5"))
def test_an_example_of_ipsec_conf_passes_ipsecctl(text: str):
    command = [sys.executable, "-m", "secd.cli.ipsecctl", "-n", "-f", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("text", examples("iked.conf.5"))
def test_an_example_of_iked_conf_is_understood(text: str):
    parsed = iked_grammar.parse_text(text)
    assert [str(each) for each in parsed.diagnostics.all] == []
    compiled = iked_compile.compile_policies(parsed, NoKeys)
    assert [str(each) for each in compiled.diagnostics.all] == [] or "no keys here" in str(compiled.diagnostics.all[0])


def test_the_commands_of_ikectl_are_in_its_manual():
    words = set(re.findall(r"[a-z]+", IKECTL_USAGE)) - {"usage", "ikectl", "arg", "dir", "see", "macro", "value"}
    said = (MAN / "ikectl.8").read_text()
    assert [word for word in sorted(words) if word not in said] == []


def test_the_files_that_the_readme_shows_are_understood():
    blocks = re.findall(r"(?:^    .*\n)+", (MAN.parent / "README.md").read_text(), re.MULTILINE)
    ike = next(block for block in blocks if block.lstrip().startswith("ike "))
    inet = next(block for block in blocks if block.lstrip().startswith("inet "))
    compiled = compile_rules(parse_text(ike).rules)
    assert [added.connection.iface for added in compiled.connections] == ["sec0"]
    assert parse_hostname(inet, path="hostname.sec0", interface="sec0").goes_up


def test_the_examples_of_sec_are_commands_that_exist():
    help_ = help_text()
    for line in "".join(examples("sec.8")).splitlines():
        words = line.split()
        if words[1:3] == ["sec", "ifconfig"]:
            assert ifconfig_settings(word for word in words[4:] if word != "create") or words[-1] == "create"
        elif words[1] == "sec":
            assert f"\n  {words[2]} " in help_


def test_every_command_and_option_of_sec_is_in_its_manual():
    text = (MAN / "sec.8").read_text()
    commands = re.findall(r"^  ([a-z]+)  ", help_text(), re.MULTILINE)
    assert len(commands) == 10
    assert [name for name in commands if f"Cm {name}" not in text] == []
    for name in (*(name for name in commands if name != "lab"), *(f"lab {each}" for each in LABS)):
        command = [sys.executable, "-m", "secd.cli.sec", *name.split(), "--help"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        section = re.search(rf"^\.(?:It )?Cm {name}\b.*?(?=^\.(?:It (?:Xo|Cm)|El))", text, re.MULTILINE | re.DOTALL)
        assert section, name
        options = set(re.findall(r"(?<!\[)--[a-z]+", said)) - {"--help", "--check", "--verbose", "--all"}
        shown = section[0].replace("Fl Fl ", "--")
        assert [option for option in sorted(options) if option not in shown] == [], name


def test_every_option_of_secd_is_in_its_manual():
    command = [sys.executable, "-m", "secd.cli.secd", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    options = re.findall(r"^  (-\w)\b", said, re.MULTILINE) + re.findall(r"(?<!\[)(--[a-z-]+)", said)
    assert len(options) > 5
    text = (MAN / "secd.8").read_text().replace("Fl Fl ", "--").replace("Fl ", "-")
    assert [option for option in options if option not in {"-h", "--help"} and f".It {option}" not in text] == []


def test_every_option_of_ipsecctl_is_in_its_manual():
    letters = re.search(r"\[-(\w+)\]", USAGE)
    assert letters
    options = [f"-{letter}" for letter in letters[1]] + re.findall(r"\[(-\w) ", USAGE) + re.findall(r"--\w+", USAGE)
    text = (MAN / "ipsecctl.8").read_text().replace("Fl Fl ", "--").replace("Fl ", "-")
    assert [option for option in options if f".It {option}" not in text] == []
