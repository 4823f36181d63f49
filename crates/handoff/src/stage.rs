//! The one list of the stages between the panic and the end of the capture.
//!
//! Each stage prints `kdump: stage=NAME tsc=TICKS` on the console and writes its code to the POST
//! port, so that "no dump and no trace why" cannot happen.

use core::fmt;

/// I/O port of the POST code display.
pub const POST_PORT: u16 = 0x80;

/// Start of every stage line, up to the name.
pub const LINE_PREFIX: &str = "kdump: stage=";

macro_rules! stages {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal;)*) => {
        /// A stage of the capture. Its number is the POST code, and the disk header's `stage`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Stage { $($(#[$doc])* $variant = $code,)* }

        impl Stage {
            /// All stages, in the order in which they are reached.
            pub const ALL: &[Stage] = &[$(Stage::$variant),*];

            /// The name on the console and in `report.json`.
            pub const fn name(self) -> &'static str {
                match self { $(Stage::$variant => $name,)* }
            }
        }
    };
}

stages! {
    /// Purgatory runs.
    Purgatory = 0x20, "purgatory";
    /// Every region of the slot has its digest and the backup region is copied.
    Verified = 0x21, "verified";
    /// The capture kernel runs, with its own page tables and exception handlers.
    CaptureEntry = 0x30, "capture_entry";
    /// The command line is read and the memory that may be written is known.
    Memory = 0x31, "memory";
    /// Devices are quiet; from here on old memory is read.
    Quiesced = 0x40, "quiesced";
    /// The ELF core header is accepted (or refused) and the views exist.
    Views = 0x41, "views";
    /// The first request with dump bytes was completed by the device.
    FirstByte = 0x50, "first_byte";
    /// The last request with dump bytes was completed by the device.
    LastByte = 0x51, "last_byte";
    /// The target holds a complete dump and says so itself.
    Done = 0x60, "done";
    /// The final action comes next.
    FinalAction = 0x61, "final_action";
    /// The capture did not succeed; the failure action comes next.
    Failed = 0xe0, "failed";
}

impl Stage {
    /// The POST code.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The stage with this code, if there is one.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|stage| u32::from(stage.code()) == code)
    }

    /// The stage with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|stage| stage.name() == name)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_lead_back_to_the_stage() {
        for stage in Stage::ALL {
            assert_eq!(Stage::from_name(stage.name()), Some(*stage));
            assert_eq!(Stage::from_code(stage.code().into()), Some(*stage));
        }
        assert_eq!(Stage::from_code(0x130), None);
        assert!(Stage::ALL.is_sorted());
    }
}
