//! The usage that a reply is charged by: what its upstream counted, else what passed.

use crate::reading::{MeterFault, ReplyReading};
use domain::{FrozenPrice, Meter, Meters, Usage};

/// What a price needs of a usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceNeeds {
    /// Its sums.
    Sums,
    /// Every count.
    Meters,
    /// Its units; tokens are worth nothing, so none are estimated.
    Units,
}

impl PriceNeeds {
    /// What a price needs; of none, and of one per call, nothing beyond the sums is kept.
    #[must_use]
    pub fn of(price: Option<&FrozenPrice>) -> Self {
        match price.filter(|price| price.is_by_use() && price.schedule.is_some()) {
            None => Self::Sums,
            Some(price) if price.is_of_units() => Self::Units,
            Some(_) => Self::Meters,
        }
    }
}

impl ReplyReading {
    /// The usage to charge; none where the call failed and nothing was counted. `input_tokens` are
    /// those of the request, about: they stand in where the upstream counts none.
    #[must_use]
    pub fn usage(&self, needs: PriceNeeds, input_tokens: i64, failed: bool) -> Option<Usage> {
        match needs {
            PriceNeeds::Units => self.units(failed),
            PriceNeeds::Sums => self.tokens(input_tokens, failed).map(|(usage, _)| usage),
            PriceNeeds::Meters => self
                .tokens(input_tokens, failed)
                .map(|(usage, meters)| Usage { meters: Some(Box::new(meters)), ..usage }),
        }
    }

    /// The usage as its upstream reports it: nothing is counted in its place. What a price does not
    /// need spoils nothing.
    ///
    /// # Errors
    /// A count that can't be billed, or a body that is no JSON and no stream: nothing of it can be
    /// relied upon.
    pub fn reported(&self, needs: PriceNeeds) -> Result<Option<Usage>, String> {
        if !self.shape.is_stream() && !self.well_formed {
            return Err("not one JSON document".to_owned());
        }
        let fault =
            self.fault.as_ref().map(|MeterFault { meter, text }| format!("{meter} is {text}"));
        let sums = match (&fault, self.bad_input || self.bad_output) {
            // A later event may have said it better.
            (Some(fault), true) if !self.shape.is_stream() => return Err(fault.clone()),
            _ => self.meters.usage(),
        };
        let inconsistency = fault.or_else(|| self.mismatch.clone());
        Ok(match needs {
            PriceNeeds::Sums => sums.map(|sums| Usage { inconsistency, ..sums }),
            PriceNeeds::Meters | PriceNeeds::Units if self.meters.is_empty() => None,
            PriceNeeds::Meters | PriceNeeds::Units => {
                let meters = Some(Box::new(self.meters));
                Some(Usage { meters, inconsistency, ..sums.unwrap_or_default() })
            }
        })
    }

    /// The usage for a price of units alone.
    fn units(&self, failed: bool) -> Option<Usage> {
        if failed && self.meters.is_empty() {
            return None;
        }
        let sums = self.meters.usage().unwrap_or_default();
        let inconsistency = match &self.fault {
            Some(MeterFault { meter, text }) if !meter.is_tokens() => {
                Some(format!("not counted: {meter} is {text}"))
            }
            _ => self.mismatch.clone(),
        };
        Some(Usage { meters: Some(Box::new(self.meters)), inconsistency, ..sums })
    }

    /// The usage in tokens. What passed is counted where the upstream counts nothing, or what can't
    /// be billed; and what it did not come to count, because its stream ended before.
    fn tokens(&self, input_tokens: i64, failed: bool) -> Option<(Usage, Meters)> {
        let mut meters = self.meters;
        let reported = meters.usage();
        // Who counts nothing at all of a text that is there has not counted it.
        let is_unbelieved =
            !failed && self.text_tokens > 0 && meters.iter().all(|(_, count)| count == 0);
        let is_silent = reported.is_none() || is_unbelieved;
        if is_silent && failed {
            return None;
        }
        let mut usage = reported.clone().unwrap_or_default();
        let mut raise = |head: Meter, sum: &mut i64, to: i64| {
            let more = to.saturating_sub(*sum).max(0);
            *sum = sum.saturating_add(more);
            meters.set(head, meters.get(head).unwrap_or(0).saturating_add(more));
        };
        if is_silent || self.bad_input {
            raise(Meter::Input, &mut usage.prompt_tokens, input_tokens);
        }
        if is_silent || self.bad_output {
            raise(Meter::Output, &mut usage.completion_tokens, self.text_tokens);
        } else if self.unreported_tokens > 0 {
            let with_rest = usage.completion_tokens.saturating_add(self.unreported_tokens);
            raise(Meter::Output, &mut usage.completion_tokens, with_rest);
        }
        let usage = match &self.fault {
            Some(MeterFault { meter, text }) => usage.estimated(format_args!("{meter} is {text}")),
            None if reported.is_none() => usage.estimated("the upstream reported no usage"),
            None if is_unbelieved => {
                usage.estimated("the upstream reported 0 tokens for a reply that has some")
            }
            None if self.unreported_tokens > 0 => usage.estimated(format_args!(
                "{} tokens came after its last report",
                self.unreported_tokens
            )),
            None => Usage { inconsistency: self.mismatch.clone(), ..usage },
        };
        Some((usage, meters))
    }
}
