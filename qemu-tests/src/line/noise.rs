//! Damage by a bad serial line to the bytes on it.

/// Number of events of each kind in a million bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// It gets another value.
    pub flips: u32,
    /// It is lost.
    pub drops: u32,
    /// It and the 63 after it get any values.
    pub bursts: u32,
}

/// Bytes of one burst.
const BURST: u32 = 64;
const MILLION: u64 = 1_000_000;

/// Damages bytes at these rates; the same ones for the same seed.
#[derive(Clone, Debug)]
pub struct Mangler {
    rates: Rates,
    dice: Dice,
    /// Bytes of a burst that are still to come.
    burst: u32,
}

impl Mangler {
    /// Which bytes it takes is a matter of `seed` alone.
    pub fn new(rates: Rates, seed: u64) -> Self {
        Self { rates, dice: Dice::new(seed), burst: 0 }
    }

    /// Returns `bytes` as they arrive on the other side.
    pub fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().filter_map(|byte| self.pass_byte(*byte)).collect()
    }

    fn pass_byte(&mut self, byte: u8) -> Option<u8> {
        if self.burst > 0 {
            self.burst -= 1;
            return Some(self.dice.roll() as u8);
        }
        let Rates { flips, drops, bursts } = self.rates;
        let drawn = self.dice.roll() % MILLION;
        let (flips, drops, bursts) = (u64::from(flips), u64::from(drops), u64::from(bursts));
        if drawn < flips {
            return Some(byte ^ (1 + self.dice.roll() % 255) as u8);
        }
        if drawn < flips + drops {
            return None;
        }
        if drawn < flips + drops + bursts {
            self.burst = BURST - 1;
            return Some(self.dice.roll() as u8);
        }
        Some(byte)
    }
}

/// A generator whose whole state is one number (Steele, Lea and Flood's SplitMix64).
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 4_000_000;

    fn passed(rates: Rates, seed: u64) -> Vec<u8> {
        Mangler::new(rates, seed).pass(&vec![0x55; BYTES])
    }

    /// Within four standard deviations of 400 events.
    #[track_caller]
    fn assert_about(count: usize, expected: usize) {
        assert!(count.abs_diff(expected) < 4 * 20 * (expected / 400).max(1), "{count}");
    }

    #[test]
    fn a_good_line_damages_nothing() {
        assert!(passed(Rates::default(), 1) == vec![0x55; BYTES]);
    }

    #[test]
    fn one_byte_in_ten_thousand_is_flipped() {
        let passed = passed(Rates { flips: 100, ..Rates::default() }, 1);
        assert_eq!(passed.len(), BYTES);
        assert_about(passed.iter().filter(|byte| **byte != 0x55).count(), 400);
    }

    #[test]
    fn one_byte_in_ten_thousand_is_lost() {
        let passed = passed(Rates { drops: 100, ..Rates::default() }, 1);
        assert_about(BYTES - passed.len(), 400);
        assert!(passed.iter().all(|byte| *byte == 0x55));
    }

    #[test]
    fn bursts_are_64_bytes_long() {
        let passed = passed(Rates { bursts: 100, ..Rates::default() }, 1);
        assert_eq!(passed.len(), BYTES);
        let wrong: Vec<_> = (0..BYTES).filter(|at| passed[*at] != 0x55).collect();
        // Bursts are 10 000 bytes apart: a gap of more than 20 good bytes is between two.
        let bursts: Vec<_> = wrong.chunk_by(|one, next| next - one < 20).collect();
        assert_about(bursts.len(), 400);
        let longest = bursts.iter().map(|burst| burst[burst.len() - 1] - burst[0] + 1).max();
        assert!((60..=2 * 64).contains(&longest.unwrap()), "{longest:?}");
        let bytes: usize = bursts.iter().map(|burst| burst.len()).sum();
        assert!((60..=66).contains(&(bytes / bursts.len())), "{bytes}");
    }

    #[test]
    fn the_seed_says_which_bytes() {
        let rates = Rates { flips: 100, drops: 100, bursts: 10 };
        assert!(passed(rates, 7) == passed(rates, 7));
        assert!(passed(rates, 7) != passed(rates, 8));
    }

    /// However the bytes are cut into reads, the same ones are hit.
    #[test]
    fn reads_do_not_matter() {
        let rates = Rates { flips: 1000, drops: 1000, bursts: 1000 };
        let bytes: Vec<u8> = (0..100_000_u32).map(|byte| byte as u8).collect();
        let (mut one, mut other) = (Mangler::new(rates, 3), Mangler::new(rates, 3));
        let pieces: Vec<u8> = bytes.chunks(77).flat_map(|piece| other.pass(piece)).collect();
        assert!(one.pass(&bytes) == pieces);
    }
}
