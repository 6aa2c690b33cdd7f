"""secd and strongSwan, each in a host of its own, on one cable."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.interop.pki import Pki
from tests.interop.signed_ends import Ends, Pair2

from secd.ike.speaker import STARTING
from secd.lab.namespaces import Host, Lab
from secd.lab.pair import HOSTNAME, INNER_THEM, INNER_US, THEM, US, Pair
from secd.lab.secd import Secd
from secd.lab.strongswan import Charon


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> tuple[Host, Host]:
    """Two hosts on one cable."""
    us, them = lab.host("us"), lab.host("them")
    lab.link(us, f"{US}/30", them, f"{THEM}/30")
    return us, them


@pytest.fixture(scope="module")
def daemons(hosts: tuple[Host, Host]) -> Iterator[Pair]:
    """Both daemons running, without a tunnel, and past the time in which secd tries a passive rule once."""
    us, them = hosts
    with Charon(them, log_level=2) as charon, Secd(us, "", {"sec0": HOSTNAME}, "-v") as secd:
        charon.inner(INNER_THEM, INNER_US)
        time.sleep(STARTING)
        yield Pair(us, them, secd, charon)


@pytest.fixture
def pair(daemons: Pair) -> Iterator[Pair]:
    """Both daemons; whatever tunnel a test makes is gone before the next."""
    yield daemons
    daemons.clear()


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Keys and certificates, each made once."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def daemons2(hosts: tuple[Host, Host]) -> Iterator[Pair2]:
    """Both daemons with iked.conf, without a tunnel."""
    us, them = hosts
    us.write("/etc/iked.conf", "", mode=0o600)
    with Charon(them, log_level=2) as charon, Secd(us, "", {"sec0": HOSTNAME}, "-v") as secd:
        charon.inner(INNER_THEM, INNER_US)
        yield Pair2(us, them, secd, charon)


@pytest.fixture
def ends(daemons2: Pair2, pki: Pki) -> Iterator[Ends]:
    """Both daemons with iked.conf; tunnel, keys and certificates of a test are gone before the next."""
    made = Ends(daemons2, pki)
    yield made
    made.forget()
    daemons2.clear()
