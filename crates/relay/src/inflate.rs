//! Decompresses request bodies, to count or to read them.

use crate::inlet::InletError;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use std::io::{self, Write};

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
        let coding = headers.get(CONTENT_ENCODING)?.to_str().ok()?.trim();
        let is = |name: &str| coding.eq_ignore_ascii_case(name);
        let decoder = if is("gzip") || is("x-gzip") {
            let sink = Sink { bytes: 0, limit_bytes, kept: None };
            Decoder::Gzip(Box::new(MultiGzDecoder::new(sink)))
        } else if is("deflate") {
            Decoder::Undecided
        } else {
            return None;
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
    let coding = headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    let is = |name: &str| coding.is_some_and(|coding| coding.trim().eq_ignore_ascii_case(name));
    let sink = Sink { bytes: 0, limit_bytes, kept: Some(Vec::new()) };
    let read = |read: io::Result<Sink>| match read {
        Ok(sink) => Ok(sink.kept),
        Err(e) => Err(inlet_error(&e, limit_bytes)),
    };
    if is("gzip") || is("x-gzip") {
        let mut decoder = MultiGzDecoder::new(sink);
        read(decoder.write_all(body).and_then(|()| decoder.finish()))
    } else if is("deflate") && body.first().copied().is_some_and(is_zlib) {
        let mut decoder = ZlibDecoder::new(sink);
        read(decoder.write_all(body).and_then(|()| decoder.finish()))
    } else if is("deflate") {
        let mut decoder = DeflateDecoder::new(sink);
        read(decoder.write_all(body).and_then(|()| decoder.finish()))
    } else {
        Ok(None)
    }
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
    fn rubbish_is_distinguished_from_too_much() {
        let mut inflation = Inflation::of(&headers("gzip"), 100).unwrap();
        assert!(matches!(inflation.take(&[0; 64]), Err(InletError::Undecodable)));
        assert!(Inflation::of(&headers("br"), 100).is_none());
        assert!(Inflation::of(&HeaderMap::new(), 100).is_none());
        assert!(is_compressed(&headers("br")) && !is_compressed(&headers("identity")));
    }
}
