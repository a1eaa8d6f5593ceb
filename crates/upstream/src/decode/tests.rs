use super::*;
use flate2::Compression;
use http::HeaderValue;

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("memory");
    encoder.finish().expect("memory")
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("memory");
    encoder.finish().expect("memory")
}

fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("memory");
    encoder.finish().expect("memory")
}

fn decoded(encodings: &[&'static str]) -> Decoded<Vec<u8>> {
    let mut headers = HeaderMap::new();
    for encoding in encodings {
        headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    Decoded::for_headers(&headers, Vec::new())
}

#[test]
fn decodes_byte_by_byte() {
    let body = br#"{"code":0,"usage":{"prompt_tokens":4}}"#;
    let twice = [gzip(&body[..10]), gzip(&body[10..])].concat();
    for (encoding, bytes) in [
        ("gzip", gzip(body)),
        ("X-GZIP", gzip(body)),
        ("identity, gzip", gzip(body)),
        ("gzip", twice),
        ("deflate", zlib(body)),
        ("deflate", deflate(body)),
        ("identity", body.to_vec()),
        ("", body.to_vec()),
    ] {
        let mut decoded = decoded(&[encoding]);
        for byte in &bytes {
            decoded.feed(&[*byte]);
        }
        assert_eq!(decoded.finish(), Ok(Some(body.to_vec())), "{encoding}");
    }
}

#[test]
fn says_why_it_can_not_decode() {
    let cut = gzip(b"{}")[..15].to_vec();
    for (encodings, body, why) in [
        (["br"].as_slice(), b"xx".to_vec(), "content_encoding"),
        (&["gzip, gzip"], gzip(&gzip(b"{}")), "content_encoding"),
        (&["gzip", "gzip"], gzip(&gzip(b"{}")), "content_encoding"),
        (&["gzip"], b"{\"code\":0}".to_vec(), "broken_encoding"),
        (&["gzip"], cut, "broken_encoding"),
        (&["gzip"], gzip(&vec![b' '; 64 << 20]), "inflates_too_far"),
    ] {
        let mut decoded = decoded(encodings);
        decoded.feed(&body);
        assert_eq!(decoded.finish(), Err(why), "{encodings:?}");
    }
}

#[test]
fn keeps_what_was_decoded_before_it_broke() {
    let body: Vec<u8> = (0..40_000_u32).flat_map(|n| format!("event {n} ").into_bytes()).collect();
    for (encoding, bytes) in [("gzip", gzip(&body)), ("deflate", zlib(&body))] {
        let half = &bytes[..bytes.len() / 2];
        let broken = [half, &[0xff; 64]].concat();
        for (part, pieces) in [(half, 7), (half, half.len()), (&broken[..], 100)] {
            let mut decoded = decoded(&[encoding]);
            part.chunks(pieces).for_each(|piece| decoded.feed(piece));
            let (read, why) = decoded.finish_in_part();
            let read = read.expect("what it was decoded into");
            assert_eq!(why, Some(BROKEN_ENCODING), "{encoding}");
            assert!(body.starts_with(&read[..read.len().min(100_000)]), "{encoding}");
            assert!(read.len() > body.len() / 3, "{encoding}: {} of {}", read.len(), body.len());
        }
        assert_eq!(decoded(&[encoding]).finish_in_part(), (Some(Vec::new()), None), "{encoding}");
    }
}

#[test]
fn leaves_what_nothing_reads() {
    let mut undecoded = Decoded::undecoded(Vec::new());
    undecoded.feed(b"no gzip");
    assert_eq!(undecoded.finish(), Ok(Some(b"no gzip".to_vec())));
}
