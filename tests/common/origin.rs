//! Scripted HTTP/1.1 origins: they do what a test tells them, also what no server should.
//!
//! What an origin does can change at any time and holds from the next request on. Every answer
//! names the origin in `X-Replica`. A connection lives in a thread of its own; dropping the
//! origin ends all of them.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::time::Instant;

use super::http::{Message, Reader};
use super::{lock, net};

/// An ordinary answer, however slow or short.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status. Default 200.
    pub status: u16,
    /// Headers beside `X-Replica` and those of the framing.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The time before the first byte. Default zero.
    pub delay: Duration,
    /// Whether the body comes in chunks of 1,000 bytes. Default false: with its length.
    pub chunked: bool,
    /// The time between two pieces of 1,000 bytes of the body. Default zero.
    pub pace: Duration,
    /// The connection is closed after so many bytes of the body. Default: none.
    pub cut: Option<usize>,
    /// Whether the connection is closed after the answer. Default false.
    pub close: bool,
}

impl Reply {
    /// A 200 with a body.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: body.into(),
            delay: Duration::ZERO,
            chunked: false,
            pace: Duration::ZERO,
            cut: None,
            close: false,
        }
    }

    /// A status with a body that names it.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::new(format!("status {status}\n")) }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Waits before the first byte.
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

/// What an origin does with a request.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Answers.
    Answer(Reply),
    /// Answers 200 with the request as it was received: its head, then its body.
    Echo,
    /// Answers 101 and sends back every byte it gets.
    Upgrade,
    /// Sends these bytes and closes.
    Raw(Vec<u8>),
    /// Reads the request and never answers.
    Hang,
    /// Answers 200 once [`Origin::release`] was called.
    Wait,
    /// Reads the request and closes.
    Close,
    /// Reads the request and resets the connection.
    Reset,
    /// Does not listen, and has no connection: a stopped server.
    Refuse,
}

impl Behaviour {
    /// A 200 with a short body.
    pub fn ok() -> Self {
        Self::Answer(Reply::new("ok\n"))
    }

    /// A 200 that ends after half of the body it announced.
    pub fn close_mid_body() -> Self {
        Self::Answer(Reply { cut: Some(500), ..Reply::new([b'x'; 1000]) })
    }
}

#[derive(Default)]
struct Script {
    behaviour: Option<Behaviour>,
    paths: HashMap<String, Behaviour>,
    idle: Option<Range<Duration>>,
    requests: Vec<Message>,
    connections: usize,
    received: usize,
    answered: usize,
    /// Requests whose answer has not begun, and the most there were.
    at_once: (usize, usize),
    open: Vec<Weak<TcpStream>>,
    released: bool,
    stopped: bool,
}

struct Shared {
    name: String,
    script: Mutex<Script>,
    /// Tells those that wait between two pieces that the origin ends.
    ends: Condvar,
}

/// The origin; it ends when dropped.
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<Acceptor>,
}

struct Acceptor {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Origin {
    /// Listens on `address`, unless `behaviour` is to refuse.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn start(address: SocketAddr, behaviour: Behaviour) -> Self {
        let shared = Arc::new(Shared {
            name: address.to_string(),
            script: Mutex::default(),
            ends: Condvar::new(),
        });
        let mut origin = Self { address, shared, acceptor: None };
        origin.set(behaviour);
        origin
    }

    /// Where it listens, and its name in `X-Replica`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it does from the next request on. To refuse is done when this returns, and so is to
    /// listen again.
    pub fn set(&mut self, behaviour: Behaviour) {
        let refuse = matches!(behaviour, Behaviour::Refuse);
        lock(&self.shared.script).behaviour = Some(behaviour);
        if refuse {
            self.stop();
        } else if self.acceptor.is_none() {
            self.listen();
        }
    }

    /// What it does with requests for `path`, in place of what it does with the others.
    pub fn set_path(&self, path: &str, behaviour: Behaviour) {
        lock(&self.shared.script).paths.insert(path.into(), behaviour);
    }

    /// Closes each idle connection after a random time of this range; not at all by default.
    pub fn close_idle(&self, after: Range<Duration>) {
        lock(&self.shared.script).idle = Some(after);
    }

