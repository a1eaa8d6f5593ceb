//! Forms that make something, sent again: by a second click, or by going back. What the first made
//! is shown, and nothing is made twice. A form of money has the ledger for that, whose references
//! last; these are remembered by the node while it runs.

use crate::visit::Visit;
use admin::AdminError;
use domain::UserId;
use maud::{Markup, html};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// How many forms are remembered.
const MAX_SENT: usize = 2000;
/// Longer tokens are none of ours.
const MAX_TOKEN: usize = 64;
const TOKEN: &str = "once";

/// A form that was sent.
struct SentForm {
    sender: UserId,
    token: String,
    /// The page of what it made; none while it is being made.
    made: Option<String>,
}

/// The forms that were sent lately.
#[derive(Default)]
pub(crate) struct SentForms(Mutex<VecDeque<SentForm>>);

impl SentForms {
    fn with<T>(&self, change: impl FnOnce(&mut VecDeque<SentForm>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the form made before; it is remembered as being carried out where it is new.
    fn before(&self, sender: UserId, token: &str) -> Option<Option<String>> {
        self.with(|sent| {
            let is_it = |form: &&SentForm| form.sender == sender && form.token == token;
            if let Some(form) = sent.iter().find(is_it) {
                return Some(form.made.clone());
            }
            if sent.len() >= MAX_SENT {
                sent.pop_front();
            }
            sent.push_back(SentForm { sender, token: token.to_owned(), made: None });
            None
        })
    }

    /// Remembers what the form made; forgets a form that made nothing, so that it can be mended.
    fn after(&self, sender: UserId, token: &str, made: Option<String>) {
        self.with(|sent| {
            let is_it = |form: &SentForm| form.sender == sender && form.token == token;
            match made {
                None => sent.retain(|form| !is_it(form)),
                made => {
                    if let Some(form) = sent.iter_mut().find(|form| is_it(form)) {
                        form.made = made;
                    }
                }
            }
        });
    }
}

/// What became of a form.
pub(crate) enum SentOnce<T> {
    Made(T),
    /// It was sent before: the page of what it made then.
    Before(String),
}

/// The field that tells a form that is sent again from a new one.
pub(crate) fn once_field(visit: &Visit) -> Markup {
    let token = match visit.form.text(TOKEN) {
        "" => web::uuid_v7(visit.state.clock.now()).to_string(),
        token => token.to_owned(),
    };
    html! { input type="hidden" name=(TOKEN) value=(token); }
}

/// Makes what a form says, unless the same form has made it; `page` is where that is seen.
pub(crate) async fn once<T>(
    visit: &Visit,
    make: impl Future<Output = Result<T, AdminError>>,
    page: impl FnOnce(&T) -> String,
) -> Result<SentOnce<T>, AdminError> {
    let (sender, token) = (visit.actor.user_id, visit.form.text(TOKEN));
    if token.is_empty() || token.len() > MAX_TOKEN {
        return make.await.map(SentOnce::Made);
    }
    match visit.sent.before(sender, token) {
        Some(Some(page)) => return Ok(SentOnce::Before(page)),
        Some(None) => {
            return Err(AdminError::conflict(
                "这份表单正在处理, 请稍候查看列表",
                "this form was sent already, and is being carried out: look at the list",
            ));
        }
        None => {}
    }
    let made = make.await;
    visit.sent.after(sender, token, made.as_ref().ok().map(page));
    made.map(SentOnce::Made)
}
