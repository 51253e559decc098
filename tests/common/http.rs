//! HTTP/1 messages off a socket, as they are: no opinion on what is legal.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::Duration;

use tokio::time::Instant;

/// Head and body of a request or a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The head as received, with the empty line.
    pub head: String,
    /// The body, without the framing of chunks.
    pub body: Vec<u8>,
}

impl Message {
    /// The first line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// Names and values in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.map(|(name, value)| (name, value.trim()))
    }

    /// The first value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All values of a header.
    pub fn header_all(&self, name: &str) -> Vec<&str> {
        self.headers().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v).collect()
    }

    /// Whether a header lists `token` among its comma-separated values.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        let values = self.header_all(name);
        values.iter().flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case(token))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A request's method.
    pub fn method(&self) -> &str {
        self.line().split(' ').next().unwrap_or_default()
    }

    /// A request's target: path and query.
    pub fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }

    /// A response's status.
    pub fn status(&self) -> u16 {
        self.line().split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_default()
    }

    /// Who answered: the name of the replica, or the status when it was none.
    pub fn replica(&self) -> String {
        self.header("x-replica").map_or_else(|| self.status().to_string(), str::to_owned)
    }

    fn is_chunked(&self) -> bool {
        self.has_token("transfer-encoding", "chunked")
    }

    fn content_length(&self) -> Option<usize> {
        self.header("content-length").and_then(|v| v.parse().ok())
    }
}

/// A socket with what was read of it beyond the last message.
pub struct Reader {
    rest: Vec<u8>,
    /// Bytes read so far.
    pub received: usize,
}

impl Reader {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self { rest: Vec::new(), received: 0 }
    }

    /// Takes bytes that were read beyond the last message.
    pub fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest)
    }

    /// Reads more; false at the end of the stream.
    fn more(&mut self, mut stream: &TcpStream, deadline: Option<Instant>) -> io::Result<bool> {
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        }
        let mut buffer = [0; 16 * 1024];
        let count = loop {
            match stream.read(&mut buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.received += count;
        self.rest.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }

    fn line(&mut self, stream: &TcpStream, deadline: Option<Instant>) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.rest.windows(2).position(|w| w == b"\r\n") {
                let line = self.rest[..end].to_vec();
                self.rest.drain(..end + 2);
                return Ok(line);
            }
            if !self.more(stream, deadline)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn exactly(
        &mut self,
        count: usize,
        stream: &TcpStream,
        deadline: Option<Instant>,
    ) -> io::Result<Vec<u8>> {
        while self.rest.len() < count {
            if !self.more(stream, deadline)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.rest.drain(..count).collect())
    }

    /// Reads up to the empty line. None where the stream ends before the first byte.
    pub fn head(
        &mut self,
        stream: &TcpStream,
        deadline: Option<Instant>,
    ) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.rest.windows(4).position(|w| w == b"\r\n\r\n") {
                let head: Vec<u8> = self.rest.drain(..end + 4).collect();
                return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
            }
            if !self.more(stream, deadline)? {
                let empty = self.rest.is_empty();
                return if empty { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Reads the body that `message`'s head announces; `to_end` where a missing length means the
    /// end of the stream, as in a response.
    pub fn body(
        &mut self,
        message: &mut Message,
        to_end: bool,
        stream: &TcpStream,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        if message.is_chunked() {
            loop {
                let line = self.line(stream, deadline)?;
                let size = String::from_utf8_lossy(&line);
                let size = size.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16)
                    .map_err(|_| io::Error::other(format!("bad chunk size `{size}`")))?;
                if size == 0 {
                    while !self.line(stream, deadline)?.is_empty() {}
                    return Ok(());
                }
                message.body.extend(self.exactly(size, stream, deadline)?);
                self.exactly(2, stream, deadline)?;
            }
        }
        if let Some(length) = message.content_length() {
            message.body = self.exactly(length, stream, deadline)?;
        } else if to_end {
            while self.more(stream, deadline)? {}
            message.body = self.take_rest();
        }
        Ok(())
    }
}
