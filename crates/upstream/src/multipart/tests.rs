use super::*;
use proptest::prelude::*;

const BOUNDARY: &str = "XX";

fn form(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut body = String::new();
    for (headers, value) in parts {
        body.push_str(&format!("--XX\r\n{headers}\r\n\r\n{value}\r\n"));
    }
    body.push_str("--XX--\r\n");
    body.into_bytes()
}

fn model(parts: &[(&str, &str)]) -> Result<String, MultipartError> {
    field(BOUNDARY, &form(parts), "model").map(|field| field.text)
}

const MODEL: &str = "Content-Disposition: form-data; name=\"model\"";
const FILE: &str = "Content-Disposition: form-data; name=\"file\"; filename=\"a;b\\\\.wav\"\r\n\
    Content-Type: audio/wav";

#[test]
fn finds_the_model() {
    assert_eq!(model(&[(FILE, "RIFF\r\n--X\r\n"), (MODEL, "whisper-1")]), Ok("whisper-1".into()));
    let plain = "content-disposition: FORM-DATA; name=model\r\nContent-Type: text/plain";
    assert_eq!(model(&[(plain, "字")]), Ok("字".into()));
    assert_eq!(model(&[(MODEL, "")]), Ok(String::new()));
}

#[test]
fn refuses_what_can_be_read_in_two_ways() {
    use MultipartError::{Duplicate, Malformed, Missing, NotText};
    assert_eq!(model(&[(FILE, "x")]), Err(Missing("model".into())));
    assert_eq!(model(&[(MODEL, "a"), (MODEL, "b")]), Err(Duplicate("model".into())));
    let array = "Content-Disposition: form-data; name=\"model[]\"";
    for name in ["model[]", "[model]", "[model", "%5Bmodel%5D", ".model", "[model].x"] {
        let other = &*format!("Content-Disposition: form-data; name=\"{name}\"");
        for parts in [[(MODEL, "a"), (other, "b")], [(other, "b"), (MODEL, "a")]] {
            assert!(model(&parts).is_err(), "{name}");
        }
    }
    assert_eq!(model(&[(MODEL, "a"), (array, "b")]), Err(Duplicate("model".into())));
    for headers in [
        "Content-Disposition: form-data; name=\"model\"; filename=\"x\"",
        "Content-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: base64",
        "Content-Disposition: form-data; name=\"model\"\r\nContent-Type: application/json",
        "Content-Disposition: form-data; name=\"model\"\r\nContent-Type: text/plain; charset=utf-7",
        "Content-Disposition: form-data; name=\"Model\"",
        "Content-Disposition: form-data; name=\"mod%65l\"",
        "Content-Disposition: form-data; name=\" model.x\"",
        array,
    ] {
        assert_eq!(model(&[(headers, "a")]), Err(NotText("model".into())), "{headers}");
    }
    for headers in [
        "Content-Disposition: form-data; name=\"model\"; name=\"x\"",
        "Content-Disposition: form-data; name=\"x\"; name*=utf-8''model",
        "Content-Disposition: form-data; name=\"x\"\r\nContent-Disposition: form-data; name=model",
        "Content-Disposition: form-data; name*0=\"mod\"; name*1=\"el\"",
        "Content-Disposition: form-data; name=\"x\"; name*0=\"model\"",
        "Content-Disposition: form-data; name=\"mod\\el\"",
        "Content-Disposition: form-data; name=\"=?utf-8?B?bW9kZWw=?=\"",
        "Content-Disposition: form-data; name=\"a%22; name=%22model\"",
        "Content-Disposition: form-data; x=\"; name=model\"; name=\"a\"",
        "Content-Disposition: form-data; filename=\"; name=model\"; name=\"a\"",
        "Content-Disposition: form-data; name = \"model\"",
        "Content-Disposition: form-data; name=\"f\"; filename=a; filename=b",
        "Content-Disposition: form-data; name=\"f\"; filename*0=a",
        "Content-Disposition: form-data",
        "Content-Disposition: form-data;\r\n name=\"model\"",
        "Content-Disposition: form-data; name=\"model",
        "Content-Disposition: attachment; name=\"model\"",
        "no colon",
    ] {
        assert_eq!(model(&[(headers, "a")]), Err(Malformed), "{headers}");
    }
    assert_eq!(model(&[(MODEL, &"x".repeat(2000))]), Err(NotText("model".into())));
}

