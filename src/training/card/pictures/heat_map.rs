//! A table whose cells are shaded.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Drawn, LONGEST_NAME};
use crate::chart::{
    Area, BLUE, DARK_GREY, DESCRIPTION_SIZE, Drawing, FONT, GREY, LABEL_SIZE, VERMILION, draw, shortened,
};

/// Pixels of a character, about.
const CHARACTER: u32 = 8;
const TOP: u32 = 34;
const GAP: u32 = 12;

/// A shaded table.
pub(super) struct HeatMap<'a> {
    pub(super) title: &'a str,
    /// What the rows are, and what each of them is called.
    pub(super) rows: (&'a str, Vec<String>),
    /// What the columns are, and what each of them is called.
    pub(super) columns: (&'a str, Vec<String>),
    /// Row by row.
    pub(super) cells: Vec<Vec<Cell>>,
}

/// One cell.
pub(super) struct Cell {
    /// From −1 (vermilion) over 0 (white) to 1 (blue).
    pub(super) shade: f64,
    pub(super) text: String,
}

/// White at 0, and towards blue or vermilion for shares of up to 1 above or below it.
pub(super) fn shade(share: f64) -> RGBColor {
    let RGBColor(red, green, blue) = if share < 0.0 { VERMILION } else { BLUE };
    let share = share.abs().min(1.0);
    let mixed = |part: u8| (255.0 - share * f64::from(255 - part)).round() as u8;
    RGBColor(mixed(red), mixed(green), mixed(blue))
}

impl HeatMap<'_> {
    pub(super) fn draw(self) -> Drawn {
        let names = |names: &[String]| -> Vec<String> {
            names.iter().map(|name| shortened(name, LONGEST_NAME)).collect()
        };
        let (rows, columns) = (names(&self.rows.1), names(&self.columns.1));
        let longest =
            |names: &[String]| names.iter().map(|name| name.chars().count()).max().unwrap_or(0) as u32;
        let widest_text = self.cells.iter().flatten().map(|cell| cell.text.chars().count());
        let least = widest_text.max().unwrap_or(0) as u32 * CHARACTER + 8;
        let cell_width = (700 / columns.len().max(1) as u32).clamp(least.max(24), least.max(84));
        let cell_height = cell_width.min(40);
        let is_upright = longest(&columns) * CHARACTER + 4 > cell_width;
        let left = (longest(&rows).max(self.rows.0.chars().count() as u32)) * CHARACTER + 2 * GAP;
        let head = if is_upright {
            longest(&columns) * CHARACTER + GAP
        } else {
            26
        };
        let width = left + cell_width * columns.len() as u32 + 2 * GAP;
        let height = TOP + 26 + head + cell_height * rows.len() as u32 + 2 * GAP;
        // The title needs its room too.
        let title_width = self.title.chars().count() as u32 * 10 + 2 * GAP;
        let place = Place {
            left: left as i32,
            top: (26 + head) as i32,
            cell: (cell_width as i32, cell_height as i32),
            is_upright,
        };
        let size = (width.max(title_width).max(420), height);
        draw(size, self.title, |area| self.paint(area, &place, &rows, &columns))
    }

    fn paint(&self, area: &Area<'_>, place: &Place, rows: &[String], columns: &[String]) -> Drawing {
        let text = |horizontal, vertical| {
            let pos = Pos::new(horizontal, vertical);
            (FONT, LABEL_SIZE).into_text_style(area).pos(pos)
        };
        let described = |horizontal| {
            let pos = Pos::new(horizontal, VPos::Center);
            (FONT, DESCRIPTION_SIZE).into_font().color(&DARK_GREY).pos(pos)
        };
        let gap = GAP as i32;
        area.draw_text(self.columns.0, &described(HPos::Left), (place.left, 12))?;
        area.draw_text(
            self.rows.0,
            &described(HPos::Right),
            (place.left - gap, place.top - 12),
        )?;
        for (row, name) in (0_i32..).zip(rows) {
            let middle = place.top + row * place.cell.1 + place.cell.1 / 2;
            area.draw_text(name, &text(HPos::Right, VPos::Center), (place.left - gap, middle))?;
        }
        for (column, name) in (0_i32..).zip(columns) {
            let middle = place.left + column * place.cell.0 + place.cell.0 / 2;
            if place.is_upright {
                let style = text(HPos::Left, VPos::Center).transform(FontTransform::Rotate270);
                area.draw_text(name, &style, (middle, place.top - 6))?;
            } else {
                area.draw_text(name, &text(HPos::Center, VPos::Center), (middle, place.top - 12))?;
            }
        }
        for (row, cells) in (0_i32..).zip(&self.cells) {
            for (column, cell) in (0_i32..).zip(cells) {
                let corner = (place.left + column * place.cell.0, place.top + row * place.cell.1);
                let opposite = (corner.0 + place.cell.0 - 1, corner.1 + place.cell.1 - 1);
                area.draw(&Rectangle::new([corner, opposite], shade(cell.shade).filled()))?;
                let middle = (corner.0 + place.cell.0 / 2, corner.1 + place.cell.1 / 2);
                let colour = match cell.shade.abs() {
                    0.0 => GREY,
                    share if share > 0.6 => WHITE,
                    _ => BLACK,
                };
                let style = text(HPos::Center, VPos::Center).color(&colour);
                area.draw_text(&cell.text, &style, middle)?;
            }
        }
        let (width, height) = (
            place.cell.0 * columns.len() as i32,
            place.cell.1 * rows.len() as i32,
        );
        let frame = [
            (place.left - 1, place.top - 1),
            (place.left + width, place.top + height),
        ];
        area.draw(&Rectangle::new(frame, DARK_GREY))?;
        Ok(())
    }
}

/// Where the cells are.
struct Place {
    left: i32,
    top: i32,
    cell: (i32, i32),
    is_upright: bool,
}
