"""Netlink, typed: the one file that knows pyroute2."""
