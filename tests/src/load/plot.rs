//! The figures of a run as a picture (SVG): what a packet costs and how late it comes, over the number
//! of viewers.

use super::CellResult;
use plotters::coord::Shift;
use plotters::coord::combinators::BindKeyPoints;
use plotters::prelude::*;
use std::collections::BTreeMap;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Points = Vec<(f64, f64)>;

const SIZE: (u32, u32) = (1_500, 640);
const TITLE: u32 = 50;
/// Height of the legend's strip, of a line in it, and its columns.
const LEGEND: u32 = 120;
const LEGEND_LINE: i32 = 26;
const LEGEND_COLUMNS: usize = 3;
/// The numbers of viewers that stand at the axis.
const TICKS: [f64; 8] = [10.0, 25.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1_600.0];
/// Candidates for the other axis; those in its range are shown.
const VALUES: [f64; 12] =
    [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0];
/// Told apart by people who see colours otherwise, too (Okabe and Ito).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
    RGBColor(0, 0, 0),
];

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// No figures.
    #[error("there are no figures to draw")]
    Nothing,
    /// The library.
    #[error("drawing: {0}")]
    Draw(String),
}

/// Draws the cells.
///
/// # Errors
/// If there are none, or the library fails.
pub fn svg(cells: &[CellResult]) -> Result<String, PlotError> {
    let mut text = String::new();
    draw(cells, &mut text)?;
    Ok(text)
}

/// What a set of cells is called in the legend.
fn label(cell: &CellResult) -> String {
    let audience = &cell.cell.audience;
    let mut label = cell.server.clone();
    if let Some(setting) = &cell.cell.setting {
        label += &format!(", {} Mbit/s", setting.bitrate as f64 / 1e6);
        label += if setting.paced { ", paced" } else { "" };
    }
    label += if audience.gro { "" } else { ", viewers without GRO" };
    label += if audience.twcc { ", feedback" } else { "" };
    label
}

