//! Where a request says something: its model, or what it is about.

use crate::{Pointer, Segment};
use std::fmt;

/// Where a route's model, or the resource that it is about, stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSource {
    /// In the JSON body, or, of a pointer with one segment, in the form field of that name.
    Body(Pointer),
    /// At several places of the JSON body, the same at each.
    Every(Pointer),
    /// Anywhere in the JSON body, below any member.
    Anywhere(Pointer),
    /// In the path, as `{model}` or `{id}`.
    Path,
    /// In the query's parameter of this name.
    Query(Box<str>),
    /// It is this one where the others say nothing.
    Default(Box<str>),
}

impl ValueSource {
    /// The form field that stands for it in a body that is a form.
    #[must_use]
    pub fn form_field(&self) -> Option<&str> {
        let Self::Body(pointer) = self else { return None };
        match pointer.segments() {
            [Segment::Name(name)] => Some(name),
            _ => None,
        }
    }

    /// The member at the top of a body that it stands in, or that leads to it.
    #[must_use]
    pub fn first_name(&self) -> Option<&str> {
        let (Self::Body(pointer) | Self::Every(pointer)) = self else { return None };
        match pointer.segments().first() {
            Some(Segment::Name(name)) => Some(name),
            _ => None,
        }
    }

    /// Whether it stands in the body.
    #[must_use]
    pub const fn is_in_body(&self) -> bool {
        matches!(self, Self::Body(_) | Self::Every(_) | Self::Anywhere(_))
    }

    /// The names in the pointer into a body.
    pub(crate) fn body_names(&self) -> Option<impl Iterator<Item = &str>> {
        let (Self::Body(pointer) | Self::Anywhere(pointer)) = self else { return None };
        Some(pointer.segments().iter().filter_map(|segment| match segment {
            Segment::Name(name) => Some(&**name),
            _ => None,
        }))
    }
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(pointer) => write!(f, "body:{pointer}"),
            Self::Every(pointer) => write!(f, "every:{pointer}"),
            Self::Anywhere(pointer) => write!(f, "any:{pointer}"),
            Self::Path => f.write_str("path"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Default(name) => write!(f, "default:{name}"),
        }
    }
}
