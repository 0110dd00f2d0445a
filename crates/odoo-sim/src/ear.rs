//! An endpoint that writes down what it is told, for the tests of channels: whatever is posted to it, it answers as it was told to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One request.
#[derive(Debug, Clone)]
pub struct Heard {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// What it answers: a status line, headers and body (`"200 OK\r\n\r\nok"`), at once or after a while.
#[derive(Debug, Clone)]
pub struct Answer {
    pub text: String,
    pub after: Duration,
}

impl Answer {
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            after: Duration::ZERO,
        }
    }
}

#[derive(Default)]
struct State {
    heard: Vec<Heard>,
    /// The next answers, in order; then the last word.
    answers: Vec<Answer>,
    always: Option<Answer>,
}

/// Listens until the process ends.
#[derive(Clone)]
pub struct Ear {
    url: String,
    state: Arc<Mutex<State>>,
}

impl Ear {
    /// Answers with these, one after another, and then with 200.
    pub fn new(answers: &[&str]) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let ear = Self {
            url: format!("http://{}", listener.local_addr()?),
            state: Arc::default(),
        };
        ear.with(|state| state.answers = answers.iter().map(|text| Answer::new(text)).collect());
        let of_thread = ear.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let ear = of_thread.clone();
                std::thread::spawn(move || ear.serve(&stream));
            }
        });
        Ok(ear)
    }

    /// Where it listens, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on it answers with this.
    pub fn always(&self, answer: Answer) {
        self.with(|state| state.always = Some(answer));
    }

    /// What came so far, in order.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        self.with(|state| state.heard.clone())
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One request of a connection; a peer that goes away is nobody's trouble.
    fn serve(&self, stream: &TcpStream) -> Option<()> {
        let heard = read(stream).ok()?;
        let answer = self.with(|state| {
            state.heard.push(heard);
            if state.answers.is_empty() {
                state
                    .always
                    .clone()
                    .unwrap_or_else(|| Answer::new("200 OK\r\n\r\nok"))
            } else {
                state.answers.remove(0)
            }
        });
        std::thread::sleep(answer.after);
        let text = answer.text.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        let mut stream = stream;
        stream.write_all(format!("HTTP/1.1 {text}").as_bytes()).ok()
    }
}

fn read(stream: &TcpStream) -> Result<Heard> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next(), words.next());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length");
    let length = length.and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or_default()];
    reader.read_exact(&mut body)?;
    Ok(Heard {
        method: method.unwrap_or_default(),
        path: path.unwrap_or_default(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}
