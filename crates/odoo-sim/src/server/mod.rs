//! The HTTP server: a thread per connection over plain sockets, because faults need the socket itself.

mod answer;
mod connection;
pub(crate) mod gate;
mod request;
mod route;

pub(crate) use answer::{Answer, Delivery};
pub(crate) use request::Request;

use crate::sim::{Shared, locked};
use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Connections beyond this are closed at once, as a full backlog would have it.
const MOST_CONNECTIONS: usize = 2_000;

/// The listener's state. A generation lives from one start to the next stop; work of an older one must not commit.
#[derive(Default)]
pub(crate) struct Running {
    generation: AtomicU64,
    port: AtomicU16,
    connections: Mutex<HashMap<u64, TcpStream>>,
    numbers: AtomicU64,
}

impl Running {
    pub fn port(&self) -> u16 {
        self.port.load(Ordering::Acquire)
    }

    /// Odd while listening.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// True until the server of that generation is stopped.
    pub fn is(&self, generation: u64) -> bool {
        self.generation() == generation
    }

    /// Drops the copy of a connection, so that closing the original really closes it.
    fn forget(&self, stream: &TcpStream) {
        let peer = stream.peer_addr().ok();
        locked(&self.connections).retain(|_, known| known.peer_addr().ok() != peer);
    }

    /// Sleeps, but no longer than its generation lives; false when that ended.
    pub fn sleep(&self, generation: u64, time: Duration) -> bool {
        let end = std::time::Instant::now() + time;
        loop {
            if !self.is(generation) {
                return false;
            }
            let left = end.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(Duration::from_millis(10)));
        }
    }
}

/// Binds and accepts, on the port of before if there was one.
pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let running = &shared.running;
    let port = if running.port() == 0 {
        shared.config.port
    } else {
        running.port()
    };
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    running
        .port
        .store(listener.local_addr()?.port(), Ordering::Release);
    let generation = running.generation.fetch_add(1, Ordering::AcqRel) + 1;
    let shared = Arc::clone(shared);
    thread::Builder::new()
        .name("sim-accept".into())
        .spawn(move || accept(&shared, &listener, generation))?;
    Ok(())
}

/// Closes the listener and breaks all connections.
pub(crate) fn stop(shared: &Arc<Shared>) {
    let running = &shared.running;
    if running.generation().is_multiple_of(2) {
        return;
    }
    {
        // Under the store's lock: a call that is committing finishes, one that has not begun to never will.
        let _store = locked(&shared.store);
        running.generation.fetch_add(1, Ordering::AcqRel);
    }
    shared.gate.wake();
    // Only a connection wakes `accept` up; it sees the new generation and drops the listener.
    let _ = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], running.port())));
    for (_, stream) in locked(&running.connections).drain() {
        let _ = stream.shutdown(Shutdown::Both);
    }
    // The port must be free when this returns, or a restart at once would fail.
    for _ in 0..200 {
        if TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], running.port()))).is_ok() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener, generation: u64) {
    for stream in listener.incoming() {
        if !shared.running.is(generation) {
            return;
        }
        let Ok(stream) = stream else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        let number = shared.running.numbers.fetch_add(1, Ordering::Relaxed);
        let Ok(copy) = stream.try_clone() else {
            continue;
        };
        {
            let mut connections = locked(&shared.running.connections);
            if connections.len() >= MOST_CONNECTIONS {
                continue;
            }
            connections.insert(number, copy);
        }
        let shared = Arc::clone(shared);
        let spawned = thread::Builder::new()
            .name("sim-connection".into())
            .spawn(move || {
                connection::serve(&shared, stream, generation);
                locked(&shared.running.connections).remove(&number);
            });
        // Out of threads: the stream was dropped with the closure, which closes it.
        drop(spawned);
    }
}
