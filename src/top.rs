//! `ringway top`: what a running gateway does, in a terminal, as its admin API tells it.

mod ask;
mod plain;
mod screen;
mod view;

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use crate::Exit;
use crate::paint::{Paint, err, out};
use ask::{Admin, Told};
use screen::{Screen, Sort};

/// The environment variable that has the token, as the examples of the file call it.
const VARIABLE: &str = "ADMIN_TOKEN";

/// How soon a key is answered.
const KEY: Duration = Duration::from_millis(100);

/// Arguments of `ringway top`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It asks the admin API, which is there where the file has `admin:` (see config/examples/admin.yaml).

Keys: Tab or 1 2 3 shows another page, s sorts by another column, r turns the order, arrows scroll,
space pauses, q quits.

Exit codes: 0 it has shown what there is; 1 the admin API does not answer or refuses.")]
pub(crate) struct Arguments {
    /// Where the admin API is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9901")]
    url: String,
    /// The token of `admin.token`; better in the environment variable ADMIN_TOKEN, because others
    /// on this machine can read command lines
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Seconds from one look to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = parse_every)]
    every: f64,
    /// What the rows are sorted by at first
    #[arg(long, value_enum, default_value_t = Sort::Order)]
    sort: Sort,
    /// Print it once as plain text and end
    #[arg(long)]
    once: bool,
}

fn parse_every(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("write seconds from 0.1 to 3600".to_owned()),
    }
}

/// Shows what the gateway does.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    let token = arguments.token.clone().or_else(|| std::env::var(VARIABLE).ok());
    let shown = Admin::new(&arguments.url, token).and_then(|admin| {
        // Asked before the screen is taken, so that an error stays to be read.
        let told = admin.ask()?;
        if arguments.once {
            out(plain::text(&told, arguments.sort));
            return Ok(());
        }
        if !io::stdout().is_terminal() {
            return Err("standard output is no terminal: use --once".to_owned());
        }
        let mut screen = Screen::new(admin.url().to_owned(), arguments.sort);
        screen.hear(Ok(told), Instant::now());
        let every = Duration::from_secs_f64(arguments.every);
        watch(admin, screen, every).map_err(|fault| format!("the terminal: {fault}"))
    });
    match shown {
        Ok(()) => Exit::Done,
        Err(message) => {
            err(format_args!("{}: {message}\n", Paint::stderr().bad("error")));
            Exit::Failed
        }
    }
}

/// Draws until somebody quits.
fn watch(admin: Admin, mut screen: Screen, every: Duration) -> io::Result<()> {
    let (told, news) = mpsc::channel();
    let (_end, ended) = mpsc::channel::<()>();
    thread::Builder::new()
        .name("ringway-top".to_owned())
        .spawn(move || ask_on(&admin, every, &told, &ended))?;
    let mut terminal = ratatui::try_init()?;
    let drawn = loop {
        for (told, at) in news.try_iter() {
            screen.hear(told, at);
        }
        if let Err(fault) = terminal.draw(|frame| view::draw(frame, &mut screen)) {
            break Err(fault);
        }
        match next_key() {
            Ok(Some(KeyCode::Char('q') | KeyCode::Esc)) => break Ok(()),
            Ok(Some(key)) => screen.press(key),
            Ok(None) => {}
            Err(fault) => break Err(fault),
        }
    };
    ratatui::restore();
    drawn
}

/// Asks again and again, until nobody wants to know any more.
fn ask_on(
    admin: &Admin,
    every: Duration,
    told: &Sender<(Result<Told, String>, Instant)>,
    ended: &Receiver<()>,
) {
    while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
        if told.send((admin.ask(), Instant::now())).is_err() {
            return;
        }
    }
}

/// The key that was pressed meanwhile; Ctrl-C is `q`.
fn next_key() -> io::Result<Option<KeyCode>> {
    if !event::poll(KEY)? {
        return Ok(None);
    }
    Ok(match event::read()? {
        Event::Key(key) if key.kind == KeyEventKind::Release => None,
        Event::Key(key) if key.modifiers.contains(KeyModifiers::CONTROL) => {
            (key.code == KeyCode::Char('c')).then_some(KeyCode::Char('q'))
        }
        Event::Key(key) => Some(key.code),
        _ => None,
    })
}
