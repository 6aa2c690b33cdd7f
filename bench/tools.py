"""The programs that the benchmark needs: installed or built when they are missing, which is said."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from secd.lab.commands import SYSTEM_PATH, LabError, environment, run

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "bench"
#: Programs and the Debian packages that have them.
_PACKAGES = {"openvpn": "openvpn", "wg": "wireguard-tools", "iperf3": "iperf3", "openssl": "openssl"}
_BACKPORTS = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} {release}-backports main\n"


def prepare() -> None:
    """Build the load generator and install what is missing."""
    BUILD.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cargo", "build", "--release", "--quiet", "--example", "load"], cwd=ROOT / "engine", check=True)
    missing = [package for program, package in _PACKAGES.items() if not shutil.which(program, path=SYSTEM_PATH)]
    if missing:
        print(f"==> installing {' '.join(missing)}", flush=True)
        apt = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "-qq", "update"], check=True, env=apt, stdout=subprocess.DEVNULL)
        command = ["apt-get", "-qq", "install", "--no-install-recommends", *missing]
        subprocess.run(command, check=True, env=apt, stdout=subprocess.DEVNULL)
    wireguard_go()


def load(*words: str) -> list[str]:
    """Give the command line of the load generator (`engine/examples/load`)."""
    return [str(ROOT / "engine" / "target" / "release" / "examples" / "load"), *words]


def wireguard_go() -> tuple[str, str]:
    """Give path and version of wireguard-go: the backport of this release, or else the release's own."""
    program, note = BUILD / "wireguard-go", BUILD / "wireguard-go.version"
    if not program.exists():
        print("==> fetching wireguard-go", flush=True)
        package = _download("wireguard-go")
        unpacked = BUILD / "unpacked"
        run("dpkg", "-x", str(package), str(unpacked))
        shutil.copy2(unpacked / "usr" / "bin" / "wireguard-go", program)
        note.write_text(run("dpkg-deb", "-f", str(package), "Version").stdout.strip())
        shutil.rmtree(unpacked)
        package.unlink()
    return str(program), f"wireguard-go {note.read_text()}"


def _download(package: str) -> Path:
    """Download a package, from backports if they have it; apt's own configuration stays as it is."""
    release = _os_release().get("VERSION_CODENAME", "bookworm")
    targets = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)").stdout.splitlines()
    mirror = next(
        (line.split()[0] for line in targets if line.split()[1:2] == [release]), "http://deb.debian.org/debian"
    )
    lists = BUILD / "apt"
    for part in ("parts", "lists/partial"):
        (lists / part).mkdir(parents=True, exist_ok=True)
    (lists / "sources.list").write_text(_BACKPORTS.format(mirror=mirror, release=release))
    options = ["-qq", "-o", "APT::Sandbox::User=root"]
    backports = [*options, "-o", f"Dir::Etc::sourcelist={lists}/sources.list",
                 "-o", f"Dir::Etc::sourceparts={lists}/parts", "-o", f"Dir::State::lists={lists}/lists"]  # fmt: skip
    run("apt-get", *backports, "update", check=False, timeout=120)
    for attempt in (backports, options):
        done = subprocess.run(["apt-get", *attempt, "download", package], cwd=BUILD, check=False, env=environment(),
                              capture_output=True, text=True)  # fmt: skip
        if done.returncode == 0:
            return max(BUILD.glob(f"{package}_*.deb"), key=lambda path: path.stat().st_mtime)
    raise LabError(f"{package} cannot be downloaded: {done.stderr.strip()}")


def _os_release() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text().splitlines()
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}
