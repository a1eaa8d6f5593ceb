//! The status of an asynchronous task, and how an upstream's status words map to it.

use serde::Serialize;
use std::fmt;

/// The stored status of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Accepted by the upstream, or being sent to it.
    Submitted,
    /// The upstream is processing it.
    Processing,
    /// Succeeded, and was charged.
    Completed,
    /// Failed, or timed out; nothing was charged.
    Failed,
    /// The upstream reports a status word that is on no list. Polling continues.
    Unknown,
}

impl TaskStatus {
    /// All variants.
    pub const ALL: [Self; 5] =
        [Self::Submitted, Self::Processing, Self::Completed, Self::Failed, Self::Unknown];
    /// Statuses that are not final.
    pub const UNFINISHED: [Self; 3] = [Self::Submitted, Self::Processing, Self::Unknown];

    /// The text in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// Parses the text in the database; `None` when it is no status.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether the status is final.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Status words of an upstream, by what they mean. Case and surrounding blanks don't count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusWords {
    /// Words for success.
    pub success: Vec<String>,
    /// Words for failure.
    pub failed: Vec<String>,
    /// Words for a task that has not ended.
    pub processing: Vec<String>,
}

impl StatusWords {
    /// The built-in lists.
    #[must_use]
    pub fn usual() -> Self {
        let list = |words: &str| words.split(',').map(str::to_owned).collect();
        Self {
            success: list("completed,success,succeeded,finished,done"),
            failed: list("failed,failure,error,cancelled,canceled,timeout,expired"),
            processing: list("processing,pending,running,in_progress,queued,submitted"),
        }
    }

    /// What a word means, if it is on one of the lists.
    #[must_use]
    pub fn meaning(&self, word: &str) -> Option<TaskStatus> {
        let word = word.trim();
        let on = |list: &[String]| list.iter().any(|w| same_word(w, word));
        if on(&self.success) {
            Some(TaskStatus::Completed)
        } else if on(&self.failed) {
            Some(TaskStatus::Failed)
        } else if on(&self.processing) {
            // `submitted` has a status of its own: the task is accepted, but not processed yet.
            let submitted = word.eq_ignore_ascii_case(TaskStatus::Submitted.as_str());
            Some(if submitted { TaskStatus::Submitted } else { TaskStatus::Processing })
        } else {
            None
        }
    }
}

fn same_word(listed: &str, said: &str) -> bool {
    let listed = listed.trim();
    listed.eq_ignore_ascii_case(said) || listed.to_lowercase() == said.to_lowercase()
}

/// Maps an upstream's word to a status: by the channel's lists first, then by the installation's,
/// whose defaults are the built-in ones. A word on no list is [`TaskStatus::Unknown`].
#[must_use]
pub fn task_status(
    word: &str,
    channel: Option<&StatusWords>,
    installation: &StatusWords,
) -> TaskStatus {
    channel
        .and_then(|words| words.meaning(word))
        .or_else(|| installation.meaning(word))
        .unwrap_or(TaskStatus::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(success: &[&str], failed: &[&str]) -> StatusWords {
        let list = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect();
        StatusWords { success: list(success), failed: list(failed), processing: Vec::new() }
    }

    #[test]
    fn the_usual_words() {
        let usual = StatusWords::usual();
        for (word, status) in [
            ("completed", TaskStatus::Completed),
            (" SUCCESS ", TaskStatus::Completed),
            ("Succeeded", TaskStatus::Completed),
            ("Cancelled", TaskStatus::Failed),
            ("canceled", TaskStatus::Failed),
            ("expired", TaskStatus::Failed),
            ("IN_PROGRESS", TaskStatus::Processing),
            ("queued", TaskStatus::Processing),
            ("submitted", TaskStatus::Submitted),
            ("100%", TaskStatus::Unknown),
            ("", TaskStatus::Unknown),
        ] {
            assert_eq!(task_status(word, None, &usual), status, "{word:?}");
        }
    }

    #[test]
    fn a_channel_s_own_words_win() {
        let (own, usual) = (words(&["expired"], &["Done", "ГОТОВО"]), StatusWords::usual());
        let status = |word| task_status(word, Some(&own), &usual);
        assert_eq!(status("expired"), TaskStatus::Completed);
        assert_eq!(status("done"), TaskStatus::Failed);
        assert_eq!(status("готово"), TaskStatus::Failed);
        assert_eq!(status("finished"), TaskStatus::Completed);
    }

    #[test]
    fn words_of_the_database() {
        for status in TaskStatus::ALL {
            assert_eq!(TaskStatus::parse(status.as_str()), Some(status));
            assert_eq!(status.is_final(), !TaskStatus::UNFINISHED.contains(&status));
        }
        assert_eq!(TaskStatus::parse("done"), None);
    }
}
