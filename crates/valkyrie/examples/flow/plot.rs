//! Who has how much of the link beside a TCP connection, what a packet takes meanwhile, and how the window of a job stream grows.

use std::fmt::Write as _;

use crate::measure::{TENTH, mbit, milliseconds};
use crate::{measure_growth, measure_yield};

/// The plot as a file of SVG.
pub(crate) fn svg(yields: &[measure_yield::Run], growths: &[measure_growth::Run]) -> String {
    let pairs: Vec<_> = yields.iter().filter(|run| run.class.is_some()).collect();
    let panes = pairs.len() + usize::from(!growths.is_empty());
    let height = 46.0 + panes as f64 * (PANE + GAP);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>Flow control by class on real links</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">Beside a TCP connection that comes and goes, {} Mbit/s; below, one job stream over {} ms</text>\n",
        measure_yield::NETWORK.kbit / 1000,
        2 * measure_growth::DELAY.as_millis(),
    );
    for (at, run) in pairs.into_iter().enumerate() {
        beside(&mut text, run, 62.0 + at as f64 * (PANE + GAP));
    }
    if !growths.is_empty() {
        growth(&mut text, growths, 62.0 + (panes - 1) as f64 * (PANE + GAP));
    }
    text.push_str("</svg>\n");
    text
}

/// A pane with its lines, and what it is for.
struct Pane {
    top: f64,
    seconds: f64,
    most: f64,
}

impl Pane {
    fn x(&self, seconds: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * seconds / self.seconds
    }

    fn y(&self, value: f64) -> f64 {
        self.top + PANE - PANE * (value / self.most).min(1.0)
    }

    fn frame(&self, text: &mut String, title: &str, unit: &str, step: f64) {
        // Writing to a string does not fail, here and below.
        let _ = writeln!(
            text,
            "<text x=\"{LEFT}\" y=\"{:.1}\">{title}</text>",
            self.top - 7.0
        );
        let mut value = 0.0;
        while value <= self.most {
            let _ = writeln!(
                text,
                "<path d=\"M{LEFT} {0:.1}H{RIGHT}\" stroke=\"#cccccc\"/><text x=\"{1:.1}\" y=\"{2:.1}\" text-anchor=\"end\">{value} {unit}</text>",
                self.y(value),
                LEFT - 8.0,
                self.y(value) + 4.0
            );
            value += step;
        }
        let every = (self.seconds / 3.0).floor().max(1.0);
        let mut second = 0.0;
        while second <= self.seconds + 0.01 {
            let _ = writeln!(
                text,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{second:.0} s</text>",
                self.x(second),
                self.top + PANE + 17.0
            );
            second += every;
        }
    }

    fn line(
        &self,
        text: &mut String,
        style: (&str, &str),
        label: (&str, f64),
        values: impl Iterator<Item = f64>,
    ) {
        let (colour, dashes) = style;
        let _ = write!(
            text,
            "<polyline fill=\"none\" stroke-width=\"1.5\" stroke=\"{colour}\" stroke-dasharray=\"{dashes}\" points=\""
        );
        for (at, value) in values.enumerate() {
            let x = self.x((at as f64 + 0.5) * TENTH.as_secs_f64());
            let _ = write!(text, "{x:.1},{:.1} ", self.y(value));
        }
        let (name, below) = label;
        let _ = writeln!(
            text,
            "\"/>\n<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{name}</text>",
            RIGHT + 8.0,
            self.top + 14.0 + 17.0 * below
        );
    }
}

fn beside(text: &mut String, run: &measure_yield::Run, top: f64) {
    let link = f64::from(measure_yield::NETWORK.kbit) / 1000.0;
    let rates = Pane {
        top,
        seconds: run.tenths.len() as f64 * TENTH.as_secs_f64(),
        most: link * 1.1,
    };
    let delays = Pane {
        most: milliseconds(measure_yield::NETWORK.queue) * 1.1,
        ..rates
    };
    let class = run.class.map_or("", |class| class.name());
    rates.frame(
        text,
        &format!("{class} over {}", run.scheme),
        "Mbit/s",
        link / 2.0,
    );
    let tenths = run.tenths.iter();
    let grey = "#999999";
    delays.line(
        text,
        (grey, "3 3"),
        ("delay, 0 to 110 ms", 2.0),
        tenths.clone().map(|tenth| milliseconds(tenth.delay)),
    );
    let other = tenths.clone().map(|tenth| mbit(tenth.other, TENTH));
    rates.line(text, ("#b3411e", "none"), ("the TCP connection", 1.0), other);
    let ours = tenths.map(|tenth| mbit(tenth.ours, TENTH));
    rates.line(text, ("#1f5fa8", "none"), (class, 0.0), ours);
}

fn growth(text: &mut String, runs: &[measure_growth::Run], top: f64) {
    let link = f64::from(measure_growth::NETWORK.kbit) / 1000.0;
    let tenths = runs.iter().map(|run| run.tenths.len()).max().unwrap_or(1);
    let rates = Pane {
        top,
        seconds: tenths as f64 * TENTH.as_secs_f64(),
        most: link * 1.1,
    };
    rates.frame(text, "one job stream: what it carries", "Mbit/s", link / 2.0);
    for (at, run) in runs.iter().enumerate() {
        let colour = if run.scheme == "quic" {
            "#1f5fa8"
        } else {
            "#b3411e"
        };
        let (dashes, kind) = if run.grows {
            ("none", "grows")
        } else {
            ("3 3", "fixed")
        };
        let values = run.tenths.iter().map(|tenth| mbit(tenth.0, TENTH));
        let label = format!("{}, window {kind}", run.scheme);
        rates.line(text, (colour, dashes), (&label, at as f64), values);
    }
}

const WIDTH: f64 = 940.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 780.0;
const PANE: f64 = 130.0;
const GAP: f64 = 48.0;
