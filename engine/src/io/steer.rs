//! Classic BPF: which worker's socket gets an ESP packet.
//!
//! It is an optimisation and never a guarantee: receive GRO merges a train by its addresses and ports before, and the
//! whole train goes where its first segment points.

use std::io;
use std::os::fd::RawFd;

use super::set_raw_option;

const LD_W_ABS: u16 = 0x20;
const LD_W_IND: u16 = 0x40;
const LDX_B_MSH: u16 = 0xb1;
const ALU_MOD_K: u16 = 0x94;
const JMP_JEQ_K: u16 = 0x15;
const RET_K: u16 = 0x06;
const RET_A: u16 = 0x16;

const fn op(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k }
}

/// The worker that an SPI's packets in UDP go to.  `group` computes the same.
pub fn worker_of(spi: u32, workers: usize) -> usize {
    spi as usize % workers.max(1)
}

/// Steer a SO_REUSEPORT group of `workers` receivers by the SPI, which begins the UDP payload.  IKE, whose marker is
/// zero, and what is shorter than an SPI go to the first.
pub fn group(fd: RawFd, workers: usize) -> io::Result<()> {
    attach(fd, libc::SO_ATTACH_REUSEPORT_CBPF, &[op(LD_W_ABS, 0), op(ALU_MOD_K, workers as u32), op(RET_A, 0)])
}

/// Let a raw socket of protocol 50 see only what is for `receiver` of `receivers`: each of them gets a copy of all.
/// Behind an IPv4 socket data begins with the IP header, behind an IPv6 one with ESP.
pub fn raw(fd: RawFd, ipv6: bool, receiver: usize, receivers: usize) -> io::Result<()> {
    let mut select = op(JMP_JEQ_K, receiver as u32);
    select.jf = 1;
    let choose = [op(ALU_MOD_K, receivers as u32), select, op(RET_K, u32::MAX), op(RET_K, 0)];
    let load: &[_] = if ipv6 { &[op(LD_W_ABS, 0)] } else { &[op(LDX_B_MSH, 0), op(LD_W_IND, 0)] };
    attach(fd, libc::SO_ATTACH_FILTER, &[load, &choose].concat())
}

/// Let a socket receive nothing.
pub fn nothing(fd: RawFd) -> io::Result<()> {
    attach(fd, libc::SO_ATTACH_FILTER, &[op(RET_K, 0)])
}

fn attach(fd: RawFd, option: libc::c_int, program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    set_raw_option(fd, libc::SOL_SOCKET, option, &program)
}
