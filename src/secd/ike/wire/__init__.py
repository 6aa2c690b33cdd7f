"""Octets of IKE messages: the cursor, the registries and the payload codecs.  Imports the standard library only.

`cursor` and `vendorids` are for both versions of IKE; `iana`, `payload`, `payloads`, `sa` and `isakmp` are IKEv1's,
`ikev2` is IKEv2's.
"""
