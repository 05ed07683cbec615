//! A treemap: rectangles whose areas are as weights, as near to squares as may be (Bruls, Huizing and van Wijk, "Squarified
//! treemaps", 2000). Pure.

/// A rectangle; coordinates grow to the right and downwards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Rect {
    fn area(self) -> f64 {
        self.width * self.height
    }

    /// Cuts off this area on the left: the piece, and what remains.
    fn cut_left(self, area: f64) -> (Self, Self) {
        let width = (area / self.height).min(self.width);
        let rest = Self {
            x: self.x + width,
            width: self.width - width,
            ..self
        };
        (Self { width, ..self }, rest)
    }

    /// Cuts off this area at the top: the piece, and what remains.
    fn cut_top(self, area: f64) -> (Self, Self) {
        let height = (area / self.width).min(self.height);
        let rest = Self {
            y: self.y + height,
            height: self.height - height,
            ..self
        };
        (Self { height, ..self }, rest)
    }

    fn is_wide(self) -> bool {
        self.width >= self.height
    }

    /// The shorter side, along which a strip is laid.
    fn shorter(self) -> f64 {
        self.width.min(self.height)
    }
}

/// Divides `area` among weights: a rectangle for each, in their order. A weight that is not positive has none, and where
/// nothing has a weight, or there is no room, nothing has.
pub(super) fn layout(weights: &[f64], area: Rect) -> Vec<Option<Rect>> {
    let mut rects = vec![None; weights.len()];
    let is_weight = |weight: f64| weight.is_finite() && weight > 0.0;
    let mut order: Vec<(usize, f64)> = weights.iter().copied().enumerate().collect();
    order.retain(|(_, weight)| is_weight(*weight));
    order.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let sum: f64 = order.iter().map(|(_, weight)| weight).sum();
    if !is_weight(sum) || !is_weight(area.area()) {
        return rects;
    }
    let scale = area.area() / sum;
    let mut items: &[(usize, f64)] = &order;
    let mut room = area;
    while !items.is_empty() {
        let (strip, others) = items.split_at(strip_length(items, scale, room.shorter()));
        let part: f64 = strip.iter().map(|(_, weight)| weight * scale).sum();
        let (mut left, rest) = if room.is_wide() {
            room.cut_left(part)
        } else {
            room.cut_top(part)
        };
        for (index, weight) in strip {
            // A strip is cut across.
            let (piece, remains) = if room.is_wide() {
                left.cut_top(weight * scale)
            } else {
                left.cut_left(weight * scale)
            };
            left = remains;
            if let Some(place) = rects.get_mut(*index) {
                *place = Some(piece);
            }
        }
        items = others;
        room = rest;
    }
    rects
}

/// The number of items in the next strip: one more as long as the worst proportion does not grow.
fn strip_length(items: &[(usize, f64)], scale: f64, side: f64) -> usize {
    let mut best = f64::INFINITY;
    let (mut sum, mut largest, mut smallest) = (0.0_f64, 0.0_f64, f64::INFINITY);
    for (length, (_, weight)) in items.iter().enumerate() {
        let area = weight * scale;
        sum += area;
        largest = largest.max(area);
        smallest = smallest.min(area);
        let square = side * side;
        let worst = (square * largest / (sum * sum)).max(sum * sum / (square * smallest));
        if worst > best {
            return length;
        }
        best = worst;
    }
    items.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AREA: Rect = Rect {
        x: 1.0,
        y: 2.0,
        width: 6.0,
        height: 4.0,
    };

    /// The example of the paper: 6, 6, 4, 3, 2, 2, 1 in 6 by 4.
    #[test]
    fn the_first_example() {
        let rects = layout(&[6.0, 6.0, 4.0, 3.0, 2.0, 2.0, 1.0], AREA);
        let near = |rect: Option<Rect>, x: f64, y: f64, width: f64, height: f64| {
            let rect = rect.unwrap();
            let expected = [x + 1.0, y + 2.0, width, height];
            let pairs = [rect.x, rect.y, rect.width, rect.height]
                .into_iter()
                .zip(expected);
            assert!(
                pairs.clone().all(|(one, other)| (one - other).abs() < 1e-9),
                "{rect:?}"
            );
        };
        near(rects[0], 0.0, 0.0, 3.0, 2.0);
        near(rects[1], 0.0, 2.0, 3.0, 2.0);
        near(rects[2], 3.0, 0.0, 12.0 / 7.0, 7.0 / 3.0);
        near(rects[3], 3.0 + 12.0 / 7.0, 0.0, 9.0 / 7.0, 7.0 / 3.0);
        near(rects[4], 3.0, 7.0 / 3.0, 6.0 / 5.0, 5.0 / 3.0);
        near(rects[5], 3.0 + 6.0 / 5.0, 7.0 / 3.0, 6.0 / 5.0, 5.0 / 3.0);
        near(rects[6], 3.0 + 12.0 / 5.0, 7.0 / 3.0, 3.0 / 5.0, 5.0 / 3.0);
    }

    #[test]
    fn without_weight_or_room_there_is_nothing() {
        assert_eq!(layout(&[], AREA), []);
        assert_eq!(layout(&[0.0, -1.0, f64::NAN, f64::INFINITY], AREA), [None; 4]);
        assert_eq!(layout(&[0.0, 2.0], AREA), [None, Some(AREA)]);
        assert_eq!(layout(&[1.0], Rect { width: 0.0, ..AREA }), [None]);
    }

    proptest! {
        #[test]
        fn rectangles_fill_the_area_by_weight(weights in prop::collection::vec(0.0_f64..1e15, 0..30)) {
            let rects = layout(&weights, AREA);
            let sum: f64 = weights.iter().sum();
            let mut found: Vec<Rect> = Vec::new();
            for (weight, rect) in weights.iter().zip(rects) {
                let Some(rect) = rect else {
                    prop_assert!(*weight == 0.0);
                    continue;
                };
                prop_assert!((rect.area() - AREA.area() * weight / sum).abs() < 1e-6, "{weight} {rect:?}");
                let inside = rect.x > AREA.x - 1e-9 && rect.x + rect.width < AREA.x + AREA.width + 1e-9
                    && rect.y > AREA.y - 1e-9 && rect.y + rect.height < AREA.y + AREA.height + 1e-9;
                prop_assert!(inside, "{rect:?}");
                for other in &found {
                    let apart = rect.x + rect.width <= other.x + 1e-6 || other.x + other.width <= rect.x + 1e-6
                        || rect.y + rect.height <= other.y + 1e-6 || other.y + other.height <= rect.y + 1e-6;
                    prop_assert!(apart, "{rect:?} {other:?}");
                }
                found.push(rect);
            }
        }
    }
}
