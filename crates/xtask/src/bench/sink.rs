//! The instant sink: an HTTP/1.1 keep-alive server that answers like an Odoo with nothing to do. It shows what the sender can do, so
//! it spends as little as it can: one thread, no JSON parser, answers of one write.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::wire::{self, Head};
use crate::odoo::Access;

/// A model whose records are refused with a conflict, for as long as the sink lives: it keeps one record retrying.
pub const STUBBORN_MODEL: &str = "x_stubborn";

/// Requests kept by [`Sink::capture`].
const MOST_CAPTURED: usize = 256;

/// A request as it came: what a bare client sends again.
#[derive(Debug, Clone)]
pub struct Captured {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub rows: u64,
}

/// A running sink. Dropped, it is gone.
pub struct Sink {
    port: u16,
    shared: Arc<Shared>,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    requests: AtomicU64,
    rows: AtomicU64,
    records: AtomicU64,
    /// Whether arrivals and bodies are kept.
    watching: AtomicBool,
    arrivals: Mutex<Vec<Instant>>,
    captured: Mutex<Vec<Captured>>,
}

impl Sink {
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("the sink has no port")?;
        let port = listener.local_addr()?.port();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        epoll.add(stop.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
        let shared = Arc::new(Shared::default());
        let served = Server {
            epoll,
            listener,
            shared: Arc::clone(&shared),
            connections: HashMap::new(),
        };
        let thread = std::thread::Builder::new()
            .name("sink".into())
            .spawn(move || served.run())?;
        Ok(Self {
            port,
            shared,
            stop,
            thread: Some(thread),
        })
    }

    /// How to reach it as an Odoo; every credential is welcome.
    pub fn access(&self) -> Access {
        Access {
            url: self.url(),
            database: "sink".to_owned(),
            login: "sink".to_owned(),
            password: "sink".to_owned(),
            api_key: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            uid: 2,
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Requests that carried rows.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Acquire)
    }

    /// Rows taken.
    pub fn rows(&self) -> u64 {
        self.shared.rows.load(Ordering::Acquire)
    }

    /// From here on counts begin at zero.
    pub fn reset(&self) {
        self.shared.requests.store(0, Ordering::Release);
        self.shared.rows.store(0, Ordering::Release);
        lock(&self.shared.arrivals).clear();
    }

    /// Keeps arrival times and the first requests until [`Sink::unwatch`].
    pub fn watch(&self) {
        lock(&self.shared.captured).clear();
        lock(&self.shared.arrivals).clear();
        self.shared.watching.store(true, Ordering::Release);
    }

    /// The arrival of each request that carried rows, and the first of those requests.
    pub fn unwatch(&self) -> (Vec<Instant>, Vec<Captured>) {
        self.shared.watching.store(false, Ordering::Release);
        (
            std::mem::take(&mut lock(&self.shared.arrivals)),
            std::mem::take(&mut lock(&self.shared.captured)),
        )
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const LISTENER: u64 = u64::MAX;
const STOP: u64 = u64::MAX - 1;

struct Server {
    epoll: Epoll,
    listener: TcpListener,
    shared: Arc<Shared>,
    connections: HashMap<u64, Connection>,
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    /// Of the request under way, once its head was read.
    head: Option<Head>,
    arrived: Instant,
}

impl Server {
    fn run(mut self) {
        let mut events = [EpollEvent::empty(); 64];
        let mut answer = Vec::with_capacity(16 * 1024);
        loop {
            let ready = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(_) => return,
            };
            for event in &events[..ready] {
                match event.data() {
                    STOP => return,
                    LISTENER => self.accept(),
                    number => {
                        let Some(connection) = self.connections.get_mut(&number) else {
                            continue;
                        };
                        if !connection.serve(&self.shared, &mut answer) {
                            // Closing it takes it out of the epoll.
                            self.connections.remove(&number);
                        }
                    }
                }
            }
        }
    }

    fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else {
            return;
        };
        let _ = stream.set_nodelay(true);
        let number = u64::from(stream.as_raw_fd().unsigned_abs());
        let event = EpollEvent::new(EpollFlags::EPOLLIN, number);
        if self.epoll.add(&stream, event).is_ok() {
            let connection = Connection {
                stream,
                buffer: vec![0; 64 * 1024],
                filled: 0,
                head: None,
                arrived: Instant::now(),
            };
            self.connections.insert(number, connection);
        }
    }
}

