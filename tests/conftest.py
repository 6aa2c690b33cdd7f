"""What every test shares: the rule for tests that need rights, and the lab's logs in a failure's report."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from secd.lab.commands import missing_rights
from secd.lab.namespaces import Lab

_LABS = pytest.StashKey[list[Lab]]()


def pytest_configure(config: pytest.Config) -> None:
    """Start with no lab.  Workers and background jobs inherit a SIGINT that is ignored; Ctrl-C is tested here."""
    config.stash[_LABS] = []
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs root where a right is missing, and say which.

    Where a skip would prove nothing (CI, which sets SECD_REQUIRE_ROOT, and the long tests) it fails instead.
    """
    need = [item for item in items if item.get_closest_marker("root") and not item.get_closest_marker("long")]
    if need and not os.environ.get("SECD_REQUIRE_ROOT") and (lacking := missing_rights()):
        for item in need:
            item.add_marker(pytest.mark.skip(reason=lacking))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add the end of every log of the lab to a failure's report."""
    report: pytest.TestReport = yield  # type: ignore[assignment, misc]
    if report.failed:
        for lab in item.config.stash[_LABS]:
            for log in lab.logs():
                tail = log.read_text(errors="replace").splitlines()[-40:]
                report.sections.append((f"{log.parent.parent.name}: {log.name}", "\n".join(tail)))
    return report  # type: ignore[return-value]


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab for the tests of one file."""
    labs = request.config.stash[_LABS]
    with Lab() as made:
        labs.append(made)
        yield made
        labs.remove(made)
