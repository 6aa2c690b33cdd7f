//! The benchmarks' load: what an ordinary program would do to a tunnel, and a forwarder without any crypto.
//!
//!     load forward NETNS ADDRESS/LEN NETNS ADDRESS/LEN MTU   join two TUN interfaces `fwd0`
//!     load sink PORT                                         count datagrams until standard input ends
//!     load flood ADDRESS:PORT OCTETS SECONDS                 send as fast as it goes
//!     load mirror PORT                                       send everything back
//!     load echo ADDRESS:PORT OCTETS OUTSTANDING SECONDS      keep that many on the way and count what returns
//!             ... ADDRESSES STEP                             in turn to that many addresses so far apart
//!     load drain PORT                                        count the octets of TCP until standard input ends
//!     load streams ADDRESS:PORT CONNECTIONS ADDRESSES STEP   send over so many connections, in turn to those addresses
//!     load first ADDRESS:PORT SECONDS                        knock until a mirror answers; prints CLOCK_MONOTONIC then
//!
//! Results go to standard output, as JSON.

mod datagrams;
mod forward;
mod streams;

use std::error::Error;
use std::io::Read;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use datagrams::{BATCH, Batch};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["forward", a_ns, a, b_ns, b, mtu] => forward::run([(a_ns, a), (b_ns, b)], mtu),
        ["sink", port] => sink(port.parse()?),
        ["flood", to, octets, seconds] => flood(to, octets.parse()?, seconds.parse()?),
        ["mirror", port] => mirror(port.parse()?),
        ["echo", to, octets, outstanding, seconds] => {
            echo(Batch::connected(to, octets.parse()?)?, outstanding.parse()?, seconds.parse()?)
        }
        ["echo", to, octets, outstanding, seconds, addresses, step] => {
            let batch = Batch::spread(to, octets.parse()?, addresses.parse()?, step.parse()?)?;
            echo(batch, outstanding.parse()?, seconds.parse()?)
        }
        ["drain", port] => drain(port.parse()?),
        ["streams", to, connections, addresses, step] => {
            streams::send(to, connections.parse()?, addresses.parse()?, step.parse()?)
        }
        ["first", to, seconds] => first(to, seconds.parse()?),
        _ => Err("usage: load forward|sink|flood|mirror|echo|drain|streams|first ..., see the head of main.rs".into()),
    }
}

/// Count datagrams.
fn sink(port: u16) -> Outcome {
    let mut batch = Batch::bound(port)?;
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    std::thread::spawn(move || {
        loop {
            match batch.receive() {
                Ok(got) => counted.fetch_add(got as u64, Relaxed),
                Err(_) => continue,
            };
        }
    });
    answer(&count)
}

fn drain(port: u16) -> Outcome {
    let count = Arc::new(AtomicU64::new(0));
    streams::drain(port, &count)?;
    answer(&count)
}

/// Each line on standard input asks for the count so far.
fn answer(count: &AtomicU64) -> Outcome {
    println!("ready");
    let mut octet = [0];
    while std::io::stdin().read(&mut octet)? > 0 {
        println!("{}", count.load(Relaxed));
    }
    Ok(())
}

fn flood(to: &str, octets: usize, seconds: f64) -> Outcome {
    let mut batch = Batch::connected(to, octets)?;
    let (start, mut sent) = (Instant::now(), 0_u64);
    while start.elapsed().as_secs_f64() < seconds {
        sent += batch.send(BATCH).unwrap_or(0) as u64;
    }
    println!("{{\"sent\": {sent}, \"seconds\": {}}}", start.elapsed().as_secs_f64());
    Ok(())
}

fn mirror(port: u16) -> Outcome {
    let mut batch = Batch::bound(port)?;
    println!("ready");
    loop {
        if let Ok(got) = batch.receive() {
            let _ = batch.send_back(got);
        }
    }
}

/// What is lost is made up for after 50 ms without an answer.
fn echo(mut batch: Batch, outstanding: usize, seconds: f64) -> Outcome {
    batch.give_up_after(Duration::from_millis(50))?;
    let (start, mut returned, mut lost) = (Instant::now(), 0_u64, 0_u64);
    let mut due = outstanding;
    while start.elapsed().as_secs_f64() < seconds {
        while due > 0 {
            due -= batch.send(due.min(BATCH)).unwrap_or(0);
        }
        match batch.receive() {
            Ok(got) => {
                returned += got as u64;
                due = got;
            }
            Err(_) => {
                lost += outstanding as u64;
                due = outstanding;
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{{\"returned\": {returned}, \"lost\": {lost}, \"seconds\": {seconds}}}");
    Ok(())
}

/// Nothing is sent before there is a route, and what is lost before the tunnel is up is sent anew.
fn first(to: &str, seconds: f64) -> Outcome {
    const EVERY: Duration = Duration::from_micros(500);
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.set_read_timeout(Some(EVERY))?;
    println!("ready");
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < seconds {
        let sent = socket.send_to(&[0x55; 64], to);
        if sent.is_err() {
            std::thread::sleep(EVERY);
        } else if socket.recv(&mut [0; 128]).is_ok() {
            // SAFETY: all zeros is a valid value, and the kernel writes to it.
            let now = unsafe {
                let mut now: libc::timespec = std::mem::zeroed();
                libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now);
                now
            };
            println!("{}.{:09}", now.tv_sec, now.tv_nsec);
            return Ok(());
        }
    }
    Ok(())
}
