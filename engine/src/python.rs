//! The Python face of the engine: `secd._engine`, described in `src/secd/_engine.pyi`.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use zeroize::Zeroize;

use crate::engine::{self, Error, NewSa, Switches};
use crate::esp::replay::MAX_WINDOW;
use crate::esp::suite::Suite;
use crate::events::{Event, Kind, Limit};
use crate::kem;
use crate::sadb::Id;
use crate::sadb::sa::{Limits, Ports, Sa};

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match error {
            Error::Os(failure) => PyOSError::new_err((failure.errno, failure.message)),
            Error::Value(message) => PyValueError::new_err(message),
        }
    }
}

#[pyclass(frozen)]
struct Engine(engine::Engine);

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (workers = 0, *, ike_port = 500, natt_port = 4500, latency = None))]
    fn new(workers: usize, ike_port: u16, natt_port: u16, latency: Option<i32>) -> PyResult<Self> {
        Ok(Self(engine::Engine::new(workers, ike_port, natt_port, latency)?))
    }

    fn open(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.0.open())?)
    }

    #[getter]
    fn raw_esp(&self) -> bool {
        self.0.raw_esp()
    }

    #[getter]
    fn workers(&self) -> usize {
        self.0.workers()
    }

    fn event_fd(&self) -> i32 {
        self.0.event_fd()
    }

    fn poll<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for event in self.0.take_events() {
            list.append(event_tuple(py, event)?)?;
        }
        Ok(list)
    }

    #[pyo3(signature = (name, fds, detached, *, mtu, running))]
    fn attach(
        &self,
        py: Python<'_>,
        name: &str,
        fds: Vec<i32>,
        detached: i32,
        mtu: u32,
        running: bool,
    ) -> PyResult<u32> {
        Ok(py.detach(|| self.0.attach(name, &fds, detached, mtu, running))?)
    }

    fn detach(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        Ok(py.detach(|| self.0.detach(name))?)
    }

    #[pyo3(signature = (name, *, running, mtu, tunneldf, mss_clamp))]
    fn set_interface(&self, name: &str, running: bool, mtu: u32, tunneldf: bool, mss_clamp: bool) -> PyResult<()> {
        Ok(self.0.set_interface(name, Switches { running, mtu, tunneldf, mss_clamp })?)
    }

    #[pyo3(signature = (
        *, spi, direction, iface, source, destination, encryption, encryption_key, auth, auth_key, replay, esn,
        udpencap, soft_bytes, soft_packets, hard_bytes, hard_packets, sequence = 0
    ))]
    #[allow(clippy::too_many_arguments)]
    fn add_sa(
        &self,
        spi: u32,
        direction: &str,
        iface: &str,
        source: &str,
        destination: &str,
        encryption: &str,
        encryption_key: &[u8],
        auth: &str,
        auth_key: &[u8],
        replay: u32,
        esn: bool,
        udpencap: Option<(u16, u16)>,
        soft_bytes: u64,
        soft_packets: u64,
        hard_bytes: u64,
        hard_packets: u64,
        sequence: u64,
    ) -> PyResult<()> {
        if replay > MAX_WINDOW {
            return Err(PyValueError::new_err(format!("replay must be 0 to {MAX_WINDOW} packets, not {replay}")));
        }
        Ok(self.0.add_sa(&NewSa {
            id: id(spi, direction, destination)?,
            iface,
            source: address(source)?,
            suite: Suite { encryption, encryption_key, auth, auth_key, esn },
            replay,
            encap: udpencap.map(ports),
            limits: Limits { soft_bytes, soft_packets, hard_bytes, hard_packets },
            sequence,
        })?)
    }

    #[pyo3(signature = (spi, direction, destination, *, new_source, new_destination, udpencap))]
    fn update_sa(
        &self,
        spi: u32,
        direction: &str,
        destination: &str,
        new_source: &str,
        new_destination: &str,
        udpencap: Option<(u16, u16)>,
    ) -> PyResult<()> {
        let id = id(spi, direction, destination)?;
        Ok(self.0.update_sa(&id, address(new_source)?, address(new_destination)?, udpencap.map(ports))?)
    }

    fn delete_sa(&self, spi: u32, direction: &str, destination: &str) -> PyResult<()> {
        Ok(self.0.delete_sa(&id(spi, direction, destination)?)?)
    }

    fn sa_counters<'py>(
        &self,
        py: Python<'py>,
        spi: u32,
        direction: &str,
        destination: &str,
    ) -> PyResult<Bound<'py, PyDict>> {
        let sa = self.0.sa(&id(spi, direction, destination)?)?;
        sa_dict(py, &self.0, &sa)
    }

    fn dump<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let entries: PyResult<Vec<_>> = self.0.sas().iter().map(|sa| sa_dict(py, &self.0, sa)).collect();
        PyList::new(py, entries?)
    }

    fn interface_counters<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyDict>> {
        let interface = self.0.interface(name)?;
        let counters = &interface.counters;
        let dict = PyDict::new(py);
        for (key, counter) in [
            ("input_packets", &counters.input_packets),
            ("input_bytes", &counters.input_bytes),
            ("output_packets", &counters.output_packets),
            ("output_bytes", &counters.output_bytes),
            ("input_errors", &counters.input_errors),
            ("output_errors", &counters.output_errors),
        ] {
            dict.set_item(key, counter.load(Relaxed))?;
        }
        Ok(dict)
    }

    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, count) in self.0.counters() {
            dict.set_item(name, count)?;
        }
        Ok(dict)
    }

    fn send_ike(&self, local: &str, local_port: u16, remote: &str, remote_port: u16, data: &[u8]) -> PyResult<()> {
        let local = if local.is_empty() { None } else { Some(address(local)?) };
        Ok(self.0.send_ike(local, local_port, SocketAddr::new(address(remote)?, remote_port), data)?)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }
}

