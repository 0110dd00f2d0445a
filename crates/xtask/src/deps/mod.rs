//! What the other rooms need from the machine: Debian packages, Python environments and cargo-pgrx, found first, installed only when missing.

pub mod apt;
pub mod pgrx;
pub mod python;
pub mod suite;

use anyhow::Result;

use crate::pg::PgVersion;

/// What the compile of the extension needs beside the server's headers: bindgen loads libclang.
const BUILD_PACKAGES: &[&str] = &["build-essential", "pkg-config", "clang", "libclang-dev"];

/// Everything needed to build the extension for the given servers and to run them.
pub fn ensure(versions: &[PgVersion]) -> Result<()> {
    apt::install(BUILD_PACKAGES)?;
    for version in versions {
        version.ensure()?;
    }
    pgrx::ensure(versions)
}
