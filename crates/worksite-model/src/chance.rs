//! Chance is an argument: numbers that look random and follow from a seed and a place in history alone.

/// Mixes a seed with the place that needs a number: equal arguments give equal numbers, close ones unrelated numbers.
///
/// The step is SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
///
/// ```
/// use worksite_model::chance;
///
/// assert_eq!(chance(7, &[1, 2]), chance(7, &[1, 2]));
/// assert_ne!(chance(7, &[1, 2]), chance(7, &[2, 1]));
/// ```
pub fn chance(seed: u64, place: &[i64]) -> u64 {
    place.iter().fold(mix(seed), |state, part| mix(state ^ (*part).cast_unsigned()))
}

fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
