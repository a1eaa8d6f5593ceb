//! Where no usage is reported, all that a model made is counted, wherever it stands.

#![allow(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

use protocol::{Library, ReplyHead, ReplyReader};

/// 3000 characters of ordinary text: about 600 tokens.
fn long_text() -> String {
    "a few plain words ".repeat(3_000 / 18)
}

/// Places of each protocol's replies, `T` for a text and `D` for data in base64; streams where the
/// document begins with `data:`.
const PLACES: &[(&str, &str, &[&str])] = &[
    (
        "openai",
        "POST /v1/chat/completions",
        &[
            r#"data: {"choices":[{"delta":{"content":"T"}}]}"#,
            r#"data: {"choices":[{"delta":{"content":[{"type":"text","text":"T"}]}}]}"#,
            r#"data: {"choices":[{"delta":{"reasoning_content":"T"}}]}"#,
            r#"data: {"choices":[{"delta":{"reasoning_details":[{"text":"T"}]}}]}"#,
            r#"data: {"choices":[{"delta":{"reasoning_details":[{"data":"D"}]}}]}"#,
            r#"data: {"choices":[{"delta":{"function_call":{"arguments":"T"}}}]}"#,
            r#"data: {"choices":[{"delta":{"tool_calls":[{"custom":{"input":"T"}}]}}]}"#,
            r#"data: {"choices":[{"delta":{"audio":{"transcript":"T"}}}]}"#,
            r#"data: {"choices":[{"delta":{"audio":{"data":"D"}}}]}"#,
            r#"data: {"choices":[{"delta":{"images":[{"image_url":{"url":"D"}}]}}]}"#,
            r#"{"choices":[{"message":{"content":[{"type":"text","text":"T"}]}}]}"#,
            r#"{"choices":[{"message":{"function_call":{"arguments":"T"}}}]}"#,
            r#"{"choices":[{"message":{"reasoning_details":[{"summary":"T"}]}}]}"#,
            r#"{"choices":[{"message":{"tool_calls":[{"custom":{"input":"T"}}]}}]}"#,
            r#"{"choices":[{"message":{"audio":{"transcript":"T","data":""}}}]}"#,
            r#"{"choices":[{"message":{"audio":{"data":"D"}}}]}"#,
        ],
    ),
    (
        "openai",
        "POST /v1/responses",
        &[
            r#"data: {"type":"response.function_call_arguments.delta","delta":"T"}"#,
            r#"data: {"type":"response.output_item.done","item":{"result":"D"}}"#,
            r#"{"output":[{"type":"function_call","arguments":"T"}]}"#,
            r#"{"output":[{"type":"custom_tool_call","input":"T"}]}"#,
            r#"{"output":[{"type":"code_interpreter_call","code":"T"}]}"#,
            r#"{"output":[{"type":"message","content":[{"transcript":"T"}]}]}"#,
            r#"{"output":[{"type":"image_generation_call","result":"D"}]}"#,
            r#"{"output":[{"type":"reasoning","encrypted_content":"D"}]}"#,
        ],
    ),
    ("openai", "POST /v1/images/generations", &[r#"{"data":[{"b64_json":"D"}]}"#]),
    ("openai", "POST /v1/audio/transcriptions", &[r#"{"text":"T"}"#, "T"]),
    (
        "anthropic",
        "POST /v1/messages",
        &[
            r#"data: {"type":"content_block_delta","delta":{"partial_json":"T"}}"#,
            r#"data: {"type":"content_block_start","content_block":{"text":"T"}}"#,
            r#"data: {"type":"content_block_delta","delta":{"signature":"D"}}"#,
            r#"data: {"type":"content_block_start","content_block":{"data":"D"}}"#,
            r#"{"content":[{"type":"tool_use","name":"f","input":{"a":["T"]}}]}"#,
            r#"{"content":[{"type":"redacted_thinking","data":"D"}]}"#,
        ],
    ),
    (
        "gemini",
        "POST /v1beta/models/g:generateContent",
        &[
            r#"{"candidates":[{"content":{"parts":[{"functionCall":{"args":{"a":"T"}}}]}}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"executableCode":{"code":"T"}}]}}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"codeExecutionResult":{"output":"T"}}]}}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"inlineData":{"data":"D"}}]}}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"thoughtSignature":"D"}]}}]}"#,
        ],
    ),
    (
        "cohere",
        "POST /v2/chat",
        &[
            r#"{"message":{"tool_plan":"T"}}"#,
            r#"{"message":{"tool_calls":[{"function":{"arguments":"T"}}]}}"#,
            r#"data: {"type":"x","delta":{"message":{"tool_plan":"T"}}}"#,
        ],
    ),
    (
        "ollama",
        "POST /api/chat",
        &[
            r#"{"message":{"tool_calls":[{"function":{"arguments":{"a":"T"}}}]}}"#,
            r#"{"message":{"thinking":"T"}}"#,
        ],
    ),
];

#[test]
fn every_place_is_counted() {
    let library = Library::builtin().unwrap();
    // A picture of 3 MB, as base64 has it.
    let data = "QUJDREVG".repeat(4_000_000 / 8);
    for (protocol, call, places) in PLACES {
        let (method, path) = call.split_once(' ').unwrap();
        let route = library.get(protocol).unwrap().route(method, path).unwrap();
        for place in *places {
            let content_type = match place.as_bytes() {
                [b'd', ..] => "text/event-stream",
                [b'{', ..] => "application/json",
                _ => "text/plain",
            };
            let body = match place.contains("\"D\"") {
                true => place.replace("\"D\"", &format!("\"{data}\"")),
                false if *place == "T" => long_text(),
                false => place.replace("\"T\"", &format!("\"{}\"", long_text())),
            };
            let head = ReplyHead { status: 200, content_type: Some(content_type) };
            let mut reader = ReplyReader::new(route.route, head);
            body.as_bytes().chunks(16 << 10).for_each(|piece| reader.push(piece));
            let tokens = reader.finish().text_tokens;
            let expected = if place.contains("\"D\"") { 1_500..2_500 } else { 450..800 };
            assert!(expected.contains(&tokens), "{protocol} {place}: {tokens}");
        }
    }
}
