"""Where a running secd is found: one run directory for each instance."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_RUN_DIRECTORY = "/run/secd"


def run_directory() -> Path:
    """Give the run directory: $SECD_RUNDIR, or /run/secd."""
    return Path(os.environ.get("SECD_RUNDIR") or DEFAULT_RUN_DIRECTORY)


def secd_socket() -> Path:
    """The parent: configuration."""
    return run_directory() / "secd.sock"


def sadb_socket() -> Path:
    """The data plane: the SADB seam."""
    return run_directory() / "sadb.sock"


def iked_socket() -> Path:
    """The key-exchange daemon: status and orders."""
    return run_directory() / "iked.sock"
