//! The transport against servers that behave badly: what was sent, what was lost, what was too large.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pg_etl_core::http::{Method, Request, Transport, TransportError, TransportSettings};

/// A server that treats each connection with `serve`, and counts them.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counter.fetch_add(1, Ordering::SeqCst);
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    (url, connections)
}

/// Reads one request with a `Content-Length` body, or without a body.
fn read_request(stream: &mut impl Read) -> Option<String> {
    let mut text = Vec::new();
    let mut byte = [0u8; 1];
    while !text.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).ok()?;
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")
                .map(|n| n.trim().parse::<usize>().unwrap())
        })
        .unwrap_or(0);
    let mut body = vec![0u8; length];
    stream.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8_lossy(&body))
}

fn answer(stream: &mut impl Write, text: &str) {
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.flush();
}

fn transport(timeout_ms: u64) -> Transport {
    Transport::new(&TransportSettings {
        timeout: Duration::from_millis(timeout_ms),
        connect_timeout: Duration::from_millis(timeout_ms.min(2_000)),
        max_response_bytes: 1_000_000,
        ..TransportSettings::default()
    })
    .unwrap()
}

fn post(transport: &Transport, url: &str) -> Result<pg_etl_core::http::Response, TransportError> {
    transport.post(
        url,
        vec![("Content-Type", "application/json".to_owned())],
        b"{}".to_vec(),
    )
}

#[test]
fn an_answer_is_read_whole() {
    let (url, _) = server(|mut stream| {
        let request = read_request(&mut stream).unwrap();
        assert!(
            request.starts_with("POST / HTTP/1.1\r\n") && request.ends_with("\r\n\r\n{}"),
            "{request}"
        );
        assert!(
            !request.to_ascii_lowercase().contains("accept-encoding"),
            "{request}"
        );
        answer(
            &mut stream,
            "HTTP/1.1 429 Slow\r\nContent-Type: Application/JSON; charset=utf-8\r\nRetry-After: Sun, 06 Nov 1994 08:50:07 GMT\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\nhi",
        );
    });
    let response = post(&transport(5_000), &url).unwrap();
    assert_eq!(
        (
            response.status,
            response.content_type.as_str(),
            response.body.as_slice()
        ),
        (429, "application/json", &b"hi"[..])
    );
    assert_eq!(response.retry_after, Some(Duration::from_secs(30)));
}

#[test]
fn what_never_left_is_not_sent() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for url in [
        closed.as_str(),
        "http://no-such-host.invalid",
        "https://no-such-host.invalid",
    ] {
        let error = post(&transport(5_000), url).unwrap_err();
        assert!(
            matches!(error, TransportError::NotSent(_)),
            "{url}: {error:?}"
        );
    }
    // A server that accepts and says nothing never finishes the TLS handshake.
    let (silent, _) = server(|stream| {
        std::thread::sleep(Duration::from_secs(5));
        drop(stream);
    });
    let error = post(&transport(300), &silent.replace("http:", "https:")).unwrap_err();
    assert!(matches!(error, TransportError::NotSent(_)), "{error:?}");
    // And one that speaks something else fails it.
    let (plain, _) = server(|mut stream| answer(&mut stream, "HTTP/1.0 400 Bad Request\r\n\r\n"));
    let error = post(&transport(5_000), &plain.replace("http:", "https:")).unwrap_err();
    assert!(matches!(error, TransportError::NotSent(_)), "{error:?}");
}