impl Connection {
    /// Reads once (there is something to read) and answers what is complete; `false`: close it.
    fn serve(&mut self, shared: &Shared, answer: &mut Vec<u8>) -> bool {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        if self.filled == 0 && shared.watching.load(Ordering::Relaxed) {
            self.arrived = Instant::now();
        }
        match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(0) | Err(_) => return false,
            Ok(read) => self.filled += read,
        }
        answer.clear();
        loop {
            if self.head.is_none() {
                self.head = match wire::head(&self.buffer[..self.filled]) {
                    Ok(head) => head,
                    Err(_) => return false,
                };
            }
            let Some(head) = &self.head else { break };
            let end = head.length + head.body;
            if self.filled < end {
                break;
            }
            let request = &self.buffer[..end];
            let rows = wire::answer(request, head, &shared.records, answer);
            if rows > 0 {
                if shared.watching.load(Ordering::Relaxed) {
                    lock(&shared.arrivals).push(self.arrived);
                    let mut captured = lock(&shared.captured);
                    if captured.len() < MOST_CAPTURED {
                        captured.push(wire::captured(request, head, rows));
                    }
                }
                shared.requests.fetch_add(1, Ordering::AcqRel);
                shared.rows.fetch_add(rows, Ordering::AcqRel);
            }
            self.buffer.copy_within(end..self.filled, 0);
            self.filled -= end;
            self.head = None;
        }
        // Answers are far smaller than a socket's buffer, and clients read: this does not wait.
        answer.is_empty() || self.stream.write_all(answer).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_answers_what_the_client_asks() {
        let sink = Sink::start().unwrap();
        let access = sink.access();
        assert_eq!(access.version().unwrap(), "19.0");
        let fields = access
            .call("res.partner", "fields_get", &json!({}))
            .unwrap();
        assert_eq!(fields["name"]["type"], "char");
        assert_eq!(sink.rows(), 0);
        let loaded = access
            .call(
                "res.partner",
                "load",
                &json!({"data": [["a.b", "[1], \"x\""], ["a.c", "\\\"]["]], "fields": ["id", "name"]}),
            )
            .unwrap();
        assert_eq!(loaded, json!({"ids": [1, 2], "messages": [], "nextrow": 0}));
        let saved = json!({"ids": [7, 8, 9], "vals_list": [{}, {}, {}], "specification": {}});
        access
            .call("res.partner", "web_save_multi", &saved)
            .unwrap();
        assert_eq!((sink.requests(), sink.rows()), (2, 5));
        let refused = access.call(STUBBORN_MODEL, "write", &json!({"ids": [1], "vals": {}}));
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("SerializationFailure")
        );
        assert_eq!(sink.rows(), 5);
    }

    #[test]
    fn what_is_watched_is_kept() {
        let sink = Sink::start().unwrap();
        sink.watch();
        let body = json!({"ids": [7], "vals": {"name": "x"}});
        sink.access().call("res.partner", "write", &body).unwrap();
        let (arrivals, captured) = sink.unwatch();
        assert_eq!(arrivals.len(), 1);
        assert_eq!(captured[0].path, "/json/2/res.partner/write");
        let sent: serde_json::Value = serde_json::from_slice(&captured[0].body).unwrap();
        assert_eq!(sent, body);
        assert!(
            captured[0]
                .headers
                .iter()
                .any(|(name, _)| name == "x-odoo-database")
        );
    }
}
