//! A TCP proxy in front of a real Odoo, which loses answers on demand: the request goes through, Odoo does the work and answers,
//! and the answer goes no further.
//!
//! It knows nothing of HTTP but what Odoo's own server grants: one request per connection, closed by the server after its answer.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result};

/// A running proxy; ends with its handle.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    to_lose: AtomicU64,
    lost: AtomicU64,
    over: AtomicBool,
}

impl Proxy {
    /// Listens on loopback and passes on to `upstream` (`host:port`).
    pub fn start(upstream: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port for the proxy")?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State::default());
        let (shared, upstream) = (Arc::clone(&state), upstream.to_owned());
        thread::Builder::new()
            .name("chaos-proxy".to_owned())
            .spawn(move || {
                for client in listener.incoming().flatten() {
                    if shared.over.load(Ordering::Acquire) {
                        return;
                    }
                    let (shared, upstream) = (Arc::clone(&shared), upstream.clone());
                    // A connection that breaks is what this is about.
                    thread::spawn(move || {
                        let _ = pass(&shared, client, &upstream);
                    });
                }
            })?;
        Ok(Self { port, state })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The answer to one more request that changes something is lost.
    pub fn lose_one(&self) {
        self.state.to_lose.fetch_add(1, Ordering::AcqRel);
    }

    /// Answers that were lost after Odoo gave them.
    pub fn lost(&self) -> u64 {
        self.state.lost.load(Ordering::Acquire)
    }

    /// From now on nothing is lost.
    pub fn behave(&self) {
        self.state.to_lose.store(0, Ordering::Release);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Release);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Paths of requests that change something.
const CHANGING: [&[u8]; 6] = [
    b"/load ",
    b"/write ",
    b"/web_save_multi ",
    b"/unlink ",
    b"/action_confirm ",
    b"/message_post ",
];

fn pass(state: &State, client: TcpStream, upstream: &str) -> io::Result<()> {
    let server = TcpStream::connect(upstream)?;
    let passed = exchange(state, &client, &server);
    // However it ended: a client whose server was killed sees it go, as it would without us, and does not wait for its timeout.
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
    passed
}

fn exchange(state: &State, mut client: &TcpStream, mut server: &TcpStream) -> io::Result<()> {
    let mut head = [0; 4096];
    let length = client.read(&mut head)?;
    server.write_all(&head[..length])?;
    let line = head[..length].split(|byte| *byte == b'\r').next();
    let changes = line.is_some_and(|line| {
        let within = |path: &&[u8]| line.windows(path.len()).any(|window| window == *path);
        CHANGING.iter().any(within)
    });
    let less = |left: u64| left.checked_sub(1);
    let to_lose = changes
        && state
            .to_lose
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less)
            .is_ok();
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
    });
    if to_lose {
        // To the end: Odoo has committed before it answers.
        let answered = io::copy(&mut server, &mut io::sink())?;
        if answered > 0 {
            state.lost.fetch_add(1, Ordering::AcqRel);
        }
    } else {
        io::copy(&mut server, &mut client)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Answers one request per connection, and counts them.
    fn upstream() -> (String, Arc<AtomicU64>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let served = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&served);
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let mut request = [0; 512];
                let _ = client.read(&mut request);
                count.fetch_add(1, Ordering::AcqRel);
                let _ = client.write_all(b"HTTP/1.0 200 OK\r\n\r\ntrue");
            }
        });
        (address, served)
    }

    fn ask(proxy: &Proxy, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).unwrap();
        let patience = Some(Duration::from_secs(10));
        stream.set_read_timeout(patience).unwrap();
        write!(stream, "POST {path} HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = String::new();
        if let Err(error) = stream.read_to_string(&mut answer) {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
        }
        answer
    }

    #[test]
    fn a_server_that_dies_takes_the_connection_with_it() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = Proxy::start(&listener.local_addr().unwrap().to_string()).unwrap();
        thread::spawn(move || {
            let (server, _) = listener.accept().unwrap();
            // Closed over a request that nobody read: the system sends a reset, as it does when the process is killed.
            let _ = server.peek(&mut [0]);
        });
        assert_eq!(ask(&proxy, "/json/2/res.partner/search"), "");
    }

    #[test]
    fn the_answer_to_a_change_is_lost_after_the_server_gave_it() {
        let (address, served) = upstream();
        let proxy = Proxy::start(&address).unwrap();
        proxy.lose_one();
        let write = "/json/2/res.partner/write";
        assert!(
            ask(&proxy, "/json/2/res.partner/search").ends_with("true"),
            "no change"
        );
        assert_eq!(ask(&proxy, write), "");
        assert_eq!((proxy.lost(), served.load(Ordering::Acquire)), (1, 2));
        assert!(ask(&proxy, write).ends_with("true"), "one was to be lost");
    }
}
