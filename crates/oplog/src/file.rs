//! The log file, rotated when it is too large or too old.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The most that others may do with a file: it holds names, models and addresses, for its owner and
/// for log collectors.
const MODE: u32 = 0o640;

/// When a file is rotated, to `newapi.log.1`, and how many of these are kept.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// When it would grow beyond this; 0: never.
    pub max_bytes: u64,
    /// When it is this old; `None`: never.
    pub max_age: Option<Duration>,
    /// The number of rotated files, `.1` the newest.
    pub kept: u64,
}

/// What a file that is too open gets: made by another version, or by hand. Only its owner can
/// change that; others leave it as it is.
fn narrower(found: &Metadata) -> Option<Permissions> {
    let mode = found.permissions().mode();
    let is_open = found.is_file() && mode & !MODE & 0o777 != 0;
    is_open.then(|| Permissions::from_mode(mode & MODE))
}

/// An open file that lines are appended to.
pub(super) struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    bytes: u64,
    /// When the file was created, where the file system records it.
    begun: Option<SystemTime>,
}

impl LogFile {
    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(MODE).open(path)?;
        let found = file.metadata()?;
        if let Some(narrower) = narrower(&found) {
            let _ = file.set_permissions(narrower);
        }
        let begun = found.created().ok();
        let log = Self { path: path.to_owned(), rotation, file, bytes: found.len(), begun };
        log.narrow_rotated();
        Ok(log)
    }

    /// Those that were rotated may have been as open as the file was.
    fn narrow_rotated(&self) {
        for n in 1..=self.rotation.kept {
            let path = self.aside(n);
            let Ok(found) = std::fs::symlink_metadata(&path) else { return };
            if let Some(narrower) = narrower(&found) {
                let _ = std::fs::set_permissions(&path, narrower);
            }
        }
    }

    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let added = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        if self.is_due(added) {
            self.rotate();
        }
        self.file.write_all(lines)?;
        self.bytes = self.bytes.saturating_add(added);
        Ok(())
    }

    /// Reopens the file by its name. Keeps the old one when that fails: no line is lost.
    pub(super) fn reopen(&mut self) {
        if let Ok(new) = Self::open(&self.path, self.rotation) {
            *self = new;
        }
    }

    fn is_due(&self, added: u64) -> bool {
        let Rotation { max_bytes, max_age, .. } = self.rotation;
        let too_large = max_bytes > 0 && self.bytes.saturating_add(added) > max_bytes;
        let too_old = || {
            let age = self.begun.and_then(|begun| begun.elapsed().ok());
            max_age.zip(age).is_some_and(|(most, age)| age >= most)
        };
        self.bytes > 0 && (too_large || too_old())
    }

    fn rotate(&mut self) {
        // Another process, such as logrotate, has moved the file already.
        if self.has_its_name() {
            for n in (1..self.rotation.kept).rev() {
                // There may be fewer; the oldest is overwritten.
                let _ = std::fs::rename(self.aside(n), self.aside(n + 1));
            }
            let _ = std::fs::rename(&self.path, self.aside(1));
        }
        let old = self.begun;
        self.reopen();
        if self.begun == old {
            // The rotation failed. It is retried once as much has been appended again.
            (self.bytes, self.begun) = (0, None);
        }
    }

    fn has_its_name(&self) -> bool {
        let id = |found: Metadata| (found.dev(), found.ino());
        let (named, open) = (std::fs::metadata(&self.path), self.file.metadata());
        named.is_ok_and(|named| open.is_ok_and(|open| id(named) == id(open)))
    }

    fn aside(&self, n: u64) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: Rotation = Rotation { max_bytes: 10, max_age: None, kept: 2 };

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn large_files_are_put_aside_and_the_oldest_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open(&path, LARGE).unwrap();
        for text in ["one....\n", "two....\n", "three..\n", "four...\n"] {
            log.write(text.as_bytes()).unwrap();
        }
        assert_eq!(read(&path), "four...\n");
        assert_eq!(read(&log.aside(1)), "three..\n");
        assert_eq!(read(&log.aside(2)), "two....\n");
        assert!(!log.aside(3).exists());
    }

    #[test]
    fn a_line_longer_than_a_file_has_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open(&path, LARGE).unwrap();
        log.write(b"a line of more than ten bytes\n").unwrap();
        assert!(!log.aside(1).exists(), "an empty file is not rotated");
        log.write(b"next\n").unwrap();
        assert_eq!((read(&path).as_str(), read(&log.aside(1)).len()), ("next\n", 30));
    }

    #[test]
    fn old_files_are_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let rotation = Rotation { max_bytes: 0, max_age: Some(Duration::ZERO), kept: 1 };
        let mut log = LogFile::open(&path, rotation).unwrap();
        log.write(b"one\n").unwrap();
        if log.begun.is_none() {
            return; // This file system doesn't tell.
        }
        log.write(b"two\n").unwrap();
        assert_eq!((read(&path), read(&log.aside(1))), ("two\n".into(), "one\n".into()));
    }

    #[test]
    fn a_file_that_was_there_is_not_for_everybody() {
        let dir = tempfile::tempdir().unwrap();
        for (had, has) in [(0o644, 0o640), (0o666, 0o640), (0o600, 0o600), (0o640, 0o640)] {
            let path = dir.path().join(format!("log-{had:o}"));
            let rotated = ["", ".1", ".2"].map(|end| format!("{}{end}", path.display()));
            for path in &rotated {
                std::fs::write(path, "one\n").unwrap();
                std::fs::set_permissions(path, Permissions::from_mode(had)).unwrap();
            }
            LogFile::open(&path, LARGE).unwrap();
            for path in &rotated {
                let mode = std::fs::metadata(path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, has, "{path}");
            }
        }
    }

    #[test]
    fn a_file_moved_by_another_process_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("log"), dir.path().join("moved"));
        let mut log = LogFile::open(&path, LARGE).unwrap();
        log.write(b"one....\n").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        std::fs::write(&path, "theirs\n").unwrap();
        log.write(b"two....\n").unwrap();
        assert_eq!((read(&moved), read(&path)), ("one....\n".into(), "theirs\ntwo....\n".into()));
        assert!(!log.aside(1).exists());
    }
}
