"""The machine's outputs as requests to the data plane: those of one step in one `Batch`, so that all of it happens
or nothing does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from secd.ike.contract import (
    AddSA,
    AssignAddress,
    DeleteSA,
    DropCheckpoint,
    ExpectFrom,
    Output,
    SaveCheckpoint,
    Send,
    UpdateSA,
)
from secd.ipc.channel import MAX_MESSAGE
from secd.sadb.messages import (
    Add,
    Assign,
    Batch,
    Checkpoint,
    CheckpointForget,
    CheckpointInUse,
    Datagram,
    Delete,
    Expect,
    UdpEncap,
    Update,
)

BatchRequest = Add | Update | Delete | Assign | Checkpoint | CheckpointForget | CheckpointInUse | Expect | Datagram

#: Octets and requests in one batch; a step with more (a shutdown of many tunnels) takes several, in order.
MAX_OCTETS = MAX_MESSAGE - 256
MAX_REQUESTS = 256

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[BatchRequest] = msgspec.msgpack.Decoder(BatchRequest)


def to_request(output: Output, seq: int) -> BatchRequest | None:
    """Translate what goes into a batch; None for what is done otherwise."""
    match output:
        case Send(local, local_port, remote, remote_port, data):
            return Datagram(local, local_port, remote, remote_port, data)
        case SaveCheckpoint(checkpoint_id, data):
            return Checkpoint(checkpoint_id, data)
        case DropCheckpoint(checkpoint_id):
            return CheckpointForget(checkpoint_id)
        case ExpectFrom(addresses, anew):
            return Expect(addresses, anew)
        case AssignAddress(iface, addresses, peers):
            return Assign(iface, addresses, peers)
        case AddSA(_, sa):
            return Add(seq, sa)
        case UpdateSA(spi, direction, destination, new_source, new_destination, ports):
            return Update(
                seq, spi, direction, destination, new_source, new_destination, UdpEncap(*ports) if ports else None
            )
        case DeleteSA(spi, direction, destination):
            return Delete(seq, spi, direction, destination)
    return None


def octets(request: BatchRequest) -> int:
    """Give the size of a request; raises msgspec.ValidationError when the data plane would refuse to read it.

    The data plane ends a connection on which nonsense comes: a mistake of ours about one SA must not end all.
    """
    encoded = _encoder.encode(request)
    _decoder.decode(encoded)
    return len(encoded)


def batches(requests: Iterable[tuple[BatchRequest, int]]) -> Iterator[Batch]:
    """Put requests and their sizes into as few messages as possible, in order."""
    batch: list[BatchRequest] = []
    size = 0
    for request, length in requests:
        if batch and (size + length > MAX_OCTETS or len(batch) == MAX_REQUESTS):
            yield Batch(tuple(batch))
            batch, size = [], 0
        batch.append(request)
        size += length
    if batch:
        yield Batch(tuple(batch))
