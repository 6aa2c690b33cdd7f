"""Octets of IKE messages: the cursor, the registries and the payload codecs.  Imports the standard library only.

`cursor` is for both versions of IKE; `iana`, `payload`, `payloads`, `sa`, `isakmp` and `vendorids` are IKEv1's.
"""
