//! Draws the screen.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table, Wrap};
use ringway_engine::status::{EndpointStatus, ErrorStatus, RouteStatus, State, WorkerStatus};

use super::screen::{Page, Screen};
use crate::check::counted;

/// Draws the whole screen. Scrolling is held within what there is.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &mut Screen) {
    let [head, trouble, rates, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(if screen.trouble.is_some() { 2 } else { 0 }),
        Constraint::Length(if frame.area().height > 20 { 5 } else { 0 }),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(headline(screen)), head);
    if let Some(text) = &screen.trouble {
        let style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
        let text = Paragraph::new(text.as_str()).style(style).wrap(Wrap { trim: true });
        frame.render_widget(text, trouble);
    }
    draw_rates(frame, screen, rates);
    match screen.page {
        Page::Load => draw_load(frame, screen, body),
        Page::Routes => draw_routes(frame, screen, body),
        Page::Errors => draw_errors(frame, screen, body),
    }
    let order = if screen.reversed { " reversed" } else { "" };
    let keys = format!(
        " q quit  Tab page  s sort: {}{order}  r turn  space {}  arrows scroll",
        screen.sort.name(),
        if screen.paused { "go on" } else { "pause" }
    );
    frame.render_widget(Paragraph::new(keys).style(Style::new().fg(Color::DarkGray)), foot);
}

fn headline(screen: &Screen) -> Line<'_> {
    let status = &screen.told.status;
    let (state, colour) = match (&screen.trouble, screen.paused, status.state) {
        (Some(_), ..) => ("no answer", Color::Red),
        (_, true, _) => ("paused", Color::Yellow),
        (.., State::Ready) => ("ready", Color::Green),
        (.., State::Draining) => ("draining", Color::Yellow),
    };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    Line::from(vec![
        Span::styled(format!(" Ringway {} ", status.version), bold),
        Span::styled(format!(" {state} "), bold.fg(colour)),
        Span::raw(format!(
            " {}  up {}  {}  {}",
            status.driver,
            age(status.uptime_seconds),
            counted(status.routes, "route"),
            screen.url
        )),
    ])
}

fn draw_rates(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    if area.height == 0 {
        return;
    }
    let rate = screen.rate().map_or("–".to_owned(), |rate| format!("{rate:.0}"));
    let title = format!(
        " {rate} requests/s   {} connections   {} errors in all ",
        screen.total(|worker| worker.connections),
        screen.total(|worker| worker.errors)
    );
    let block = Block::bordered().title(title);
    let wide = usize::from(block.inner(area).width);
    let shown = screen.rates.iter().skip(screen.rates.len().saturating_sub(wide)).copied();
    let line = Sparkline::default()
        .block(block)
        .style(Style::new().fg(Color::Cyan))
        .data(shown.collect::<Vec<_>>());
    frame.render_widget(line, area);
}

fn draw_load(frame: &mut Frame<'_>, screen: &mut Screen, area: Rect) {
    let workers = screen.workers();
    // Half for the workers at most, and room for their frame and their heading.
    let wanted = u16::try_from(workers.len()).unwrap_or(u16::MAX).saturating_add(3);
    let [above, below] =
        Layout::vertical([Constraint::Length(wanted.min(area.height / 2)), Constraint::Min(0)])
            .areas(area);
    let rows = workers.iter().map(|(worker, rate)| {
        let rate = rate.map_or("–".to_owned(), |rate| format!("{rate:.0}"));
        let numbers = [worker.connections, worker.requests, worker.errors, worker.handed_over];
        let cells = [worker.id.to_string(), rate].into_iter();
        let numbers = numbers.map(|number| number.to_string()).into_iter();
        let stall = (worker.stalls > 0).then(|| format!("{:.0} ms", worker.longest_stall_ms));
        let last = [per_wait(worker), stall.unwrap_or_else(|| "–".to_owned())];
        Row::new(cells.chain(numbers).chain(last).map(right))
    });
    let names = [
        "worker",
        "requests/s",
        "open",
        "requests",
        "errors",
        "handed over",
        "compl./wait",
        "worst stall",
    ];
    let widths = [6, 10, 6, 9, 7, 11, 11, 11].map(Constraint::Fill);
    let table = Table::new(rows, widths)
        .header(Row::new(names.map(|name| right(name.to_owned()))).style(heading()))
        .block(Block::bordered().title(" Workers "));
    frame.render_widget(table, above);
    draw_endpoints(frame, screen, below);
}

