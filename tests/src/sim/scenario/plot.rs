//! The samples of a scenario as a picture (SVG): nodes, viewers, what control costs, and how long the
//! tree was wrong after each event, over simulated time.

use super::{Outcome, Sample};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Points = Vec<(f64, f64)>;

const SIZE: (u32, u32) = (1_200, 760);
const TITLE: u32 = 44;
/// Told apart by people who see colours otherwise, too (Okabe and Ito).
const COLOURS: [RGBColor; 3] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115)];
/// What a logarithmic axis begins with: nothing that is drawn on it is smaller.
const LEAST: f64 = 10.0;

/// Points of a line at most.
const POINTS: usize = 400;

/// The library failed.
#[derive(Debug, thiserror::Error)]
#[error("drawing: {0}")]
pub struct PlotError(String);

fn failed(error: impl std::fmt::Display) -> PlotError {
    PlotError(error.to_string())
}

/// One line of a panel, or its dots.
struct Line {
    name: &'static str,
    points: Points,
    dots: bool,
}

/// Draws an outcome.
///
/// # Errors
/// If the library fails.
pub fn svg(outcome: &Outcome) -> Result<String, PlotError> {
    let mut text = String::new();
    draw(outcome, &mut text)?;
    Ok(text)
}

fn draw(outcome: &Outcome, into: &mut String) -> Result<(), PlotError> {
    // More than the picture has room for would only make it large.
    let step = outcome.samples.len().div_ceil(POINTS).max(1);
    let over = |name, pick: fn(&Sample) -> f64| Line {
        name,
        points: outcome.samples.iter().step_by(step).map(|s| (s.at, pick(s))).collect(),
        dots: false,
    };
    let events = |name, pick: fn(&super::Happening) -> Option<f64>| Line {
        name,
        points: outcome.happenings.iter().filter_map(|h| Some((h.at, pick(h)?))).collect(),
        dots: true,
    };
    let end = outcome.simulated.max(1.0);
    let root = SVGBackend::with_string(into, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let (title, rest) = root.split_vertically(TITLE);
    let name = format!("{}, seed {}", outcome.name, outcome.seed);
    title.titled(&name, ("sans-serif", 24)).map_err(failed)?;
    let areas = rest.split_evenly((2, 2));
    let panels: [(&str, bool, Vec<Line>); 4] = [
        (
            "nodes",
            false,
            vec![
                over("running", |s| s.nodes as f64),
                over("attached", |s| s.attached as f64),
                over("attached, as the root knows", |s| s.believed as f64),
            ],
        ),
        (
            "viewers",
            false,
            vec![
                over("at the leaves", |s| s.viewers),
                over("as the root knows", |s| s.viewers_at_root),
            ],
        ),
        (
            "control of a node, bytes/s",
            true,
            vec![
                over("median", |s| s.bytes.median),
                over("p99", |s| s.bytes.p99),
                over("largest", |s| s.bytes.max),
            ],
        ),
        (
            "seconds from an event to the truth",
            false,
            vec![events("routing", |h| h.routing), events("statistics", |h| h.statistics)],
        ),
    ];
    for (area, (title, log, lines)) in areas.iter().zip(panels) {
        panel(area, title, log, end, &lines)?;
    }
    root.present().map_err(failed)
}

fn panel(
    area: &Area<'_>,
    title: &str,
    log: bool,
    end: f64,
    lines: &[Line],
) -> Result<(), PlotError> {
    let values = lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let high = values.fold(1.0, f64::max) * if log { 2.0 } else { 1.1 };
    let mut builder = ChartBuilder::on(area);
    builder.caption(title, ("sans-serif", 18)).margin(10).x_label_area_size(40);
    builder.y_label_area_size(80);
    // The two kinds of axes are two types.
    if log {
        let ys = (LEAST..high.max(LEAST * 10.0)).log_scale();
        fill(builder.build_cartesian_2d(0.0..end, ys).map_err(failed)?, lines)
    } else {
        fill(builder.build_cartesian_2d(0.0..end, 0.0..high).map_err(failed)?, lines)
    }
}

fn fill<'a, 'b: 'a, Y>(
    mut chart: ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, Y>>,
    lines: &[Line],
) -> Result<(), PlotError>
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("simulated seconds").label_style(("sans-serif", 13));
    mesh.light_line_style(TRANSPARENT).draw().map_err(failed)?;
    for (line, colour) in lines.iter().zip(COLOURS) {
        let points = line.points.iter().copied().map(|(x, y)| (x, y.max(0.0)));
        let drawn = if line.dots {
            chart.draw_series(points.map(|point| Circle::new(point, 3, colour.filled())))
        } else {
            chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))
        };
        let legend = move |(x, y)| Rectangle::new([(x, y - 3), (x + 16, y + 3)], colour.filled());
        drawn.map_err(failed)?.label(line.name).legend(legend);
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(TRANSPARENT)
        .label_font(("sans-serif", 13))
        .draw()
        .map_err(failed)
}
