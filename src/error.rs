//! How an error reaches a person: SQLSTATE, message and HINT, at one place.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// An error for the caller of a SQL function.
pub struct Complaint {
    code: PgSqlErrorCode,
    message: String,
    hint: Option<String>,
    hide_statement: bool,
}

/// Starts an error with its SQLSTATE.
pub fn complain(code: PgSqlErrorCode, message: impl Into<String>) -> Complaint {
    Complaint {
        code,
        message: message.into(),
        hint: None,
        hide_statement: false,
    }
}

impl Complaint {
    /// What to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps the statement out of the server log: it may hold what must not be written down.
    pub fn hide_statement(mut self) -> Self {
        self.hide_statement = true;
        self
    }

    /// Raises it as an ERROR.
    pub fn raise(self) -> ! {
        if self.hide_statement {
            // SAFETY: the log prints the statement from this pointer and skips it when it is null; the backend sets it anew
            // for each statement it receives, and this one ends here.
            unsafe { pg_sys::debug_query_string = std::ptr::null() };
        }
        let mut report = ErrorReport::new(self.code, self.message, "");
        if let Some(hint) = self.hint {
            report = report.set_hint(hint);
        }
        report.report(PgLogLevel::ERROR);
        unreachable!("an ERROR does not return")
    }
}

/// For the `Err` arm of an SPI call whose statement is ours: Postgres' own errors are raised by Postgres and never come here.
pub fn spi_failed(error: pgrx::spi::Error) -> ! {
    complain(
        PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        format!("pg_etl could not run one of its own statements: {error}"),
    )
    .raise()
}
