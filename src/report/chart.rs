//! Curves as the geometry of an SVG picture, which a template draws. Colours are the page's, so they follow its theme.

use serde::Serialize;

use super::page::render;
use crate::error::Result;

/// Size of the picture, in its own units; the page scales it.
const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 260.0;
/// Room for labels on the left, at the top, on the right and at the bottom.
const MARGIN: [f64; 4] = [52.0, 10.0, 12.0, 34.0];
/// Points of a curve; more are merged, their lowest and highest kept.
const POINTS: usize = 300;
/// Curves of few points also have dots that say their values.
const DOTS: usize = 120;

/// A curve before it is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// Places and values; a value that is not finite is left out.
    pub points: Vec<(f64, f64)>,
    /// Which of the page's colours it has.
    pub colour: usize,
    /// Whether it is drawn dashed.
    pub dashed: bool,
}

impl Series {
    /// A full line.
    pub fn new(
        name: impl Into<String>,
        colour: usize,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Series {
        Series { name: name.into(), points: points.into_iter().collect(), colour, dashed: false }
    }

    /// The same as a dashed line.
    pub fn dashed(self) -> Series {
        Series { dashed: true, ..self }
    }
}

/// How values are written at an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// As a number; by powers of ten where it spans several.
    Magnitude,
    /// As a number.
    Number,
    /// A fraction as percent.
    Percent,
}

/// A picture of curves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chart {
    title: String,
    x_label: String,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
    curves: Vec<Curve>,
}

/// What the template of a picture of its own is given.
#[derive(Serialize)]
struct Plot {
    chart: Chart,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Tick {
    at: f64,
    label: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Curve {
    name: String,
    colour: usize,
    dashed: bool,
    path: String,
    dots: Vec<Dot>,
    single: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Dot {
    x: f64,
    y: f64,
    says: String,
}

/// An axis: what it shows, from where to where, and whether by powers of ten.
struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
    /// The least that lies between two marks.
    least: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        let of = |value: f64| if self.is_log { value.ln() } else { value };
        let share = (of(value) - of(self.low)) / (of(self.high) - of(self.low));
        let at = self.from + share * (self.to - self.from);
        (at * 10.0).round() / 10.0
    }

    /// Round values within the axis.
    fn ticks(&self, unit: Unit) -> Vec<Tick> {
        let mut values = vec![];
        if self.is_log {
            for power in self.low.log10().floor() as i32..=self.high.log10().ceil() as i32 {
                values.push(10f64.powi(power));
            }
            if values.iter().filter(|value| (self.low..=self.high).contains(*value)).count() < 3 {
                values = values.iter().flat_map(|value| [1.0, 2.0, 5.0].map(|by| value * by)).collect();
            }
        } else {
            let rough = ((self.high - self.low) / 5.0).max(self.least);
            let magnitude = 10f64.powf(rough.log10().floor());
            let steps = [1.0, 2.0, 5.0, 10.0].map(|by| by * magnitude);
            let step = steps.into_iter().find(|step| *step >= rough * 0.999).unwrap_or(rough);
            let first = (self.low / step).ceil() as i64;
            values = (first..first + 8).map(|number| number as f64 * step).collect();
        }
        let slack = (self.high - self.low) * 1e-9;
        values.retain(|value| (self.low - slack..=self.high + slack).contains(value));
        values.iter().map(|&value| Tick { at: self.place(value), label: label(value, unit) }).collect()
    }
}

/// Draws curves over whole numbers; nothing if none of them has a point.
pub fn chart(title: &str, x_label: &str, unit: Unit, series: Vec<Series>) -> Option<Chart> {
    drawn(title, (x_label, false), unit, series)
}

/// The same over powers of ten, as a picture of its own: an SVG file.
pub fn plot(title: &str, x_label: &str, unit: Unit, series: Vec<Series>) -> Result<Option<String>> {
    let chart = drawn(title, (x_label, true), unit, series);
    chart.map(|chart| render("plot.svg", &Plot { chart })).transpose()
}

fn drawn(title: &str, (x_label, x_is_log): (&str, bool), unit: Unit, series: Vec<Series>) -> Option<Chart> {
    let finite = |series: &Series| -> Vec<(f64, f64)> {
        series.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    };
    let series: Vec<Series> = series.into_iter().map(|one| Series { points: finite(&one), ..one }).collect();
    let series: Vec<Series> = series.into_iter().filter(|one| !one.points.is_empty()).collect();
    let all = || series.iter().flat_map(|one| &one.points);
    let (x_low, x_high) = range(all().map(|point| point.0))?;
    let (mut low, mut high) = range(all().map(|point| point.1))?;
    // Losses that fall by orders of magnitude are read by their powers of ten.
    let is_log = unit == Unit::Magnitude && low > 0.0 && high / low > 30.0;
    if !is_log {
        let margin = if high > low { (high - low) * 0.06 } else { high.abs() * 0.05 + 1e-6 };
        // Zero and one are ends of what there is, not places to leave room beyond.
        let ends = if unit == Unit::Percent { (0.0, 1.0) } else { (0.0, f64::INFINITY) };
        low = if low >= ends.0 && low - margin < ends.0 { ends.0 } else { low - margin };
        high = if high <= ends.1 && high + margin > ends.1 { ends.1 } else { high + margin };
    }
    let [left, top, right, bottom] = [MARGIN[0], MARGIN[1], WIDTH - MARGIN[2], HEIGHT - MARGIN[3]];
    let x_high = if x_high > x_low { x_high } else { x_low + 1.0 };
    let x = Axis { low: x_low, high: x_high, is_log: x_is_log, least: 1.0, from: left, to: right };
    let y = Axis { low, high, is_log, least: 0.0, from: bottom, to: top };
    Some(Chart {
        title: title.to_string(),
        x_label: x_label.to_string(),
        width: WIDTH,
        height: HEIGHT,
        left,
        right,
        top,
        bottom,
        x_ticks: x.ticks(Unit::Number),
        y_ticks: y.ticks(unit),
        curves: series.into_iter().map(|one| curve(one, &x, &y, (x_label, unit))).collect(),
    })
}

fn range(values: impl Iterator<Item = f64> + Clone) -> Option<(f64, f64)> {
    Some((values.clone().min_by(f64::total_cmp)?, values.max_by(f64::total_cmp)?))
}

fn curve(series: Series, x: &Axis, y: &Axis, (x_label, unit): (&str, Unit)) -> Curve {
    let Series { name, points, colour, dashed } = series;
    let says = |(at, value): (f64, f64)| {
        let value = if unit == Unit::Percent { format!("{:.2} %", value * 100.0) } else { short(value) };
        format!("{name}: {value} at {x_label} {}", short(at))
    };
    let dots = if points.len() <= DOTS { &points[..] } else { &[] };
    let dots = dots.iter().map(|point| Dot { x: x.place(point.0), y: y.place(point.1), says: says(*point) });
    let dots: Vec<Dot> = dots.collect();
    let mut path = String::new();
    for (at, value) in thin(&points) {
        let command = if path.is_empty() { 'M' } else { 'L' };
        path.push_str(&format!("{command}{} {}", x.place(at), y.place(value)));
    }
    Curve { single: points.len() == 1, colour, dashed, path, dots, name }
}

/// At most [`POINTS`] points: of each run of neighbours the lowest and the highest, in their order.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= POINTS {
        return points.to_vec();
    }
    let run = points.len().div_ceil(POINTS / 2);
    let mut kept = vec![];
    for run in points.chunks(run) {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let ends = [run.iter().min_by(by_value), run.iter().max_by(by_value)];
        let mut ends: Vec<(f64, f64)> = ends.into_iter().flatten().copied().collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends.dedup();
        kept.extend(ends);
    }
    kept
}

