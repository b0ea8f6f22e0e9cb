//! What is wrong with one row: the authority's copy against every copy that the other side has.
//!
//! Pure.

use serde::{Deserialize, Serialize};

use crate::image::{Image, ImageShape};

/// A copy of a row, and the place of the node that has it.
pub type Copy = (usize, Image);

/// What the authority has under a primary key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right<'a> {
    Nothing,
    Row {
        image: &'a Image,
        /// Where routing wants it on the other side.
        home: usize,
    },
    /// Several shards have a row of their own there, which the shard key tells apart.
    Several,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The other side does not have the row.
    Missing,
    /// The other side has a row that the authority does not have.
    Extra,
    /// Both have it, with different values.
    Changed,
    /// It lies on another shard than routing names, and not on that one.
    Misplaced,
    /// It lies where it should, and on a further shard.
    Duplicate,
    /// Several shards of the authority have a row of their own under the key, of which the other side can have one.
    OnSeveral,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Missing => "missing",
            Kind::Extra => "too many",
            Kind::Changed => "different",
            Kind::Misplaced => "on the wrong shard",
            Kind::Duplicate => "on a further shard too",
            Kind::OnSeveral => "on several shards of the right side",
        })
    }
}

/// One thing that is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    /// The columns that differ.
    pub columns: Vec<String>,
}

/// Judges the copies of the other side. Which of several rows it should have is nobody's to say but a person's.
#[must_use]
pub fn judge(shape: &ImageShape, authority: Right<'_>, copies: &[Copy]) -> Vec<Fault> {
    let fault = |kind| Fault { kind, columns: Vec::new() };
    let (image, home) = match authority {
        Right::Row { image, home } => (image, home),
        Right::Nothing => return copies.iter().map(|_| fault(Kind::Extra)).collect(),
        Right::Several => return vec![fault(Kind::OnSeveral)],
    };
    let mut faults = Vec::new();
    let strays = copies.iter().filter(|(place, _)| *place != home).count();
    match copies.iter().find(|(place, _)| *place == home) {
        Some((_, copy)) => {
            let columns = shape.differing(image, copy);
            if !columns.is_empty() {
                faults.push(Fault { kind: Kind::Changed, columns });
            }
            faults.extend((0..strays).map(|_| fault(Kind::Duplicate)));
        }
        None if strays == 0 => faults.push(fault(Kind::Missing)),
        None => {
            faults.push(fault(Kind::Misplaced));
            faults.extend((1..strays).map(|_| fault(Kind::Duplicate)));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::example::integers;

    #[test]
    fn every_way_a_row_can_be_wrong_is_told() {
        let shape = ImageShape::of(&integers(["id", "v"])).unwrap();
        let image = |v: &str| Image(vec![Some(b"1".to_vec()), Some(v.into())]);
        let (one, two) = (image("1"), image("2"));
        let judged = |authority: Right<'_>, copies: &[(usize, &Image)]| -> Vec<Kind> {
            let copies: Vec<Copy> = copies.iter().map(|(place, image)| (*place, (*image).clone())).collect();
            judge(&shape, authority, &copies).into_iter().map(|f| f.kind).collect()
        };
        let kinds = |authority: Option<usize>, copies: &[(usize, &Image)]| {
            let right = authority.map_or(Right::Nothing, |home| Right::Row { image: &one, home });
            judged(right, copies)
        };
        for copies in [&[][..], &[(0, &one)], &[(0, &one), (1, &two)]] {
            assert_eq!(judged(Right::Several, copies), [Kind::OnSeveral]);
        }
        assert_eq!(kinds(None, &[]), []);
        assert_eq!(kinds(Some(1), &[(1, &one)]), []);
        assert_eq!(kinds(Some(1), &[]), [Kind::Missing]);
        assert_eq!(kinds(None, &[(0, &one), (1, &one)]), [Kind::Extra, Kind::Extra]);
        assert_eq!(kinds(Some(1), &[(1, &two)]), [Kind::Changed]);
        assert_eq!(kinds(Some(1), &[(0, &one)]), [Kind::Misplaced]);
        assert_eq!(kinds(Some(1), &[(0, &one), (1, &one)]), [Kind::Duplicate]);
        assert_eq!(kinds(Some(1), &[(0, &one), (2, &one)]), [Kind::Misplaced, Kind::Duplicate]);
        assert_eq!(kinds(Some(1), &[(0, &one), (1, &two)]), [Kind::Changed, Kind::Duplicate]);
    }
}
