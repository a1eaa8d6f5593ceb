//! The key that everything sealed is sealed under: given, or made once and kept.

use anyhow::Context;
use rand::TryRng;
use rand::rngs::SysRng;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Name of the file in the data directory.
const FILE: &str = "secret.key";

/// Creates the data directory, readable by its owner only, unless it exists.
///
/// # Errors
/// When it can't be created.
pub(crate) fn make_data_dir(data_dir: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .with_context(|| format!("DATA_DIR={}: can't be made", data_dir.display()))
}

/// Where the data directory keeps it.
pub(crate) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// The secret key, if there is one: `given`, else what the data directory keeps.
///
/// # Errors
/// When the file can't be read, or others may read it.
pub(crate) fn load(given: Option<&str>, data_dir: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    if let Some(given) = given {
        return Ok(Some(given.as_bytes().to_vec()));
    }
    let path = path(data_dir);
    match read(&path) {
        Ok(kept) => Ok(Some(kept)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// The secret key: `given`, else what the data directory keeps, else a new one that it keeps
/// from now on.
///
/// # Errors
/// When the file can't be read or written, or others may read it.
pub(crate) fn load_or_make(given: Option<&str>, data_dir: &Path) -> anyhow::Result<Vec<u8>> {
    if let Some(key) = load(given, data_dir)? {
        return Ok(key);
    }
    let path = path(data_dir);
    let mut bytes = [0u8; 32];
    SysRng.try_fill_bytes(&mut bytes).context("the system gives no random bytes")?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match write_private(&path, &format!("{text}\n")) {
        Ok(()) => Ok(text.into_bytes()),
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read(&path).with_context(|| path.display().to_string())
        }
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Writes a new file that only its owner can read. It appears with its whole content or not at
/// all, so that half a key is never read.
///
/// # Errors
/// When it exists already, or can't be written.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let draft = Path::new(&name);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let placed = written.and_then(|()| fs::hard_link(draft, path));
    fs::remove_file(draft)?;
    placed
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let text = fs::read_to_string(path)?;
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        return Err(io::Error::other("others may read it; chmod 600 it"));
    }
    let key = text.trim();
    if key.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    Ok(key.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_once_and_kept_to_oneself() {
        let dir = tempfile::tempdir().unwrap();
        let made = load_or_make(None, dir.path()).unwrap();
        assert_eq!(made.len(), 64);
        assert_eq!(load_or_make(None, dir.path()).unwrap(), made);
        assert_eq!(load_or_make(Some("given"), dir.path()).unwrap(), b"given");
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load_or_make(None, dir.path()).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
