//! The sockets' error queues (IP_RECVERR): what ICMP, or this host, says about packets sent.

use std::net::IpAddr;

use super::address::{self, Address};
use super::receive::{each_control, read};
use super::socket::{Family, Socket};

const SO_EE_ORIGIN_LOCAL: u8 = 1;
const SO_EE_ORIGIN_ICMP: u8 = 2;
const SO_EE_ORIGIN_ICMP6: u8 = 3;

/// Octets taken of the packet that an error quotes: an IP header with options, in front of an SPI.
const QUOTE: usize = 128;

/// A packet that was too big for the path.
#[derive(Clone, Copy, Debug)]
pub struct TooBig {
    pub mtu: u32,
    /// Said by this host itself, of a packet just sent.
    pub local: bool,
    pub destination: IpAddr,
    /// The SPI of the ESP packet quoted, if the quote reaches that far.
    pub spi: Option<u32>,
}

/// Take every error off `socket`'s queue, and tell those that say `too big`.  The socket's own mark of an error goes too: the
/// kernel may set it after its entry was taken, and one that stays is reported for ever.
pub fn drain(socket: &Socket, mut too_big: impl FnMut(TooBig)) {
    loop {
        let mut from = Address::unspecified();
        let mut quote = [0_u8; QUOTE];
        let mut control = [0_u64; 64];
        let mut piece = libc::iovec { iov_base: quote.as_mut_ptr().cast(), iov_len: QUOTE };
        // SAFETY: all zeros is a valid msghdr.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_name = (&raw mut from).cast();
        message.msg_namelen = address::LEN as libc::socklen_t;
        message.msg_iov = &raw mut piece;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: the message points to live memory of the lengths that it says.
        let got = unsafe { libc::recvmsg(socket.fd(), &raw mut message, libc::MSG_ERRQUEUE) };
        let Ok(len) = usize::try_from(got) else { return socket.forget_error() };
        let Some(destination) = from.get() else { continue };
        each_control(&message, |level, kind, data| {
            let is_error = matches!(
                (level, kind),
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            );
            let Some(error) = read::<libc::sock_extended_err>(data).filter(|_| is_error) else { return };
            if error.ee_errno != libc::EMSGSIZE as u32 {
                return;
            }
            let local = error.ee_origin == SO_EE_ORIGIN_LOCAL;
            if local || matches!(error.ee_origin, SO_EE_ORIGIN_ICMP | SO_EE_ORIGIN_ICMP6) {
                let spi = quoted_spi(socket, &quote[..len.min(QUOTE)]);
                too_big(TooBig { mtu: error.ee_info, local, destination: destination.ip(), spi });
            }
        });
    }
}

/// A UDP socket's errors quote from the UDP payload on, a raw IPv4 one's from the IP header on, a raw IPv6 one's from
/// the ESP header on.
fn quoted_spi(socket: &Socket, quote: &[u8]) -> Option<u32> {
    let skip = match quote.first() {
        Some(first) if socket.is_raw() && socket.family == Family::V4 => usize::from(first & 15) * 4,
        _ => 0,
    };
    quote.get(skip..)?.first_chunk::<4>().map(|spi| u32::from_be_bytes(*spi))
}
