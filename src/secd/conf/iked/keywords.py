"""The words of iked.conf(5) that cannot be a name without quotes."""

#: Additional key exchanges (RFC 9370), by round; ours.
ADDITIONAL = tuple(f"addke{number}" for number in range(1, 8))

KEYWORDS = frozenset({
    "active", "ah", "any", "auth", "bytes", "cert_partial_chain", "childsa", "config", "couple", "decouple", "default",
    "dpd_check_interval", "dstid", "dynamic", "eap", "enc", "enforcesingleikesa", "esn", "esp", "file", "flow",
    "fragmentation", "from", "group", "iface", "ike", "ikelifetime", "ikesa", "ikev2", "include", "inet", "inet6",
    "ipcomp", "lifetime", "local", "maxage", "mobike", "name", "natt", "noenforcesingleikesa", "noesn",
    "nofragmentation", "nomobike", "noredirect", "nostickyaddress", "novendorid", "ocsp", "optional", "passive", "peer",
    "port", "ppk", "ppkid", "prf", "proto", "psk", "quick", "rdomain", "redirect", "request", "sa", "set", "skip",
    "srcid", "stickyaddress", "tag", "tap", "tcpmd5", "to", "tolerate", "transport", "tunnel", "user", "vendorid",
    *ADDITIONAL,
})  # fmt: skip