#[test]
fn what_left_and_found_no_answer_is_lost() {
    type Serve = fn(TcpStream);
    let table: [(&str, Serve); 7] = [
        ("closed unread", |stream| drop(stream)),
        ("closed after the request", |mut stream| {
            drop(read_request(&mut stream))
        }),
        ("hangs", |mut stream| {
            read_request(&mut stream);
            std::thread::sleep(Duration::from_secs(5));
        }),
        ("no HTTP", |mut stream| {
            read_request(&mut stream);
            answer(&mut stream, "hello\r\n\r\n");
        }),
        ("body cut", |mut stream| {
            read_request(&mut stream);
            answer(
                &mut stream,
                "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi",
            );
        }),
        ("chunks cut", |mut stream| {
            read_request(&mut stream);
            answer(
                &mut stream,
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi",
            );
        }),
        ("a byte at a time", |mut stream| {
            read_request(&mut stream);
            answer(
                &mut stream,
                "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
            );
            for _ in 0..100 {
                answer(&mut stream, "x");
                std::thread::sleep(Duration::from_millis(50));
            }
        }),
    ];
    for (name, serve) in table {
        let (url, connections) = server(serve);
        let started = Instant::now();
        let error = post(&transport(500), &url).unwrap_err();
        assert!(
            matches!(error, TransportError::Lost(_)),
            "{name}: {error:?}"
        );
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{name}: the timeout is over the whole request"
        );
        assert_eq!(connections.load(Ordering::SeqCst), 1, "{name}: sent twice");
    }
}

#[test]
fn too_much_is_not_read() {
    let table = [
        "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n",
    ];
    for head in table {
        let (url, _) = server(move |mut stream| {
            read_request(&mut stream);
            answer(&mut stream, head);
            let chunk = if head.contains("chunked") {
                format!("10000\r\n{}\r\n", "x".repeat(0x10000))
            } else {
                "x".repeat(0x10000)
            };
            while stream.write_all(chunk.as_bytes()).is_ok() {}
        });
        let error = post(&transport(10_000), &url).unwrap_err();
        assert!(
            matches!(error, TransportError::TooLarge(_)),
            "{head}: {error:?}"
        );
    }
    let (url, _) = server(|mut stream| {
        read_request(&mut stream);
        answer(&mut stream, "HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"X-Header: x\r\n").is_ok() {}
    });
    assert!(matches!(
        post(&transport(10_000), &url),
        Err(TransportError::Lost(_))
    ));
}

#[test]
fn a_redirect_is_an_answer() {
    let (url, connections) = server(|mut stream| {
        read_request(&mut stream);
        answer(
            &mut stream,
            "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        );
    });
    for status in [
        post(&transport(5_000), &url).unwrap().status,
        transport(5_000).get(&url).unwrap().status,
    ] {
        assert_eq!(status, 302);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[test]
fn connections_are_kept_and_a_closed_one_is_noticed() {
    // Two answers per connection, then it is closed without a word.
    let (url, connections) = server(|mut stream| {
        for _ in 0..2 {
            if read_request(&mut stream).is_some() {
                answer(
                    &mut stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
                );
            }
        }
    });
    let transport = transport(5_000);
    for _ in 0..4 {
        assert_eq!(post(&transport, &url).unwrap().status, 200);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    let fresh = Request {
        method: Method::Post,
        url: url.clone(),
        headers: Vec::new(),
        body: b"{}".to_vec(),
        fresh: true,
    };
    for _ in 0..2 {
        assert_eq!(transport.send(&fresh).unwrap().status, 200);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 4);
}

#[test]
fn nothing_is_built_from_bad_parts() {
    let transport = transport(1_000);
    let header = |value: &str| {
        transport.post(
            "http://127.0.0.1:9",
            vec![("Authorization", value.to_owned())],
            Vec::new(),
        )
    };
    for value in ["a\r\nX: y", "a\0", "schl\u{fc}ssel\n"] {
        let error = header(value).unwrap_err();
        assert!(matches!(error, TransportError::Unbuildable(_)), "{error:?}");
        assert!(
            !error.to_string().contains("X: y"),
            "the value is not quoted: {error}"
        );
    }
    for url in ["", "no url", "http://h h/"] {
        assert!(
            matches!(
                post(&transport, url),
                Err(TransportError::Unbuildable(_) | TransportError::NotSent(_))
            ),
            "{url}"
        );
    }
}

#[test]
fn shutdown_ends_requests_in_flight() {
    let (url, _) = server(|mut stream| {
        read_request(&mut stream);
        std::thread::sleep(Duration::from_secs(20));
    });
    let transport = transport(15_000);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let hung: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| post(&transport, &url)))
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        transport.shutdown();
        for request in hung {
            assert!(matches!(
                request.join().unwrap(),
                Err(TransportError::Lost(_))
            ));
        }
    });
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(matches!(
        post(&transport, &url),
        Err(TransportError::NotSent(_))
    ));
}

#[test]
fn a_proxy_in_the_environment_is_not_used() {
    const CHILD: &str = "PG_ETL_TEST_TARGET";
    if let Ok(url) = std::env::var(CHILD) {
        assert_eq!(post(&transport(5_000), &url).unwrap().status, 200);
        return;
    }
    let (url, connections) = server(|mut stream| {
        read_request(&mut stream);
        answer(
            &mut stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        );
    });
    let (proxy, proxied) = server(drop);
    // The environment of this process is shared by all tests; a child has its own.
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "a_proxy_in_the_environment_is_not_used"])
        .env(CHILD, &url);
    for name in [
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "all_proxy",
    ] {
        child.env(name, &proxy);
    }
    assert!(child.output().unwrap().status.success());
    assert_eq!(
        (
            connections.load(Ordering::SeqCst),
            proxied.load(Ordering::SeqCst)
        ),
        (1, 0)
    );
}

