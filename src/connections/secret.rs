//! Secrets by reference. A connection stores where its secret is; the value is read just before it is used.

use std::io::Read;
use std::path::Path;

use pg_etl_core::secret::Secret;
use pgrx::prelude::*;

/// Longest secret read, in bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `vault:NAME`, in Supabase Vault.
    Vault(String),
    /// `env:NAME`, in the environment of the server.
    Env(String),
    /// `file:NAME`, inside `etl.secret_dir`.
    File(String),
}

/// Why a text is no reference; never quotes the text, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoReference {
    Literal,
    EmptyName,
    /// The environment variable's name does not begin with `etl.secret_env_prefix`.
    OutsidePrefix,
    /// The file name leads out of the folder.
    OutsideFolder,
}

impl Reference {
    /// Reads `vault:NAME`, `env:NAME` or `file:NAME`.
    pub fn parse(text: &str, env_prefix: &str) -> Result<Self, NoReference> {
        let (kind, name) = text.split_once(':').ok_or(NoReference::Literal)?;
        let name = name.to_owned();
        if !matches!(kind, "vault" | "env" | "file") {
            return Err(NoReference::Literal);
        }
        if name.is_empty() || name.len() > 200 || name.contains('\0') {
            return Err(NoReference::EmptyName);
        }
        match kind {
            "vault" => Ok(Self::Vault(name)),
            "env"
                if env_prefix.is_empty() || !name.starts_with(env_prefix) || name.contains('=') =>
            {
                Err(NoReference::OutsidePrefix)
            }
            "env" => Ok(Self::Env(name)),
            _ if name.contains(['/', '\\']) || name.starts_with('.') => {
                Err(NoReference::OutsideFolder)
            }
            _ => Ok(Self::File(name)),
        }
    }
}

/// Reads the secret behind the reference that a connection holds. `Err` says what is missing, for a person, and quotes no
/// secret. Inside a transaction.
pub fn read(reference: &str) -> Result<Secret, String> {
    let parsed = Reference::parse(reference, &crate::gucs::secret_env_prefix()).map_err(|_| {
        format!("the secret reference {reference} is not valid under the settings of this server")
    })?;
    let value = match &parsed {
        Reference::Vault(name) => from_vault(reference)
            .map_err(|error| error.to_string())?
            .ok_or_else(|| {
                format!("Supabase Vault has no secret named \"{name}\", or is not installed, or does not belong to a superuser")
            })?,
        Reference::Env(name) => std::env::var(name).map_err(|_| {
            format!(
                "the environment of the Postgres server has no variable {name}, or it is not text"
            )
        })?,
        Reference::File(name) => {
            let dir = crate::gucs::secret_dir()
                .ok_or("etl.secret_dir is not set, so file: secrets cannot be read")?;
            read_file(Path::new(&dir), name)?
        }
    };
    let secret = Secret::new(&value);
    if secret.expose().is_empty() {
        Err(format!("the secret behind {reference} is empty"))
    } else {
        Ok(secret)
    }
}

/// The worker acts as `etl_worker`, and so does a trigger that somebody put on the outbox: that role must not reach the vault. So
/// for this one call, whose text is ours, the process takes back the rights with which it began.
fn from_vault(reference: &str) -> pgrx::spi::Result<Option<String>> {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: read, changed and put back around one statement. An ERROR in between aborts the transaction, which puts back what
    // was there when it began: etl_worker.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&raw mut user, &raw mut context);
        let restricted =
            (pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION) as i32;
        pg_sys::SetUserIdAndSecContext(
            pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID),
            context | restricted,
        );
    }
    let secret =
        Spi::get_one_with_args::<String>("SELECT etl._vault_secret($1)", &[reference.into()]);
    // SAFETY: as above.
    unsafe { pg_sys::SetUserIdAndSecContext(user, context) };
    secret
}

fn read_file(dir: &Path, name: &str) -> Result<String, String> {
    let problem = |what: &str| format!("the secret file {name} in etl.secret_dir {what}");
    let dir = dir
        .canonicalize()
        .map_err(|error| format!("etl.secret_dir cannot be read: {}", error.kind()))?;
    let path = dir
        .join(name)
        .canonicalize()
        .map_err(|error| problem(&format!("cannot be read: {}", error.kind())))?;
    if !path.starts_with(&dir) {
        return Err(problem("is a link that leads out of the folder"));
    }
    // Before it is opened: opening a pipe waits for its other end.
    if !std::fs::metadata(&path).is_ok_and(|data| data.is_file() && data.len() <= MAX_SECRET) {
        return Err(problem("is not an ordinary file of at most 64 kB"));
    }
    let file = std::fs::File::open(&path)
        .map_err(|error| problem(&format!("cannot be read: {}", error.kind())))?;
    if !file
        .metadata()
        .is_ok_and(|data| data.is_file() && data.len() <= MAX_SECRET)
    {
        return Err(problem("is not an ordinary file of at most 64 kB"));
    }
    let mut text = String::new();
    file.take(MAX_SECRET)
        .read_to_string(&mut text)
        .map_err(|_| problem("is not text"))?;
    Ok(text)
}
