//! The screen: takes news and keys, and draws, until a key or a signal ends it.
//!
//! The terminal is given back as it was however that happens: by a key, by SIGTERM, SIGHUP or SIGINT, and by a
//! panic. Keys are read from the terminal itself, since standard input may be the log.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::DefaultTerminal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::board::Board;
use super::source::{News, Source};
use super::view::{self, Screen};

/// News that may wait for the screen.
const WAITING: usize = 1024;
/// How long a key is waited for before the next look at the news.
const LOOK: Duration = Duration::from_millis(50);
/// How long news is taken before the next look at the keys.
const TAKE: Duration = Duration::from_millis(50);
/// How often it is drawn where nothing but time has changed.
const DRAW: Duration = Duration::from_millis(500);
/// A log whose last line is that old at most is one that is being written.
const FRESH: u64 = 120_000;

/// Shows what the source brings.
pub(super) fn run(source: Source, plain: bool) -> Result<ExitCode, String> {
    if !io::stdout().is_terminal() {
        return Err("robin: standard output is no terminal; `--once` prints one frame".to_owned());
    }
    let (sender, news) = sync_channel(WAITING);
    source.follow(sender)?;
    let told = signalled().map_err(|error| format!("robin: {error}"))?;
    // This restores the terminal after a panic, too.
    let terminal = ratatui::try_init().map_err(|error| {
        ratatui::restore();
        format!("robin: no keys can be read from the terminal: {error}; `--once` needs none")
    })?;
    let ended = Shown::new(news, told, plain).show(terminal);
    ratatui::restore();
    ended.map_err(|error| format!("robin: {error}"))
}

/// Which signal has come; none is 0.
fn signalled() -> io::Result<Arc<AtomicU8>> {
    let told = Arc::new(AtomicU8::new(0));
    let teller = Arc::clone(&told);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let signals = runtime.block_on(async {
        let of = |kind| signal(kind);
        Ok::<_, io::Error>((
            of(SignalKind::terminate())?,
            of(SignalKind::hangup())?,
            of(SignalKind::interrupt())?,
        ))
    })?;
    thread::Builder::new().name("top-signals".into()).spawn(move || {
        runtime.block_on(async move {
            let (mut terminate, mut hangup, mut interrupt) = signals;
            let number = tokio::select! {
                _ = terminate.recv() => 15,
                _ = hangup.recv() => 1,
                _ = interrupt.recv() => 2,
            };
            teller.store(number, Relaxed);
        });
    })?;
    Ok(told)
}

/// What the loop has.
struct Shown {
    board: Board,
    /// What is shown while it stands still.
    still: Option<Board>,
    screen: Screen,
    news: Receiver<News>,
    told: Arc<AtomicU8>,
    /// Whether no news comes any more.
    ended: bool,
    /// When the latest line came, and its time.
    latest: Option<(Instant, u64)>,
}

impl Shown {
    fn new(news: Receiver<News>, told: Arc<AtomicU8>, plain: bool) -> Self {
        Self {
            board: Board::default(),
            still: None,
            screen: Screen { plain, ..Screen::default() },
            news,
            told,
            ended: false,
            latest: None,
        }
    }

    fn show(mut self, mut terminal: DefaultTerminal) -> io::Result<ExitCode> {
        let mut drawn: Option<Instant> = None;
        loop {
            let signal = self.told.load(Relaxed);
            if signal != 0 {
                // As a shell tells of a process that a signal has ended.
                return Ok(ExitCode::from(128 + signal));
            }
            let changed = self.take_news();
            if changed || drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW) {
                self.tick();
                let board = self.still.as_ref().unwrap_or(&self.board);
                terminal.draw(|frame| view::draw(frame, board, &mut self.screen))?;
                drawn = Some(Instant::now());
            }
            let mut wait = if changed { Duration::ZERO } else { LOOK };
            while event::poll(wait)? {
                wait = Duration::ZERO;
                // A resized window is drawn anew, too.
                drawn = None;
                if let Event::Key(key) = event::read()?
                    && key.kind != KeyEventKind::Release
                    && !self.key(key)
                {
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
    }

    /// Takes the news that is there, but not for ever; true where there was some.
    fn take_news(&mut self) -> bool {
        let begun = Instant::now();
        let mut any = false;
        while !self.ended && begun.elapsed() < TAKE {
            let news = match self.news.try_recv() {
                Ok(news) => news,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => News::Ended("input has ended".into()),
            };
            any = true;
            match news {
                News::Line(line) => {
                    if self.board.feed(&line) {
                        self.latest = Some((Instant::now(), self.board.now));
                        self.screen.note.clear();
                    }
                }
                News::Status(status) => {
                    self.board.status(*status);
                    self.screen.note.clear();
                }
                News::Ended(why) => {
                    self.ended = true;
                    self.screen.note = why;
                }
                News::Trouble(why) => self.screen.note = why.trim_start_matches("robin: ").into(),
            }
        }
        any
    }

    /// Lets time go on where lines come: by the clock, where they are of now; else from the last
    /// line on, so that a log of yesterday is shown as of yesterday.
    fn tick(&mut self) {
        let Some((came, at)) = self.latest.filter(|_| !self.ended) else { return };
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let elapsed = millis(came.elapsed());
        let wall = millis(wall);
        let is_fresh = wall.saturating_sub(elapsed).abs_diff(at) < FRESH;
        self.board.tick(if is_fresh { wall } else { at.saturating_add(elapsed) });
    }

    /// Does what a key asks for; false where that is to quit.
    fn key(&mut self, key: KeyEvent) -> bool {
        let screen = &mut self.screen;
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('?' | 'h') => screen.help = !screen.help,
            KeyCode::Char('p' | ' ') => {
                screen.paused = !screen.paused;
                self.still = screen.paused.then(|| self.board.clone());
            }
            KeyCode::Up | KeyCode::Char('k') => screen.scrolled = screen.scrolled.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => screen.scrolled += 1,
            KeyCode::PageUp => screen.scrolled = screen.scrolled.saturating_sub(screen.page),
            KeyCode::PageDown => screen.scrolled = screen.scrolled.saturating_add(screen.page),
            KeyCode::Home => screen.scrolled = 0,
            KeyCode::End => screen.scrolled = usize::MAX,
            _ => {}
        }
        true
    }
}