/// An endpoint is known by its address, port included: where there is little room, it is the name
/// of the upstream that is cut.
fn draw_endpoints(frame: &mut Frame<'_>, screen: &mut Screen, area: Rect) {
    let endpoints = screen.endpoints();
    let longest = endpoints.iter().map(|(_, endpoint)| endpoint.address.len()).max();
    let longest = u16::try_from(longest.unwrap_or_default()).unwrap_or(u16::MAX).max(20);
    let rows: Vec<_> =
        endpoints.iter().map(|(name, endpoint)| endpoint_row(name, endpoint)).collect();
    let names = ["upstream", "endpoint", "state", "weight", "requests", "failed", "open", "reuse"];
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(longest),
        Constraint::Length(10),
        Constraint::Length(6),
        Constraint::Length(10),
        Constraint::Length(7),
        Constraint::Length(4),
        Constraint::Length(5),
    ];
    let head = names.into_iter().enumerate().map(|(at, name)| match at {
        0..=2 => Cell::from(name),
        _ => right(name.to_owned()),
    });
    let scrolled = bounded(screen.scrolled, rows.len(), area);
    let table = Table::new(rows.into_iter().skip(scrolled), widths)
        .header(Row::new(head).style(heading()))
        .block(Block::bordered().title(" Upstreams "));
    frame.render_widget(table, area);
    screen.scrolled = scrolled;
}

fn endpoint_row(upstream: &str, endpoint: &EndpointStatus) -> Row<'static> {
    let colour = match endpoint.state.as_str() {
        "healthy" => Color::Green,
        "unhealthy" | "ejected" => Color::Red,
        _ => Color::Yellow,
    };
    let numbers = [
        endpoint.set_weight.unwrap_or(endpoint.weight).to_string(),
        endpoint.requests.to_string(),
        endpoint.failures.to_string(),
        endpoint.in_flight.to_string(),
        reuse(endpoint),
    ];
    let words = [
        Cell::from(upstream.to_owned()),
        Cell::from(endpoint.address.clone()),
        Cell::from(endpoint.state.clone()).style(Style::new().fg(colour)),
    ];
    Row::new(words.into_iter().chain(numbers.map(right)))
}

fn draw_routes(frame: &mut Frame<'_>, screen: &mut Screen, area: Rect) {
    let routes = &screen.told.routes;
    let scrolled = bounded(screen.scrolled, routes.routes.len(), area);
    let rows = routes.routes.iter().skip(scrolled).map(|route| Row::new(route_row(route)));
    let widths =
        [Constraint::Fill(2), Constraint::Fill(4), Constraint::Fill(3), Constraint::Fill(2)];
    let table = Table::new(rows, widths)
        .header(Row::new(["route", "takes", "does", "filters"]).style(heading()))
        .block(Block::bordered().title(format!(" Routes: {} ", routes.total)));
    frame.render_widget(table, area);
    screen.scrolled = scrolled;
}

fn draw_errors(frame: &mut Frame<'_>, screen: &mut Screen, area: Rect) {
    let errors = &screen.told.errors.errors;
    let scrolled = bounded(screen.scrolled, errors.len(), area);
    let rows = errors.iter().skip(scrolled).map(|error| Row::new(error_row(error)));
    let widths = [
        Constraint::Length(9),
        Constraint::Fill(3),
        Constraint::Length(6),
        Constraint::Fill(4),
        Constraint::Fill(3),
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(["utc", "request", "status", "what happened", "where"]).style(heading()))
        .block(Block::bordered().title(" Recent errors "));
    frame.render_widget(table, area);
    screen.scrolled = scrolled;
}

/// An error as five columns of text.
pub(super) fn error_row(error: &ErrorStatus) -> [String; 5] {
    let place = error.endpoint.clone().unwrap_or_else(|| error.upstream.clone());
    let place = [error.route.clone(), place].into_iter().filter(|part| !part.is_empty());
    let day = error.time as u64 % 86400;
    [
        format!("{:02}:{:02}:{:02}", day / 3600, day % 3600 / 60, day % 60),
        format!("{} {}", error.method, error.path),
        error.status.to_string(),
        error.message.clone(),
        place.collect::<Vec<_>>().join(" "),
    ]
}

/// Rows may be scrolled until the last ones fill the table; frame and heading take three lines.
fn bounded(scrolled: usize, rows: usize, area: Rect) -> usize {
    scrolled.min(rows.saturating_sub(usize::from(area.height.saturating_sub(3))))
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).alignment(Alignment::Right))
}

