//! Files of backups: compressed, readable by their owner alone, and whole from the moment that they
//! have their name.

use anyhow::Context;
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use tempfile::{Builder, NamedTempFile, TempDir};

const LEVEL: Compression = Compression::new(6);
/// How much of a file is buffered.
const BUFFER_BYTES: usize = 64 * 1024;

/// What an archive holds, as it is unpacked.
pub(super) type Unpacking = BufReader<MultiGzDecoder<BufReader<File>>>;

/// A file that is being written, under another name. Dropped unfinished, it is gone.
pub(super) struct Draft(GzEncoder<NamedTempFile>);

impl Draft {
    /// An empty one.
    pub(super) fn begin(room: &Path) -> anyhow::Result<Self> {
        Ok(Self(GzEncoder::new(scratch(room)?, LEVEL)))
    }

    /// On disk, as a whole.
    pub(super) fn finish(self) -> anyhow::Result<NamedTempFile> {
        let file = self.0.finish()?;
        file.as_file().sync_all()?;
        Ok(file)
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The directory that a file is in.
pub(super) fn dir_of(file: &Path) -> &Path {
    file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates a temporary directory, which is removed with its content on drop, including files that a
/// detached thread still has open.
pub(super) fn room(dir: &Path) -> anyhow::Result<TempDir> {
    let made = Builder::new().prefix(".newapi-backup-").suffix(".part").tempdir_in(dir);
    made.with_context(|| format!("nothing can be written in {}", dir.display()))
}

/// A file for the meantime, which only its owner may read.
pub(super) fn scratch(room: &Path) -> anyhow::Result<NamedTempFile> {
    let made = NamedTempFile::new_in(room);
    made.with_context(|| format!("nothing can be written in {}", room.display()))
}

/// Gives a draft its name, which must not be taken, for good.
pub(super) fn place(draft: NamedTempFile, file: &Path) -> anyhow::Result<()> {
    draft.persist_noclobber(file).with_context(|| file.display().to_string())?;
    Ok(File::open(dir_of(file))?.sync_all()?)
}

/// Begins to unpack.
pub(super) fn open(file: &Path) -> anyhow::Result<Unpacking> {
    let packed = File::open(file).with_context(|| file.display().to_string())?;
    let packed = BufReader::with_capacity(BUFFER_BYTES, packed);
    Ok(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(packed)))
}

/// Whether what is unpacked begins so. Takes nothing away.
pub(super) fn begins_with(unpacking: &mut Unpacking, magic: &[u8]) -> anyhow::Result<bool> {
    Ok(unpacking.fill_buf().context("it is not compressed with gzip")?.starts_with(magic))
}
