"""Octets of IKEv2 messages (RFC 7296 §3): `iana` the registries, `message` the header and the chain of payloads.

`sa`, `ts`, `notify`, `config` and `payloads` hold the payloads, one frozen dataclass each, whose `body` is the octets
as received.  What is inside an encrypted payload is opened by `secd.ike.crypto.ikev2_messages`, never here.
"""
