//! Parses `SQL_DSN`.

use crate::StoreError;
use tokio_postgres::config::SslMode;

const FORMS: &str = "postgres://user:password@host:5432/database, or \
                     `host=… user=… dbname=…`, or nothing at all for SQLite";

/// Which database to use.
#[derive(Debug)]
pub(crate) enum Target {
    /// A file in the data directory.
    Sqlite,
    /// A server.
    Postgres(Box<tokio_postgres::Config>, Verify),
}

/// How the server's certificate is verified, as in libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verify {
    /// Not at all: `prefer` and `require` encrypt, and verify nothing.
    Nothing,
    /// The chain is verified, the name is not.
    Chain,
    /// Chain and name are verified.
    Full,
}

/// Parses a DSN. Messages never repeat it: it holds a password.
pub(crate) fn parse(dsn: Option<&str>) -> Result<Target, StoreError> {
    let dsn = dsn.unwrap_or_default().trim();
    if dsn.is_empty() || dsn == "local" {
        return Ok(Target::Sqlite);
    }
    let config = |why: String| StoreError::Config(format!("SQL_DSN {why}; write {FORMS}"));
    if dsn.starts_with("mysql") || dsn.contains("@tcp(") {
        return Err(config("names MySQL, which newapi does not use".to_owned()));
    }
    let url = dsn.starts_with("postgres://") || dsn.starts_with("postgresql://");
    let key_value = dsn.split_whitespace().all(|word| word.contains('=')) && !dsn.contains("://");
    if !url && !key_value && !dsn.contains("='") {
        return Err(config("is of no known form".to_owned()));
    }
    let (rest, mode, root) = if url { take_from_url(dsn) } else { take_from_words(dsn) };
    if root.is_some_and(|root| root != "system") {
        return Err(config(
            "has sslrootcert: only `system` is known; add the certificate to the system's"
                .to_owned(),
        ));
    }
    let (ssl, verify) = match mode.as_deref() {
        Some("disable") => (SslMode::Disable, Verify::Nothing),
        None | Some("allow" | "prefer") => (SslMode::Prefer, Verify::Nothing),
        Some("require") => (SslMode::Require, Verify::Nothing),
        Some("verify-ca") => (SslMode::Require, Verify::Chain),
        Some("verify-full") => (SslMode::Require, Verify::Full),
        Some(_) => {
            return Err(config(
                "has an unknown sslmode (disable, prefer, require, verify-ca, verify-full)"
                    .to_owned(),
            ));
        }
    };
    let mut parsed: tokio_postgres::Config =
        rest.parse().map_err(|_| config("can't be read".to_owned()))?;
    if parsed.get_hosts().is_empty() && parsed.get_hostaddrs().is_empty() {
        return Err(config("names no host".to_owned()));
    }
    parsed.ssl_mode(ssl);
    Ok(Target::Postgres(Box::new(parsed), verify))
}

/// Splits off what the driver doesn't support: (the rest, sslmode, sslrootcert).
fn take_from_url(dsn: &str) -> (String, Option<String>, Option<String>) {
    let Some((base, query)) = dsn.split_once('?') else { return (dsn.to_owned(), None, None) };
    let (kept, mode, root) = take(query.split('&'));
    let rest = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
    (rest, mode, root)
}

fn take_from_words(dsn: &str) -> (String, Option<String>, Option<String>) {
    let (kept, mode, root) = take(dsn.split(' '));
    (kept.join(" "), mode, root)
}

fn take<'a>(
    pairs: impl Iterator<Item = &'a str>,
) -> (Vec<&'a str>, Option<String>, Option<String>) {
    let (mut kept, mut mode, mut root) = (Vec::new(), None, None);
    for pair in pairs {
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value.trim_matches('\'').to_owned()),
            Some(("sslrootcert", value)) => root = Some(value.trim_matches('\'').to_owned()),
            _ => kept.push(pair),
        }
    }
    (kept, mode, root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres(dsn: &str) -> (tokio_postgres::Config, Verify) {
        match parse(Some(dsn)) {
            Ok(Target::Postgres(config, verify)) => (*config, verify),
            other => panic!("{dsn}: {other:?}"),
        }
    }

    #[test]
    fn reads_every_form() {
        for dsn in [None, Some(""), Some("local"), Some("  ")] {
            assert!(matches!(parse(dsn), Ok(Target::Sqlite)), "{dsn:?}");
        }
        let (config, verify) = postgres("postgres://ann:p%40ss@db:6000/new?sslmode=verify-full");
        assert_eq!((config.get_user(), config.get_dbname()), (Some("ann"), Some("new")));
        assert_eq!(config.get_password(), Some(&b"p@ss"[..]));
        assert_eq!((config.get_ssl_mode(), verify), (SslMode::Require, Verify::Full));
        let (config, verify) = postgres("host=db user=ann password='p w' sslmode=disable");
        assert_eq!(config.get_password(), Some(&b"p w"[..]));
        assert_eq!((config.get_ssl_mode(), verify), (SslMode::Disable, Verify::Nothing));
        let (config, _) = postgres("postgresql://db/new?connect_timeout=3&sslmode=require");
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert_eq!(config.get_connect_timeout().map(|t| t.as_secs()), Some(3));
    }

    #[test]
    fn refuses_without_repeating_the_password() {
        for dsn in [
            "root:hunter2@tcp(127.0.0.1:3306)/x",
            "mysql://root:hunter2@h/x",
            "postgres://root:hunter2@h/x?sslmode=maybe",
            "postgres://root:hunter2@h/x?hunter2=hunter2",
            "postgres://root:hunter2@h:port/x",
            "/var/lib/hunter2.db",
            "user=hunter2",
            "postgres://root:hunter2@h/x?sslrootcert=/hunter2",
        ] {
            let words = parse(Some(dsn)).unwrap_err().to_string();
            assert!(words.starts_with("SQL_DSN") && !words.contains("hunter2"), "{words}");
        }
    }
}
