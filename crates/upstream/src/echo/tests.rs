use super::*;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;
use std::io::Write;

const KEY: &str = "sk-0123456789abc";

fn guard() -> EchoGuard {
    EchoGuard::of(KEY, &[]).unwrap()
}

#[test]
fn short_keys_are_not_looked_for() {
    assert!(EchoGuard::of("sk-0123456789ab", &[]).is_none() && EchoGuard::of("", &[]).is_none());
    assert!(!format!("{:?}", guard()).contains("0123"));
}

#[test]
fn each_form_of_a_key_is_looked_for() {
    let guard = EchoGuard::of("id:a/secret+with/all", &["a/secret+with/all", "short"]).unwrap();
    for text in [
        "key=a/secret+with/all",
        r#"{"key":"a\/secret+with\/all"}"#,
        r#"{"key":"a/secret\u002Bwith/all"}"#,
    ] {
        assert!(guard.finds(text.as_bytes()), "{text}");
    }
    assert!(!guard.finds(b"a/secret with/all, short"));
    let text = r#"x a\/secret+with\/all.and-more, a/secret+with/all"#;
    assert_eq!(guard.masked(text), "x ***, ***");
    assert!(
        EchoGuard::of("short", &["a-form-that-is-long"]).unwrap().finds(b"a-form-that-is-long")
    );
}

#[test]
fn headers_and_types() {
    let mut headers = HeaderMap::new();
    headers.append("x-seen", format!("Bearer {KEY}").parse().unwrap());
    headers.append("x-other", "1".parse().unwrap());
    assert!(guard().clean(&mut headers) && !guard().clean(&mut headers));
    assert_eq!(headers.len(), 1);
    headers.append(CONTENT_TYPE, "Message/HTTP; msgtype=request".parse().unwrap());
    assert!(is_repeated_request(&headers));
    headers.insert(CONTENT_TYPE, "message/http2".parse().unwrap());
    assert!(!is_repeated_request(&headers));
}

fn coded(coding: &str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_ENCODING, coding.parse().unwrap())])
}

fn watch(coding: &str, withholds: bool) -> EchoWatch {
    let headers = coded(coding);
    let watch =
        if withholds { guard().withholding_watch(&headers) } else { guard().watch(&headers) };
    watch.unwrap_or_else(|_| panic!("{coding} can't be read"))
}

/// What is passed on of a text in pieces of these lengths; an error where it is cut.
fn passed(text: &str, cuts: &[usize], withholds: bool) -> (String, Result<(), Echoed>) {
    let mut watch = watch("", withholds);
    let (mut out, mut rest) = (Vec::new(), Bytes::copy_from_slice(text.as_bytes()));
    let mut cuts = cuts.iter().copied().cycle();
    while !rest.is_empty() {
        let length = cuts.next().unwrap_or(1).clamp(1, rest.len());
        match watch.pass(rest.split_to(length)) {
            Ok(piece) => out.extend_from_slice(&piece),
            Err(echoed) => return (String::from_utf8(out).unwrap(), Err(echoed)),
        }
    }
    out.extend_from_slice(&watch.rest());
    (String::from_utf8(out).unwrap(), Ok(()))
}

proptest! {
    #[test]
    fn the_key_is_found_however_it_is_cut(
        before in "[sk0-9-]{0,40}", after in "[sk0-9-]{0,40}",
        cuts in prop::collection::vec(1_usize..50, 1..6), withholds in any::<bool>(),
    ) {
        let text = format!("{before}{KEY}{after}");
        let (out, ended) = passed(&text, &cuts, withholds);
        prop_assert_eq!(ended, Err(Echoed::Key));
        prop_assert!(!out.contains(KEY) && text.starts_with(&out));
        prop_assert!(!withholds || out.len() <= before.len());
    }

    #[test]
    fn other_text_passes_unchanged(
        text in "[sk0-9a-c-]{0,90}", cuts in prop::collection::vec(1_usize..50, 1..6),
        withholds in any::<bool>(),
    ) {
        prop_assume!(!text.contains(KEY));
        prop_assert_eq!(passed(&text, &cuts, withholds), (text, Ok(())));
    }
}