#[test]
fn refuses_stray_delimiters_and_broken_ends() {
    let whole = String::from_utf8(form(&[(FILE, "x"), (MODEL, "m")])).unwrap();
    for body in [
        whole.replace("\r\n--XX--", "\n--XX--"),
        whole.replace("\r\n\r\nx\r\n--XX", "\r\n\r\n--XX"),
        whole.replace("x\r\n", "x--XX\r\n"),
        whole.replace("--XX--\r\n", "--XX"),
        whole.replace("--XX--\r\n", ""),
        whole.replace("--XX--\r\n", "--XXY\r\n"),
        whole.clone() + "--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nn\r\n--XX--",
        format!("preamble\r\n{whole}"),
        String::new(),
    ] {
        assert_eq!(
            field(BOUNDARY, body.as_bytes(), "model"),
            Err(MultipartError::Malformed),
            "{body}"
        );
    }
}

#[test]
fn maps_a_model() {
    let body = form(&[(FILE, "\u{0}\u{1}"), (MODEL, "old"), (FILE, "y")]);
    let found = field(BOUNDARY, &body, "model").unwrap();
    let mapped = replace(&body, &found, "newer").unwrap();
    assert_eq!(mapped, form(&[(FILE, "\u{0}\u{1}"), (MODEL, "newer"), (FILE, "y")]));
    assert_eq!(replace(&body, &found, "a\r\n--XX"), Err(MultipartError::Malformed));
}

/// How the multer crate parses it, for comparison.
fn multer_reads(body: Vec<u8>) -> Option<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let stream = futures_util::stream::once(async { Ok::<_, std::io::Error>(body) });
        let mut form = multer::Multipart::new(stream, "XX");
        let mut models = Vec::new();
        while let Some(field) = form.next_field().await.ok()? {
            let is_model = field.name() == Some("model");
            let text = field.bytes().await.ok()?;
            if is_model {
                models.push(String::from_utf8(text.to_vec()).ok()?);
            }
        }
        Some(models)
    })
}

proptest! {
    #[test]
    fn agrees_with_another_reader(
        parts in prop::collection::vec((any::<bool>(), "[ -~é\r\n]{0,20}"), 0..5),
        noise in prop::option::of((any::<usize>(), any::<u8>())),
    ) {
        let parts: Vec<_> =
            parts.iter().map(|(m, v)| (if *m { MODEL } else { FILE }, v.as_str())).collect();
        let mut body = form(&parts);
        if let Some((at, byte)) = noise {
            let at = at % body.len();
            body[at] = byte;
        }
        // A form that multer refuses does no harm: an upstream like it refuses the request.
        let read = (field(BOUNDARY, &body, "model"), multer_reads(body.clone()));
        if let (Ok(found), Some(theirs)) = read {
            prop_assert_eq!(theirs, vec![found.text]);
        }
    }
}

#[test]
fn a_form_reads_as_json() {
    let named = |name: &str| format!("Content-Disposition: form-data; name=\"{name}\"");
    let (size, array, encoded) = (named("size"), named("n[]"), named("%73ize"));
    let parts = [(FILE, "RIFF"), (&*size, "a\"b"), (&*array, "2")];
    assert_eq!(as_json(BOUNDARY, &form(&parts)).unwrap(), r#"{"[file":"","size":"a\"b","n":"2"}"#);
    let twice = as_json(BOUNDARY, &form(&[(&*size, "a"), (&*encoded, "b")])).unwrap();
    assert_eq!(twice, r#"{"size":"a","[size":""}"#);
    let names = ["[size]", ".size", "max.tokens"].map(named);
    let odd: Vec<_> = names.iter().map(|name| (&**name, "a")).collect();
    let cut = r#"{"[[size]":"","[[size":"","[max[tokens":""}"#;
    assert_eq!(as_json(BOUNDARY, &form(&odd)).unwrap(), cut);
    assert_eq!(as_json(BOUNDARY, b"odd"), Err(MultipartError::Malformed));
}
