//! A request that robin makes itself, to ask another path of the virtual server about one that waits.
//!
//! Pingora runs it through the same phases, on a session whose answer comes out of a channel. It
//! begins where an internal redirect would; nobody sees it but who has asked: it is neither counted
//! nor logged.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderValue, header};
use pingora::http::RequestHeader;
use pingora_proxy::Session;
use pingora_proxy::subrequest::Ctx;

use super::{Client, Exchange, connection};
use crate::config::model::admission::Admission;
use crate::config::template::Template;
use crate::exchange::Course;
use crate::exchange::admission::{Doorman, Word};
use crate::exchange::flow::{Disk, FileRule, Stat};
use crate::exchange::head::Asked;
use crate::exchange::password::{self, Credentials, Verdict};
use crate::exchange::trace::Trace;
use crate::proxy::Runtime;
use crate::proxy::disk::{FileSystem, blocking};

/// What a subrequest takes over from the request that it is about, and where its answer goes.
pub(super) struct Subrequest {
    runtime: Arc<Runtime>,
    head: RequestHeader,
    asked: Option<Asked>,
    course: Course,
    client: Option<std::net::SocketAddr>,
    id: String,
    trace: Option<Box<Trace>>,
    returns: Returns,
}

/// What is to be known of a subrequest's answer.
#[derive(Clone, Debug)]
pub(super) struct Returns {
    kept: Vec<Template>,
    word: Arc<Mutex<Option<Word>>>,
}

/// What a request may ask on its way.
pub(super) struct Outside<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) session: &'a dyn Client,
}

impl Disk for Outside<'_> {
    async fn stat(&self, path: &Path, rule: &FileRule) -> io::Result<Stat> {
        FileSystem.stat(path, rule).await
    }
}

impl Doorman for Outside<'_> {
    async fn judge(&self, file: &Path, said: Credentials) -> io::Result<Verdict> {
        let file = file.to_owned();
        blocking(move || Ok(password::judge(&std::fs::read(file)?, &said))).await
    }

    async fn ask(&self, course: Course, admission: &Admission) -> Word {
        let Self { exchange, session } = self;
        let pingora = session.session();
        let spawner = pingora.and_then(|p| Some((p, p.subrequest_spawner.as_ref()?)));
        let Some(((pingora, spawner), connection)) = spawner.zip(connection(*session)) else {
            return Word { status: 500, ..Word::default() };
        };
        let mut head = session.req_header().clone();
        for framing in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT] {
            head.remove_header(&framing);
        }
        head.extensions_mut().insert(Arc::new(connection.twin()));
        let kept = admission.keep.iter().map(|(_, value)| value.clone()).collect();
        let returns = Returns { kept, word: Arc::default() };
        let word = Arc::clone(&returns.word);
        let subrequest = Subrequest {
            runtime: Arc::clone(&exchange.runtime),
            head,
            asked: exchange.asked.clone(),
            course,
            client: exchange.client,
            id: exchange.id.clone(),
            trace: exchange.trace.clone(),
            returns,
        };
        let context = Ctx::builder().user_ctx(Box::new(Some(subrequest))).build();
        let (prepared, mut handle) = spawner.create_subrequest(pingora.as_ref(), context);
        let answer = async { while handle.rx.recv().await.is_some() {} };
        tokio::join!(prepared.run(), answer);
        let mut word = word.lock().unwrap_or_else(PoisonError::into_inner);
        word.take().unwrap_or(Word { status: 500, ..Word::default() })
    }
}

impl Exchange {
    /// Begins as a subrequest, if the session is one.
    pub(super) fn begin_subrequest(&mut self, session: &mut Session) -> bool {
        let context = session.subrequest_ctx.as_mut().and_then(|context| context.user_ctx_mut());
        let taken = context.and_then(|context| context.downcast_mut::<Option<Subrequest>>());
        let Some(subrequest) = taken.and_then(Option::take) else { return false };
        self.runtime = subrequest.runtime;
        self.asked = subrequest.asked;
        self.course = subrequest.course;
        self.client = subrequest.client;
        self.id = subrequest.id;
        self.trace = subrequest.trace;
        self.returns = Some(subrequest.returns);
        *session.req_header_mut() = subrequest.head;
        true
    }

    /// Hands the answer of a subrequest to who has asked; tells whether this is one.
    pub(super) fn return_word(&self, session: &dyn Client) -> bool {
        let Some(returns) = &self.returns else { return false };
        let written = session.response_written();
        let challenges: Vec<HeaderValue> = written
            .map(|head| head.headers.get_all(header::WWW_AUTHENTICATE).iter().cloned().collect())
            .unwrap_or_default();
        let scene = self.scene(session);
        let text = |template: &Template| {
            scene.as_ref().map(|s| s.with(&self.course).text(template)).unwrap_or_default()
        };
        let kept = returns.kept.iter().map(text).collect();
        let word = Word { status: self.final_status(session), challenges, kept };
        *returns.word.lock().unwrap_or_else(PoisonError::into_inner) = Some(word);
        true
    }
}