mod tls {
    use super::*;

    fn settings(ca_file: Option<std::path::PathBuf>) -> TransportSettings {
        TransportSettings {
            timeout: Duration::from_secs(5),
            ca_file,
            ..TransportSettings::default()
        }
    }

    /// A server with a certificate for `name` from an authority of its own, whose certificate is in the file.
    fn tls_server(name: &str, directory: &std::path::Path) -> (String, std::path::PathBuf) {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = authority.self_signed(&authority_key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &authority, &authority_key)
            .unwrap();
        let file = directory.join(format!(
            "{}-{}.pem",
            std::process::id(),
            name.replace('.', "_")
        ));
        std::fs::write(&file, authority.pem()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
        let config = Arc::new(config);
        let (url, _) = server(move |stream| {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            if read_request(&mut stream).is_some() {
                answer(
                    &mut stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
                );
            }
        });
        (
            url.replace("http:", "https:")
                .replace("127.0.0.1", "localhost"),
            file,
        )
    }

    #[test]
    fn a_certificate_is_trusted_by_ca_file_and_only_for_its_name() {
        let directory = std::env::temp_dir();
        let (url, file) = tls_server("localhost", &directory);
        let untrusted = Transport::new(&settings(None)).unwrap();
        let error = post(&untrusted, &url).unwrap_err();
        assert!(
            matches!(&error, TransportError::NotSent(why) if why.contains("certificate")),
            "{error:?}"
        );
        let trusted = Transport::new(&settings(Some(file))).unwrap();
        assert_eq!(post(&trusted, &url).unwrap().status, 200);
        let (other, file) = tls_server("other.example.com", &directory);
        let wrong_name = Transport::new(&settings(Some(file))).unwrap();
        assert!(matches!(
            post(&wrong_name, &other),
            Err(TransportError::NotSent(_))
        ));
    }

    #[test]
    fn a_ca_file_that_is_none_is_named() {
        let directory = std::env::temp_dir();
        let empty = directory.join(format!("{}-empty.pem", std::process::id()));
        std::fs::write(&empty, "no certificate").unwrap();
        for file in [
            empty,
            directory.clone(),
            directory.join("no-such-file.pem"),
            "/dev/zero".into(),
        ] {
            let why = Transport::new(&settings(Some(file.clone())))
                .map(|_| ())
                .unwrap_err();
            assert!(why.contains(file.to_str().unwrap()), "{why}");
        }
    }
}
