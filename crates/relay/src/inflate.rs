//! Decompresses bodies, to count or to read them.

use crate::inlet::InletError;
use brotli_decompressor::Decompressor;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use std::borrow::Cow;
use std::io::{self, Read, Write};

/// The most that is inflated of a reply.
const MAX_REPLY_BYTES: u64 = 8 * 1024 * 1024;

/// The largest window of zstd (8 MiB), which RFC 8878 says every decoder should support. Brotli's
/// own limit is 16 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;

/// The coding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyCoding {
    Gzip,
    Deflate,
    Zstd,
    Brotli,
}

impl BodyCoding {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let coding = headers.get(CONTENT_ENCODING)?.to_str().ok()?.trim();
        let is = |name: &str| coding.eq_ignore_ascii_case(name);
        Some(match () {
            () if is("gzip") || is("x-gzip") => Self::Gzip,
            () if is("deflate") => Self::Deflate,
            () if is("zstd") => Self::Zstd,
            () if is("br") => Self::Brotli,
            () => return None,
        })
    }
}

/// Whether a body is collected because its coding needs it: a window of megabytes for each body
/// that arrives would be memory that is counted nowhere. Decoded in one step, it is there for as
/// long as the step takes.
pub(crate) fn must_be_whole(headers: &HeaderMap) -> bool {
    matches!(BodyCoding::of(headers), Some(BodyCoding::Zstd | BodyCoding::Brotli))
}

/// Checks the size of a whole body of such a coding.
pub(crate) fn check_size(
    headers: &HeaderMap,
    body: &[u8],
    limit_bytes: u64,
) -> Result<(), InletError> {
    let mut sink = Sink { bytes: 0, limit_bytes, kept: None };
    match BodyCoding::of(headers) {
        Some(BodyCoding::Zstd) => unzstd(body, &mut sink, limit_bytes),
        Some(BodyCoding::Brotli) => unbrotli(body, &mut sink, limit_bytes),
        _ => Ok(()),
    }
}

fn unzstd(body: &[u8], sink: &mut Sink, limit_bytes: u64) -> Result<(), InletError> {
    let copied = zstd::stream::read::Decoder::with_buffer(body).and_then(|mut decoder| {
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        io::copy(&mut decoder, sink)
    });
    copied.map(drop).map_err(|e| inlet_error(&e, limit_bytes))
}

fn unbrotli(body: &[u8], sink: &mut Sink, limit_bytes: u64) -> Result<(), InletError> {
    let mut decoder = Decompressor::new(body, 4096);
    let copied = io::copy(&mut decoder, sink).map_err(|e| inlet_error(&e, limit_bytes))?;
    // What it has not read itself lies behind the end: another reader might read it.
    let is_over = copied > 0 && decoder.get_mut().read(&mut [0]).is_ok_and(|bytes| bytes == 0);
    if is_over { Ok(()) } else { Err(InletError::Undecodable) }
}

/// Decompresses a copy of a body, only to know its size. Constant memory.
pub(crate) struct Inflation {
    decoder: Decoder,
    limit_bytes: u64,
}

enum Decoder {
    Gzip(Box<MultiGzDecoder<Sink>>),
    /// `deflate` has two meanings: the first byte decides.
    Undecided,
    Zlib(Box<ZlibDecoder<Sink>>),
    Raw(Box<DeflateDecoder<Sink>>),
}

/// Counts, and optionally stores.
struct Sink {
    bytes: u64,
    limit_bytes: u64,
    kept: Option<Vec<u8>>,
}

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.bytes += data.len() as u64;
        if self.bytes > self.limit_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(data);
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Inflation {
    /// For a body with these headers, if its compression is supported.
    pub(crate) fn of(headers: &HeaderMap, limit_bytes: u64) -> Option<Self> {
        let decoder = match BodyCoding::of(headers)? {
            BodyCoding::Gzip => {
                let sink = Sink { bytes: 0, limit_bytes, kept: None };
                Decoder::Gzip(Box::new(MultiGzDecoder::new(sink)))
            }
            BodyCoding::Deflate => Decoder::Undecided,
            BodyCoding::Zstd | BodyCoding::Brotli => return None,
        };
        Some(Self { decoder, limit_bytes })
    }

    /// Takes the next piece.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Result<(), InletError> {
        if let (Decoder::Undecided, Some(&first)) = (&self.decoder, piece.first()) {
            let sink = Sink { bytes: 0, limit_bytes: self.limit_bytes, kept: None };
            self.decoder = if is_zlib(first) {
                Decoder::Zlib(Box::new(ZlibDecoder::new(sink)))
            } else {
                Decoder::Raw(Box::new(DeflateDecoder::new(sink)))
            };
        }
        let written = match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.write_all(piece),
            Decoder::Zlib(decoder) => decoder.write_all(piece),
            Decoder::Raw(decoder) => decoder.write_all(piece),
            Decoder::Undecided => Ok(()),
        };
        written.map_err(|e| inlet_error(&e, self.limit_bytes))
    }

    /// Counts what the decoder still had. A truncated body is left to the upstream to judge.
    pub(crate) fn finish(&mut self) -> Result<(), InletError> {
        let finished = match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.try_finish(),
            Decoder::Zlib(decoder) => decoder.try_finish(),
            Decoder::Raw(decoder) => decoder.try_finish(),
            Decoder::Undecided => Ok(()),
        };
        match finished.map_err(|e| inlet_error(&e, self.limit_bytes)) {
            Err(InletError::TooLarge { limit_bytes }) => Err(InletError::TooLarge { limit_bytes }),
            _ => Ok(()),
        }
    }
}

/// Whether a body is compressed, supported or not.
pub(crate) fn is_compressed(headers: &HeaderMap) -> bool {
    let coding = headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    coding.is_some_and(|coding| !coding.trim().eq_ignore_ascii_case("identity"))
}

