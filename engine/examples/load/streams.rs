//! TCP, many connections in one thread.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use _engine::io::epoll::{self, Epoll, Ready};

use super::Outcome;

const PIECE: usize = 128 << 10;
const LISTENER: u64 = u64::MAX;

/// Read what comes over whatever connections, and count its octets in `count`.
pub fn drain(port: u16, count: &Arc<AtomicU64>) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    // SAFETY: no pointer is passed.
    unsafe { libc::listen(listener.as_raw_fd(), 4096) };
    listener.set_nonblocking(true)?;
    let count = count.clone();
    std::thread::spawn(move || {
        if let Err(error) = receive(&listener, &count) {
            eprintln!("load drain: {error}");
            std::process::exit(1);
        }
    });
    Ok(())
}

fn receive(listener: &TcpListener, count: &AtomicU64) -> io::Result<()> {
    let (epoll, mut ready) = (Epoll::new()?, Ready::new());
    epoll.add(listener.as_raw_fd(), epoll::READ, LISTENER)?;
    let (mut streams, mut data) = (Vec::<Option<TcpStream>>::new(), vec![0; PIECE]);
    loop {
        epoll.wait(&mut ready, None)?;
        for i in 0.. {
            let Some((token, _)) = ready.get(i) else { break };
            if token == LISTENER {
                loop {
                    let stream = match listener.accept() {
                        Ok((stream, _)) => stream,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    };
                    stream.set_nonblocking(true)?;
                    epoll.add(stream.as_raw_fd(), epoll::READ, streams.len() as u64)?;
                    streams.push(Some(stream));
                }
            } else if let Some(place) = streams.get_mut(token as usize) {
                match place.as_mut().map(|stream| stream.read(&mut data)) {
                    Some(Ok(got)) if got > 0 => drop(count.fetch_add(got as u64, Relaxed)),
                    Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => (),
                    _ => *place = None,
                }
            }
        }
    }
}

/// Thousands of connections that end would have the port numbers to themselves for a minute.
fn end_at_once(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: pointer and length describe `linger`.
    unsafe { libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), len) };
}

/// Make `connections` to `addresses` addresses in turn, `step` apart, say "ready", and send over all of them for ever.
pub fn send(to: &str, connections: usize, addresses: u32, step: u32) -> Outcome {
    const WRITE: u32 = libc::EPOLLOUT as u32;
    let first: SocketAddrV4 = to.parse()?;
    let (epoll, mut ready, mut streams) = (Epoll::new()?, Ready::new(), Vec::new());
    for (i, address) in (0..addresses.max(1)).cycle().take(connections).enumerate() {
        let ip = Ipv4Addr::from_bits(first.ip().to_bits().wrapping_add(address * step));
        let stream = TcpStream::connect((ip, first.port()))?;
        end_at_once(&stream);
        stream.set_nonblocking(true)?;
        epoll.add(stream.as_raw_fd(), WRITE, i as u64)?;
        streams.push(stream);
    }
    println!("ready");
    let data = vec![0x55; PIECE];
    loop {
        epoll.wait(&mut ready, None)?;
        for i in 0.. {
            let Some((token, _)) = ready.get(i) else { break };
            match streams[token as usize].write(&data) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.into()),
                _ => (),
            }
        }
    }
}
