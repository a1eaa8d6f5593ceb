//! `SQL_DSN` in the form that PostgreSQL's client programs take.

use crate::StoreError;
use crate::dsn::{self, Target, Verify};
use crate::tls;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// How `pg_dump` and `psql` connect to the database, and which certificates they trust.
#[derive(Clone, Debug)]
pub struct Libpq {
    /// Environment variables: every user of the machine can read the command line of a process.
    pub env: Vec<(&'static str, OsString)>,
    /// The trusted certificates, for a file that `PGSSLROOTCERT` names: libpq looks for them in the
    /// home directory only. `None` where nothing is verified.
    pub roots: Option<String>,
}

/// How the client programs connect to the database of a `SQL_DSN`; `None` for SQLite.
///
/// # Errors
/// [`StoreError::Config`] when it can't be parsed, or requires verification and the system has no
/// certificates.
pub fn libpq(dsn: Option<&str>) -> Result<Option<Libpq>, StoreError> {
    let Target::Postgres(config, verify) = dsn::parse(dsn)? else { return Ok(None) };
    let mut env = Vec::new();
    let mut add = |name, value: Option<OsString>| env.extend(value.map(|value| (name, value)));
    let hosts = joined(config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(dir) => dir.display().to_string(),
    }));
    add("PGHOST", hosts);
    add("PGHOSTADDR", joined(config.get_hostaddrs().iter().map(ToString::to_string)));
    add("PGPORT", joined(config.get_ports().iter().map(ToString::to_string)));
    add("PGUSER", config.get_user().map(OsString::from));
    add("PGPASSWORD", config.get_password().map(|bytes| OsString::from_vec(bytes.to_vec())));
    add("PGDATABASE", config.get_dbname().map(OsString::from));
    add("PGOPTIONS", config.get_options().map(OsString::from));
    let timeout = config.get_connect_timeout().map(|limit| limit.as_secs().to_string().into());
    add("PGCONNECT_TIMEOUT", timeout);
    // Of several hosts the client programs use the one that this process uses: another may be
    // behind, or refuse a restore.
    let writable = config.get_target_session_attrs() == TargetSessionAttrs::ReadWrite;
    add("PGTARGETSESSIONATTRS", writable.then(|| "read-write".into()));
    add("PGSSLMODE", Some(ssl_mode(config.get_ssl_mode(), verify).into()));
    let roots = match verify {
        Verify::Nothing => None,
        Verify::Chain | Verify::Full => Some(tls::roots_pem().ok_or_else(no_roots)?),
    };
    Ok(Some(Libpq { env, roots }))
}

fn no_roots() -> StoreError {
    let why = "SQL_DSN asks for a check of the server's certificate, and this system has none to \
               check against (Debian, Ubuntu: apt-get install ca-certificates)";
    StoreError::Config(why.to_owned())
}

fn joined(parts: impl Iterator<Item = String>) -> Option<OsString> {
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| parts.join(",").into())
}

const fn ssl_mode(mode: SslMode, verify: Verify) -> &'static str {
    match (mode, verify) {
        (SslMode::Disable, _) => "disable",
        (_, Verify::Full) => "verify-full",
        (_, Verify::Chain) => "verify-ca",
        (SslMode::Require, Verify::Nothing) => "require",
        (_, Verify::Nothing) => "prefer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(dsn: &str) -> String {
        let env = libpq(Some(dsn)).unwrap().unwrap().env;
        let words = env.iter().map(|(name, value)| format!("{name}={}", value.display()));
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_form_becomes_an_environment() {
        assert!(libpq(None).unwrap().is_none() && libpq(Some("local")).unwrap().is_none());
        assert_eq!(
            env("postgres://ann:p%40ss:w@db.example:6000/new?sslmode=verify-full"),
            "PGHOST=db.example PGPORT=6000 PGUSER=ann PGPASSWORD=p@ss:w PGDATABASE=new \
             PGSSLMODE=verify-full"
        );
        assert_eq!(
            env("postgres://ann@a:1,b:2/new?target_session_attrs=read-write"),
            "PGHOST=a,b PGPORT=1,2 PGUSER=ann PGDATABASE=new PGTARGETSESSIONATTRS=read-write \
             PGSSLMODE=prefer"
        );
        assert_eq!(
            env("host=/run/pg user=ann dbname=new connect_timeout=3 sslmode=disable"),
            "PGHOST=/run/pg PGUSER=ann PGDATABASE=new PGCONNECT_TIMEOUT=3 PGSSLMODE=disable"
        );
        assert_eq!(
            env("postgresql://a:1,b:2/new"),
            "PGHOST=a,b PGPORT=1,2 PGDATABASE=new PGSSLMODE=prefer"
        );
    }
}
