//! Measures what reading replies costs: `cargo run --release -p protocol --example reading_cost`.
//!
//! Each line is the best of many rounds. Copying the same bytes stands beside it, for scale. Read
//! by `openai`, by a document of 40 pointers, and by one of none.
#![allow(clippy::print_stdout, clippy::float_arithmetic, reason = "it is a measurement")]

use protocol::{Library, ProtocolRoute, ReplyHead, ReplyReader};
use std::hint::black_box;
use std::time::{Duration, Instant};

const REPLY: &str = concat!(
    r#"{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion","cre"#,
    r#"ated":1741569952,"model":"gpt-4.1-2025-04-14","choices":[{"index":0,"message":"#,
    r#"{"role":"assistant","content":"Hello! How can I assist you today?","refusal":n"#,
    r#"ull,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"promp"#,
    r#"t_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":"#,
    r#"{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_t"#,
    r#"okens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_"#,
    r#"tokens":0}},"service_tier":"default"}"#,
);

const EVENT: &str = concat!(
    r#"data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":16942681"#,
    r#"90,"model":"gpt-4o-mini","system_fingerprint":"fp_44709d6fcb","choices":[{"ind"#,
    r#"ex":0,"delta":{"content":" Hello"},"logprobs":null,"finish_reason":null}],"usa"#,
    r#"ge":null}"#,
    "\n\n"
);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut library = Library::builtin()?.clone();
    library.add(&format!("{}{}", head("forty"), forty_pointers()))?;
    library.add(&head("none"))?;
    let stream = format!("{}data: [DONE]\n\n", EVENT.repeat((1 << 20) / EVENT.len()));
    for name in ["openai", "forty", "none"] {
        let protocol = library.get(name).ok_or("no such protocol")?;
        let call = protocol.route("POST", "/v1/chat/completions").ok_or("no route")?;
        report(name, call.route, "application/json", REPLY.as_bytes(), 2000);
        report(name, call.route, "text/event-stream", stream.as_bytes(), 20);
    }
    Ok(())
}

fn head(name: &str) -> String {
    format!(
        "name = \"{name}\"\ntitle = {{ zh = \"{name}\", en = \"{name}\" }}\n[[route]]\n\
         match = \"POST /v1/chat/completions\"\nmodel = \"body:/model\"\n"
    )
}

/// Counts where the reply has some, and where it has none; failures in places of their own.
fn forty_pointers() -> String {
    let ten = |first: &str| {
        let more = (1..10).map(|n| format!("\"/usage/{n}/count\""));
        let all: Vec<_> = std::iter::once(format!("\"{first}\"")).chain(more).collect();
        format!("[{}]", all.join(", "))
    };
    let failures = (0..10).map(|n| format!("{{ at = \"/choices/*/failure_{n}\" }}"));
    format!(
        "[outcome]\nfailed = [{}]\n[usage.meters]\ninput = {}\noutput = {}\ncached = {}\n",
        failures.collect::<Vec<_>>().join(", "),
        ten("/usage/prompt_tokens"),
        ten("/usage/completion_tokens"),
        ten("/usage/prompt_tokens_details/cached_tokens"),
    )
}

fn report(what: &str, route: &ProtocolRoute, content_type: &str, body: &[u8], each: u32) {
    let head = ReplyHead { status: 200, content_type: Some(content_type) };
    let read = best(each, || {
        let mut reader = ReplyReader::new(route, head);
        for piece in body.chunks(16 * 1024) {
            reader.push(black_box(piece));
        }
        black_box(reader.finish());
    });
    let copy = best(each, || {
        black_box(black_box(body).to_vec());
    });
    let rate = body.len() as f64 / read.as_secs_f64() / 1e6;
    let bytes = body.len();
    println!("{what}, {content_type}, {bytes} bytes: {read:?} ({rate:.0} MB/s); a copy: {copy:?}");
}

/// The shortest time of one call, over many rounds of `each`.
fn best(each: u32, mut call: impl FnMut()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..60 {
        let start = Instant::now();
        for _ in 0..each {
            call();
        }
        best = best.min(start.elapsed() / each);
    }
    best
}
