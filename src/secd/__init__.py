"""secd: route-based IPsec VPNs for Linux, in the manner of OpenBSD's sec(4)."""

__version__ = "0.1.0"
