//! The code mapped by this process, and the names of its functions.
//!
//! The names come from the symbol tables. Debug information would give lines and inlined functions,
//! too, but reading it takes a second and two hundred megabytes, and a heap profile is often taken
//! when memory is short. For lines, use the binary: `go tool pprof -symbolize=force`.

use object::read::{Object, ObjectSegment, ObjectSymbol, ReadCache};
use object::{File, SymbolKind};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

/// The file that this process was started from, also after an upgrade has replaced it.
const OWN_BINARY: &str = "/proc/self/exe";

/// A part of a file that is mapped as code.
pub(crate) struct Piece {
    pub start: u64,
    pub end: u64,
    /// Its offset in the file.
    pub offset: u64,
    pub path: PathBuf,
    /// The build id of the file, in hexadecimal digits; empty if it has none.
    pub build_id: String,
}

/// The mappings, and the names of the functions at some addresses.
pub(crate) struct Code {
    pub pieces: Vec<Piece>,
    names: HashMap<u64, String>,
}

impl Code {
    /// Resolves `addresses`. The functions of a file that can't be read have no names.
    pub(crate) fn around(addresses: &BTreeSet<u64>) -> io::Result<Self> {
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        let mut code =
            Self { pieces: maps.lines().filter_map(piece).collect(), names: HashMap::new() };
        let own_path = std::fs::read_link(OWN_BINARY)?;
        for piece in &mut code.pieces {
            let path = if piece.path == own_path { Path::new(OWN_BINARY) } else { &piece.path };
            let inside = addresses.range(piece.start..piece.end).copied();
            match look_into(path, piece.start, piece.offset, inside) {
                Ok((build_id, names)) => {
                    piece.build_id = build_id;
                    code.names.extend(names);
                }
                Err(error) => tracing::debug!(%error, ?path, "no symbols"),
            }
        }
        Ok(code)
    }

    /// The function at `address`.
    pub(crate) fn name(&self, address: u64) -> Option<&str> {
        self.names.get(&address).map(String::as_str)
    }

    /// The mapping that `address` is in.
    pub(crate) fn place(&self, address: u64) -> Option<usize> {
        self.pieces.iter().position(|piece| (piece.start..piece.end).contains(&address))
    }
}

/// Parses a line of the kernel's table, like `7f00-7f90 r-xp 00001000 fe:00 1234  /usr/bin/newapi`.
/// What is not a file's code (heap, stacks, the kernel's own) is left out.
fn piece(line: &str) -> Option<Piece> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let is_code = fields.next()?.contains('x');
    let offset = fields.next()?;
    let path = fields.nth(2)?.trim_start();
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    (is_code && path.starts_with('/')).then_some(Piece {
        start: number(start)?,
        end: number(end)?,
        offset: number(offset)?,
        path: path.into(),
        build_id: String::new(),
    })
}

type Names = Vec<(u64, String)>;

/// The build id of the file, and the names of the functions that `addresses` are in. The file is
/// mapped at `start`, from `offset` on.
fn look_into(
    path: &Path,
    start: u64,
    offset: u64,
    addresses: impl Iterator<Item = u64>,
) -> Result<(String, Names), Box<dyn std::error::Error>> {
    // Reads only the parts needed, of a file that may have hundreds of megabytes.
    let content = ReadCache::new(std::fs::File::open(path)?);
    let file = File::parse(&content)?;
    let build_id = file.build_id()?.unwrap_or_default();
    let build_id = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
    let symbols = file.symbols().chain(file.dynamic_symbols());
    let mut functions: Vec<_> = symbols
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.address() > 0)
        .collect();
    functions.sort_by_key(ObjectSymbol::address);

    let named = addresses.filter_map(|address| {
        let at = as_linked(&file, address - start + offset)?;
        let after = functions.partition_point(|function| function.address() <= at);
        let function = functions[..after].last()?;
        let is_inside = at - function.address() < function.size();
        let name = is_inside.then(|| function.name().ok())??;
        Some((address, format!("{:#}", rustc_demangle::demangle(name))))
    });
    let names = named.collect();
    Ok((build_id, names))
}

/// The linker's address of `position` in the file.
fn as_linked<'f>(file: &File<'f, &'f ReadCache<std::fs::File>>, position: u64) -> Option<u64> {
    file.segments().find_map(|segment| {
        let (offset, size) = segment.file_range();
        let inside = position.checked_sub(offset).filter(|inside| *inside < size)?;
        Some(segment.address() + inside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_from_the_kernels_table() {
        let line = "55d0-55e0 r-xp 0053a000 fe:00 1234                      /opt/new api (deleted)";
        let found = piece(line).unwrap();
        assert_eq!((found.start, found.end, found.offset), (0x55d0, 0x55e0, 0x53_a000));
        assert_eq!(found.path, Path::new("/opt/new api (deleted)"));
        for other in [
            "55d0-55e0 r--p 00000000 fe:00 1234                      /opt/newapi",
            "55d0-55e0 r-xp 00000000 00:00 0                         [vdso]",
            "55d0-55e0 rwxp 00000000 00:00 0 ",
            "",
        ] {
            assert!(piece(other).is_none(), "{other}");
        }
    }

    #[test]
    fn an_address_is_named_by_its_function() {
        let here = pieces_are_read_from_the_kernels_table as fn() as usize as u64;
        let code = Code::around(&BTreeSet::from([here, 1])).unwrap();
        let name = code.name(here).unwrap();
        assert!(name.ends_with("pieces_are_read_from_the_kernels_table"), "{name}");
        assert!(!code.pieces[code.place(here).unwrap()].build_id.is_empty());
        assert_eq!((code.name(1), code.place(1)), (None, None));
    }
}
