//! A raw HTTP client: what is written is what is sent, and what comes back is shown as it is.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use tokio::time::Instant;

use super::PATIENCE;
use super::http::{Message, Reader};

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Request {
    line: String,
    headers: Vec<String>,
    body: Vec<u8>,
    chunked: bool,
}

impl Request {
    /// A request without a body, HTTP/1.1, with `Host: test`.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            line: format!("{method} {target} HTTP/1.1"),
            headers: vec!["Host: test".into()],
            body: Vec::new(),
            chunked: false,
        }
    }

    /// A GET.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST with a body of known length.
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let length = body.len().to_string();
        Self { body, ..Self::new("POST", target) }.header("Content-Length", &length)
    }

    /// A POST whose body is sent in chunks of up to 1,000 bytes.
    pub fn post_chunked(target: &str, body: impl Into<Vec<u8>>) -> Self {
        let request = Self { body: body.into(), chunked: true, ..Self::new("POST", target) };
        request.header("Transfer-Encoding", "chunked")
    }

    /// With a body, whose length the headers do not tell by themselves.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// As an older version, `HTTP/1.0`.
    pub fn version(mut self, version: &str) -> Self {
        if let Some((start, _)) = self.line.rsplit_once(' ') {
            self.line = format!("{start} {version}");
        }
        self
    }

    /// Sets a header; replaces the one of this name that is there.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let is_it =
            |line: &String| line.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        self.headers.retain(|line| !is_it(line));
        self.headers.push(format!("{name}: {value}"));
        self
    }

    /// The bytes to send.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{}\r\n", self.line).into_bytes();
        for header in &self.headers {
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        if self.chunked {
            for chunk in self.body.chunks(1000) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    reader: Reader,
    limit: Duration,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// The system's, also after ten seconds.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, reader: Reader::new(), limit: PATIENCE })
    }

    /// The time limit of each read of a response. Default: ten seconds.
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Our end of the connection.
    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket has an address")
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The system's.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Ends our direction of the connection.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads one response; interim ones (100, 103) are skipped.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::UnexpectedEof`] when the stream ends within the response.
    pub fn response(&mut self) -> io::Result<Message> {
        self.response_to("GET")
    }

    /// Reads the response to a request of `method`: one to HEAD has no body.
    ///
    /// # Errors
    /// As [`Client::response`].
    pub fn response_to(&mut self, method: &str) -> io::Result<Message> {
        let deadline = Some(Instant::now() + self.limit);
        let mut message = loop {
            let head = self.reader.head(&self.stream, deadline)?;
            let head = head.ok_or(io::ErrorKind::UnexpectedEof)?;
            let message = Message { head, body: Vec::new() };
            if !matches!(message.status(), 100 | 102..=199) {
                break message;
            }
        };
        let bodiless = method == "HEAD" || matches!(message.status(), 101 | 204 | 304);
        if !bodiless {
            self.reader.body(&mut message, true, &self.stream, deadline)?;
        }
        Ok(message)
    }

    /// Sends a request and reads its response.
    ///
    /// # Errors
    /// As [`Client::send`] and [`Client::response`].
    pub fn exchange(&mut self, request: &Request) -> io::Result<Message> {
        self.send(request.bytes())?;
        let method = request.line.split(' ').next().unwrap_or_default();
        self.response_to(method)
    }

    /// Reads until at least `count` bytes are there, past any response.
    ///
    /// # Errors
    /// As [`Client::response`].
    pub fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let deadline = Some(Instant::now() + self.limit);
        let head = format!("HTTP/1.1 200\r\nContent-Length: {count}\r\n\r\n");
        let mut message = Message { head, body: Vec::new() };
        self.reader.body(&mut message, false, &self.stream, deadline)?;
        Ok(message.body)
    }

    /// All that comes until the other side ends the connection, as text.
    ///
    /// # Errors
    /// As [`Client::response`].
    pub fn rest(&mut self) -> io::Result<String> {
        let mut bytes = self.reader.take_rest();
        self.stream.set_read_timeout(Some(self.limit))?;
        io::Read::read_to_end(&mut self.stream, &mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether the other side ends the connection, with or without a reset, before it sends
    /// another byte.
    pub fn is_closed(&mut self) -> bool {
        let deadline = Some(Instant::now() + self.limit);
        match self.reader.head(&self.stream, deadline) {
            Ok(None) => true,
            Ok(Some(_)) => false,
            Err(e) => e.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

/// Sends one request on a connection of its own.
///
/// # Errors
/// As [`Client::connect`] and [`Client::exchange`].
pub fn exchange(address: SocketAddr, request: &Request) -> io::Result<Message> {
    Client::connect(address)?.exchange(request)
}

/// A GET on a connection of its own.
///
/// # Panics
/// When there is no whole response.
#[track_caller]
pub fn get(address: SocketAddr, target: &str) -> Message {
    exchange(address, &Request::get(target).header("Connection", "close"))
        .unwrap_or_else(|e| panic!("GET {target} from {address}: {e}"))
}

/// Who answers each of `count` GETs, each on a connection of its own: the names of the replicas, or
/// the statuses of answers that are none of theirs.
///
/// # Panics
/// When there is no whole response.
#[track_caller]
pub fn answered_by(address: SocketAddr, target: &str, count: usize) -> Vec<String> {
    (0..count).map(|_| get(address, target).replica()).collect()
}