fn label(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Percent => format!("{} %", short(value * 100.0)),
        Unit::Number | Unit::Magnitude if value.abs() >= 1e4 => {
            let (value, letter) = if value.abs() >= 1e6 { (value / 1e6, "M") } else { (value / 1e3, "k") };
            format!("{}{letter}", short(value))
        }
        Unit::Number | Unit::Magnitude => short(value),
    }
}

/// A number in four digits.
pub fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_string() } else { "-".to_string() };
    }
    if value.abs() < 1e-3 {
        return format!("{value:.1e}").replace(".0e", "e");
    }
    let digits = (3 - value.abs().log10().floor() as i32).clamp(0, 5) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let axis = |low, high, is_log, least| Axis { low, high, is_log, least, from: 0.0, to: 100.0 };
        let labels = |axis: Axis| -> Vec<String> {
            axis.ticks(Unit::Number).into_iter().map(|tick| tick.label).collect()
        };
        assert_eq!(labels(axis(0.0, 1.0, false, 0.0)), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(labels(axis(1.0, 15.0, false, 0.0)), ["5", "10", "15"]);
        assert_eq!(labels(axis(0.002, 2.5, true, 0.0)), ["0.01", "0.1", "1"]);
        assert_eq!(labels(axis(0.0, 61000.0, false, 0.0)), ["0", "20k", "40k", "60k"]);
        assert_eq!(labels(axis(1.0, 3.0, false, 1.0)), ["1", "2", "3"]);
    }

    #[test]
    fn long_curves_keep_their_peaks() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|step| (f64::from(step), 1.0)).collect();
        points[7_777].1 = 9.0;
        let kept = thin(&points);
        assert!(kept.len() <= POINTS && kept.contains(&(7_777.0, 9.0)), "{}", kept.len());
    }

    #[test]
    fn what_has_no_finite_point_is_not_drawn() {
        let series = |points: &[(f64, f64)]| vec![Series::new("a", 0, points.iter().copied())];
        assert_eq!(chart("t", "x", Unit::Number, series(&[(1.0, f64::NAN)])), None);
        assert_eq!(chart("t", "x", Unit::Number, vec![]), None);
        let one = chart("t", "x", Unit::Percent, series(&[(1.0, 0.5), (2.0, f64::INFINITY)]));
        let one = one.expect("it has a point");
        assert!(one.curves[0].single && one.curves[0].dots[0].says == "a: 50.00 % at x 1", "{one:?}");
    }
}
