//! The delays of critical messages as a plot: how long the slowest of ten, of a hundred and of a thousand took.

use std::fmt::Write;

use crate::table::Row;

/// The plot as a file of SVG.
pub(crate) fn svg(rows: &[Row]) -> String {
    let longest = rows
        .iter()
        .map(|row| row.figures.delay(CRITICAL, 1000).as_secs_f64());
    let top = longest.fold(1e-3, f64::max).log10().ceil();
    let plane = Plane { top };
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>Delay of critical messages beside bulk, by transport and loss</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    // Writing to a string does not fail, here and below.
    plane.axes(&mut text);
    let mut labels = Vec::new();
    for row in rows {
        let style = style(row);
        let _ = write!(
            text,
            "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"{}\" stroke-dasharray=\"{}\" points=\"",
            style.colour, style.dashes
        );
        let mut y = 0.0;
        for (x, permille) in (0..=60).map(|step| permille(f64::from(step) / 60.0 * NINES)) {
            y = plane.y(row.figures.delay(CRITICAL, permille).as_secs_f64());
            let _ = write!(text, "{:.1},{y:.1} ", plane.x(x));
        }
        text.push_str("\"/>\n");
        labels.push((y, style.colour, format!("{}, {} %", row.scheme, row.loss_percent)));
    }
    // Labels stand where their lines end, and below each other where lines meet.
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut below = 0.0;
    for (y, colour, label) in labels {
        below = f64::max(y + 4.0, below);
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{below:.1}\" fill=\"{colour}\">{label}</text>",
            RIGHT + 8.0
        );
        below += 16.0;
    }
    text.push_str("</svg>\n");
    text
}

struct Style {
    colour: &'static str,
    dashes: &'static str,
}

/// A colour for the transport, dashes for the loss.
fn style(row: &Row) -> Style {
    Style {
        colour: if row.scheme == "quic" {
            "#1f5fa8"
        } else {
            "#b3411e"
        },
        dashes: match row.loss_percent {
            loss if loss >= 5.0 => "none",
            loss if loss > 0.0 => "8 4",
            _ => "2 4",
        },
    }
}

/// Where things are drawn.
struct Plane {
    /// The power of ten of the longest delay, in seconds.
    top: f64,
}

impl Plane {
    fn x(&self, nines: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * nines / NINES
    }

    fn y(&self, seconds: f64) -> f64 {
        let height = (seconds.max(1e-9).log10() - LEAST) / (self.top - LEAST);
        BOTTOM - (BOTTOM - TOP) * height.max(0.0)
    }

    fn axes(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "<text x=\"{LEFT}\" y=\"22\" font-size=\"15\">Critical messages beside as much bulk as there is room for</text>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">so many of the messages took no longer</text>",
            f64::midpoint(LEFT, RIGHT),
            BOTTOM + 38.0
        );
        for (label, share) in [
            ("0", 0.0),
            ("50 %", 0.5),
            ("90 %", 0.9),
            ("99 %", 0.99),
            ("99.9 %", 0.999),
        ] {
            let x = self.x(-f64::log10(1.0 - share));
            let _ = writeln!(
                text,
                "<path d=\"M{x:.1} {TOP}V{BOTTOM}\" stroke=\"#dddddd\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                BOTTOM + 18.0
            );
        }
        let mut power = LEAST;
        while power <= self.top {
            let y = self.y(10_f64.powf(power));
            let label = match power {
                power if power >= 0.0 => format!("{} s", 10_f64.powf(power)),
                power => format!("{} ms", 10_f64.powf(power + 3.0).round()),
            };
            let _ = writeln!(
                text,
                "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"#dddddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 8.0,
                y + 4.0
            );
            power += 1.0;
        }
    }
}

/// The share of messages, in thousandths, behind so many nines.
fn permille(nines: f64) -> (f64, usize) {
    let share = 1.0 - 10_f64.powf(-nines);
    (nines, (share * 1000.0).round() as usize)
}

/// Critical among the timed classes.
const CRITICAL: usize = 0;

/// How far the plot goes: three nines, one message of a thousand.
const NINES: f64 = 3.0;

/// The lower edge, as a power of ten of a second.
const LEAST: f64 = -3.0;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 650.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 360.0;
