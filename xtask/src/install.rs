//! Finds the programs that the tests need beside Rust, and installs them where that is possible.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

/// Where the server programs (`initdb`, `postgres`) are, installing them if need be.
pub fn postgres_programs() -> Result<PathBuf> {
    if let Some(found) = find_programs() {
        return Ok(found);
    }
    if !can_install() {
        bail!(
            "PostgreSQL's server programs (initdb, postgres) are not on this machine. \
             Install them (Debian, Ubuntu: sudo apt-get install postgresql; Fedora: sudo dnf \
             install postgresql-server; macOS: brew install postgresql) and run this again"
        );
    }
    install("postgresql")?;
    find_programs().context("postgresql is installed, but its programs are not found")
}

/// Ensures that `redis-server` and `pgbouncer` are in the path, where the tests look for them.
pub fn servers() -> Result<()> {
    let others = "Fedora: sudo dnf install redis; macOS: brew install redis";
    program("redis-server", "redis-server", others)?;
    let others = "Fedora: sudo dnf install pgbouncer; macOS: brew install pgbouncer";
    program("pgbouncer", "pgbouncer", others)
}

/// Ensures that libfaketime is there, where that is possible: without it the tests of clocks that
/// jump are skipped.
pub fn fake_clock() -> Result<()> {
    let is_here = Path::new("/usr/bin/faketime").exists();
    if is_here || !can_install() { Ok(()) } else { install("faketime") }
}

/// Ensures that Chromium and its driver are in the path, with a Chinese font: the console is tested
/// in it.
pub fn browser() -> Result<()> {
    let others = "Fedora: sudo dnf install chromium chromedriver google-noto-sans-cjk-fonts; \
                  macOS: brew install chromium chromedriver";
    program("chromium", "chromium", others)?;
    program("chromedriver", "chromium-driver", others)?;
    if can_install()
        && !Path::new("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc").exists()
    {
        install("fonts-noto-cjk")?;
    }
    Ok(())
}

/// Ensures that `go`, `node` and `npm` are in the path: readers of bodies are written for them.
pub fn go_and_node() -> Result<()> {
    for (name, package) in [("go", "golang-go"), ("node", "nodejs"), ("npm", "npm")] {
        program(
            name,
            package,
            "Fedora: sudo dnf install golang nodejs; macOS: brew install go node",
        )?;
    }
    Ok(())
}

/// Ensures that a program is in the path: installs the package on Debian and Ubuntu, or else fails
/// with how `others` install it.
fn program(name: &str, package: &str, others: &str) -> Result<()> {
    let is_here = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|place| place.join(name).is_file())
    };
    if is_here() {
        return Ok(());
    }
    if !can_install() {
        bail!(
            "{name} is not on this machine. Install it (Debian, Ubuntu: sudo apt-get install \
             {package}; {others}) and run this again"
        );
    }
    install(package)?;
    ensure!(is_here(), "{name} is installed, but is not in the path");
    Ok(())
}

fn can_install() -> bool {
    is_root() && Path::new("/usr/bin/apt-get").exists()
}

fn install(package: &str) -> Result<()> {
    println!("{package} is not here: installing it with apt-get");
    // Lists may be old or absent on a fresh machine; an update that fails is not the end.
    if !apt_get(&["install", "-y", "--no-install-recommends", package])? {
        let _ = apt_get(&["update"])?;
        if !apt_get(&["install", "-y", "--no-install-recommends", package])? {
            bail!("apt-get could not install {package}");
        }
    }
    Ok(())
}

fn find_programs() -> Option<PathBuf> {
    let mut places = Vec::new();
    // Debian and Ubuntu keep them out of the path, by version; the newest first.
    for parent in ["/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/opt", "/usr/local/opt"] {
        let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(parent)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| (version_of(&entry.file_name().to_string_lossy()), entry.path()))
            .collect();
        versions.sort();
        places.extend(versions.into_iter().rev().map(|(_, path)| path.join("bin")));
    }
    places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let whole =
        |place: &PathBuf| place.join("initdb").is_file() && place.join("postgres").is_file();
    places.into_iter().find(whole)
}

/// 15 of `15`, `9.6` or `postgresql@15`; 0 where there is none.
fn version_of(name: &str) -> u32 {
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|d| d.parse().ok()).unwrap_or(0)
}

fn apt_get(arguments: &[&str]) -> Result<bool> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("cannot run apt-get")?;
    Ok(status.success())
}

/// Whether this process runs as root, according to `id`.
pub fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// The user and group that PostgreSQL runs as when this process is root, which it refuses to be.
pub fn unprivileged() -> Result<(u32, u32)> {
    let passwd = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let found = ["postgres", "nobody"].iter().find_map(|name| ids_of(&passwd, name));
    found.context("neither `postgres` nor `nobody` is a user here")
}

fn ids_of(passwd: &str, name: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let (user, group) = (fields.nth(1)?, fields.next()?);
        Some((user.parse().ok()?, group.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_names() {
        assert_eq!(version_of("15"), 15);
        assert_eq!(version_of("9.6"), 9);
        assert_eq!(version_of("postgresql@17"), 17);
        assert_eq!(version_of("common"), 0);
    }

    #[test]
    fn users_are_found_in_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres:x:105:113:,,,:/var:/bin/sh\n";
        assert_eq!(ids_of(passwd, "postgres"), Some((105, 113)));
        assert_eq!(ids_of(passwd, "nobody"), None);
    }
}
