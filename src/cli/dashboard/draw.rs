//! How the dashboard looks, from 60 x 16 characters on.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Paragraph};

use super::state::{Curve, State};

const SMALLEST: (u16, u16) = (60, 16);
const TRAIN: Color = Color::Cyan;
const TEST: Color = Color::Yellow;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let text = format!(
            "{} x {} is too small: {} x {} is needed",
            area.width, area.height, SMALLEST.0, SMALLEST.1
        );
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let lower = (area.height / 3).clamp(6, 14);
    let rows = [
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(lower),
        Constraint::Length(1),
    ];
    let [title, progress, numbers, curves, below, help] = Layout::vertical(rows).areas(area);
    frame.render_widget(heading(state), title);
    frame.render_widget(gauge(state), progress);
    frame.render_widget(Paragraph::new(facts(state)), numbers);
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(curves);
    draw_chart(frame, left, "loss", [&state.loss, &state.test_loss], None);
    draw_chart(frame, right, "accuracy %", [&state.accuracy, &state.test_accuracy], Some(100.0));
    let [left, right] = Layout::horizontal([Constraint::Length(28), Constraint::Fill(1)]).areas(below);
    frame.render_widget(mistakes(state, left), left);
    frame.render_widget(log(state, right), right);
    frame.render_widget(Paragraph::new(keys(state)), help);
}

fn heading(state: &State) -> Paragraph<'_> {
    let (word, colour) = match (state.stopping, state.paused) {
        (true, _) => ("stopping", Color::Red),
        (_, true) => ("paused", Color::Yellow),
        _ => ("training", Color::Green),
    };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let facts = &state.facts;
    Paragraph::new(Line::from(vec![
        Span::styled(format!(" {word} "), bold.fg(Color::Black).bg(colour)),
        Span::styled(format!(" {}", facts.run), bold),
        Span::raw(format!("  {} on {}", facts.model, facts.device)),
    ]))
}

fn gauge(state: &State) -> Gauge<'_> {
    let (done, total) = (state.done(), state.facts.steps);
    let share = if total == 0 { 0.0 } else { (done as f64 / total as f64).clamp(0.0, 1.0) };
    let epoch = state.step.map_or(0, |event| event.epoch);
    let label = format!("epoch {epoch}/{}  step {done}/{total}", state.facts.epochs);
    Gauge::default().ratio(share).label(label).gauge_style(Style::new().fg(Color::Blue)).use_unicode(true)
}

fn facts(state: &State) -> String {
    let Some(event) = state.step else { return " before the first step".to_string() };
    let images = (state.facts.steps.saturating_sub(event.step)) as f64 * event.batch_size as f64;
    let left = if state.rate > 0.0 {
        let left = Duration::from_secs_f64((images / state.rate).clamp(0.0, 1e9).round());
        humantime::format_duration(left).to_string()
    } else {
        "?".to_string()
    };
    let memory = state.device_bytes.map(|bytes| format!("  memory {:.1} MiB", bytes as f64 / 1_048_576.0));
    format!(
        " loss {:.4}  lr {:.3e}  {:.0} img/s  ETA {left}{}",
        event.loss,
        event.lr,
        state.rate,
        memory.unwrap_or_default()
    )
}

/// Training in dots, test in lines. The largest value is given where it is known.
fn draw_chart(frame: &mut Frame<'_>, area: Rect, name: &str, [train, test]: [&Curve; 2], most: Option<f64>) {
    let last = |curve: &Curve| curve.last.map_or("-".to_string(), |value| format!("{value:.4}"));
    let title = Line::from(vec![
        Span::raw(format!(" {name}  ")),
        Span::styled(format!("train {}", last(train)), Style::new().fg(TRAIN)),
        Span::styled(format!("  test {} ", last(test)), Style::new().fg(TEST)),
    ]);
    let all = || train.points.iter().chain(&test.points).filter(|(_, value)| value.is_finite());
    let (first, end) = bounds(all().map(|(place, _)| *place), None);
    let (low, high) = bounds(all().map(|(_, value)| *value), most);
    let steps = Axis::default().bounds([first, end]).labels([format!("{first:.0}"), format!("{end:.0}")]);
    let places = if most.is_some() { 1 } else { 2 };
    let labels = [low, (low + high) / 2.0, high].map(|value| format!("{value:.places$}"));
    let values = Axis::default().bounds([low, high]).labels(labels);
    let chart = Chart::new(vec![line(train, TRAIN), line(test, TEST)])
        .block(Block::bordered().title(title))
        .legend_position(None)
        .x_axis(steps)
        .y_axis(values);
    frame.render_widget(chart, area);
}

fn line(curve: &Curve, colour: Color) -> Dataset<'_> {
    let line = Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line);
    line.style(Style::new().fg(colour)).data(&curve.points)
}

/// The smallest and the largest of some values, apart from each other; `most` is a limit of what can be.
fn bounds(values: impl Iterator<Item = f64>, most: Option<f64>) -> (f64, f64) {
    let outer = |so_far: Option<(f64, f64)>, value: f64| match so_far {
        Some((low, high)) => {
            Some((if value < low { value } else { low }, if value > high { value } else { high }))
        }
        None => Some((value, value)),
    };
    let (low, high) = values.fold(None, outer).unwrap_or((0.0, 1.0));
    let high = most.unwrap_or(high);
    if high > low { (low, high) } else { (low - 1.0, low + 1.0) }
}

fn mistakes(state: &State, area: Rect) -> Paragraph<'_> {
    let name = |class: usize| state.facts.classes.get(class).map_or("?", String::as_str);
    let lines = state.mistakes.iter().take(usize::from(area.height)).map(|&(truth, said, count)| {
        let [truth, said] = [truth, said].map(|class| name(class).chars().take(8).collect::<String>());
        Line::raw(format!("{truth:>8} -> {said:<8} {count:>4}"))
    });
    let lines: Vec<Line<'_>> = match (state.mistakes.is_empty(), state.test_loss.last.is_none()) {
        (true, true) => vec![Line::raw("no evaluation yet")],
        (true, false) => vec![Line::raw("none")],
        _ => lines.collect(),
    };
    Paragraph::new(lines).block(Block::bordered().title(" last mistakes "))
}

fn log(state: &State, area: Rect) -> Paragraph<'_> {
    let room = usize::from(area.height.saturating_sub(2));
    let lines = state.log.iter().skip(state.log.len().saturating_sub(room));
    let lines: Vec<Line<'_>> = lines.map(|line| Line::raw(line.as_str())).collect();
    Paragraph::new(lines).block(Block::bordered().title(" log "))
}

fn keys(state: &State) -> Line<'static> {
    let key = |name| Span::styled(name, Style::new().add_modifier(Modifier::REVERSED));
    let pause = if state.paused { " continue   " } else { " pause   " };
    Line::from(vec![
        key(" p "),
        Span::raw(pause),
        key(" c "),
        Span::raw(" checkpoint now   "),
        key(" s "),
        Span::raw(" or "),
        key(" q "),
        Span::raw(" stop; `wgrad resume` goes on"),
    ])
}
