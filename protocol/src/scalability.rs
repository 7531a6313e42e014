//! How one encoding is made of layers: the scalability modes of WebRTC, by their names (W3C "Scalable
//! Video Coding (SVC) Extension for WebRTC", section 6). A node that knows the mode knows what frame
//! marks can mean and which layers may be left out, without looking into the payload.

use std::fmt;
use std::str::FromStr;

/// The most spatial layers, and the most temporal layers: VP9 and AV1 number each with three bits.
pub const MAX_LAYERS: u8 = 8;

/// What pictures of one spatial layer need of the layer below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Between {
    /// `L…`: each picture may need the one below.
    Always,
    /// `L…_KEY`: key frames alone do.
    KeyFrames,
    /// `L…_KEY_SHIFT`: likewise, and the temporal layers of the spatial ones take turns.
    KeyFramesShifted,
    /// `S…`: nothing; they are encodings side by side.
    Never,
}

impl Between {
    const ALL: [(Between, char, &'static str); 4] = [
        (Between::Always, 'L', ""),
        (Between::KeyFrames, 'L', "_KEY"),
        (Between::KeyFramesShifted, 'L', "_KEY_SHIFT"),
        (Between::Never, 'S', ""),
    ];

    fn parts(self) -> (char, &'static str) {
        let found = Self::ALL.into_iter().find(|(between, ..)| *between == self);
        found.map_or(('L', ""), |(_, letter, end)| (letter, end))
    }
}

/// A scalability mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scalability {
    spatial: u8,
    temporal: u8,
    between: Between,
    three_halves: bool,
}

/// Not the name of a mode that is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a scalability mode")]
pub struct UnknownMode;

impl Scalability {
    /// So many spatial and temporal layers, 1 to [`MAX_LAYERS`] each; a spatial layer has twice the width
    /// and height of the one below.
    ///
    /// # Errors
    /// [`UnknownMode`] for other numbers.
    pub fn new(spatial: u8, temporal: u8, between: Between) -> Result<Self, UnknownMode> {
        let counts = 1..=MAX_LAYERS;
        if !counts.contains(&spatial) || !counts.contains(&temporal) {
            return Err(UnknownMode);
        }
        // A single layer has none below it.
        let between = if spatial == 1 { Between::Always } else { between };
        Ok(Self { spatial, temporal, between, three_halves: false })
    }

    /// The same with one and a half times the width and height from layer to layer (`h`).
    #[must_use]
    pub fn three_halves(self) -> Self {
        Self { three_halves: self.spatial > 1, ..self }
    }

    /// How many spatial layers.
    pub fn spatial(self) -> u8 {
        self.spatial
    }

    /// How many temporal layers: frame marks number them from 0.
    pub fn temporal(self) -> u8 {
        self.temporal
    }

    /// What spatial layers need of each other.
    pub fn between(self) -> Between {
        self.between
    }
}

impl fmt::Display for Scalability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (letter, end) = self.between.parts();
        let ratio = if self.three_halves { "h" } else { "" };
        write!(f, "{letter}{}T{}{ratio}{end}", self.spatial, self.temporal)
    }
}

impl FromStr for Scalability {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        let bytes = name.as_bytes();
        let (&[letter, spatial, b'T', temporal], rest) =
            bytes.split_first_chunk::<4>().ok_or(UnknownMode)?
        else {
            return Err(UnknownMode);
        };
        let (three_halves, end) = match rest.strip_prefix(b"h") {
            Some(end) => (true, end),
            None => (false, rest),
        };
        let form =
            |(_, l, e): &(Between, char, &str)| char::from(letter) == *l && end == e.as_bytes();
        let (between, ..) = Between::ALL.into_iter().find(form).ok_or(UnknownMode)?;
        let mode = Self::new(spatial.wrapping_sub(b'0'), temporal.wrapping_sub(b'0'), between)?;
        let mode = if three_halves { mode.three_halves() } else { mode };
        // One mode has one name.
        if mode.to_string() == name { Ok(mode) } else { Err(UnknownMode) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_recommendation() {
        let modes = [
            ("L1T1", 1, 1, Between::Always),
            ("L1T3", 1, 3, Between::Always),
            ("L2T2h", 2, 2, Between::Always),
            ("L3T3_KEY", 3, 3, Between::KeyFrames),
            ("L2T2_KEY_SHIFT", 2, 2, Between::KeyFramesShifted),
            ("S3T1h", 3, 1, Between::Never),
        ];
        for (name, spatial, temporal, between) in modes {
            let mode: Scalability = name.parse().unwrap();
            assert_eq!(
                (mode.spatial(), mode.temporal(), mode.between()),
                (spatial, temporal, between)
            );
            assert_eq!(mode.to_string(), name);
        }
    }

    #[test]
    fn other_names_are_unknown() {
        for name in [
            "",
            "L1",
            "L1T",
            "l1t3",
            "L0T1",
            "L9T1",
            "L1T9",
            "L/T1",
            "L1T3 ",
            "L1T3h",
            "S1T3",
            "L1T3_KEY",
            "S2T2_KEY",
            "L2T2_KEYS",
            "L2T2_KEYh",
            "L22T1",
            "M2T1",
            "L2T2hh",
            "LéT1",
        ] {
            assert_eq!(name.parse::<Scalability>(), Err(UnknownMode), "{name}");
        }
    }

    #[test]
    fn every_mode_has_one_name() {
        let mut names = std::collections::BTreeSet::new();
        for spatial in 0..=MAX_LAYERS + 1 {
            for temporal in 0..=MAX_LAYERS + 1 {
                for (between, ..) in Between::ALL {
                    let Ok(mode) = Scalability::new(spatial, temporal, between) else { continue };
                    for mode in [mode, mode.three_halves()] {
                        assert_eq!(mode.to_string().parse(), Ok(mode));
                        names.insert(mode.to_string());
                    }
                }
            }
        }
        assert_eq!(names.len(), 8 + 7 * 8 * 4 * 2);
    }
}
