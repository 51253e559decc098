//! The demo's servers: an API that says which replica answered, and the site.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use pingora::apps::ServerApp;
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A server on loopback that can be stopped and started again on the same port.
pub(super) struct Origin<A> {
    app: Arc<A>,
    address: SocketAddr,
    running: Option<JoinSet<()>>,
}

impl<A: ServeHttp + Send + Sync + 'static> Origin<A> {
    /// Starts a server on a free port.
    pub(super) async fn start(app: Arc<A>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let mut origin = Self { app, address, running: None };
        origin.accept(listener);
        Ok(origin)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops a running server, its connections with it, or starts a stopped one. True: it runs now.
    pub(super) async fn toggle(&mut self) -> io::Result<bool> {
        match self.running.take() {
            Some(mut tasks) => {
                tasks.shutdown().await;
                Ok(false)
            }
            None => {
                let listener = TcpListener::bind(self.address).await?;
                self.accept(listener);
                Ok(true)
            }
        }
    }

    fn accept(&mut self, listener: TcpListener) {
        let app = Arc::clone(&self.app);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((io, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                // Head and body are two writes; held back, the second one waits for 40 ms.
                let _ = io.set_nodelay(true);
                let app = Arc::clone(&app);
                connections.spawn(async move {
                    // The demo's servers end with their tasks, not by a signal.
                    let (_alive, shutdown) = watch::channel(false);
                    app.process_new(Box::new(Stream::from(io)), &shutdown).await;
                });
            }
        });
        self.running = Some(tasks);
    }
}

/// The API: `/api/hello` as the Flask server of the compose stack answers it.
pub(super) struct Api {
    pub(super) name: String,
}

#[async_trait]
impl ServeHttp for Api {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let path = session.req_header().uri.path();
        let (status, body) = match path {
            "/api/hello" => (StatusCode::OK, "Hello, World!"),
            "/healthz" => (StatusCode::OK, "ok"),
            _ => (StatusCode::NOT_FOUND, "Not Found"),
        };
        let mut response = answer(status, "text/plain; charset=utf-8", body);
        if let Ok(name) = self.name.parse() {
            response.headers_mut().insert("x-replica", name);
        }
        response
    }
}

/// The site: the same files that the compose stack's front-end serves.
pub(super) struct Site;

#[async_trait]
impl ServeHttp for Site {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let (content_type, body) = match session.req_header().uri.path() {
            "/" | "/index.html" => {
                ("text/html; charset=utf-8", include_str!("../../../static-site/index.html"))
            }
            "/style.css" => ("text/css", include_str!("../../../static-site/style.css")),
            "/app.js" => ("text/javascript", include_str!("../../../static-site/app.js")),
            "/robin.svg" => ("image/svg+xml", include_str!("../../../static-site/robin.svg")),
            _ => return answer(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "Not Found"),
        };
        answer(StatusCode::OK, content_type, body)
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: &str) -> Response<Vec<u8>> {
    let mut response = Response::new(body.as_bytes().to_vec());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    response
}
