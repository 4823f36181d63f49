//! The command line of `crashinfo`.

use std::path::PathBuf;

use clap::Parser;
use collector::Source;

use crate::sections::Command;

/// Read a dump of a Linux kernel: the first page without a section, with what stands out
///
/// No debug file is needed for an x86_64 kernel that has BTF. An i386 kernel needs its debug
/// vmlinux for everything but the log, the backtraces and the tasks' names.
#[derive(Debug, Parser)]
#[command(
    name = "crashinfo",
    version,
    subcommand_value_name = "SECTION",
    subcommand_help_heading = "Sections",
    disable_help_subcommand = true,
    after_help = "Examples:\n  crashinfo vmcore                 the first page\n  \
                  crashinfo vmcore log             the kernel's log\n  \
                  crashinfo --json vmcore ps       all tasks, for a program\n  \
                  crashinfo --html vmcore > a.html a report for a browser\n  \
                  crashinfo /proc/kcore runq       the running kernel\n\n\
                  Exit codes: 0 an answer, 1 none, 2 wrong usage."
)]
pub struct Cli {
    /// JSON, for programs
    #[arg(long, conflicts_with = "html")]
    pub json: bool,
    /// A page of HTML that stands alone; without a section, with all of them
    #[arg(long)]
    pub html: bool,
    /// The kernel's debug vmlinux: types and symbols that the dump does not have
    #[arg(short = 's', long, value_name = "FILE")]
    pub vmlinux: Option<PathBuf>,
    /// Number of the dump on a dump disk; the newest without it
    #[arg(long, value_name = "N")]
    pub dump_number: Option<u64>,
    /// Wait for the other end of a line to connect
    #[arg(long)]
    pub listen: bool,
    /// Speed of a serial line, in bits per second
    #[arg(long, value_name = "N", default_value_t = 115_200)]
    pub baud: u32,
    /// Seconds to wait for the other end of a line
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub wait: u64,
    /// A vmcore of any format, a dump disk, /proc/kcore, or a line to a capture kernel that serves
    /// read requests: unix:PATH, tcp:HOST:PORT, a terminal
    #[arg(value_name = "DUMP")]
    pub dump: Source,
    /// The first page without one
    #[command(subcommand)]
    pub section: Option<Command>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["crashinfo", "--json", "/", "vmcoreinfo"]);
        assert!(cli.is_err(), "a folder is no dump");
        let cli = Cli::try_parse_from(["crashinfo", "--json", "unix:vmcore", "vmcoreinfo"]);
        assert!(cli.is_ok_and(|cli| cli.json && cli.section.is_some()));
        assert!(Cli::try_parse_from(["crashinfo", "--json", "--html", "unix:vmcore"]).is_err());
    }
}
