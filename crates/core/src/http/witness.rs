//! Knows whether a request began to leave this machine.
//!
//! An error text cannot tell "refused before" from "reset after". This link at the end of ureq's connector chain can: it
//! sees the first bytes of a request on their way to the socket, after TCP and TLS are up.

use std::cell::Cell;

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport,
};

thread_local! {
    // ureq runs a request on the thread that calls it, from connect to the last byte of the body.
    static BEGUN: Cell<bool> = const { Cell::new(false) };
}

/// Forgets the request before; call it right before a request is run.
pub(super) fn reset() {
    BEGUN.with(|begun| begun.set(false));
}

/// Whether bytes of the current request were handed to the socket, wholly or in part.
pub(super) fn begun() -> bool {
    BEGUN.with(Cell::get)
}

/// ureq's usual chain (TCP, then TLS) with the witness as its last link.
pub(super) fn connector() -> impl Connector {
    DefaultConnector::default().chain(Link)
}

#[derive(Debug)]
struct Link;

impl<In: Transport> Connector<In> for Link {
    type Out = Witnessed<In>;

    fn connect(
        &self,
        _: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(Witnessed))
    }
}

#[derive(Debug)]
struct Witnessed<T>(T);

impl<T: Transport> Transport for Witnessed<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        // Before the write, not after: a write that fails half-way has sent something.
        if amount > 0 {
            BEGUN.with(|begun| begun.set(true));
        }
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        #[cfg(feature = "chaos")]
        crate::chaos::sent();
        self.0.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}