fn packed(kind: &str, text: &[u8]) -> Vec<u8> {
    let level = Compression::default();
    match kind {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        "zlib" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        _ => {
            let mut encoder = DeflateEncoder::new(Vec::new(), level);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// Unpacks as much as there is.
fn unpacked(kind: &str, bytes: &[u8]) -> Vec<u8> {
    let coding = if kind == "gzip" { Coding::Gzip } else { Coding::Deflate };
    let Ok(mut decoder) = crate::decode::Decoder::up_to(coding, Vec::new(), 1 << 20) else {
        panic!()
    };
    let _ = decoder.feed(bytes).and_then(|()| decoder.flush());
    decoder.get_ref().unwrap().clone()
}

#[test]
fn the_key_is_found_in_what_is_compressed() {
    let noise: Vec<u8> =
        (0..40_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let text = [&noise[..], KEY.as_bytes(), &noise[..9_000]].concat();
    for (kind, coding) in [("gzip", "x-GZIP"), ("zlib", "deflate"), ("raw", "deflate")] {
        for withholds in [false, true] {
            for cut in [1, 7, 1_000, 100_000] {
                let (mut watch, mut passed) = (watch(coding, withholds), Vec::new());
                let body = packed(kind, &text);
                let found = body.chunks(cut).try_for_each(|piece| {
                    passed.extend(watch.pass(Bytes::copy_from_slice(piece))?);
                    Ok(())
                });
                assert_eq!(found, Err(Echoed::Key), "{kind} {withholds} {cut}");
                let seen = unpacked(kind, &passed).len();
                assert!(!withholds || seen <= noise.len(), "{kind} {cut}: {seen}");
            }
        }
        let body = Bytes::from(packed(kind, &text));
        assert_eq!(guard().search(&coded(coding), &body), Err(Echoed::Key), "{kind}");
        let clean = packed(kind, &noise);
        for cut in [1, 7, 100_000] {
            let (mut watch, mut passed) = (watch(coding, true), Vec::new());
            for piece in clean.chunks(cut) {
                passed.extend(watch.pass(Bytes::copy_from_slice(piece)).unwrap());
            }
            passed.extend(watch.rest());
            assert!(passed == clean, "{kind} {cut}");
        }
    }
    let two = [packed("gzip", b"first"), packed("gzip", KEY.as_bytes())].concat();
    assert_eq!(guard().search(&coded("gzip"), &two.into()), Err(Echoed::Key));
}

#[test]
fn what_can_not_be_searched_is_not_passed_on() {
    let body = Bytes::from_static(b"not compressed at all");
    for coding in ["br", "zstd", "gzip, gzip", "compress", "gzip", "\u{e9}"] {
        let found = guard().search(&coded(coding), &body);
        assert_eq!(found, Err(Echoed::Unreadable), "{coding}");
    }
    assert_eq!(guard().search(&coded("br"), &Bytes::new()), Ok(()));
    assert_eq!(guard().search(&coded("identity"), &body), Ok(()));
    for (transfer, readable) in [("chunked", true), ("gzip, chunked", false), ("gzip", false)] {
        let headers = HeaderMap::from_iter([(TRANSFER_ENCODING, transfer.parse().unwrap())]);
        assert_eq!(guard().search(&headers, &body).is_ok(), readable, "{transfer}");
    }
    // Endless pieces of nothing are not collected.
    let mut watch = watch("deflate", true);
    let empty_blocks = Bytes::from([0, 0, 0, 0xff, 0xff].repeat(1_000));
    let ended = (0..100).try_for_each(|_| watch.pass(empty_blocks.clone()).map(drop));
    assert_eq!(ended, Err(Echoed::Unreadable));
}

#[test]
fn the_key_is_found_as_it_stands_in_an_address() {
    let guard = EchoGuard::of(KEY, &["sk%2D0123456789abc"]).unwrap();
    assert!(guard.finds(b"/v1?key=sk%2D0123456789abc") && guard.finds(KEY.as_bytes()));
    let mut watch = guard.watch(&HeaderMap::new()).unwrap();
    assert!(watch.pass(Bytes::from_static(b"key=sk%2D0123")).is_ok());
    assert_eq!(watch.pass(Bytes::from_static(b"456789abc")), Err(Echoed::Key));
}

#[test]
fn clients_are_sent_what_can_be_searched() {
    for (accepts, kept) in [
        ("gzip, deflate, br, zstd", "gzip, deflate"),
        ("br;q=1, gzip;q=0.5", "gzip;q=0.5"),
        ("*", "identity"),
        ("br", "identity"),
    ] {
        let mut headers = HeaderMap::from_iter([(ACCEPT_ENCODING, accepts.parse().unwrap())]);
        keep_readable_codings(&mut headers);
        assert_eq!(headers[ACCEPT_ENCODING], kept, "{accepts}");
    }
    let mut none = HeaderMap::new();
    keep_readable_codings(&mut none);
    assert!(none.is_empty());
}
