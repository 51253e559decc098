//! Logs that are no plain file: syslog, packed files, and files whose names requests decide.
//!
//! All run on the writer's thread, which may wait for a name to be looked up or a file to be
//! opened.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::SystemTime;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::config::model::{Syslog, SyslogServer};
use crate::observe::host::hostname;
use crate::observe::sink::Sink;
use crate::observe::stamp;

/// Sends each line as a datagram (RFC 3164).
#[derive(Debug)]
pub(super) struct ToSyslog {
    syslog: Syslog,
    /// Made when it is first needed, and again once it has failed.
    socket: Option<Socket>,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl ToSyslog {
    pub(super) fn new(syslog: Syslog) -> Self {
        Self { syslog, socket: None }
    }

    #[expect(clippy::disallowed_methods, reason = "the writer's thread may wait, no worker does")]
    fn connect(&self) -> io::Result<Socket> {
        match &self.syslog.server {
            SyslogServer::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Ok(Socket::Unix(socket))
            }
            SyslogServer::Host(host, port) => {
                let address = (host.as_str(), *port).to_socket_addrs()?.next();
                let address = address.ok_or(io::ErrorKind::NotFound)?;
                let any: SocketAddr = match address {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                Ok(Socket::Udp(socket))
            }
        }
    }

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        let Syslog { facility, severity, tag, nohostname, .. } = &self.syslog;
        let priority = u16::from(*facility) * 8 + u16::from(*severity);
        let time = stamp::syslog_time(SystemTime::now());
        let mut message = format!("<{priority}>{time} ").into_bytes();
        if !nohostname {
            message.extend_from_slice(hostname().as_bytes());
            message.push(b' ');
        }
        message.extend_from_slice(tag.as_bytes());
        message.extend_from_slice(b": ");
        message.extend_from_slice(line);
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.connect()?,
        };
        match &socket {
            Socket::Udp(socket) => socket.send(&message)?,
            Socket::Unix(socket) => socket.send(&message)?,
        };
        self.socket = Some(socket);
        Ok(())
    }
}

impl Write for ToSyslog {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let mut failed = None;
        for line in lines.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            failed = self.send(line).err().or(failed);
        }
        failed.map_or(Ok(lines.len()), Err)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Packs what is written at once into a member of its own (RFC 1952, section 2.2): the file is
/// sound whenever it is read.
#[derive(Debug)]
pub(super) struct Packed {
    sink: Sink,
    level: Compression,
}

impl Packed {
    pub(super) fn new(sink: Sink, level: u32) -> Self {
        Self { sink, level: Compression::new(level) }
    }
}

impl Write for Packed {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let mut packer = GzEncoder::new(Vec::new(), self.level);
        packer.write_all(lines)?;
        self.sink.write_all(&packer.finish()?)?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Appends each line to the file that it names; see [`frame`].
#[derive(Debug)]
pub(super) struct ByName;

/// A line with the file that it goes to, for [`ByName`]: two lengths, the name, the line.
pub(super) fn frame(name: &[u8], line: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes();
    [&length(name)[..], &length(line)[..], name, line].concat()
}

fn next(frames: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name_length, rest) = frames.split_first_chunk()?;
    let (line_length, rest) = rest.split_first_chunk()?;
    let length = |bytes: &[u8; 4]| usize::try_from(u32::from_le_bytes(*bytes)).unwrap_or(0);
    let (name, rest) = rest.split_at_checked(length(name_length))?;
    let (line, rest) = rest.split_at_checked(length(line_length))?;
    Some((name, line, rest))
}

impl Write for ByName {
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        use std::os::unix::ffi::OsStrExt as _;
        let mut failed = None;
        let mut rest = frames;
        while let Some((name, line, more)) = next(rest) {
            let path = std::ffi::OsStr::from_bytes(name);
            let file = OpenOptions::new().append(true).create(true).open(path);
            let written = file.and_then(|mut file| file.write_all(line));
            failed = written.err().or(failed);
            rest = more;
        }
        failed.map_or(Ok(frames.len()), Err)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_from_their_frames() {
        let frames = [frame(b"/a", b"one\n"), frame(b"/b", b"two\nthree\n")].concat();
        let (name, line, rest) = next(&frames).expect("a frame");
        assert_eq!((name, line), (&b"/a"[..], &b"one\n"[..]));
        let (name, line, rest) = next(rest).expect("a frame");
        assert_eq!((name, line), (&b"/b"[..], &b"two\nthree\n"[..]));
        assert!(next(rest).is_none());
    }

    #[test]
    fn a_line_is_a_datagram_with_priority_time_and_tag() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let port = server.local_addr().expect("an address").port();
        let mut to = ToSyslog::new(Syslog {
            server: SyslogServer::Host("127.0.0.1".to_owned(), port),
            facility: 3,
            severity: 5,
            tag: "robin".to_owned(),
            nohostname: true,
        });
        to.write_all(b"one\ntwo\n").expect("sent");
        let mut buffer = [0; 200];
        for expected in ["robin: one", "robin: two"] {
            let length = server.recv(&mut buffer).expect("a datagram");
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            assert!(message.starts_with("<29>"), "{message}");
            assert!(message.ends_with(expected), "{message}");
        }
    }
}
