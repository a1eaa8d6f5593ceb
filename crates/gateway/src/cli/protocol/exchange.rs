//! A request and a reply as people save them: the body alone, or all of it.

use anyhow::{Context, bail};

/// A request of a file.
#[derive(Debug, Default)]
pub(super) struct SavedRequest {
    /// Method and path, where the file has its request line.
    pub call: Option<String>,
    /// All of its headers, one a line.
    pub headers: String,
    /// The body.
    pub body: Vec<u8>,
}

/// A reply of a file.
#[derive(Debug)]
pub(super) struct SavedReply {
    /// The status; 200 where the file has no status line.
    pub status: u16,
    /// The header `content-type`.
    pub content_type: Option<String>,
    /// All of them, one a line.
    pub headers: String,
    /// The body.
    pub body: Vec<u8>,
}

impl SavedRequest {
    /// Reads it.
    ///
    /// # Errors
    /// When its head can't be read, or its body is compressed.
    pub(super) fn parse(file: Vec<u8>) -> anyhow::Result<Self> {
        let is_request = |line: &str| {
            let mut words = line.split(' ');
            let method = words.next().unwrap_or_default();
            !method.is_empty()
                && method.bytes().all(|byte| byte.is_ascii_uppercase())
                && words.next().is_some_and(|path| path.starts_with('/'))
        };
        let Some((head, body)) = split(&file, is_request)? else {
            return Ok(Self { body: file, ..Self::default() });
        };
        let call = head.first.split(' ').take(2).collect::<Vec<_>>().join(" ");
        if head.header("content-encoding").is_some() {
            bail!("the request is compressed: save it as it was before");
        }
        Ok(Self { call: Some(call), headers: head.lines(), body })
    }
}

impl SavedReply {
    /// Reads it.
    ///
    /// # Errors
    /// When its head can't be read, or its body is compressed.
    pub(super) fn parse(file: Vec<u8>) -> anyhow::Result<Self> {
        let Some((head, body)) = split(&file, |line| line.starts_with("HTTP/"))? else {
            return Ok(Self {
                status: 200,
                content_type: None,
                headers: String::new(),
                body: file,
            });
        };
        let status = head.first.split(' ').nth(1).and_then(|status| status.parse().ok());
        if head.header("content-encoding").is_some() {
            bail!(
                "the reply is compressed: save it with `curl --compressed`, or without the header"
            );
        }
        Ok(Self {
            status: status.context("the status line has no status")?,
            content_type: head.header("content-type").map(str::to_owned),
            headers: head.lines(),
            body,
        })
    }
}

struct SavedHead {
    first: String,
    headers: Vec<(String, String)>,
}

impl SavedHead {
    fn lines(&self) -> String {
        self.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
    }

    fn header(&self, wanted: &str) -> Option<&str> {
        let named = |(name, _): &&(String, String)| name.eq_ignore_ascii_case(wanted);
        self.headers.iter().find(named).map(|(_, value)| value.as_str())
    }
}

/// The head and the body, where the file's first line is one that a head begins with.
fn split(
    file: &[u8],
    begins: impl Fn(&str) -> bool,
) -> anyhow::Result<Option<(SavedHead, Vec<u8>)>> {
    let first_end = file.iter().position(|byte| *byte == b'\n').unwrap_or(file.len());
    let first = String::from_utf8_lossy(&file[..first_end]).trim_end().to_owned();
    if !begins(&first) {
        return Ok(None);
    }
    let mut headers = Vec::new();
    let mut rest = file.get(first_end + 1..).unwrap_or_default();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let line = std::str::from_utf8(&rest[..end]).context("a header is not UTF-8")?.trim();
        rest = rest.get(end + 1..).unwrap_or_default();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').context("a header has no colon")?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    Ok(Some((SavedHead { first, headers }, rest.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_exchange_is_read() {
        let request = b"POST /v1/x?a=b HTTP/1.1\r\nHost: h\r\n\r\n{\"model\":\"m\"}".to_vec();
        let request = SavedRequest::parse(request).unwrap();
        assert_eq!(request.call.as_deref(), Some("POST /v1/x?a=b"));
        assert_eq!(request.body, b"{\"model\":\"m\"}");
        let reply = b"HTTP/1.1 429 Too Many\nContent-Type: text/plain\n\nno\n\nway".to_vec();
        let reply = SavedReply::parse(reply).unwrap();
        assert_eq!((reply.status, reply.content_type.as_deref()), (429, Some("text/plain")));
        assert_eq!(reply.headers, "Content-Type: text/plain\n");
        assert_eq!(reply.body, b"no\n\nway");
        let packed = b"HTTP/1.1 200\ncontent-encoding: gzip\n\nxx".to_vec();
        assert!(SavedReply::parse(packed).is_err());
    }

    #[test]
    fn a_body_alone_is_one() {
        let body = b"{\"POST\":1}\n".to_vec();
        assert_eq!(SavedRequest::parse(body.clone()).unwrap().body, body);
        assert_eq!(SavedReply::parse(body.clone()).unwrap().body, body);
        assert_eq!(SavedReply::parse(Vec::new()).unwrap().status, 200);
    }
}
