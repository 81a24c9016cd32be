//! Treemap layout: rectangles whose areas are in proportion to sizes, none of them thinner than need be.
//!
//! Squarified treemaps (Bruls, Huizing, van Wijk 2000): sizes come largest first and fill the shorter side of what is
//! left, row by row; a row is closed as soon as one more item would make its worst rectangle thinner.

/// A rectangle; the whole is whatever the caller laid out in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// From the left.
    pub x: f64,
    /// From the top.
    pub y: f64,
    /// To the right.
    pub w: f64,
    /// Downwards.
    pub h: f64,
}

impl Rect {
    /// Its aspect: how much wider it is than high.
    pub fn aspect(&self) -> f64 {
        if self.h > 0.0 { self.w / self.h } else { 1.0 }
    }
}

/// One rectangle for each size, in the same order, together filling `whole`. Sizes come largest first.
#[expect(clippy::cast_precision_loss, reason = "where pixels go, not how many bytes there are")]
pub fn squarify(sizes: &[u64], whole: Rect) -> Vec<Rect> {
    let total: f64 = sizes.iter().map(|size| *size as f64).sum();
    let scale = if total > 0.0 { whole.w * whole.h / total } else { 0.0 };
    let areas: Vec<f64> = sizes.iter().map(|size| *size as f64 * scale).collect();
    let mut rects = Vec::with_capacity(areas.len());
    let (mut left, mut from) = (whole, 0);
    while from < areas.len() {
        let side = left.w.min(left.h);
        let mut to = from + 1;
        while to < areas.len() && worst(&areas[from..=to], side) <= worst(&areas[from..to], side) {
            to += 1;
        }
        left = lay_row(&areas[from..to], left, &mut rects);
        from = to;
    }
    rects
}

/// The thinnest rectangle of a row along `side`, as length by width.
fn worst(row: &[f64], side: f64) -> f64 {
    let sum: f64 = row.iter().sum();
    let (most, least) =
        row.iter().fold((0.0_f64, f64::INFINITY), |(most, least), area| (most.max(*area), least.min(*area)));
    if sum <= 0.0 || least <= 0.0 {
        return f64::INFINITY;
    }
    (side * side * most / (sum * sum)).max(sum * sum / (side * side * least))
}

/// Puts a row along the shorter side of `left` and returns what is left of it.
fn lay_row(row: &[f64], left: Rect, rects: &mut Vec<Rect>) -> Rect {
    let sum: f64 = row.iter().sum();
    let (wide, side) = (left.w >= left.h, left.w.min(left.h));
    let depth = if side > 0.0 { sum / side } else { 0.0 };
    let mut at = 0.0;
    for area in row {
        let length = if depth > 0.0 { area / depth } else { 0.0 };
        rects.push(if wide {
            Rect { x: left.x, y: left.y + at, w: depth, h: length }
        } else {
            Rect { x: left.x + at, y: left.y, w: length, h: depth }
        });
        at += length;
    }
    if wide {
        Rect { x: left.x + depth, w: (left.w - depth).max(0.0), ..left }
    } else {
        Rect { y: left.y + depth, h: (left.h - depth).max(0.0), ..left }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: Rect = Rect { x: 0.0, y: 0.0, w: 160.0, h: 100.0 };

    fn overlap(a: &Rect, b: &Rect) -> f64 {
        let along = |a0: f64, a1: f64, b0: f64, b1: f64| (a1.min(b1) - a0.max(b0)).max(0.0);
        along(a.x, a.x + a.w, b.x, b.x + b.w) * along(a.y, a.y + a.h, b.y, b.y + b.h)
    }

    proptest! {
        #[test]
        fn rectangles_fill_the_whole_and_do_not_overlap(mut sizes in prop::collection::vec(1_u64..1_000_000, 1..60)) {
            sizes.sort_by_key(|size| std::cmp::Reverse(*size));
            let rects = squarify(&sizes, WHOLE);
            prop_assert_eq!(rects.len(), sizes.len());
            let area: f64 = rects.iter().map(|rect| rect.w * rect.h).sum();
            prop_assert!((area - WHOLE.w * WHOLE.h).abs() < 1e-6 * area);
            for (index, rect) in rects.iter().enumerate() {
                prop_assert!(rect.x > -1e-6 && rect.y > -1e-6);
                prop_assert!(rect.x + rect.w < WHOLE.w + 1e-6 && rect.y + rect.h < WHOLE.h + 1e-6);
                for other in &rects[index + 1..] {
                    prop_assert!(overlap(rect, other) < 1e-6);
                }
            }
        }
    }

    #[test]
    fn areas_are_in_proportion_and_equal_sizes_become_squares() {
        let rects = squarify(&[1; 16], Rect { x: 0.0, y: 0.0, w: 100.0, h: 100.0 });
        assert!(rects.iter().all(|rect| (rect.aspect() - 1.0).abs() < 1e-9));
        let rects = squarify(&[6, 3, 1], WHOLE);
        assert!((rects[0].w * rects[0].h - 2.0 * rects[1].w * rects[1].h).abs() < 1e-6);
    }

    #[test]
    fn nothing_and_empty_files_do_no_harm() {
        assert!(squarify(&[], WHOLE).is_empty());
        assert!(squarify(&[0, 0], WHOLE).iter().all(|rect| rect.w * rect.h == 0.0));
        assert!(squarify(&[5, 0], WHOLE).iter().all(|rect| rect.x.is_finite() && rect.w.is_finite()));
    }
}
