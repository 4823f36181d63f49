//! The sections of `crashinfo`, by the names of crash(8)'s commands. Each has its arguments in a
//! struct, and answers from the data of a subsystem.

use clap::Subcommand;

use crate::report::Answer;
use crate::{Error, Kernel};

mod section;
mod vmcoreinfo;

pub use section::{Progress, Section};

/// Defines the enum of all sections from the table of their names and arguments.
macro_rules! sections {
    ($($(#[$attribute:meta])* $name:ident($arguments:ty),)*) => {
        /// A section.
        #[derive(Clone, Debug, Subcommand)]
        pub enum Command {
            $($(#[$attribute])* $name($arguments),)*
        }

        impl Section for Command {
            fn answer(&self, kernel: &Kernel<'_>, progress: Progress<'_>) -> Result<Answer, Error> {
                match self {
                    $(Self::$name(section) => section.answer(kernel, progress),)*
                }
            }
        }
    };
}

sections! {
    /// The text of VMCOREINFO, with the lines that types and symbols added
    Vmcoreinfo(vmcoreinfo::Arguments),
}
