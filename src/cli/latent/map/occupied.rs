//! Tracks which parts of a picture are occupied.

/// The size of a cell in pixels, across and down.
const CELL: f64 = 2.0;

/// A rectangle, in pixels.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// A grid of cells, each occupied or free.
pub struct Occupied {
    columns: usize,
    rows: usize,
    taken: Vec<bool>,
}

impl Occupied {
    /// A picture of this size with all cells free.
    pub fn new(width: f64, height: f64) -> Self {
        let cells = |size: f64| (size / CELL).ceil() as usize;
        let (columns, rows) = (cells(width), cells(height));
        Self {
            columns,
            rows,
            taken: vec![false; columns * rows],
        }
    }

    /// The cells of an area, as ranges of columns and rows; `None` if it is not wholly inside.
    fn cells(&self, area: Area) -> Option<(std::ops::Range<usize>, std::ops::Range<usize>)> {
        let range = |start: f64, size: f64, most: usize| {
            let end = ((start + size) / CELL).ceil();
            (start >= 0.0 && end <= most as f64).then(|| (start / CELL) as usize..end as usize)
        };
        let columns = range(area.left, area.width, self.columns)?;
        Some((columns, range(area.top, area.height, self.rows)?))
    }

    /// Occupies an area, whether or not it is free.
    pub fn take(&mut self, area: Area) {
        if let Some((columns, rows)) = self.cells(area) {
            for row in rows {
                self.taken[row * self.columns..][columns.clone()].fill(true);
            }
        }
    }

    /// Occupies an area if it is inside the picture and free; returns whether it did.
    pub fn take_if_free(&mut self, area: Area) -> bool {
        let free = self.cells(area).is_some_and(|(columns, mut rows)| {
            rows.all(|row| {
                let row = &self.taken[row * self.columns..][columns.clone()];
                row.iter().all(|taken| !taken)
            })
        });
        if free {
            self.take(area);
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_not_taken_again() {
        let area = |left, top| Area {
            left,
            top,
            width: 10.0,
            height: 4.0,
        };
        let mut occupied = Occupied::new(100.0, 50.0);
        assert!(occupied.take_if_free(area(20.0, 20.0)));
        for (left, top) in [(20.0, 20.0), (29.0, 23.0), (11.0, 17.0)] {
            assert!(!occupied.take_if_free(area(left, top)), "{left} {top}");
        }
        for (left, top) in [(30.0, 20.0), (20.0, 24.0), (10.0, 20.0), (90.0, 46.0)] {
            assert!(occupied.take_if_free(area(left, top)), "{left} {top}");
        }
        for (left, top) in [(-1.0, 0.0), (91.0, 0.0), (0.0, 47.0)] {
            assert!(
                !occupied.take_if_free(area(left, top)),
                "{left} {top}: outside"
            );
        }
    }
}
