"""Whole networks on one machine: hosts are network namespaces, daemons are the real ones.

The demo, the tests and the benchmarks all run on it.  It only runs commands (ip, nft, swanctl, bgpd, secd, ...) and
needs nothing but the standard library and rich.
"""
