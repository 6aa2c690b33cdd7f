"""Netlink (rtnetlink(7)), typed: links, addresses, policy rules, routes, and what changes among them.

    with Netlink() as netlink:
        link = links.find(netlink, "sec0")
        links.change(netlink, link.index, up=True)
        addresses.add(netlink, link.index, "169.254.64.94", 30, peer="169.254.64.93")

Every call is one short exchange with the kernel, and blocks for it.  Nothing is read from /proc or /sys, so that all
of it works in a process that may open no file.
"""

from secd.netlink import addresses, links, routes, rules
from secd.netlink.monitor import Changes, Monitor
from secd.netlink.socket import Netlink, NetlinkError

__all__ = ["Changes", "Monitor", "Netlink", "NetlinkError", "addresses", "links", "routes", "rules"]
