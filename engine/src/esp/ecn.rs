//! Explicit congestion notification through the tunnel, by RFC 6040 in its normal mode.

const MASK: u8 = 3;
const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

/// The outer DSCP and ECN for an inner packet's: a copy (RFC 6040 §4.1; DSCP as RFC 2983's uniform model).
pub fn outer(inner: u8) -> u8 {
    inner
}

/// The inner packet's DSCP and ECN after decapsulation (RFC 6040 §4.2); None when the packet must be dropped.
pub fn merge(inner: u8, outer: u8) -> Option<u8> {
    let ecn = match (inner & MASK, outer & MASK) {
        (NOT_ECT, CE) => return None,
        (NOT_ECT, _) => NOT_ECT,
        (CE, _) | (_, CE) => CE,
        (ECT_0, ECT_1) | (ECT_1, _) => ECT_1,
        _ => ECT_0,
    };
    Some(inner & !MASK | ecn)
}
