//! Whether two routes read a request alike: a call is priced by the reading of one document, and
//! only a channel whose own document reads it so may get it.

use crate::document::{AskUsage, Document, PriceWord, RefusalSection, RouteSection, TaskWord};
use crate::route::ProtocolRoute;
use crate::value_source::ValueSource;

/// All that a route's requests are read for, but for what is held, as its document says it: routes
/// with the same text read a request alike.
pub(crate) fn reading_of(document: &Document, section: &RouteSection) -> Box<str> {
    let RouteSection { model, model_prefix, model_suffix, model_stays, .. } = section;
    let RouteSection { price, task, list, .. } = section;
    let RouteSection { uses, makes, collection, once, session, refuse, units, ask_usage, .. } =
        section;
    let is_free = *price == Some(PriceWord::Free);
    let names_nothing = model.0.is_empty() && uses.0.is_empty();
    let shared = document.refuse.as_deref().unwrap_or_default();
    let refused: Vec<_> =
        refuse.iter().chain(shared.iter().filter(|it| it.free || !is_free)).map(said).collect();
    // A call that may name no model is of the API that its client speaks.
    let shape = document.errors.as_ref().map(|it| it.shape).unwrap_or_default();
    let names = |source: &String| source == "path" || source.starts_with("body:");
    let names_model = !model.0.is_empty() && model.0.iter().all(names);
    let shape = (!names_model).then_some(shape);
    // What is free is charged by nothing. The tokens that it may come to are only held: of several
    // routes, the most.
    let charged = (!is_free).then(|| {
        let stream = matches!(ask_usage, AskUsage::Streams).then_some(&document.stream);
        (units.as_ref().or(document.hold.as_ref().map(|it| &it.units)), ask_usage, stream)
    });
    // Who names nothing means this vendor alone.
    let name = names_nothing.then_some(&document.name);
    format!(
        "{model:?} {model_prefix:?} {model_suffix:?} {model_stays} {price:?} {task:?} {list:?} \
         {uses:?} {makes:?} {collection:?} {once:?} {session:?} {refused:?} {shape:?} {charged:?} \
         {name:?} {:?}",
        document.resources
    )
    .into()
}

/// A refusal without its words.
fn said(refusal: &RefusalSection) -> impl std::fmt::Debug + use<'_> {
    let RefusalSection { at, query, except, header, is, not, above, priced, .. } = refusal;
    (at, query, except, header, is, not, above, priced)
}

impl ProtocolRoute {
    /// Whether it is of any path behind a front, so that not all of them need be calls.
    #[must_use]
    pub fn takes_any(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.open)
    }

    /// Whether a request of both is read by another route as it is by this one: it has the same
    /// model and price, and may say the same.
    #[must_use]
    pub fn reads_as(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.reads == other.reads
    }

    /// Whether nothing of a request but its path says what it costs, and whether it may be made.
    #[must_use]
    pub fn reads_path_alone(&self) -> bool {
        self.model == [ValueSource::Path]
            && self.price == PriceWord::Model
            && self.model_suffix.is_none()
            && self.uses.is_empty()
            && self.list.is_none()
            && self.request.refuse.is_empty()
            && matches!(self.task, None | Some(TaskWord::Submit))
    }
}
