//! How the console looks on a terminal that pictures can be drawn on. Nothing is said by colour alone.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Paragraph};

use crate::app::{App, Dialog, LOGGED_OUT_AFTER, Stage};
use crate::look::Look;
use crate::page::{Item, Page, items};
use crate::view::{status, wrapped};

/// Columns of the menu, with the line beside it.
const MENU: u16 = 17;
/// Wider lines than this are hard to read.
const WIDEST: u16 = 110;
/// Columns of a label.
const LABEL: usize = 15;
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws what is shown.
pub fn draw(app: &App, frame: &mut Frame<'_>) {
    let Some(look) = &app.look else {
        frame.render_widget(Paragraph::new(" Xenolith: looking at this host …"), frame.area());
        return;
    };
    match &app.stage {
        Stage::Locked => locked(app, look, frame),
        Stage::Login { .. } => {
            locked(app, look, frame);
            login(app, frame);
        }
        Stage::Open => open(app, look, frame),
    }
}

fn lines(text: Vec<String>) -> Paragraph<'static> {
    Paragraph::new(text.into_iter().map(Line::raw).collect::<Vec<_>>())
}

fn locked(app: &App, look: &Look, frame: &mut Frame<'_>) {
    let doors = look.doors_in_words();
    let foot_height = u16::try_from(doors.len()).unwrap_or(u16::MAX);
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(foot_height)])
            .areas(frame.area());
    frame.render_widget(Paragraph::new(Line::styled(format!(" {}", look.title()), BOLD)), head);
    let (width, height) = (usize::from(body.width), usize::from(body.height));
    let mut shown = status(look, width, height, app.blocks);
    if shown.len() > height {
        let more = shown.len() - height + 1;
        shown.truncate(height.saturating_sub(1));
        shown.push(format!("  … {more} more lines, after the login and from xenolith-status"));
    }
    frame.render_widget(lines(shown), body);
    let mut words: Vec<String> = doors.into_iter().map(|line| format!(" {line}")).collect();
    if let (Some(until), Some(first)) = (app.trial, words.first_mut()) {
        let left = until.saturating_sub(app.now).as_secs();
        *first = format!("{first}  A network is being tried, for {left} s.");
    }
    let mut text: Vec<Line<'_>> = words.into_iter().map(Line::raw).collect();
    if let Some(first) = text.first_mut() {
        *first = first.clone().style(BOLD);
    }
    frame.render_widget(Paragraph::new(text), foot);
}

fn login(app: &App, frame: &mut Frame<'_>) {
    let Stage::Login { password, note, checking } = &app.stage else { return };
    let mut words = vec![format!("Password: {}_", "*".repeat(password.count().min(40)))];
    words.extend(note.clone());
    if let Some(wait) = app.lock.wait(app.now) {
        words.push(format!("Wait {} s before the next one.", wait.as_secs() + 1));
    }
    if *checking {
        words = vec!["Checking …".to_owned()];
    }
    words.extend([String::new(), "Enter logs in, Esc goes back.".to_owned()]);
    boxed(frame, "Log in as root", words, 60);
}

