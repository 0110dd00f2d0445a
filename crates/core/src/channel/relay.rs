//! What stands between lettre and a mail server. lettre waits for every line as long as the server likes to write it, keeps one without an
//! end, and looks a name up for as long as the resolver does; here the whole exchange has a deadline and a length.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::mpsc::channel;
use std::thread::Builder;
use std::time::{Duration, Instant};

/// Most bytes that a server may say. One that greets, takes a message and says goodbye needs a thousandth of it.
const LONGEST_ANSWER: usize = 256 * 1024;
/// Most bytes of a message, with what is around it. Ours are a few kilobytes.
const LONGEST_MESSAGE: usize = 4 * 1024 * 1024;

/// Connects to the server, and gives an address at which it can be reached once, until the deadline. What passes between is copied by
/// threads of their own, which end at the deadline or when either side hangs up.
pub(super) fn open(
    host: &str,
    port: u16,
    connect: Duration,
    deadline: Instant,
) -> Result<SocketAddr, String> {
    let server = dial(host, port, connect.min(left(deadline)))?;
    let here = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?, listener))
    });
    let (address, listener) = here.map_err(|error| format!("no port of this machine: {error}"))?;
    thread()
        .spawn(move || {
            if let Some(client) = accept(&listener, deadline) {
                drop(listener);
                join(&client, &server, deadline);
            }
        })
        .map_err(|error| format!("no thread: {error}"))?;
    Ok(address)
}

/// The resolver of the system has no deadline: whoever waits for it does not wait longer than that.
fn dial(host: &str, port: u16, patience: Duration) -> Result<TcpStream, String> {
    let (say, heard) = channel();
    let name = host.to_owned();
    thread()
        .spawn(move || {
            let found = (name.as_str(), port)
                .to_socket_addrs()
                .map(Iterator::collect::<Vec<_>>);
            // Nobody listens any more when it comes too late.
            let _ = say.send(found);
        })
        .map_err(|error| format!("no thread: {error}"))?;
    let addresses = heard
        .recv_timeout(patience)
        .map_err(|_| "the host name was not resolved in time".to_owned())?
        .map_err(|_| "the host name is not known".to_owned())?;
    let deadline = Instant::now() + patience;
    let mut why = "the host name has no address".to_owned();
    for address in addresses {
        if left(deadline).is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, left(deadline)) {
            Ok(stream) => return Ok(stream),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

fn accept(listener: &TcpListener, deadline: Instant) -> Option<TcpStream> {
    loop {
        match listener.accept() {
            Ok((client, _)) => return client.set_nonblocking(false).is_ok().then_some(client),
            Err(error) if error.kind() == ErrorKind::WouldBlock && !left(deadline).is_zero() => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(_) => return None,
        }
    }
}

/// Without a second thread there is no exchange: both are hung up.
fn join(client: &TcpStream, server: &TcpStream, deadline: Instant) {
    std::thread::scope(|threads| {
        let up = || pass(client, server, LONGEST_MESSAGE, deadline);
        if thread().spawn_scoped(threads, up).is_ok() {
            pass(server, client, LONGEST_ANSWER, deadline);
        }
    });
}

/// Like all of ours it inherits the signal mask, in which everything is blocked.
fn thread() -> Builder {
    Builder::new().name("pg_etl mail".to_owned())
}

/// Copies until one hangs up, the deadline or the most bytes; then both are hung up.
fn pass(mut from: &TcpStream, mut to: &TcpStream, mut most: usize, deadline: Instant) {
    let mut buffer = [0; 4096];
    while let Some(time) = some_left(deadline) {
        if from.set_read_timeout(Some(time)).is_err() {
            break;
        }
        let read = match from.read(&mut buffer) {
            Ok(read) if read > 0 && read <= most => read,
            _ => break,
        };
        most -= read;
        let mut unsent = &buffer[..read];
        while let Some(time) = some_left(deadline).filter(|_| !unsent.is_empty()) {
            match to
                .set_write_timeout(Some(time))
                .and_then(|()| to.write(unsent))
            {
                Ok(written) if written > 0 => unsent = &unsent[written..],
                _ => break,
            }
        }
        if !unsent.is_empty() {
            break;
        }
    }
    // They may be hung up already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn some_left(deadline: Instant) -> Option<Duration> {
    Some(left(deadline)).filter(|time| !time.is_zero())
}
