//! Tokens are counted within a quarter of what a real tokenizer counts.
#![allow(clippy::unwrap_used, reason = "it is a test")]

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

#[test]
fn pieces_make_no_difference() {
    for (name, sample) in samples() {
        for size in [1, 2, 3, 7] {
            let mut counter = TokenCounter::default();
            counter.begin();
            for piece in sample.text.as_bytes().chunks(size) {
                counter.push(piece);
            }
            assert_eq!(counter.tokens(), count_tokens(&sample.text), "{name} in pieces of {size}");
        }
    }
}

#[test]
fn a_picture_in_base64_is_not_text() {
    let picture = format!("data:image/png;base64,{}", "iVBORw0KGgoAAAANSUhEUgAA".repeat(10_000));
    assert!(count_tokens(&picture) < 500);
    assert_eq!(count_tokens(""), 0);
}