/// One line of points for each label.
fn lines(
    cells: &[CellResult],
    name: impl Fn(&CellResult) -> String,
    value: impl Fn(&CellResult) -> Option<f64>,
) -> BTreeMap<String, Points> {
    let mut lines: BTreeMap<String, Points> = BTreeMap::new();
    for cell in cells {
        if let Some(y) = value(cell).filter(|y| *y > 0.0) {
            lines.entry(name(cell)).or_default().push((cell.cell.audience.viewers as f64, y));
        }
    }
    lines.values_mut().for_each(|points| points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    lines
}

fn draw(cells: &[CellResult], into: &mut String) -> Result<(), PlotError> {
    let limit = |_: &CellResult| "the machine's limit, 2.5 Mbit/s".to_owned();
    let usual = |c: &&CellResult| {
        let setting = c.cell.setting.as_ref();
        c.cell.audience.gro && setting.is_some_and(|s| s.bitrate == 2_500_000 && !s.paced)
    };
    let plain: Vec<CellResult> =
        cells.iter().filter(usual).filter(|c| !c.cell.audience.twcc).cloned().collect();
    let mut cost = lines(cells, label, |c| c.figures.cpu_us);
    cost.extend(lines(&plain, limit, |c| c.limit_us));
    let p50 = lines(cells, label, |c| Some(c.figures.delay?.p50));
    let p99 = lines(cells, label, |c| Some(c.figures.delay?.p99));
    let names: Vec<String> = [&cost, &p50]
        .into_iter()
        .flat_map(BTreeMap::keys)
        .cloned()
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    if names.is_empty() {
        return Err(PlotError::Nothing);
    }
    let failed = |error: &dyn std::fmt::Display| PlotError::Draw(error.to_string());
    let root = SVGBackend::with_string(into, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|e| failed(&e))?;
    let (title, rest) = root.split_vertically(TITLE);
    let place = title.titled("One core of a server, by number of viewers", ("sans-serif", 24));
    place.map_err(|e| failed(&e))?;
    let (panels, legend) = rest.split_vertically(SIZE.1 - TITLE - LEGEND);
    let panels = panels.split_evenly((1, 3));
    for (area, (title, lines)) in panels.iter().zip([
        ("CPU time of a delivered packet, µs", &cost),
        ("delay p50, source to viewer, ms", &p50),
        ("delay p99, source to viewer, ms", &p99),
    ]) {
        panel(area, title, lines, &names)?;
    }
    write_legend(&legend, &names)?;
    root.present().map_err(|e| failed(&e))
}

fn colour(names: &[String], name: &str) -> RGBColor {
    let at = names.iter().position(|n| n == name).unwrap_or(0);
    COLOURS[at % COLOURS.len()]
}

/// A little more than what `values` span.
fn span(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) = values.fold((f64::MAX, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
    if low > high { 1.0..10.0 } else { low / 1.3..high * 1.3 }
}

fn panel(
    area: &Area<'_>,
    title: &str,
    lines: &BTreeMap<String, Points>,
    names: &[String],
) -> Result<(), PlotError> {
    let failed = |error: &dyn std::fmt::Display| PlotError::Draw(error.to_string());
    let all = || lines.values().flatten();
    let (xs, ys) = (span(all().map(|p| p.0)), span(all().map(|p| p.1)));
    let shown = |ticks: &[f64], range: &std::ops::Range<f64>| {
        ticks.iter().copied().filter(|t| range.contains(t)).collect::<Vec<_>>()
    };
    let (x_ticks, y_ticks) = (shown(&TICKS, &xs), shown(&VALUES, &ys));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(52)
        .build_cartesian_2d(
            xs.log_scale().with_key_points(x_ticks),
            ys.log_scale().with_key_points(y_ticks),
        )
        .map_err(|e| failed(&e))?;
    chart
        .configure_mesh()
        .x_desc("viewers")
        .x_label_formatter(&|v| format!("{v}"))
        .y_label_formatter(&|v| format!("{v}"))
        .label_style(("sans-serif", 14))
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(|e| failed(&e))?;
    for (name, points) in lines {
        let colour = colour(names, name);
        let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
        chart.draw_series(line).map_err(|e| failed(&e))?;
        let dots = points.iter().map(|point| Circle::new(*point, 4, colour.filled()));
        chart.draw_series(dots).map_err(|e| failed(&e))?;
    }
    Ok(())
}

fn write_legend(area: &Area<'_>, names: &[String]) -> Result<(), PlotError> {
    let failed = |error: &dyn std::fmt::Display| PlotError::Draw(error.to_string());
    let width = SIZE.0 as i32 / LEGEND_COLUMNS as i32;
    for (n, name) in names.iter().enumerate() {
        let x = 40 + (n % LEGEND_COLUMNS) as i32 * width;
        let y = 16 + (n / LEGEND_COLUMNS) as i32 * LEGEND_LINE;
        let colour = colour(names, name);
        let line = PathElement::new([(x, y), (x + 30, y)], colour.stroke_width(2));
        area.draw(&line).map_err(|e| failed(&e))?;
        area.draw(&Circle::new((x + 15, y), 4, colour.filled())).map_err(|e| failed(&e))?;
        let text = Text::new(name.as_str(), (x + 40, y - 8), ("sans-serif", 16));
        area.draw(&text).map_err(|e| failed(&e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::cell;
    use super::*;

    #[test]
    fn every_set_is_drawn_and_named() {
        let cells = [
            cell("soleil", 1_600, true, 1.4),
            cell("soleil", 200, true, 1.5),
            cell("soleil", 200, false, 2.5),
            cell("janus, event_loops=1", 200, true, 12.0),
        ];
        let picture = svg(&cells).unwrap();
        for name in [
            "soleil, 2.5 Mbit/s",
            "soleil, 2.5 Mbit/s, viewers without GRO",
            "janus, event_loops=1, 2.5 Mbit/s",
            "limit",
            "CPU time of a delivered packet",
        ] {
            assert!(picture.contains(name), "{name}: {picture}");
        }
        // A dot for each: cost 4 and limit 2, delays 4 and 4; one for each of 4 names.
        assert_eq!(picture.matches("<circle").count(), 6 + 8 + 4);
        assert!(picture.trim_end().ends_with("</svg>"));
        let points = &lines(&cells, label, |c| c.figures.cpu_us)["soleil, 2.5 Mbit/s"];
        assert_eq!(*points, [(200.0, 1.5), (1_600.0, 1.4)]);
    }

    #[test]
    fn nothing_gives_no_picture() {
        assert!(matches!(svg(&[]), Err(PlotError::Nothing)));
    }
}
