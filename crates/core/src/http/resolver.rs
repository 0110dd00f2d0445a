//! Names to addresses, without a thread for every request.
//!
//! ureq asks for the address of the host before it looks for an open connection to it, and does so on a thread of its own whenever a
//! timeout is set. An address needs no look-up at all, and what a name stood for a moment ago serves for the next requests.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long a look-up is good for. Short, for an endpoint that moves is found again by its name.
const KEPT: Duration = Duration::from_secs(5);

/// What fits into ureq's answer.
const MOST_ADDRESSES: usize = 16;

/// The resolver of one transport, which talks to one host.
#[derive(Debug, Default)]
pub(super) struct Remembering {
    last: Mutex<Option<Known>>,
    asked: DefaultResolver,
}

#[derive(Debug)]
struct Known {
    authority: String,
    addresses: Vec<SocketAddr>,
    at: Instant,
}

impl Resolver for Remembering {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        if let Some(address) = literal(uri) {
            return Ok(self.addresses(&[address]));
        }
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        if let Some(known) = self.last().as_ref()
            && known.authority == authority
            && known.at.elapsed() < KEPT
        {
            return Ok(self.addresses(&known.addresses));
        }
        let found = self.asked.resolve(uri, config, timeout)?;
        *self.last() = Some(Known {
            authority,
            addresses: found.to_vec(),
            at: Instant::now(),
        });
        Ok(found)
    }
}

impl Remembering {
    /// One value, replaced whole: a panic elsewhere leaves it sound.
    fn last(&self) -> std::sync::MutexGuard<'_, Option<Known>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn addresses(&self, addresses: &[SocketAddr]) -> ResolvedSocketAddrs {
        let mut all = self.empty();
        for address in addresses.iter().take(MOST_ADDRESSES) {
            all.push(*address);
        }
        all
    }
}

/// The address that stands in the URL itself.
fn literal(uri: &Uri) -> Option<SocketAddr> {
    let port = uri.port_u16().or_else(|| match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    })?;
    let host = uri.host()?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let address: IpAddr = host.parse().ok()?;
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(resolver: &Remembering, url: &str) -> Result<Vec<String>, Error> {
        let uri: Uri = url.parse().unwrap();
        let found = resolver.resolve(&uri, &Config::default(), NextTimeout::default())?;
        Ok(found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn addresses_need_no_look_up() {
        let resolver = Remembering::default();
        for (url, expected) in [
            ("http://127.0.0.1:8069/json/2", "127.0.0.1:8069"),
            ("http://10.1.2.3/", "10.1.2.3:80"),
            ("https://[::1]/", "[::1]:443"),
        ] {
            assert_eq!(resolve(&resolver, url).unwrap(), [expected]);
        }
        assert!(resolver.last().is_none());
    }

    #[test]
    fn a_name_is_remembered_for_a_while_and_for_itself() {
        let resolver = Remembering::default();
        let first = resolve(&resolver, "http://localhost:8069/a").unwrap();
        // Not asked again: what is remembered is what comes back.
        if let Some(known) = resolver.last().as_mut() {
            known.addresses = vec!["192.0.2.7:1".parse().unwrap()];
        }
        assert_eq!(
            resolve(&resolver, "http://localhost:8069/b").unwrap(),
            ["192.0.2.7:1"]
        );
        assert_ne!(resolve(&resolver, "http://localhost:8070/").unwrap(), first);
        assert_ne!(
            resolve(&resolver, "http://localhost:8069/").unwrap(),
            ["192.0.2.7:1"]
        );
        if let Some(known) = resolver.last().as_mut() {
            known.addresses = vec!["192.0.2.7:1".parse().unwrap()];
            known.at = Instant::now().checked_sub(KEPT).unwrap();
        }
        assert_eq!(resolve(&resolver, "http://localhost:8069/").unwrap(), first);
    }
}
