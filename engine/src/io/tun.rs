//! One queue of a TUN interface, with a virtio-net header before each packet.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::{check, check_len};
use crate::esp::vnet;

const IFF_TUN: i16 = 0x0001;
const IFF_NO_PI: i16 = 0x1000;
const IFF_VNET_HDR: i16 = 0x4000;
const IFF_MULTI_QUEUE: i16 = 0x0100;
const IFF_DETACH_QUEUE: i16 = 0x0400;
const FLAGS: i16 = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;

const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
const TUNSETOFFLOAD: libc::Ioctl = 0x4004_54d0;
const TUNGETIFF: libc::Ioctl = 0x8004_54d2u32 as libc::Ioctl;
const TUNSETVNETHDRSZ: libc::Ioctl = 0x4004_54d8;
const TUNSETQUEUE: libc::Ioctl = 0x4004_54d9;

const TUN_F_CSUM: libc::c_ulong = 0x01;
const TUN_F_TSO4: libc::c_ulong = 0x02;
const TUN_F_TSO6: libc::c_ulong = 0x04;
const TUN_F_TSO_ECN: libc::c_ulong = 0x08;
const TUN_F_USO4: libc::c_ulong = 0x20;
const TUN_F_USO6: libc::c_ulong = 0x40;

pub struct Tun {
    fd: OwnedFd,
    /// Whether UDP super-packets pass both ways (Linux 6.2).
    pub udp_offload: bool,
}

/// `struct ifreq` with the flags in its union.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: i16,
    rest: [u8; 22],
}

impl Request {
    fn new(name: &str, flags: i16) -> io::Result<Self> {
        let mut request = Self { name: [0; libc::IFNAMSIZ], flags, rest: [0; 22] };
        if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.bytes().any(|c| c == 0) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no interface name")));
        }
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        Ok(request)
    }

    fn ioctl(&mut self, fd: RawFd, request: libc::Ioctl) -> io::Result<()> {
        // SAFETY: `self` is an ifreq, which is what these requests read and write.
        check(unsafe { libc::ioctl(fd, request, &raw mut *self) }).map(drop)
    }
}

impl Tun {
    /// Make the description behind `fd` (fresh from /dev/net/tun) a queue of interface `name`, and keep a duplicate.
    pub fn attach(fd: BorrowedFd<'_>, name: &str) -> io::Result<Self> {
        let fd = fd.try_clone_to_owned()?;
        set_interface(fd.as_raw_fd(), name)?;
        // SAFETY: no pointer is passed.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })?;
        let size = vnet::LEN as libc::c_int;
        // SAFETY: an int is read from `size`.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETVNETHDRSZ, &raw const size) })?;
        let tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
        let udp_offload = set_offload(&fd, tcp | TUN_F_USO4 | TUN_F_USO6).is_ok();
        if !udp_offload {
            set_offload(&fd, tcp)?;
        }
        Ok(Self { fd, udp_offload })
    }

    /// Attach `fd` as one more queue of `name` and detach it at once: it carries no packet, but as long as somebody
    /// holds it the device and its carrier stay.
    pub fn attach_detached(fd: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        set_interface(fd.as_raw_fd(), name)?;
        Request::new("-", IFF_DETACH_QUEUE)?.ioctl(fd.as_raw_fd(), TUNSETQUEUE)
    }

    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Another descriptor of the same queue.
    pub fn share(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, udp_offload: self.udp_offload })
    }

    /// Read one vnet header and packet; WouldBlock when there is none.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the kernel writes at most `buffer.len()` octets to it.
        check_len(unsafe { libc::read(self.fd(), buffer.as_mut_ptr().cast(), buffer.len()) })
    }

    /// Write a vnet header and the pieces of one packet.
    pub fn write(&self, pieces: &[io::IoSlice<'_>]) -> io::Result<()> {
        // SAFETY: an IoSlice is an iovec, and each borrows what it points to.
        check_len(unsafe { libc::writev(self.fd(), pieces.as_ptr().cast(), pieces.len() as libc::c_int) }).map(drop)
    }
}

/// Attach, and make sure that the vnet header is really on: a queue without it would be accepted in silence.
fn set_interface(fd: RawFd, name: &str) -> io::Result<()> {
    Request::new(name, FLAGS)?.ioctl(fd, TUNSETIFF)?;
    let mut got = Request::new(name, 0)?;
    got.ioctl(fd, TUNGETIFF)?;
    if got.flags & FLAGS != FLAGS {
        let flags = got.flags;
        return Err(io::Error::other(format!("{name}: the TUN queue has flags {flags:#06x} and not {FLAGS:#06x}")));
    }
    Ok(())
}

fn set_offload(fd: &OwnedFd, features: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the argument is a number.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETOFFLOAD, features) }).map(drop)
}

/// The index of interface `name`.
pub fn index(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: `name` ends with a zero octet.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}