    /// Closes every connection now and listens on.
    pub fn close_connections(&self) {
        for stream in lock(&self.shared.script).open.drain(..).filter_map(|s| s.upgrade()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets those that [`Behaviour::Wait`] be answered.
    pub fn release(&self) {
        lock(&self.shared.script).released = true;
        self.shared.ends.notify_all();
    }

    /// The requests that were read to their end, in order.
    pub fn requests(&self) -> Vec<Message> {
        lock(&self.shared.script).requests.clone()
    }

    /// How many requests were read to their end.
    pub fn count(&self) -> usize {
        lock(&self.shared.script).requests.len()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        lock(&self.shared.script).connections
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        lock(&self.shared.script).open.iter().filter(|s| s.strong_count() > 0).count()
    }

    /// How many bytes were received on all connections, unfinished requests included.
    pub fn received(&self) -> usize {
        lock(&self.shared.script).received
    }

    /// How many requests were answered to their end.
    pub fn answered(&self) -> usize {
        lock(&self.shared.script).answered
    }

    /// How many requests waited for the first byte of their answer at one time at most.
    pub fn most_at_once(&self) -> usize {
        lock(&self.shared.script).at_once.1
    }

    fn listen(&mut self) {
        let listener = net::listen(self.address);
        lock(&self.shared.script).stopped = false;
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, flag) = (Arc::clone(&self.shared), Arc::clone(&stop));
        let thread = std::thread::spawn(move || accept(&listener, &shared, &flag));
        self.acceptor = Some(Acceptor { stop, thread });
    }

    fn stop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        acceptor.stop.store(true, SeqCst);
        // The thread waits for a client: be one.
        let _ = TcpStream::connect(self.address);
        lock(&self.shared.script).stopped = true;
        self.shared.ends.notify_all();
        let _ = acceptor.thread.join();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An address that answers nothing at all, as that of a removed container: a connect to it neither
/// succeeds nor fails. Ends when dropped.
pub struct Blackhole {
    address: SocketAddr,
    /// The listener and the connections that fill its queue, so that the kernel drops every other.
    _sockets: Vec<Socket>,
}

impl Blackhole {
    /// Takes `address`.
    ///
    /// # Panics
    /// When the address is taken, or the kernel does not play along.
    pub fn start(address: SocketAddr) -> Self {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None)
            .expect("the kernel makes a socket");
        // Connections of an origin that was here before may still be closing.
        listener.set_reuse_address(true).expect("a new socket");
        listener.bind(&address.into()).unwrap_or_else(|e| panic!("blackhole {address}: {e}"));
        listener.listen(0).expect("a bound socket listens");
        let mut sockets = vec![listener];
        for _ in 0..16 {
            let client = Socket::new(Domain::for_address(address), Type::STREAM, None)
                .expect("the kernel makes a socket");
            if client.connect_timeout(&address.into(), Duration::from_millis(200)).is_err() {
                return Self { address, _sockets: sockets };
            }
            sockets.push(client);
        }
        panic!("the queue of {address} is never full");
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, stop: &AtomicBool) {
    let mut threads = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        if stop.load(SeqCst) {
            break;
        }
        let stream = Arc::new(stream);
        {
            let mut script = lock(&shared.script);
            script.connections += 1;
            script.open.retain(|s| s.strong_count() > 0);
            script.open.push(Arc::downgrade(&stream));
        }
        let shared = Arc::clone(shared);
        threads.push(std::thread::spawn(move || {
            let connection = Connection { stream, reader: Reader::new(), shared };
            // What ends a connection is of no interest here: the client sees it.
            let _ = connection.run();
        }));
    }
    for stream in lock(&shared.script).open.drain(..).filter_map(|s| s.upgrade()) {
        let _ = stream.shutdown(Shutdown::Both);
    }
    for thread in threads {
        let _ = thread.join();
    }
}

struct Connection {
    stream: Arc<TcpStream>,
    reader: Reader,
    shared: Arc<Shared>,
}

impl Connection {
    fn run(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        while let Some(request) = self.request()? {
            let behaviour = {
                let mut script = lock(&self.shared.script);
                let path = request.target().split('?').next().unwrap_or_default().to_owned();
                script.requests.push(request.clone());
                script.paths.get(&path).or(script.behaviour.as_ref()).cloned()
            };
            let keep = match behaviour {
                Some(Behaviour::Answer(reply)) => self.answer(&request, &reply)?,
                Some(Behaviour::Echo) => {
                    let body = [request.head.as_bytes(), &request.body].concat();
                    let reply = Reply::new(body).header("Content-Type", "text/plain");
                    self.answer(&request, &reply)?
                }
                Some(Behaviour::Upgrade) => return self.upgrade(&request),
                Some(Behaviour::Raw(bytes)) => {
                    self.write(&bytes)?;
                    false
                }
                Some(Behaviour::Hang) => return self.hang(),
                Some(Behaviour::Wait) => {
                    self.wait()?;
                    self.answer(&request, &Reply::new("ok\n"))?
                }
                Some(Behaviour::Reset) => {
                    SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO))?;
                    return Ok(());
                }
                Some(Behaviour::Close | Behaviour::Refuse) | None => false,
            };
            lock(&self.shared.script).answered += 1;
            if !keep {
                break;
            }
        }
        let _ = self.stream.shutdown(Shutdown::Both);
        Ok(())
    }

    /// The next request; none when the client has gone, or was idle for too long.
    fn request(&mut self) -> io::Result<Option<Message>> {
        let idle = lock(&self.shared.script).idle.clone();
        let deadline = idle.map(|range| {
            let spread = range.end.saturating_sub(range.start);
            Instant::now() + range.start + spread.mul_f64(fastrand::f64())
        });
        let before = self.reader.received;
        let head = self.reader.head(&self.stream, deadline);
        lock(&self.shared.script).received += self.reader.received - before;
        let Some(head) = head? else { return Ok(None) };
        self.stream.set_read_timeout(None)?;

        let mut message = Message { head, body: Vec::new() };
        if message.has_token("expect", "100-continue") {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let before = self.reader.received;
        let body = self.reader.body(&mut message, false, &self.stream, None);
        lock(&self.shared.script).received += self.reader.received - before;
        body.map(|()| Some(message))
    }

    fn begin(&self, more: isize) {
        let (now, most) = &mut lock(&self.shared.script).at_once;
        *now = now.saturating_add_signed(more);
        *most = (*most).max(*now);
    }

    /// Answers; true when the connection stays open.
    fn answer(&mut self, request: &Message, reply: &Reply) -> io::Result<bool> {
        self.begin(1);
        let paused = self.pause(reply.delay);
        // Whoever sees the first byte may send the next request.
        self.begin(-1);
        paused?;
        let old = request.line().ends_with("HTTP/1.0");
        let chunked = reply.chunked && !old;
        let asked = request.has_token("connection", "close")
            || (old && !request.has_token("connection", "keep-alive"));
        let close = reply.close || asked || (reply.chunked && old);

        let mut head = format!("HTTP/1.1 {} Scripted\r\n", reply.status);
        head += &format!("X-Replica: {}\r\n", self.shared.name);
        for (name, value) in &reply.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let bodiless = matches!(reply.status, 204 | 304);
        if chunked {
            head += "Transfer-Encoding: chunked\r\n";
        } else if !bodiless && !reply.chunked {
            head += &format!("Content-Length: {}\r\n", reply.body.len());
        }
        if close {
            head += "Connection: close\r\n";
        }
        self.write(format!("{head}\r\n").as_bytes())?;
        if request.method() == "HEAD" || bodiless {
            return Ok(!close);
        }

        let end = reply.cut.unwrap_or(reply.body.len()).min(reply.body.len());
        for (number, piece) in reply.body[..end].chunks(1000).enumerate() {
            if number > 0 {
                self.pause(reply.pace)?;
            }
            if chunked {
                let size = format!("{:x}\r\n", piece.len());
                self.write(&[size.as_bytes(), piece, b"\r\n"].concat())?;
            } else {
                self.write(piece)?;
            }
        }
        if reply.cut.is_some() {
            return Ok(false);
        }
        if chunked {
            self.write(b"0\r\n\r\n")?;
        }
        Ok(!close)
    }

    fn upgrade(&mut self, request: &Message) -> io::Result<()> {
        let protocol = request.header("upgrade").unwrap_or("echo");
        let name = &self.shared.name;
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nX-Replica: {name}\r\n\
             Connection: upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        );
        self.write(head.as_bytes())?;
        let early = self.reader.take_rest();
        self.write(&early)?;
        io::copy(&mut &*self.stream, &mut &*self.stream)?;
        self.stream.shutdown(Shutdown::Both)
    }

    /// Keeps the connection until the client gives up or the origin ends.
    fn hang(&mut self) -> io::Result<()> {
        io::copy(&mut &*self.stream, &mut io::sink()).map(|_| ())
    }

    /// Waits for the command to answer; fails when the origin ends before.
    fn wait(&self) -> io::Result<()> {
        let script = lock(&self.shared.script);
        match self.shared.ends.wait_while(script, |s| !s.released && !s.stopped) {
            Ok(script) if !script.stopped => Ok(()),
            _ => Err(io::ErrorKind::Interrupted.into()),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        (&*self.stream).write_all(bytes)
    }

    /// Lets time pass; fails when the origin ends meanwhile.
    fn pause(&self, time: Duration) -> io::Result<()> {
        let script = lock(&self.shared.script);
        if time.is_zero() {
            return Ok(());
        }
        match self.shared.ends.wait_timeout_while(script, time, |s| !s.stopped) {
            Ok((script, _)) if !script.stopped => Ok(()),
            _ => Err(io::ErrorKind::Interrupted.into()),
        }
    }
}
