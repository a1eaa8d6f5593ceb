//! The protocols by which paths are read. Several may have a path, and read a call of it otherwise:
//! another member names its model, or it costs nothing. Which those are is known before a call.

use crate::protocol::Protocol;
use crate::route::ProtocolRoute;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Protocols by which paths are read, in the order in which they are asked.
#[derive(Clone, Debug, Default)]
pub struct SpokenProtocols {
    protocols: Vec<Arc<Protocol>>,
    /// By the address of a route: the others that may have a path of it.
    others: BTreeMap<usize, Vec<Arc<Protocol>>>,
}

impl SpokenProtocols {
    /// Finds which of them have paths in common.
    #[must_use]
    pub fn new(protocols: Vec<Arc<Protocol>>) -> Self {
        let mut others: BTreeMap<usize, Vec<Arc<Protocol>>> = BTreeMap::new();
        for protocol in &protocols {
            for route in &protocol.routes {
                let has_it = |it: &&Arc<Protocol>| {
                    !Arc::ptr_eq(it, protocol) && may_read_otherwise(it, route)
                };
                let found: Vec<_> = protocols.iter().filter(has_it).cloned().collect();
                if !found.is_empty() {
                    others.insert(address(route), found);
                }
            }
        }
        Self { protocols, others }
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Protocol>> {
        self.protocols.iter()
    }

    /// Those that may have a path of this route, too, as another route.
    #[must_use]
    pub fn others(&self, route: &Arc<ProtocolRoute>) -> &[Arc<Protocol>] {
        self.others.get(&address(route)).map_or(&[], Vec::as_slice)
    }
}

fn address(route: &Arc<ProtocolRoute>) -> usize {
    Arc::as_ptr(route) as usize
}

/// Whether a protocol may have a path of `route` as another route: where it speaks the same
/// document, one in front of it.
fn may_read_otherwise(protocol: &Protocol, route: &Arc<ProtocolRoute>) -> bool {
    let mut before = protocol.routes.iter().take_while(|it| !Arc::ptr_eq(it, route));
    before.any(|it| {
        let pairs = it.patterns.iter().flat_map(|a| route.patterns.iter().map(move |b| (a, b)));
        pairs.into_iter().any(|(one, other)| one.may_overlap(other))
    })
}
