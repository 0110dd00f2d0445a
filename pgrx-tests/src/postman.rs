//! A real mail server (aiosmtpd), for alerts by e-mail.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use xtask::daemon::{self, Life, Process};
use xtask::deps::python;
use xtask::progress::Step;
use xtask::{pg, place};

use crate::wait::{PATIENCE, eventually};

const SERVER: &str = "aiosmtpd==1.4.6";

/// Takes mail after STARTTLS and a login, and keeps it in a Maildir.
pub struct Postman {
    pub port: u16,
    /// Its certificate, which no authority of this machine has signed.
    pub certificate: PathBuf,
    dir: PathBuf,
    process: Process,
}

impl Postman {
    pub const LOGIN: &'static str = "etl";

    #[track_caller]
    pub fn start(password: &str) -> Self {
        let dir = place::temporary_dir("mail").expect("a directory");
        fs::create_dir_all(&dir).expect("a directory");
        let (certificate, key) = (dir.join("certificate.pem"), dir.join("key.pem"));
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a key");
        fs::write(&certificate, pair.cert.pem()).expect("the certificate");
        fs::write(&key, pair.key_pair.serialize_pem()).expect("the key");
        // The database server reads it as another user.
        place::ServerUser::find()
            .and_then(|user| user.own(&certificate))
            .expect("the certificate is the server's to read");
        let port = pg::free_port().expect("a port");
        let log = File::create(dir.join("log")).expect("a log");
        let mut server = Command::new(interpreter());
        server
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/fixtures/mail.py"
            ))
            .arg(port.to_string())
            .args([&certificate, &key, &dir.join("box")])
            .args([Self::LOGIN, password])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        let process = daemon::spawn(server, Life::WithOwner, Signal::SIGKILL).expect("a server");
        let postman = Self {
            port,
            certificate,
            dir,
            process,
        };
        eventually(PATIENCE, "the mail server", || {
            fs::read_to_string(postman.dir.join("log")).is_ok_and(|log| log.contains("ready"))
        });
        postman
    }

    /// Every letter so far, the oldest first.
    pub fn letters(&self) -> Vec<String> {
        let Ok(new) = fs::read_dir(self.dir.join("box/new")) else {
            return Vec::new();
        };
        let mut files: Vec<PathBuf> = new.flatten().map(|entry| entry.path()).collect();
        files.sort_by_key(|file| file.metadata().and_then(|of| of.modified()).ok());
        files
            .iter()
            .filter_map(|file| fs::read_to_string(file).ok())
            .collect()
    }
}

impl Drop for Postman {
    fn drop(&mut self) {
        self.process.signal(Signal::SIGKILL);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn interpreter() -> PathBuf {
    let root = place::cache_dir("aiosmtpd").expect("a directory");
    let _turn = place::lock("aiosmtpd").expect("a lock");
    let (venv, marker) = (root.join("venv"), root.join(".complete"));
    if !fs::read_to_string(&marker).is_ok_and(|installed| installed == SERVER) {
        let step = Step::start("Installing a mail server");
        let _ = fs::remove_dir_all(&venv);
        python::environment(&step, &venv, "aiosmtpd", &[SERVER]).expect("a mail server");
        fs::write(marker, SERVER).expect("a file");
        step.done("");
    }
    venv.join("bin/python")
}
