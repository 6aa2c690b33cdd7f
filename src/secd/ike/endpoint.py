"""Where messages go from and to, and who has begun: what the state of every IKE SA holds."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Role = Literal["initiator", "responder"]


class Endpoint(Struct, frozen=True):
    """Where messages go from and to.  `local` "" until the first answer tells it."""

    local: str
    local_port: int
    remote: str
    remote_port: int
