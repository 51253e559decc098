//! Two kinds of charts on a logarithmic scale, as SVG text that a browser and GitHub show.

use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 60.0;
/// Told apart also by those who see no red or green (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"];

fn colour(n: usize) -> &'static str {
    COLOURS[n % COLOURS.len()]
}

/// One scale from `low` to `high`, both powers of ten or so.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        let part = (value.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        self.from + part * (self.to - self.from)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (low, high) = (self.low, self.high);
        let tens = (0..9).map(move |n| low * 10f64.powi(n));
        tens.take_while(move |tick| *tick <= high * 1.001)
    }
}

struct Svg(String);

impl Svg {
    fn new(title: &str, height: f64) -> Self {
        let mut svg = Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        ));
        svg.text(20.0, 26.0, "start", title);
        svg
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        // Writing into a String cannot fail, here and below.
        let _ = writeln!(
            self.0,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    }

    fn line(&mut self, [x1, y1, x2, y2]: [f64; 4], colour: &str) {
        let _ = writeln!(
            self.0,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
        );
    }

    fn bar(&mut self, [x, y, width, height]: [f64; 4], colour: &str) {
        let _ = writeln!(
            self.0,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>",
            width.max(1.0)
        );
    }

    fn path(&mut self, points: &[(f64, f64)], colour: &str, dashed: bool) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let dash = if dashed { " stroke-dasharray=\"5 4\"" } else { "" };
        let _ = writeln!(
            self.0,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>",
            points.join(" ")
        );
    }

    fn end(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

/// A group of bars for each row, one bar for each of `names`.
#[allow(dead_code, reason = "each example draws one kind")]
pub(crate) fn bars(title: &str, names: &[&str], rows: &[(String, Vec<f64>)], unit: &str) -> String {
    const BAR: f64 = 11.0;
    let group = BAR * names.len() as f64 + 9.0;
    let bottom = 60.0 + group * rows.len() as f64;
    let most = rows.iter().flat_map(|(_, values)| values).fold(1.0f64, |a, b| a.max(*b));
    let scale = Scale {
        low: 10.0,
        high: 10f64.powf(most.log10().ceil()),
        from: LEFT,
        to: WIDTH - RIGHT - 20.0,
    };
    let mut svg = Svg::new(title, bottom + 50.0);
    for tick in scale.ticks() {
        svg.line([scale.at(tick), 44.0, scale.at(tick), bottom], "#dddddd");
        svg.text(scale.at(tick), bottom + 18.0, "middle", &format!("{tick} {unit}"));
    }
    for (n, (name, values)) in rows.iter().enumerate() {
        let top = 52.0 + group * n as f64;
        svg.text(LEFT - 8.0, top + group / 2.0, "end", name);
        for (m, value) in values.iter().enumerate() {
            let y = top + BAR * m as f64;
            svg.bar([LEFT, y, scale.at(*value) - LEFT, BAR - 1.5], colour(m));
            svg.text(scale.at(*value) + 4.0, y + 9.0, "start", &format!("{value:.0}"));
        }
    }
    for (m, name) in names.iter().enumerate() {
        let x = LEFT + 130.0 * m as f64;
        svg.bar([x, bottom + 30.0, 12.0, 12.0], colour(m));
        svg.text(x + 18.0, bottom + 41.0, "start", name);
    }
    svg.end()
}

/// A line for each series, `(x, y)` in it; those beyond the eighth are dashed.
#[allow(dead_code, reason = "each example draws one kind")]
pub(crate) fn lines(title: &str, series: &[(String, Vec<(f64, f64)>)], unit: &str) -> String {
    let (top, bottom) = (50.0, 470.0);
    let values = || series.iter().flat_map(|(_, points)| points);
    let most = |of: fn(&(f64, f64)) -> f64| values().map(of).fold(1.0f64, f64::max);
    let least = |of: fn(&(f64, f64)) -> f64| values().map(of).fold(f64::MAX, f64::min);
    let x = Scale { low: least(|p| p.0), high: most(|p| p.0), from: 70.0, to: WIDTH - LEFT - 10.0 };
    let y = Scale {
        low: 10f64.powf(least(|p| p.1).log10().floor()),
        high: 10f64.powf(most(|p| p.1).log10().ceil()),
        from: bottom,
        to: top,
    };
    let mut svg = Svg::new(title, bottom + 40.0);
    for tick in y.ticks() {
        svg.line([x.from, y.at(tick), x.to, y.at(tick)], "#dddddd");
        svg.text(x.from - 6.0, y.at(tick) + 4.0, "end", &format!("{tick} {unit}"));
    }
    if let Some((_, points)) = series.first() {
        for (peers, _) in points {
            svg.text(x.at(*peers), bottom + 20.0, "middle", &format!("{peers} peers"));
        }
    }
    let mut ends: Vec<(usize, f64)> = Vec::new();
    for (n, (_, points)) in series.iter().enumerate() {
        let points: Vec<(f64, f64)> = points.iter().map(|p| (x.at(p.0), y.at(p.1))).collect();
        svg.path(&points, colour(n), n >= COLOURS.len());
        ends.extend(points.last().map(|last| (n, last.1)));
    }
    // Names stand at the ends of their lines, a line's height apart.
    ends.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut free = top - 10.0;
    for (n, end) in ends {
        free = (free + 15.0).max(end);
        svg.text(x.to + 8.0, free + 4.0, "start", &series[n].0);
        svg.bar([x.to + 1.0, free - 1.0, 5.0, 3.0], colour(n));
    }
    svg.end()
}
