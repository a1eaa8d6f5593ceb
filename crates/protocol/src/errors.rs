//! Our own errors, in the shape that the clients of a protocol read.

use serde::Deserialize;
use serde_json::{Value, json};

/// What an error body looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorShape {
    /// `{"error":{"message","type","code","request_id"}}`, with our own codes.
    #[default]
    Plain,
    /// The same, with OpenAI's types and codes, and `param`.
    Openai,
    /// `{"type":"error","error":{"type","message"},"request_id"}`.
    Anthropic,
    /// `{"error":{"code","message","status"}}`.
    Gemini,
}

/// An error of ours.
#[derive(Clone, Copy, Debug)]
pub struct OwnError<'a> {
    /// The HTTP status that it is answered with.
    pub status: u16,
    /// Our code for it, such as `RATE_LIMITED`.
    pub code: &'a str,
    /// Our coarser word, such as `rate_limit_error`.
    pub kind: &'a str,
    /// Its words.
    pub message: &'a str,
    /// The id of the request that it ends.
    pub request_id: &'a str,
}

impl ErrorShape {
    /// The error's body.
    #[must_use]
    pub fn body(self, error: &OwnError<'_>) -> Value {
        let OwnError { status, code, kind, message, request_id } = *error;
        match self {
            Self::Plain => json!({"error": {
                "message": message, "type": kind, "code": code, "request_id": request_id,
            }}),
            Self::Openai => json!({"error": {
                "message": message, "type": kind, "param": null, "code": openai_code(code),
                "request_id": request_id,
            }}),
            Self::Anthropic => json!({
                "type": "error",
                "error": {"type": anthropic_type(status), "message": message, "code": code},
                "request_id": request_id,
            }),
            Self::Gemini => json!({"error": {
                "code": status, "message": message, "status": gemini_status(status),
                "details": [{"reason": code, "requestId": request_id}],
            }}),
        }
    }
}

/// The codes that OpenAI's libraries and their users distinguish; else ours.
fn openai_code(code: &str) -> &str {
    match code {
        "MODEL_NOT_FOUND" => "model_not_found",
        "INSUFFICIENT_QUOTA" | "SPENDING_LIMIT" => "insufficient_quota",
        "RATE_LIMITED" => "rate_limit_exceeded",
        "AUTH_ERROR" => "invalid_api_key",
        other => other,
    }
}

/// <https://docs.anthropic.com/en/api/errors>
const fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        503 | 529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// <https://ai.google.dev/gemini-api/docs/troubleshooting>, the names of `google.rpc.Code`.
const fn gemini_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        402 | 403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        501 => "UNIMPLEMENTED",
        502 | 503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERROR: OwnError<'_> = OwnError {
        status: 404,
        code: "MODEL_NOT_FOUND",
        kind: "not_found_error",
        message: "no channel knows gpt-typo",
        request_id: "r-1",
    };

    #[test]
    fn every_shape_has_the_words_in_the_place_where_its_clients_look() {
        let openai = ErrorShape::Openai.body(&ERROR);
        assert_eq!(openai["error"]["code"], "model_not_found");
        assert_eq!(openai["error"]["param"], Value::Null);
        let anthropic = ErrorShape::Anthropic.body(&ERROR);
        assert_eq!(anthropic["type"], "error");
        assert_eq!(anthropic["error"]["type"], "not_found_error");
        assert_eq!(anthropic["request_id"], "r-1");
        let gemini = ErrorShape::Gemini.body(&ERROR);
        assert_eq!(
            (&gemini["error"]["code"], &gemini["error"]["status"]),
            (&json!(404), &json!("NOT_FOUND"))
        );
        let plain = ErrorShape::Plain.body(&ERROR);
        assert_eq!(plain["error"]["code"], "MODEL_NOT_FOUND");
        for shape in [openai, anthropic, gemini, plain] {
            assert_eq!(shape["error"]["message"], ERROR.message);
        }
    }
}
