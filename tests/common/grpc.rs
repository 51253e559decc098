//! A server of gRPC that has a health service, or not, with HTTP/2 in the clear or in TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{lock, net};

/// What it answers.
#[derive(Clone, Copy)]
pub enum Says {
    /// A message with this `ServingStatus`, and status 0.
    Serving(u8),
    /// No message, and this status with what it has to say of it.
    Status(u16, &'static str),
    /// An answer of HTTP that is none of gRPC.
    Http(u16),
    /// That it has not looked at the request.
    Refuses,
    /// Nothing at all.
    Nothing,
    /// The same as in the last form, and then that the connection ends.
    Leaves(u16),
}

/// What it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub uri: String,
    pub message: Vec<u8>,
    /// What it was told beside that.
    pub headers: HeaderMap,
    /// Which of its connections it came over.
    pub connection: usize,
}

/// The server; it ends when dropped.
pub struct Server {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
    calls: Arc<Mutex<Vec<Call>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    /// Listens on `address`; in TLS with the certificate and key that are in these files.
    pub fn start(address: SocketAddr, says: Says, tls: Option<(&Path, &Path)>) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        let says = Arc::new(Mutex::new(says));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let acceptor = tls.map(|(certificate, key)| acceptor(certificate, key));
        let listener = net::listen(address);
        listener.set_nonblocking(true).expect("a socket may be set so");
        let listener = {
            let _guard = runtime.enter();
            TcpListener::from_std(listener).expect("a runtime is there")
        };
        let (said, called) = (Arc::clone(&says), Arc::clone(&calls));
        runtime.spawn(async move {
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                connection += 1;
                let (says, calls) = (Arc::clone(&said), Arc::clone(&called));
                match &acceptor {
                    None => drop(tokio::spawn(serve(stream, says, calls, connection))),
                    Some(acceptor) => {
                        let Ok(stream) = acceptor.accept(stream).await else { continue };
                        tokio::spawn(serve(stream, says, calls, connection));
                    }
                }
            }
        });
        Self { address, says, calls, _runtime: runtime }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it answers from now on.
    pub fn say(&self, says: Says) {
        *lock(&self.says) = says;
    }

    pub fn calls(&self) -> Vec<Call> {
        lock(&self.calls).clone()
    }
}

fn acceptor(certificate: &Path, key: &Path) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("both versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they belong together");
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    says: Arc<Mutex<Says>>,
    calls: Arc<Mutex<Vec<Call>>>,
    connection: usize,
) {
    let Ok(mut http2) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut answer))) = http2.accept().await {
        if let Says::Leaves(_) = *lock(&says) {
            http2.graceful_shutdown();
        }
        let (says, calls) = (Arc::clone(&says), Arc::clone(&calls));
        tokio::spawn(async move {
            let uri = request.uri().to_string();
            let headers = request.headers().clone();
            let mut body = request.into_body();
            let mut message = Vec::new();
            while let Some(Ok(data)) = body.data().await {
                message.extend_from_slice(&data);
            }
            lock(&calls).push(Call { uri, message, headers, connection });
            let says = *lock(&says);
            let head = Response::builder().header("content-type", "application/grpc");
            match says {
                Says::Refuses => answer.send_reset(h2::Reason::REFUSED_STREAM),
                Says::Nothing => {
                    // Until the stream ends.
                    let _ = std::future::poll_fn(|cx| answer.poll_reset(cx)).await;
                }
                Says::Http(status) | Says::Leaves(status) => {
                    let head = head.status(status).body(()).expect("a head");
                    let _ = answer.send_response(head, true);
                }
                Says::Status(status, message) => {
                    let head = head.header("grpc-status", status).header("grpc-message", message);
                    let _ = answer.send_response(head.body(()).expect("a head"), true);
                }
                Says::Serving(status) => {
                    let Ok(mut body) = answer.send_response(head.body(()).expect("a head"), false)
                    else {
                        return;
                    };
                    let _ = body.send_data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]), false);
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", HeaderValue::from_static("0"));
                    let _ = body.send_trailers(trailers);
                }
            }
        });
    }
}