fn address(text: &str) -> PyResult<IpAddr> {
    text.parse().map_err(|_| PyValueError::new_err(format!("{text:?} is no IP address")))
}

fn id(spi: u32, direction: &str, destination: &str) -> PyResult<Id> {
    let outbound = match direction {
        "in" => false,
        "out" => true,
        _ => return Err(PyValueError::new_err(format!("direction must be \"in\" or \"out\", not {direction:?}"))),
    };
    Ok(Id { spi, outbound, destination: address(destination)? })
}

fn ports((local, remote): (u16, u16)) -> Ports {
    Ports { local, remote }
}

fn direction(outbound: bool) -> &'static str {
    if outbound { "out" } else { "in" }
}

fn event_tuple(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyTuple>> {
    match event {
        Event::Ike { local, remote, data } => {
            let (from, to) = (local.ip().to_string(), remote.ip().to_string());
            ("ike", from, local.port(), to, remote.port(), PyBytes::new(py, &data)).into_pyobject(py)
        }
        Event::Expire { spi, outbound, destination, kind, limit } => {
            let kind = if kind == Kind::Soft { "soft" } else { "hard" };
            let limit = if limit == Limit::Bytes { "bytes" } else { "packets" };
            ("expire", spi, direction(outbound), destination.to_string(), kind, limit).into_pyobject(py)
        }
        Event::Mapping { spi, source, port } => ("mapping", spi, source.to_string(), port).into_pyobject(py),
        Event::Fatal(message) => ("fatal", message).into_pyobject(py),
    }
}

fn sa_dict<'py>(py: Python<'py>, engine: &engine::Engine, sa: &Sa) -> PyResult<Bound<'py, PyDict>> {
    let (state, now_ms) = (&sa.state, engine.now_ms());
    let dict = PyDict::new(py);
    dict.set_item("spi", sa.spi)?;
    dict.set_item("direction", direction(sa.outbound))?;
    dict.set_item("destination", sa.destination.to_string())?;
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    dict.set_item("packets", count(&state.packets))?;
    dict.set_item("esp_bytes", count(&state.esp_bytes))?;
    dict.set_item("inner_bytes", count(&state.inner_bytes))?;
    dict.set_item("drops", count(&state.drops))?;
    dict.set_item("rpl", state.rpl(sa.outbound))?;
    dict.set_item("first_use", state.first_use().map_or(0.0, |at| engine.epoch(at)))?;
    dict.set_item("last_use", state.last_use().map_or(0.0, |at| engine.epoch(at)))?;
    let idle = state.last_use().map_or(-1.0, |at| now_ms.saturating_sub(at) as f64 / 1000.0);
    dict.set_item("idle", idle)?;
    dict.set_item("pmtu", sa.path.pmtu(now_ms).unwrap_or(0))?;
    Ok(dict)
}

#[pyfunction]
fn mlkem512_public_key<'py>(py: Python<'py>, seed: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &kem::public_key(octets(seed, "seed")?)))
}

#[pyfunction]
fn mlkem512_encapsulate<'py>(
    py: Python<'py>,
    public: &[u8],
    random: &[u8],
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let (ciphertext, mut secret) = kem::encapsulate(public, octets(random, "random")?)
        .ok_or_else(|| PyValueError::new_err("no encapsulation key of ML-KEM-512"))?;
    let made = (PyBytes::new(py, &ciphertext), PyBytes::new(py, &secret));
    secret.zeroize();
    Ok(made)
}

#[pyfunction]
fn mlkem512_decapsulate<'py>(py: Python<'py>, seed: &[u8], ciphertext: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let mut secret = kem::decapsulate(octets(seed, "seed")?, ciphertext)
        .ok_or_else(|| PyValueError::new_err("no ciphertext of ML-KEM-512"))?;
    let made = PyBytes::new(py, &secret);
    secret.zeroize();
    Ok(made)
}

fn octets<'a, const N: usize>(data: &'a [u8], what: &str) -> PyResult<&'a [u8; N]> {
    data.try_into().map_err(|_| PyValueError::new_err(format!("{what}: {} octets, expected {N}", data.len())))
}

#[pymodule]
fn _engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(mlkem512_public_key, module)?)?;
    module.add_function(wrap_pyfunction!(mlkem512_encapsulate, module)?)?;
    module.add_function(wrap_pyfunction!(mlkem512_decapsulate, module)?)?;
    module.add_class::<Engine>()
}
