//! Two languages, side by side where they are used: a text without the other does not compile.

use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;

/// The language of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lang {
    /// Chinese.
    Zh,
    /// English.
    En,
}

impl Lang {
    /// The text in this language.
    pub(crate) const fn say<'a>(self, zh: &'a str, en: &'a str) -> &'a str {
        match self {
            Self::Zh => zh,
            Self::En => en,
        }
    }

    /// For `lang`, which also picks the shape of Han characters.
    pub(crate) const fn tag(self) -> &'static str {
        self.say_static("zh-CN", "en")
    }

    /// As the cookie has it.
    pub(crate) const fn code(self) -> &'static str {
        self.say_static("zh", "en")
    }

    const fn say_static(self, zh: &'static str, en: &'static str) -> &'static str {
        match self {
            Self::Zh => zh,
            Self::En => en,
        }
    }

    pub(crate) fn from_code(code: &str) -> Option<Self> {
        match code {
            "zh" => Some(Self::Zh),
            "en" => Some(Self::En),
            _ => None,
        }
    }

    /// The first of ours that the browser names; English where it names none.
    pub(crate) fn of_browser(headers: &HeaderMap) -> Self {
        let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let tags = accepted.unwrap_or_default().split(',').map(str::trim);
        let mut tags = tags.map(|tag| tag.get(..2).unwrap_or_default().to_ascii_lowercase());
        tags.find_map(|code| Self::from_code(&code)).unwrap_or(Self::En)
    }
}

/// Formats a text in the language of `$lang`, with the same values in both.
macro_rules! tell {
    ($lang:expr, $zh:literal, $en:literal $(, $($rest:tt)*)?) => {
        match $lang {
            $crate::lang::Lang::Zh => format!($zh $(, $($rest)*)?),
            $crate::lang::Lang::En => format!($en $(, $($rest)*)?),
        }
    };
}
pub(crate) use tell;

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_browser_names_the_language() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static(text));
            Lang::of_browser(&headers)
        };
        assert_eq!(of("zh-CN,zh;q=0.9,en;q=0.8"), Lang::Zh);
        assert_eq!(of("de-DE, en-GB;q=0.7, zh;q=0.3"), Lang::En);
        assert_eq!(of("de, ZH-tw"), Lang::Zh);
        assert_eq!(of("fr"), Lang::En);
        assert_eq!(of(""), Lang::En);
        assert_eq!(Lang::of_browser(&HeaderMap::new()), Lang::En);
    }
}
