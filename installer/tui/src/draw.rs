//! How the screens look.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use crate::app::App;
use crate::page::{Item, Page, items};

/// Wider lines than this are hard to read.
const WIDEST: u16 = 110;
/// Columns of a label.
const LABEL: usize = 16;

/// Draws the page that is shown.
pub fn draw(app: &App, frame: &mut Frame<'_>) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(1), Constraint::Length(1)])
            .areas(frame.area());
    let asked: Vec<Page> = Page::ALL.into_iter().filter(|page| page.is_asked(&app.form)).collect();
    let place = asked.iter().position(|page| *page == app.page).unwrap_or_default() + 1;
    let title =
        format!(" Xenolith {}   {} ({place} of {})", app.image.version, app.page.title(), asked.len());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Paragraph::new(vec![Line::styled(title, bold), Line::default()]), head);
    let body = Rect { x: body.x + 2, width: body.width.saturating_sub(4).min(WIDEST), ..body };
    let (lines, focused) = lines(app, body);
    // What has the focus is on the screen, with what belongs to it above.
    let height = usize::from(body.height);
    let scroll =
        focused.map_or(0, |line| (line + 2).saturating_sub(height)).min(lines.len().saturating_sub(height));
    let more = lines.len().saturating_sub(scroll + height) + app.progress.log.below();
    let shown: Vec<Line<'_>> = lines.into_iter().skip(scroll).take(height).collect();
    frame.render_widget(Paragraph::new(shown), body);
    frame.render_widget(Paragraph::new(Line::styled(footer(app, more), bold)), foot);
    if app.help {
        help(app, frame);
    }
}

/// In 80 columns, also where 999 lines are below.
fn footer(app: &App, more: usize) -> String {
    let keys = match app.page {
        Page::Progress if app.records.is_open() => {
            " Arrows move   Enter choose   Esc back   F1 help   F2 shell"
        }
        Page::Progress if app.progress.log.is_open() => {
            " Arrows, PageUp, PageDown scroll   L, Esc back   ? help   F2 shell"
        }
        Page::Progress => " Enter choose   L log   ? help   F2 shell",
        Page::Welcome if app.proposed().is_some() => {
            " Arrows move   Enter choose   Esc leave   ? help   F2 shell"
        }
        Page::Welcome => " Enter go on   Esc leave   ? help   F2 shell",
        _ => " Arrows move, change   Enter choose   Esc back   F1 help   F2 shell",
    };
    if more == 0 { keys.to_owned() } else { format!("{keys}   v {more} more") }
}

/// The lines of the page, and which of them has the focus.
fn lines(app: &App, body: Rect) -> (Vec<Line<'static>>, Option<usize>) {
    let (width, height) = (usize::from(body.width), usize::from(body.height));
    let (mut lines, mut focused, mut number, mut log) = (Vec::new(), None, 0, None);
    let mut buttons: Vec<Span<'static>> = Vec::new();
    for item in items(app) {
        let has_focus = item.takes_focus() && {
            number += 1;
            number == app.focus + 1
        };
        if let Item::Button(button) = &item {
            let text = if has_focus {
                format!("[> {} <]", button.label())
            } else {
                format!("[  {}  ]", button.label())
            };
            buttons.extend([Span::styled(text, style(has_focus)), Span::raw("  ")]);
            if has_focus {
                // They stand on one line, the last.
                focused = Some(usize::MAX);
            }
            continue;
        }
        if has_focus {
            focused = Some(lines.len());
        }
        let mark = if has_focus { "> " } else { "  " };
        match item {
            Item::Words(text) => lines.extend(wrapped(&text, width).into_iter().map(Line::raw)),
            Item::Problem(text) => {
                let text = format!("{:>width$}! {text}", "", width = LABEL + 2);
                lines
                    .extend(wrapped(&text, width).into_iter().map(|line| Line::styled(line, Modifier::BOLD)));
            }
            Item::Option { label, chosen, .. } => {
                let dot = if chosen { "(*)" } else { "( )" };
                lines.push(Line::styled(format!("{mark}{dot} {label}"), style(has_focus)));
            }
            Item::Choice { label, value, .. } => {
                lines.push(Line::styled(format!("{mark}{label:<LABEL$}< {value} >"), style(has_focus)));
            }
            Item::Input { label, value, secret, .. } => {
                let room = width.saturating_sub(LABEL + 6).max(1);
                let value = if secret { "*".repeat(value.chars().count()) } else { value };
                // The end of a long text is what is being typed.
                let from = value.chars().count().saturating_sub(room - 1);
                let tail: String = value.chars().skip(from).collect();
                let cursor = if has_focus { "_" } else { "" };
                let field = format!("{mark}{label:<LABEL$}[{:<room$}]", format!("{tail}{cursor}"));
                lines.push(Line::styled(field, style(has_focus)));
            }
            Item::Log(text) => log = Some((lines.len(), text)),
            Item::Button(_) => {}
        }
    }
    if let Some((at, text)) = log {
        let mut all: Vec<String> = text.iter().flat_map(|line| wrapped(line, width)).collect();
        let rest = lines.len() + usize::from(!buttons.is_empty());
        let part = app.progress.log.part(all.len(), height.saturating_sub(rest));
        lines.splice(at..at, all.drain(part).map(Line::raw));
    }
    if !buttons.is_empty() {
        focused = focused.map(|line| line.min(lines.len()));
        lines.push(Line::from(buttons));
    }
    (lines, focused)
}

/// Seen without colours, and on a serial line.
fn style(has_focus: bool) -> Style {
    if has_focus { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() }
}

/// A text in lines of at most `width` columns; what goes on is indented as it began. Nothing is cut: a word that is too long breaks.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let indent: String = text.chars().take_while(|c| *c == ' ').collect();
    let mut lines = Vec::new();
    let mut line = indent.clone();
    let room = width.saturating_sub(indent.len()).max(1);
    for word in text[indent.len()..].split_inclusive(' ') {
        let word: Vec<char> = word.chars().collect();
        for part in word.chunks(room) {
            let part: String = part.iter().collect();
            if line.len() > indent.len() && line.chars().count() + part.trim_end().chars().count() > width {
                lines.push(line.trim_end().to_owned());
                line.clone_from(&indent);
            }
            line.push_str(&part);
        }
    }
    lines.push(line.trim_end().to_owned());
    lines
}

fn help(app: &App, frame: &mut Frame<'_>) {
    let area = frame.area();
    let (width, height) = (area.width.saturating_sub(8).min(76), 14.min(area.height.saturating_sub(4)));
    let box_area = Rect {
        x: area.x + area.width.saturating_sub(width) / 2,
        y: area.y + area.height.saturating_sub(height) / 2,
        width,
        height,
    };
    let keys = "Up, Down, Tab: from field to field. Left, Right, Space: change a choice. Enter: choose. Esc: the page before.";
    let text = vec![
        Line::raw(app.page.help()),
        Line::default(),
        Line::raw(keys),
        Line::default(),
        Line::raw("Any key closes this."),
    ];
    frame.render_widget(Clear, box_area);
    let block = Block::bordered().title(format!(" Help: {} ", app.page.title()));
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }).block(block), box_area);
}
