//! Names of members and parameters in another spelling, which some readers take for the same.
//!
//! What is priced has to be what the upstream reads, whatever it is written in. Each spelling here
//! is one that a reader in use takes for the name.

/// Whether some reader takes `key` for `name`: in capitals, with blanks around it, as an element of
/// an array, with more behind a NUL, with a letter that is folded to one of ASCII, or with what is
/// read as `_`.
#[must_use]
#[inline]
pub fn resembles(key: &[u8], name: &str) -> bool {
    let (Some(first), Some(wanted)) = (key.first(), name.as_bytes().first()) else { return false };
    // Most keys begin with another letter. No spelling is shorter than the name.
    if key.len() < name.len() || first.is_ascii_alphabetic() && !first.eq_ignore_ascii_case(wanted)
    {
        return false;
    }
    if key.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
        return key.eq_ignore_ascii_case(name.as_bytes());
    }
    is_spelling_of(&String::from_utf8_lossy(key), name)
}

/// Whether a text may begin with `name` in a spelling of [`resembles`]; at least where it does.
#[must_use]
pub fn begins_like(text: &[u8], name: &str) -> bool {
    let is_first =
        |b: &u8| !(b.is_ascii_whitespace() || b.is_ascii_control() || b"[].".contains(b));
    let Some(at) = text.iter().position(is_first) else { return false };
    let differs = |first: u8| {
        first.is_ascii() && !name.as_bytes().first().is_some_and(|b| b.eq_ignore_ascii_case(&first))
    };
    if differs(text[at]) {
        return false;
    }
    let text = &text[at..];
    for (at, wanted) in name.bytes().enumerate() {
        match text.get(at) {
            Some(byte) if byte.eq_ignore_ascii_case(&wanted) => {}
            Some(byte) if !(byte.is_ascii_alphanumeric() || *byte == b'_') => {
                return is_begun_by(text, name);
            }
            // Most texts begin with another word, which nobody takes for the name.
            _ => return false,
        }
    }
    true
}

/// The same, letter by letter.
fn is_begun_by(text: &[u8], name: &str) -> bool {
    // No letter has more than four bytes.
    let head = String::from_utf8_lossy(&text[..text.len().min(4 * name.len() + 16)]);
    let mut letters = head.trim_start_matches(is_led_by).chars();
    name.chars().all(|wanted| {
        let is = |c| folded(c) == wanted.to_ascii_lowercase() || wanted == '_' && ". [".contains(c);
        letters.next().is_some_and(is)
    })
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control() || c == '\u{feff}'
}

/// Rack and qs take `[model]` for `model`, qs `.model` as well.
fn is_led_by(c: char) -> bool {
    is_blank(c) || matches!(c, '[' | ']' | '.')
}

fn is_spelling_of(key: &str, name: &str) -> bool {
    let name = || name.chars().map(|c| c.to_ascii_lowercase());
    let own = key.trim_start_matches(is_led_by);
    let cut = own.split(['=', '[', ']', '\0']).next().unwrap_or_default();
    // PHP takes `max.tokens` and `max tokens` for `max_tokens`.
    let whole = own.split(['=', '\0']).next().unwrap_or_default();
    let joined = whole.chars().map(|c| if ". [".contains(c) { '_' } else { folded(c) });
    cut.trim_end_matches(is_blank).chars().map(folded).eq(name()) || joined.eq(name())
}

/// The letter that readers compare: Go folds `ſ` and `K` (the sign of Kelvin), Java `ı` and `İ`.
const fn folded(letter: char) -> char {
    match letter {
        'ſ' => 's',
        '\u{212a}' => 'k',
        'ı' | 'İ' => 'i',
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_some_reader_takes_for_a_name() {
        for key in [
            "model",
            "MODEL",
            "Model",
            " model",
            "model\t",
            "\u{feff}model",
            "model\0",
            "model\0x",
            "\0model",
            "model[]",
            "model[x]",
            "[model]",
            "[model",
            "model]",
            "[model][x]",
            "[[model]]",
            " [ model ]",
            ".model",
            "model=x",
            " model [x]",
        ] {
            assert!(resembles(key.as_bytes(), "model"), "{key:?}");
            assert!(begins_like(format!("{key} and more").as_bytes(), "model"), "{key:?}");
        }
        for (key, name) in [
            ("ſize", "size"),
            ("ſIZE[]", "size"),
            ("to\u{212a}ens", "tokens"),
            ("\u{212a}ey", "key"),
            ("fıle_İd", "file_id"),
            ("Max_Tokenſ", "max_tokens"),
            ("max.Tokens", "max_tokens"),
            ("max[tokens", "max_tokens"),
            (" max tokens=1", "max_tokens"),
        ] {
            assert!(resembles(key.as_bytes(), name), "{key}");
            assert!(begins_like(key.as_bytes(), name), "{key}");
        }
    }

    #[test]
    fn what_is_another_name() {
        for key in [
            "",
            "models",
            "mode",
            "my_model",
            "model_name",
            "model.x",
            "a[model]",
            "mod el",
            "mödel",
            "x",
            "messages",
            "[]",
            "[",
            "mode\u{f8}",
            "]models[",
            "ｍodel",
        ] {
            assert!(!resembles(key.as_bytes(), "model"), "{key:?}");
        }
        for text in ["", "\": 1", "mode", "amodel", " \n}", "模型", "[]", "mödel"] {
            assert!(!begins_like(text.as_bytes(), "model"), "{text:?}");
        }
        assert!(!resembles(b"mod\xffel", "model") && !resembles(b"model", ""));
    }
}
