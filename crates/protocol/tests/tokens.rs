//! Tokens are counted within a quarter of what a real tokenizer counts.
#![allow(clippy::unwrap_used, reason = "it is a test")]

use proptest::prelude::*;
use protocol::{TokenCounter, count_tokens};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Sample {
    tokens: i64,
    text: String,
}

fn samples() -> BTreeMap<String, Sample> {
    toml::from_str(include_str!("tokens.toml")).unwrap()
}

#[test]
fn an_estimate_is_within_a_quarter() {
    let samples = samples();
    assert!(samples.len() > 20);
    for (name, sample) in samples {
        let estimate = count_tokens(&sample.text);
        let off = (estimate - sample.tokens).abs() * 4;
        assert!(off <= sample.tokens, "{name}: {estimate} estimated, {} are real", sample.tokens);
    }
}

fn in_pieces(text: &str, size: usize) -> i64 {
    let mut counter = TokenCounter::default();
    counter.begin();
    text.as_bytes().chunks(size).for_each(|piece| counter.push(piece));
    counter.tokens()
}

#[test]
fn pieces_make_no_difference() {
    for (name, Sample { text, .. }) in samples() {
        for size in [1, 2, 3, 7] {
            assert_eq!(in_pieces(&text, size), count_tokens(&text), "{name} in pieces of {size}");
        }
    }
}

proptest! {
    /// Letters that come together are counted together: also at the ends of words, and of what is
    /// no text any more.
    #[test]
    fn words_count_as_their_letters_do(
        text in "([a-z]{0,20}|[a-z]{500,530}|[A-Za-zé0-9 ._-]{0,12}){0,6}",
        size in 1..9_usize,
    ) {
        prop_assert_eq!(in_pieces(&text, size), in_pieces(&text, 1));
        prop_assert_eq!(count_tokens(&text), in_pieces(&text, 1));
    }
}

#[test]
fn a_picture_in_base64_is_not_text() {
    let picture = format!("data:image/png;base64,{}", "iVBORw0KGgoAAAANSUhEUgAA".repeat(10_000));
    assert!(count_tokens(&picture) < 500);
    assert_eq!(count_tokens(""), 0);
}
