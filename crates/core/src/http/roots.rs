//! Which certificate authorities are trusted: the system's, and those of one PEM file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

/// Largest `ca_file` read. The whole Mozilla bundle is a quarter of it.
const LONGEST_FILE: u64 = 1024 * 1024;

/// The system's roots and, where given, every certificate in `ca_file`. The error is a sentence for a person.
pub(super) fn roots(ca_file: Option<&Path>) -> Result<RootCerts, String> {
    let mut all: Vec<Certificate<'static>> = Vec::new();
    if let Some(path) = ca_file {
        all.extend(from_file(path).map_err(|why| format!("ca_file {}: {why}", path.display()))?);
    }
    // A system store with one bad file still gives the others; an empty store makes every handshake fail with a reason.
    for certificate in rustls_native_certs::load_native_certs().certs {
        all.push(Certificate::from_der(&certificate).to_owned());
    }
    Ok(RootCerts::from(all))
}

fn from_file(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let mut found = Vec::new();
    for item in parse_pem(&pem_file(path)?) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(format!("not PEM: {error}")),
        }
    }
    if found.is_empty() {
        Err("holds no certificate in PEM form".to_owned())
    } else {
        Ok(found)
    }
}

/// What a file says, if it can be one of certificates.
pub(crate) fn pem_file(path: &Path) -> Result<Vec<u8>, String> {
    let mut pem = Vec::new();
    // Before it is opened: opening a named pipe waits for its writer.
    if !std::fs::metadata(path)
        .map_err(|error| error.to_string())?
        .is_file()
    {
        return Err("not a regular file".to_owned());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(LONGEST_FILE + 1)
        .read_to_end(&mut pem)
        .map_err(|error| error.to_string())?;
    if pem.len() as u64 > LONGEST_FILE {
        return Err(format!("longer than {LONGEST_FILE} bytes"));
    }
    Ok(pem)
}
