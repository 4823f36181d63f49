//! The times of a sender on a serial line.

use dumpfile::wire::{SMALL_FRAME, SenderConfig};

/// Behaviour of a sender on a line of `baud` bits per second, whose collector may be silent for
/// `timeout` milliseconds: where a frame takes long, so do answers.
pub fn pace(baud: u32, timeout: u64) -> SenderConfig {
    const BITS: u64 = 10; // with start and stop
    let frame = SMALL_FRAME as u64 * BITS * 1000 / u64::from(baud.max(1));
    let config = SenderConfig::serial([0; 16]);
    SenderConfig {
        timeout: timeout.max(8 * frame),
        announce_every: config.announce_every.max(4 * frame),
        retransmit_after: config.retransmit_after + 4 * frame,
        linger: config.linger + 4 * frame,
        ..config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_line_is_given_the_time_it_takes() {
        let (fast, slow) = (pace(115_200, 1000), pace(300, 1000));
        assert!((500..600).contains(&fast.retransmit_after) && fast.timeout == 1000);
        // A frame takes 8.5 seconds, and its acknowledgement more than one.
        assert!(slow.retransmit_after > 20_000 && slow.timeout > 60_000);
        assert!(slow.timeout < 100_000);
    }
}
