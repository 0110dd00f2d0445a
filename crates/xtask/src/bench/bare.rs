//! The bare loop: the same requests from the same number of threads, without Postgres. What no worker can pass.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use pg_etl_core::http::{Method, Request, Transport, TransportSettings};

use super::sink::Captured;

/// How the loop sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http {
    /// Through pg_etl's own transport: the same ureq with the same settings.
    Transport,
    /// ureq with no timeouts and no checks: the fastest it can be.
    Unbounded,
}

/// Sends `requests` from `threads` threads, each the next one; the time for all of them.
pub fn replay(
    http: Http,
    base: &str,
    requests: &[Captured],
    amount: usize,
    threads: usize,
) -> Result<Duration> {
    if requests.is_empty() {
        bail!("no request was captured");
    }
    let sender = Sender::new(http, threads)?;
    let ready: Vec<Ready> = requests
        .iter()
        .map(|captured| Ready::new(base, captured))
        .collect();
    run(threads, |next| {
        while next.fetch_add(1, Ordering::Relaxed) < amount {
            // Which one does not matter: they are all alike.
            let request = &ready[next.load(Ordering::Relaxed) % ready.len()];
            sender.send(request)?;
        }
        Ok(())
    })
}

/// Runs `work` on `threads` threads that start together; `work` is given what counts them.
pub fn run(threads: usize, work: impl Fn(&AtomicUsize) -> Result<()> + Sync) -> Result<Duration> {
    let next = AtomicUsize::new(0);
    let start = Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    work(&next)
                })
            })
            .collect();
        start.wait();
        let started = Instant::now();
        for handle in handles {
            handle.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        Ok(started.elapsed())
    })
}

/// A request in the form that the sender takes.
struct Ready {
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Ready {
    fn new(base: &str, captured: &Captured) -> Self {
        let kept = ["content-type", "authorization", "x-odoo-database"];
        let headers = kept.iter().filter_map(|name| {
            let (_, value) = captured.headers.iter().find(|(of, _)| of == name)?;
            Some((*name, value.clone()))
        });
        Self {
            url: format!("{base}{}", captured.path),
            headers: headers.collect(),
            body: captured.body.clone(),
        }
    }
}

enum Sender {
    Transport(Transport),
    Unbounded(ureq::Agent),
}

impl Sender {
    fn new(http: Http, threads: usize) -> Result<Self> {
        Ok(match http {
            Http::Transport => Self::Transport(
                Transport::new(&TransportSettings {
                    max_idle_connections: threads,
                    ..TransportSettings::default()
                })
                .map_err(|why| anyhow!(why))?,
            ),
            Http::Unbounded => Self::Unbounded(
                ureq::Agent::config_builder()
                    .http_status_as_error(false)
                    .proxy(None)
                    .max_idle_connections(threads)
                    .max_idle_connections_per_host(threads)
                    .build()
                    .into(),
            ),
        })
    }

    fn send(&self, ready: &Ready) -> Result<()> {
        let status = match self {
            Self::Transport(transport) => {
                let request = Request {
                    method: Method::Post,
                    url: ready.url.clone(),
                    headers: ready.headers.clone(),
                    body: ready.body.clone(),
                    fresh: false,
                };
                transport.send(&request)?.status
            }
            Self::Unbounded(agent) => {
                let mut request = agent.post(&ready.url);
                for (name, value) in &ready.headers {
                    request = request.header(*name, value);
                }
                let mut answer = request.send(&ready.body[..])?;
                answer.body_mut().read_to_vec()?;
                answer.status().as_u16()
            }
        };
        if status != 200 {
            bail!("HTTP {status} from {}", ready.url);
        }
        Ok(())
    }
}