/// A complete body, decompressed. `None` when its compression is not supported.
pub(crate) fn inflate(
    headers: &HeaderMap,
    body: &[u8],
    limit_bytes: u64,
) -> Result<Option<Vec<u8>>, InletError> {
    let mut sink = Sink { bytes: 0, limit_bytes, kept: Some(Vec::new()) };
    let decoded = match BodyCoding::of(headers) {
        None => return Ok(None),
        Some(BodyCoding::Zstd) => return unzstd(body, &mut sink, limit_bytes).map(|()| sink.kept),
        Some(BodyCoding::Brotli) => {
            return unbrotli(body, &mut sink, limit_bytes).map(|()| sink.kept);
        }
        Some(BodyCoding::Gzip) => {
            let mut decoder = MultiGzDecoder::new(sink);
            decoder.write_all(body).and_then(|()| decoder.finish())
        }
        Some(BodyCoding::Deflate) if body.first().copied().is_some_and(is_zlib) => {
            let mut decoder = ZlibDecoder::new(sink);
            decoder.write_all(body).and_then(|()| decoder.finish())
        }
        Some(BodyCoding::Deflate) => {
            let mut decoder = DeflateDecoder::new(sink);
            decoder.write_all(body).and_then(|()| decoder.finish())
        }
    };
    decoded.map(|sink| sink.kept).map_err(|e| inlet_error(&e, limit_bytes))
}

/// A complete reply of an upstream, decoded, if it can be.
pub(crate) fn decoded<'a>(headers: &HeaderMap, bytes: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    if !is_compressed(headers) {
        return Some(Cow::Borrowed(bytes));
    }
    inflate(headers, bytes, MAX_REPLY_BYTES).ok().flatten().map(Cow::Owned)
}

const fn is_zlib(first: u8) -> bool {
    first & 0x0f == 8 && first >> 4 <= 7
}

fn inlet_error(error: &io::Error, limit_bytes: u64) -> InletError {
    match error.kind() {
        io::ErrorKind::FileTooLarge => InletError::TooLarge { limit_bytes },
        _ => InletError::Undecodable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    fn headers(coding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(coding))])
    }

    fn packed(kind: &str, data: &[u8]) -> Vec<u8> {
        let level = Compression::default();
        match kind {
            "gzip" => {
                let mut encoder = GzEncoder::new(Vec::new(), level);
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            "zlib" => {
                let mut encoder = ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            _ => {
                let mut encoder = DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    #[test]
    fn what_is_packed_is_counted_unpacked() {
        let data = vec![b'x'; 100_000];
        for (kind, coding) in [("gzip", "gzip"), ("zlib", "deflate"), ("raw", "deflate")] {
            let body = packed(kind, &data);
            assert!(body.len() < 1_000);
            for (limit, fits) in [(100_000, true), (99_999, false)] {
                let mut inflation = Inflation::of(&headers(coding), limit).unwrap();
                let taken = body.chunks(7).try_for_each(|piece| inflation.take(piece));
                let taken = taken.and_then(|()| inflation.finish());
                assert_eq!(taken.is_ok(), fits, "{kind} {limit}");
                let whole = inflate(&headers(coding), &body, limit);
                assert_eq!(whole.ok().flatten().as_ref(), fits.then_some(&data), "{kind}");
            }
        }
    }

    #[test]
    fn large_windows_are_decoded_in_one_step() {
        let data = vec![b'x'; 100_000];
        // 100 000 times "x", as Node compresses it.
        let brotli =
            [0x5b, 0x9f, 0x86, 0x81, 0x5f, 0x02, 0x2f, 0x1e, 0x0b, 0x04, 0xb2, 0xfc, 0x02, 0x00];
        for (coding, body) in
            [("zstd", zstd::encode_all(&data[..], 3).unwrap()), ("br", brotli.to_vec())]
        {
            let headers = headers(coding);
            assert!(must_be_whole(&headers) && Inflation::of(&headers, 1).is_none());
            assert_eq!(inflate(&headers, &body, 100_000).unwrap().unwrap(), data, "{coding}");
            assert!(check_size(&headers, &body, 100_000).is_ok(), "{coding}");
            let too_large = check_size(&headers, &body, 99_999);
            assert!(matches!(too_large, Err(InletError::TooLarge { .. })), "{coding}");
            let cut = check_size(&headers, &body[..body.len() - 1], 100_000);
            assert!(matches!(cut, Err(InletError::Undecodable)), "{coding}: {cut:?}");
            let more = [&body[..], &[0; 5_000]].concat();
            let more = check_size(&headers, &more, 100_000);
            assert!(matches!(more, Err(InletError::Undecodable)), "{coding}: {more:?}");
        }
        let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        wide.window_log(27).unwrap();
        wide.write_all(&data).unwrap();
        let wide = wide.finish().unwrap();
        assert!(check_size(&headers("zstd"), &wide, 100_000).is_err(), "a window of 128 MiB");
    }

    #[test]
    fn rubbish_is_distinguished_from_too_much() {
        let mut inflation = Inflation::of(&headers("gzip"), 100).unwrap();
        assert!(matches!(inflation.take(&[0; 64]), Err(InletError::Undecodable)));
        assert!(Inflation::of(&headers("br"), 100).is_none() && must_be_whole(&headers("br")));
        for coding in ["br", "zstd", "gzip"] {
            let read = inflate(&headers(coding), b"rubbish, and not compressed", 100);
            assert!(matches!(read, Err(InletError::Undecodable)), "{coding}");
        }
        assert!(Inflation::of(&HeaderMap::new(), 100).is_none());
        assert!(is_compressed(&headers("br")) && !is_compressed(&headers("identity")));
    }
}
