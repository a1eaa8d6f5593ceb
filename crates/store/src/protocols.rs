//! The protocols that channels may name: those that are built in, and the operator's own.

use crate::{Db, Problem, Row, StoreError};
use domain::UnixMs;
use protocol::{Library, Protocol};
use std::sync::Arc;

/// The most protocols of an operator's own.
pub const MAX_OWN: usize = 200;

/// The protocol that a channel names.
#[derive(Clone, Debug)]
pub struct ChannelProtocol {
    /// Its name.
    pub name: String,
    /// What it means; none: there is no protocol of this name, or it can't be used.
    pub found: Option<Arc<Protocol>>,
}

impl ChannelProtocol {
    /// The protocol of a name.
    #[must_use]
    pub fn named(name: String, library: &Library) -> Self {
        let found = library.get(&name).cloned();
        Self { name, found }
    }
}

/// A protocol of an operator's own, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnProtocol {
    /// Its name.
    pub name: String,
    /// Its document.
    pub document: String,
    /// When it was last set.
    pub updated_at: UnixMs,
}

/// All protocols, and the rows that can't be used.
///
/// # Errors
/// When the database can't be read.
pub async fn load(db: &Db) -> Result<(Library, Vec<Problem>), StoreError> {
    compile(&rows(db).await?)
}

/// The operator's own protocols, by name.
///
/// # Errors
/// When the database can't be read.
pub async fn rows(db: &Db) -> Result<Vec<OwnProtocol>, StoreError> {
    let sql =
        format!("SELECT name, document, updated_at FROM protocols ORDER BY name LIMIT {MAX_OWN}");
    db.read_first(&sql, &[]).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<OwnProtocol, StoreError> {
    Ok(OwnProtocol {
        name: row.get("name")?,
        document: row.get("document")?,
        updated_at: row.get("updated_at")?,
    })
}

/// The built-in protocols with these beside them, and those that can't be used.
///
/// # Errors
/// Never: the built-in ones are compiled by a test.
pub fn compile(own: &[OwnProtocol]) -> Result<(Library, Vec<Problem>), StoreError> {
    let builtin = Library::builtin().map_err(|e| StoreError::Other(e.to_string()))?;
    let mut library = builtin.clone();
    let mut left: Vec<&OwnProtocol> = own.iter().collect();
    // One may build on another, in any order: as long as one more is understood, the rest is tried
    // again.
    loop {
        let before = left.len();
        let mut problems = Vec::new();
        left.retain(|it| match add(&mut library, it) {
            Ok(()) => false,
            Err(why) => {
                problems.push(Problem { table: "protocols", row: it.name.clone(), why });
                true
            }
        });
        if left.is_empty() || left.len() == before {
            return Ok((library, problems));
        }
    }
}

/// Adds one. What a built-in name means is the same everywhere, so none of these is replaced.
fn add(library: &mut Library, own: &OwnProtocol) -> Result<(), String> {
    let OwnProtocol { name, document, .. } = own;
    if is_builtin(name) {
        return Err(format!("{name} is built in: choose another name"));
    }
    let mut with = library.clone();
    let protocol = with.add(document).map_err(|problems| problems.to_string())?;
    if *protocol.name != **name {
        return Err(format!("its document is of {:?}", protocol.name));
    }
    *library = with;
    Ok(())
}

/// Whether a protocol of this name is built in.
#[must_use]
pub fn is_builtin(name: &str) -> bool {
    protocol::BUILTIN.iter().any(|(builtin, _)| *builtin == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(name: &str, document: &str) -> OwnProtocol {
        OwnProtocol { name: name.to_owned(), document: document.to_owned(), updated_at: UnixMs(0) }
    }

    #[test]
    fn one_may_build_on_another_in_any_order() {
        let document = |name: &str, from: &str| {
            format!(
                "name = \"{name}\"\ntitle = {{ zh = \"x\", en = \"x\" }}\nspeaks = [\"{from}\"]\n"
            )
        };
        let rows =
            [own("a-own", &document("a-own", "b-own")), own("b-own", &document("b-own", "openai"))];
        let (library, problems) = compile(&rows).unwrap();
        assert_eq!(problems, []);
        assert!(library.get("a-own").unwrap().route("POST", "/v1/chat/completions").is_some());
    }

    #[test]
    fn what_cant_be_used_is_left_out_and_named() {
        let good = "name = \"x\"\ntitle = { zh = \"x\", en = \"x\" }\nspeaks = [\"openai\"]\n";
        let rows = [own("openai", good), own("y", good), own("z", "name = 1"), own("x", good)];
        let (library, problems) = compile(&rows).unwrap();
        let named: Vec<_> = problems.iter().map(|it| it.row.as_str()).collect();
        assert_eq!(named, ["openai", "y", "z"]);
        assert!(library.get("x").is_some() && library.get("y").is_none());
    }
}
