//! UDP, many datagrams a call, so that the load costs little beside what is measured.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

pub const BATCH: usize = 64;
const SIZE: usize = 2048;

/// A socket and room for a batch.
pub struct Batch {
    socket: UdpSocket,
    octets: usize,
    data: Vec<[u8; SIZE]>,
    addresses: Vec<libc::sockaddr_in6>,
    connected: bool,
    /// Where datagrams go in turn, if not to where they came from, and whose turn it is.
    targets: Vec<libc::sockaddr_in>,
    turn: usize,
}

// SAFETY of the calls below: the headers point into vectors of `self`, which neither move nor shrink during a call.
impl Batch {
    fn new(socket: UdpSocket, octets: usize, connected: bool) -> Self {
        // SAFETY: all zeros is a valid address.
        let address = unsafe { std::mem::zeroed() };
        Self {
            socket,
            octets,
            data: vec![[0x55; SIZE]; BATCH],
            addresses: vec![address; BATCH],
            connected,
            targets: Vec::new(),
            turn: 0,
        }
    }

    pub fn bound(port: u16) -> io::Result<Self> {
        let socket = UdpSocket::bind(("0.0.0.0", port))?;
        enlarge(&socket)?;
        Ok(Self::new(socket, 0, false))
    }

    pub fn connected(to: &str, octets: usize) -> io::Result<Self> {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        enlarge(&socket)?;
        socket.connect(to)?;
        Ok(Self::new(socket, octets.min(SIZE), true))
    }

    /// To `count` addresses in turn, the first of which is `to`, each `step` after the one before.
    pub fn spread(to: &str, octets: usize, count: u32, step: u32) -> Result<Self, Box<dyn std::error::Error>> {
        let first: SocketAddrV4 = to.parse()?;
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        enlarge(&socket)?;
        let mut batch = Self::new(socket, octets.min(SIZE), false);
        batch.targets = (0..count.max(1))
            .map(|i| Ipv4Addr::from_bits(first.ip().to_bits().wrapping_add(i * step)))
            .map(|ip| libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: first.port().to_be(),
                sin_addr: libc::in_addr { s_addr: ip.to_bits().to_be() },
                sin_zero: [0; 8],
            })
            .collect();
        Ok(batch)
    }

    pub fn give_up_after(&self, time: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(time))
    }

    /// Wait for one datagram, and take what is there besides.
    pub fn receive(&mut self) -> io::Result<usize> {
        let (mut messages, mut pieces) = headers();
        self.point(&mut messages, &mut pieces, BATCH, SIZE);
        let fd = self.socket.as_raw_fd();
        // SAFETY: see above.
        let got = unsafe {
            libc::recvmmsg(fd, messages.as_mut_ptr(), BATCH as u32, libc::MSG_WAITFORONE, std::ptr::null_mut())
        };
        if let Some(first) = messages.first().filter(|_| got > 0) {
            self.octets = first.msg_len as usize;
        }
        usize::try_from(got).map_err(|_| io::Error::last_os_error())
    }

    /// Send `count` datagrams; how many went.
    pub fn send(&mut self, count: usize) -> io::Result<usize> {
        let (mut messages, mut pieces) = headers();
        let octets = self.octets;
        if !self.targets.is_empty() {
            for address in self.addresses.iter_mut().take(count) {
                // SAFETY: an IPv6 address has room for an IPv4 one, and any octets are valid in both.
                unsafe { (&raw mut *address).cast::<libc::sockaddr_in>().write(self.targets[self.turn]) };
                self.turn = (self.turn + 1) % self.targets.len();
            }
        }
        self.point(&mut messages, &mut pieces, count.min(BATCH), octets);
        let fd = self.socket.as_raw_fd();
        // SAFETY: see above.
        let sent = unsafe { libc::sendmmsg(fd, messages.as_mut_ptr(), count.min(BATCH) as u32, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Send the last `count` received, of one size all, back.
    pub fn send_back(&mut self, count: usize) -> io::Result<()> {
        let mut done = 0;
        while done < count {
            let sent = self.send(count - done)?.max(1);
            self.addresses.rotate_left(sent);
            done += sent;
        }
        Ok(())
    }

    fn point(
        &mut self,
        messages: &mut [libc::mmsghdr; BATCH],
        pieces: &mut [libc::iovec; BATCH],
        count: usize,
        octets: usize,
    ) {
        for i in 0..count {
            pieces[i] = libc::iovec { iov_base: self.data[i].as_mut_ptr().cast(), iov_len: octets };
            let header = &mut messages[i].msg_hdr;
            header.msg_iov = &raw mut pieces[i];
            header.msg_iovlen = 1;
            if !self.connected {
                header.msg_name = (&raw mut self.addresses[i]).cast();
                header.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
        }
    }
}

fn headers() -> ([libc::mmsghdr; BATCH], [libc::iovec; BATCH]) {
    // SAFETY: all zeros is a valid value of both.
    unsafe { std::mem::zeroed() }
}

fn enlarge(socket: &UdpSocket) -> io::Result<()> {
    let octets: libc::c_int = 4 << 20;
    for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
        // SAFETY: pointer and length describe `octets`.
        let result =
            unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const octets).cast(), 4) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
