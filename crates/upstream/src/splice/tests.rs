use super::*;
use proptest::prelude::*;
use serde_json::Value;

fn over(body: &str, members: &[(&str, &str)]) -> String {
    let out = override_members(body.as_bytes(), members).expect("a body");
    String::from_utf8(out.to_vec()).expect("text")
}

#[test]
fn touches_nothing_else() {
    for (body, members, expected) in [
        (
            r#"{"n": 12345678901234567890123 , "t":0.1}"#,
            vec![("t", "1")],
            r#"{"n": 12345678901234567890123 , "t":1}"#,
        ),
        (
            r#"{"a":"\u003c<","t" : [1, {"t":2}] }"#,
            vec![("t", "null")],
            r#"{"a":"\u003c<","t" : null }"#,
        ),
        (r#"{"t":1,"x":2,"t":3}"#, vec![("t", "9")], r#"{"t":9,"x":2,"t":9}"#),
        (r#"{"\u0074":1}"#, vec![("t", "9")], r#"{"\u0074":9}"#),
        (" { } ", vec![("t", "1")], r#" {"t":1 } "#),
        ("{}", vec![("a", "1"), ("b", "\"x\"")], r#"{"a":1,"b":"x"}"#),
        ("\n{\"x\":1}\n", vec![("t", " 1 ")], "\n{\"t\":1,\"x\":1}\n"),
        (r#"{"T":1}"#, vec![("t", "2")], r#"{"t":2,"T":1}"#),
        (r#"{"x":{"t":1}}"#, vec![("t", "2")], r#"{"t":2,"x":{"t":1}}"#),
        ("{}", vec![("t", "1"), ("t", "2")], r#"{"t":2}"#),
        (r#"{"t":0}"#, vec![("t", "1"), ("t", "2")], r#"{"t":2}"#),
        ("{}", vec![("q\"\n", "1")], r#"{"q\"\n":1}"#),
        (r#"{"x":1}"#, vec![], r#"{"x":1}"#),
    ] {
        assert_eq!(over(body, &members), expected);
    }
}

#[test]
fn refuses_what_is_no_object() {
    let fails = |body: &[u8]| override_members(body, &[("a", "1")]).unwrap_err();
    for body in ["[1]", "1", "\"{\"", "null", " true"] {
        assert_eq!(fails(body.as_bytes()), SpliceError::NotAnObject, "{body}");
    }
    for body in
        ["", " ", "{", "{\"a\":1", "{\"a\":1}}", "{} {}", "{a:1}", "{\"a\":01}", "{\"a\":tru}"]
    {
        assert!(matches!(fails(body.as_bytes()), SpliceError::Malformed(_)), "{body}");
    }
    assert!(matches!(fails(b"{\"a\xff\":1}"), SpliceError::Malformed(_)));
    assert!(matches!(fails(b"{\"a\":\"\xff\"}"), SpliceError::Malformed(_)));
    let bad = override_members(b"{}", &[("a", "1,\"b\":2")]);
    assert_eq!(bad, Err(SpliceError::BadValue("a".to_owned())));
}

#[test]
fn an_error_repeats_nothing_of_the_body() {
    let error = top_level_string(b"{\"model\":secret}", "model").unwrap_err();
    assert!(!error.to_string().contains("secret") && error.to_string().contains("column"));
}

#[test]
fn finds_the_model() {
    let model = |body: &str| top_level_string(body.as_bytes(), "model");
    assert_eq!(model(r#"{"x":{"model":"y"},"model":"gpt-4"}"#), Ok("gpt-4".to_owned()));
    assert_eq!(model(r#"{"mod\u0065l" : "\u5b57\n"}"#), Ok("字\n".to_owned()));
    assert_eq!(model(r#"{"x":"\ud800","model":"m"}"#), Ok("m".to_owned()));
    assert_eq!(model(r#"{"model":"a","model":"a"}"#), Err(SpliceError::Duplicate("model".into())));
    assert_eq!(
        model(r#"{"model":"a","mod\u0065l":"b"}"#),
        Err(SpliceError::Duplicate("model".into()))
    );
    assert_eq!(model(r#"{"model":"a","Model":"b"}"#), Err(SpliceError::Duplicate("model".into())));
    for other in ["model ", "\\tmodel", "model\\u0000", "model\\u0000x", "model[]"] {
        let body = format!(r#"{{"model":"a","{other}":"b"}}"#);
        assert_eq!(model(&body), Err(SpliceError::Duplicate("model".into())), "{body}");
    }
    for spelling in ["Model", "MODEL", " model", "model\\u0000", "model[]"] {
        let body = format!(r#"{{"{spelling}":"b"}}"#);
        assert_eq!(model(&body), Err(SpliceError::Misspelt("model".into())), "{body}");
    }
    assert_eq!(model("{}"), Err(SpliceError::Missing("model".into())));
    assert_eq!(model("[]"), Err(SpliceError::NotAnObject));
    for body in [r#"{"model":1}"#, r#"{"model":null}"#, r#"{"model":["a"]}"#] {
        assert_eq!(model(body), Err(SpliceError::NotAString("model".into())));
    }
    assert!(model(r#"{"model":"\ud800"}"#).is_err());
}

#[test]
fn finds_whether_a_member_is_there() {
    assert_eq!(has_member(br#"{"a":1,"PreCharge":false}"#, "precharge"), Ok(true));
    assert_eq!(has_member(br#"{"a":{"precharge":1}}"#, "precharge"), Ok(false));
    assert!(has_member(b"nope", "precharge").is_err());
}

fn body() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Into::into),
        "\\PC{0,12}".prop_map(Into::into)
    ];
    let inner = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec(("[a-c\"é]{0,2}", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    });
    prop::collection::vec(("[a-c\"é]{0,2}", inner), 0..6)
        .prop_map(|pairs| Value::Object(pairs.into_iter().collect()))
}

proptest! {
    #[test]
    fn means_what_serde_json_would_mean(
        value in body(),
        pretty in any::<bool>(),
        members in prop::collection::vec(("[a-c\"é]{0,2}", any::<i32>()), 0..4),
    ) {
        let text =
            if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        let given: Vec<_> = members.iter().map(|(k, v)| (k.clone(), v.to_string())).collect();
        let out = override_members(text.as_bytes(), &given).unwrap();
        let mut expected = value;
        for (key, number) in &members {
            expected[key.as_str()] = (*number).into();
        }
        let got: Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(got, expected);
        let named = |key: &str| members.iter().any(|(k, _)| k == key);
        if members.is_empty() {
            prop_assert_eq!(&out[..], text.as_bytes());
        }
        // Each member that is not named keeps its bytes.
        type Members<'a> = std::collections::BTreeMap<String, &'a RawValue>;
        let raw: Members<'_> = serde_json::from_str(&text).unwrap();
        let after: std::collections::BTreeMap<String, &RawValue> =
            serde_json::from_slice(&out).unwrap();
        for (key, value) in raw {
            if !named(&key) {
                prop_assert_eq!(value.get(), after[&key].get());
            }
        }
    }

    #[test]
    fn noise_does_no_harm(body in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = override_members(&body, &[("a", "1")]);
        let _ = top_level_string(&body, "model");
        let _ = has_member(&body, "a");
    }
}

#[test]
fn members_that_are_looked_at_stand_alone() {
    let alone = |body: &str| {
        let found = members_alone(body.as_bytes(), &["models", "route", "models"])?;
        Ok(found.map(|bytes| String::from_utf8(bytes).unwrap()))
    };
    let body = r#"{"a":1, "models" : ["x" ], "b":{"route":1}, "route":null}"#;
    assert_eq!(alone(body), Ok(Some(r#"{"models":["x" ],"route":null}"#.to_owned())));
    assert_eq!(alone(r#"{"a":{"models":1}}"#), Ok(None));
    assert_eq!(alone(r#"{"m\u006fdels":1}"#), Ok(Some(r#"{"models":1}"#.to_owned())));
    let twice = Err(SpliceError::Duplicate("models".into()));
    assert_eq!(alone(r#"{"models":1,"Models":2}"#), twice);
    assert_eq!(alone(r#"{"Models":2}"#), Err(SpliceError::Misspelt("models".into())));
    assert_eq!(alone("[]"), Err(SpliceError::NotAnObject));
}