fn open(app: &App, look: &Look, frame: &mut Frame<'_>) {
    let [head, rule, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let left = LOGGED_OUT_AFTER.saturating_sub(app.now.saturating_sub(app.last_key)).as_secs();
    let left = if left > 60 { format!("{} min", left.div_ceil(60)) } else { format!("{left} s") };
    let right = format!("logs out in {left} ");
    let room = usize::from(head.width).saturating_sub(right.chars().count() + 1);
    let title: String = format!(" {}", look.title()).chars().take(room).collect();
    frame.render_widget(Paragraph::new(Line::styled(format!("{title:<room$} {right}"), BOLD)), head);
    frame.render_widget(Paragraph::new("-".repeat(rule.width.into())), rule);
    if let Some(log) = &app.log {
        let (shown, first, all) = log.shown(usize::from(body.height));
        let last = first + shown.len().saturating_sub(1);
        let width = usize::from(body.width);
        let text = shown.iter().map(|line| line.chars().take(width).collect()).collect();
        frame.render_widget(lines(text), body);
        let place = if all == 0 { "nothing".to_owned() } else { format!("{first}-{last} of {all}") };
        let keys = format!(" {}: {place}   Arrows, PgUp, PgDn   Esc back", log.title);
        frame.render_widget(Paragraph::new(Line::styled(keys, BOLD)), foot);
        return;
    }
    let [menu_area, pane] = Layout::horizontal([Constraint::Length(MENU), Constraint::Min(1)]).areas(body);
    menu(app, menu_area, frame);
    let pane = Rect { width: pane.width.min(WIDEST), ..pane };
    let more = page(app, look, pane, frame);
    frame.render_widget(Paragraph::new(Line::styled(footer(app, more), BOLD)), foot);
    if let Some(dialog) = &app.dialog {
        ask(dialog, frame);
    } else if app.help {
        let mut words = vec![app.page.help().to_owned(), String::new()];
        words.push("Up, Down: move. Enter: choose. Left, Right: change a choice. Esc: back to the menu. F5: look again.".to_owned());
        words.extend([String::new(), "Any key closes this.".to_owned()]);
        boxed(frame, &format!("Help: {}", app.page.label()), words, 72);
    }
}

fn footer(app: &App, more: usize) -> String {
    let keys = match (&app.busy, app.inside) {
        (Some(busy), _) => format!(" {busy} …"),
        (None, true) if app.count() == 0 => " Up, Down, PgUp, PgDn move   Esc menu   F1 help".to_owned(),
        (None, true) => " Arrows move and change   Enter choose   Esc menu   F1 help".to_owned(),
        (None, false) => " Up, Down choose a page   Enter open it   F1 help   F5 look again".to_owned(),
    };
    let trial = app
        .trial
        .filter(|_| app.page != Page::Network)
        .map(|until| format!("   network taken back in {} s", until.saturating_sub(app.now).as_secs()));
    let more = if more == 0 { String::new() } else { format!("   v {more} more") };
    format!("{keys}{}{more}", trial.unwrap_or_default())
}

fn menu(app: &App, area: Rect, frame: &mut Frame<'_>) {
    let entry = |page: &Page| {
        let here = *page == app.page;
        let mark = if here { ">" } else { " " };
        let style = if here && !app.inside { focused() } else { Style::new() };
        let text = format!("{mark} {:<width$}", page.label(), width = usize::from(MENU) - 5);
        let mut line = Line::styled(text, style);
        line.push_span(ratatui::text::Span::styled(" |", Style::new()));
        line
    };
    let mut text: Vec<Line<'_>> = Page::ALL.iter().map(entry).collect();
    let empty = format!("{:<width$} |", "", width = usize::from(MENU) - 3);
    text.resize(usize::from(area.height).max(text.len()), Line::raw(empty));
    frame.render_widget(Paragraph::new(text), area);
}

/// Seen without colours, and on a serial line.
fn focused() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

/// Draws the page; how many lines of it are further down.
fn page(app: &App, look: &Look, area: Rect, frame: &mut Frame<'_>) -> usize {
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    if app.page == Page::Status {
        let shown = status(look, width, height, app.blocks);
        let scroll = app.scroll.min(shown.len().saturating_sub(height));
        let more = shown.len().saturating_sub(scroll + height);
        frame.render_widget(lines(shown.into_iter().skip(scroll).collect()), area);
        return more;
    }
    let (text, at) = page_lines(app, width);
    // What has the focus is on the screen, with what belongs to it above.
    let scroll = at
        .map_or(0, |line| (line + 2).saturating_sub(height))
        .saturating_add(app.scroll)
        .min(text.len().saturating_sub(height));
    let more = text.len().saturating_sub(scroll + height);
    frame.render_widget(Paragraph::new(text.into_iter().skip(scroll).collect::<Vec<_>>()), area);
    more
}

/// The lines of the page, and which of them has the focus.
fn page_lines(app: &App, width: usize) -> (Vec<Line<'static>>, Option<usize>) {
    let (mut text, mut at, mut number) = (Vec::new(), None, 0);
    for item in items(app) {
        let has_focus = item.takes_focus() && {
            number += 1;
            app.inside && number == app.focus + 1
        };
        if has_focus {
            at = Some(text.len());
        }
        let (mark, style) = if has_focus { ("> ", focused()) } else { ("  ", Style::new()) };
        match item {
            Item::Words(words) => {
                text.extend(wrapped(&format!("  {words}"), width).into_iter().map(Line::raw));
            }
            Item::Problem(what) => {
                let words = format!("{:>indent$}! {what}", "", indent = LABEL + 2);
                text.extend(wrapped(&words, width).into_iter().map(|line| Line::styled(line, BOLD)));
            }
            Item::Choice { label, value, .. } => {
                text.push(Line::styled(format!("{mark}{label:<LABEL$}< {value} >"), style));
            }
            Item::Input { label, value, .. } => {
                let room = width.saturating_sub(LABEL + 5).clamp(1, 60);
                // The end of a long text is what is being typed.
                let from = value.chars().count().saturating_sub(room - 1);
                let tail: String = value.chars().skip(from).collect();
                let cursor = if has_focus { "_" } else { "" };
                let field = format!("{mark}{label:<LABEL$}[{:<room$}]", format!("{tail}{cursor}"));
                text.push(Line::styled(field, style));
            }
            Item::Button(button) => {
                let label = button.label();
                let label = if has_focus { format!("  [> {label} <]") } else { format!("  [  {label}  ]") };
                text.push(Line::styled(label, style));
            }
        }
    }
    (text, at)
}

fn ask(dialog: &Dialog, frame: &mut Frame<'_>) {
    let mut words = dialog.words.clone();
    words.push(String::new());
    words.push(match (&dialog.then, dialog.yes) {
        (None, _) => "Any key closes this.".to_owned(),
        (Some(_), false) => "[> No <]    [  Yes  ]      Left, Right, then Enter".to_owned(),
        (Some(_), true) => "[  No  ]    [> Yes <]      Left, Right, then Enter".to_owned(),
    });
    boxed(frame, &dialog.title, words, 72);
}

/// A box in the middle of the screen.
fn boxed(frame: &mut Frame<'_>, title: &str, words: Vec<String>, widest: u16) {
    let area = frame.area();
    let width = area.width.saturating_sub(6).min(widest);
    let inner = usize::from(width.saturating_sub(4));
    let mut text: Vec<String> =
        words.iter().flat_map(|line| wrapped(line, inner)).map(|line| format!(" {line}")).collect();
    let most = usize::from(area.height.saturating_sub(4));
    if text.len() > most {
        // What is to be chosen stands at the end.
        let last = text.pop().unwrap_or_default();
        text.truncate(most.saturating_sub(2));
        text.extend([" …".to_owned(), last]);
    }
    let height = u16::try_from(text.len() + 2).unwrap_or(area.height).min(area.height);
    let place = Rect {
        x: area.x + area.width.saturating_sub(width) / 2,
        y: area.y + area.height.saturating_sub(height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, place);
    frame.render_widget(lines(text).block(Block::bordered().title(format!(" {title} "))), place);
}
