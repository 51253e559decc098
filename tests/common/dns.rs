//! A DNS server on loopback whose answers the test changes while it runs.
//!
//! It answers as Docker's does: never with the AA bit, NXDOMAIN without an SOA record, a TTL of
//! 600 s, the addresses in another order each time, and over UDP no more than the client takes.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket,
};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;

use hickory_proto::op::{Edns, Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::lock;

/// What is said of a name. A question for another kind of record gets an empty answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A records.
    A(Vec<Ipv4Addr>),
    /// AAAA records.
    Aaaa(Vec<Ipv6Addr>),
    /// Both kinds.
    Both(Vec<Ipv4Addr>, Vec<Ipv6Addr>),
    /// SRV records: priority, weight, port, target.
    Srv(Vec<(u16, u16, u16, &'static str)>),
    /// Another name has them, whatever is asked for (CNAME); whoever wants them asks for that.
    Alias(&'static str),
    /// There is no such name; also what is said of every name that was never set.
    NxDomain,
    /// The name exists and has no records.
    Empty,
    /// The server cannot tell.
    ServFail,
    /// The server will not tell.
    Refused,
    /// Nothing, ever.
    Silence,
}

impl Answer {
    /// `A` records of `127.a.b.c` written short: `a(&["127.0.0.2", "127.0.0.3"])`.
    pub fn a(addresses: &[&str]) -> Self {
        Self::A(addresses.iter().map(|a| a.parse().expect("an IPv4 address")).collect())
    }

    /// `A` records of these, whatever their ports.
    pub fn of(addresses: &[SocketAddr]) -> Self {
        let v4 = |address: &SocketAddr| match address {
            SocketAddr::V4(address) => *address.ip(),
            SocketAddr::V6(_) => panic!("{address} is no IPv4 address"),
        };
        Self::A(addresses.iter().map(v4).collect())
    }
}

#[derive(Default)]
struct State {
    answers: HashMap<String, Answer>,
    /// One entry a question: name, kind of record, whether over TCP.
    questions: Vec<(String, RecordType, bool)>,
    streams: Vec<Weak<TcpStream>>,
}

/// The server; it ends when dropped.
pub struct DnsServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl DnsServer {
    /// Starts on a free port of 127.0.0.1, the same for UDP and TCP.
    pub fn start() -> Self {
        let (tcp, udp) = (0..50)
            .find_map(|_| {
                let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
                let udp = UdpSocket::bind(tcp.local_addr().ok()?).ok()?;
                Some((tcp, udp))
            })
            .expect("one of fifty ports is free for UDP and TCP");
        let address = tcp.local_addr().expect("a bound socket has an address");
        let state = Arc::new(Mutex::new(State::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let udp_thread = {
            let (state, stop) = (Arc::clone(&state), Arc::clone(&stop));
            std::thread::spawn(move || serve_udp(&udp, &state, &stop))
        };
        let tcp_thread = {
            let (state, stop) = (Arc::clone(&state), Arc::clone(&stop));
            std::thread::spawn(move || serve_tcp(&tcp, &state, &stop))
        };
        Self { address, state, stop, threads: vec![udp_thread, tcp_thread] }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is said of `name` from now on.
    pub fn set(&self, name: &str, answer: Answer) {
        lock(&self.state).answers.insert(key(name), answer);
    }

    /// How often `name` was asked for, whatever the kind of record.
    pub fn queries(&self, name: &str) -> usize {
        let name = key(name);
        lock(&self.state).questions.iter().filter(|(n, ..)| *n == name).count()
    }

    /// The names asked for, in order, repetitions of the one before left out.
    pub fn asked(&self) -> Vec<String> {
        let mut names: Vec<_> =
            lock(&self.state).questions.iter().map(|(name, ..)| name.clone()).collect();
        names.dedup();
        names
    }

    /// How many questions came for records of `kind`.
    pub fn queries_for(&self, kind: RecordType) -> usize {
        lock(&self.state).questions.iter().filter(|(_, k, _)| *k == kind).count()
    }

    /// How many questions came over TCP.
    pub fn queries_over_tcp(&self) -> usize {
        lock(&self.state).questions.iter().filter(|(.., tcp)| *tcp).count()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        // Both threads wait for a client: be one.
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            let _ = socket.send_to(&[], self.address);
        }
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn serve_udp(socket: &UdpSocket, state: &Mutex<State>, stop: &AtomicBool) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        if stop.load(SeqCst) {
            return;
        }
        if let Some(answer) = answer(&buffer[..length], state, false) {
            let _ = socket.send_to(&answer, client);
        }
    }
}

fn serve_tcp(listener: &TcpListener, state: &Arc<Mutex<State>>, stop: &AtomicBool) {
    let mut connections = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        if stop.load(SeqCst) {
            break;
        }
        let stream = Arc::new(stream);
        lock(state).streams.push(Arc::downgrade(&stream));
        let state = Arc::clone(state);
        connections.push(std::thread::spawn(move || serve_stream(&stream, &state)));
    }
    for stream in lock(state).streams.drain(..).filter_map(|s| s.upgrade()) {
        let _ = stream.shutdown(Shutdown::Both);
    }
    for connection in connections {
        let _ = connection.join();
    }
}

/// Answers one question and closes, as a server may that wants no idle connections.
fn serve_stream(mut stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut question)?;
    if let Some(answer) = answer(&question, state, true) {
        let length = u16::try_from(answer.len()).expect("an answer is below 64 KiB");
        stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
    } else {
        // Silence: until the client gives up, or the server ends.
        let _ = stream.read(&mut length)?;
    }
    stream.shutdown(Shutdown::Both)
}

/// The bytes to send; none for silence, also about what is no question.
fn answer(question: &[u8], state: &Mutex<State>, tcp: bool) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?.clone();
    let name = key(&query.name().to_ascii());
    let (answer, turn) = {
        let mut state = lock(state);
        state.questions.push((name.clone(), query.query_type(), tcp));
        (state.answers.get(&name).cloned().unwrap_or(Answer::NxDomain), state.questions.len())
    };
    let mut records: Vec<RData> = match (&answer, query.query_type()) {
        (Answer::Silence, _) => return None,
        (Answer::A(v4) | Answer::Both(v4, _), RecordType::A) => {
            v4.iter().map(|ip| RData::from(IpAddr::V4(*ip))).collect()
        }
        (Answer::Aaaa(v6) | Answer::Both(_, v6), RecordType::AAAA) => {
            v6.iter().map(|ip| RData::from(IpAddr::V6(*ip))).collect()
        }
        (Answer::Srv(records), RecordType::SRV) => {
            let srv = |&(priority, weight, port, target): &(u16, u16, u16, &str)| {
                let target = Name::from_str(target).expect("an SRV target is a name");
                RData::SRV(SRV::new(priority, weight, port, target))
            };
            records.iter().map(srv).collect()
        }
        (Answer::Alias(target), _) => {
            let target = Name::from_str(target).expect("a target is a name");
            vec![RData::CNAME(CNAME(target))]
        }
        _ => Vec::new(),
    };
    if !records.is_empty() {
        let first = turn % records.len();
        records.rotate_left(first);
    }

    let mut message = Message::response(question.metadata.id, OpCode::Query);
    message.metadata.recursion_desired = question.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.response_code = match answer {
        Answer::NxDomain => ResponseCode::NXDomain,
        Answer::ServFail => ResponseCode::ServFail,
        Answer::Refused => ResponseCode::Refused,
        _ => ResponseCode::NoError,
    };
    if question.edns.is_some() {
        message.set_edns(Edns::new());
    }
    message.add_query(query.clone());
    let record = |data| Record::from_rdata(query.name().clone(), 600, data);
    message.add_answers(records.into_iter().map(record));
    let bytes = message.to_vec().ok()?;
    if tcp || bytes.len() <= usize::from(question.max_payload()) {
        return Some(bytes);
    }
    message.answers.clear();
    message.metadata.truncation = true;
    message.to_vec().ok()
}