fn heading() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// A route as four columns of text.
pub(super) fn route_row(route: &RouteStatus) -> [String; 4] {
    let takes = [route.hosts.join(","), route.methods.join(","), route.path.clone()];
    let takes = takes.into_iter().chain(route.conditions.iter().cloned());
    let takes: Vec<_> = takes.filter(|part| !part.is_empty()).collect();
    let dash = |text: String, or: &str| if text.is_empty() { or.to_owned() } else { text };
    [
        route.name.clone(),
        dash(takes.join(" "), "everything"),
        format!("{} {}", route.action, route.to.join(", ")),
        dash(route.filters.join(", "), "-"),
    ]
}

/// The share of attempts that found a connection in the pool.
pub(super) fn reuse(endpoint: &EndpointStatus) -> String {
    endpoint.reuse_rate.map_or("-".to_owned(), |rate| format!("{:.0} %", rate * 100.0))
}

/// A state as a word.
pub(super) fn state_name(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Draining => "draining",
    }
}

/// Completions for each wait of a worker that has a ring.
pub(super) fn per_wait(worker: &WorkerStatus) -> String {
    worker.completions_per_wait.map_or("–".to_owned(), |number| format!("{number:.1}"))
}

/// Seconds in two units.
pub(super) fn age(seconds: f64) -> String {
    let seconds = seconds as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86400, seconds % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyCode;

    use super::*;
    use crate::top::screen::Sort;
    use crate::top::screen::tests::told;

    fn drawn(screen: &mut Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal.draw(|frame| draw(frame, screen)).expect("a picture");
        terminal.backend().to_string()
    }

    fn screen() -> Screen {
        let mut screen = Screen::new("http://10.0.0.9:9901".to_owned(), Sort::Order);
        let start = Instant::now();
        screen.hear(Ok(told([100, 200], 60.0)), start);
        screen.hear(Ok(told([150, 250], 65.0)), start + Duration::from_secs(5));
        screen
    }

    #[test]
    fn everything_has_its_place() {
        let picture = drawn(&mut screen(), 100, 30);
        for part in [
            "Ringway 1.2.3  ready",
            "epoll  up 1 min 5 s  1 route  http://10.0.0.9:9901",
            "20 requests/s   19 connections   1 errors in all",
            "Workers",
            "compl./wait",
            "1.5",
            "Upstreams",
            "10.0.0.2:80",
            "ejected",
            "75 %",
            "s sort: order",
        ] {
            assert!(picture.contains(part), "{part} is not in:\n{picture}");
        }
    }

    #[test]
    fn an_address_is_whole_on_a_usual_terminal() {
        let mut screen = screen();
        for upstream in &mut screen.told.status.upstreams {
            upstream.name = "reservations".to_owned();
            let endpoints = upstream.endpoints.iter_mut().enumerate();
            endpoints.for_each(|(at, one)| one.address = format!("192.168.100.10{at}:18080"));
        }
        let picture = drawn(&mut screen, 80, 24);
        for part in ["reserv", "192.168.100.100:18080", "192.168.100.101:18080", "ejected"] {
            assert!(picture.contains(part), "{part} is not in:\n{picture}");
        }
    }

    #[test]
    fn keys_turn_the_page_and_scroll_within_it() {
        let mut screen = screen();
        screen.press(KeyCode::Tab);
        let picture = drawn(&mut screen, 80, 24);
        assert!(picture.contains("Routes: 1") && picture.contains("prefix /"), "{picture}");
        assert!(!picture.contains("Workers"), "{picture}");
        screen.press(KeyCode::PageDown);
        let picture = drawn(&mut screen, 80, 24);
        assert!(picture.contains("prefix /"), "there is nothing to scroll to:\n{picture}");
        assert_eq!(screen.scrolled, 0);
        screen.press(KeyCode::Tab);
        let picture = drawn(&mut screen, 80, 24);
        assert!(picture.contains("GET /lost") && picture.contains("502"), "{picture}");
        screen.press(KeyCode::Tab);
        assert!(drawn(&mut screen, 80, 24).contains("Workers"));
    }

    #[test]
    fn trouble_is_told_beside_what_was_last_known() {
        let mut screen = screen();
        screen.hear(Err("http://10.0.0.9:9901 does not answer".to_owned()), Instant::now());
        let picture = drawn(&mut screen, 80, 24);
        for part in ["no answer", "does not answer", "10.0.0.1:80"] {
            assert!(picture.contains(part), "{part} is not in:\n{picture}");
        }
    }

    #[test]
    fn no_terminal_is_too_small() {
        for (width, height) in [(1, 1), (10, 3), (40, 8), (300, 100)] {
            drawn(&mut screen(), width, height);
        }
    }
}
