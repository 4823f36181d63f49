//! The command line of the loader itself.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use loader::{COM1, PlanOptions, UserText};
use vmcore::{Action, Class, PhysRange, memparse, size_at};

const EXAMPLES: &str = "\
Examples:
  loader status
      Is memory reserved, is a capture kernel loaded, what is missing?
  loader load --target virtio-blk:id=00112233445566778899aabbccddeeff
      After a panic, write a vmcore to the dump disk with this id.
  loader plan --append 'kdump.timeout=10'
      Show what `load` would do, and do nothing.
  loader plan --root saved/ --kernel capture-kernel --purgatory purgatory --json
      The same for another machine, from copies of its files under /proc and /sys.
  loader pack --slot 32M@16M --target virtio-blk:id=00112233445566778899aabbccddeeff -o slot.img
      Make one file for a first kernel that loads it by itself (docs/adopting.md).
  loader flash slot.img /dev/mmcblk0p3
      Write it there, read it back and compare.

Exit codes:
  0  done
  1  it did not work; the reason and the next step are on standard error
  2  the command line is wrong";

/// Loads the capture kernel into the crashkernel reservation, so that a panic leaves a dump.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load the capture kernel; one that is loaded already is replaced.
    Load(LoadArgs),
    /// Unload the capture kernel.
    Unload,
    /// Say whether a panic would be captured, and what is missing.
    Status(StatusArgs),
    /// Show what `load` would do, without doing it.
    Plan(PlanArgs),
    /// Make a slot image: one file with all that `load` would put into a slot.
    Pack(PackArgs),
    /// Write a slot image to a device or a file, read it back and compare.
    Flash(FlashArgs),
    /// Say what is in a slot image, and whether it is whole.
    Inspect(InspectArgs),
}

/// What goes into the slot.
#[derive(Args, Debug)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) images: ImageFiles,

    /// Text to add to the capture kernel's command line. memmap= and elfcorehdr= always follow it.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    append: Option<String>,

    /// Text that replaces the capture kernel's command line, for a Linux as capture kernel.
    /// memmap= and elfcorehdr= always follow it.
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        conflicts_with_all = ["append", "target", "final_action", "failure_action"]
    )]
    command_line: Option<String>,

    /// Where the dump goes: virtio-blk:id=HEX32 (see `collector format`) or none; several are
    /// separated by commas and tried in this order.
    #[arg(long, value_name = "SPEC")]
    target: Option<String>,

    /// What follows a complete dump [default: reboot].
    #[arg(long, value_name = "ACTION")]
    final_action: Option<ActionName>,

    /// What follows a failed dump, or a slot that is found damaged [default: reboot].
    #[arg(long, value_name = "ACTION")]
    failure_action: Option<ActionName>,

    /// I/O port of the 16550 that purgatory writes to; 0 for silence.
    #[arg(long, value_name = "PORT", default_value_t = Port(COM1), value_parser = port)]
    console_port: Port,

    /// Let the capture kernel use the first 640 KiB too, whose contents are saved in the slot.
    /// Ours does not need it; a Linux as capture kernel does.
    #[arg(long)]
    low_memory: bool,

    /// Describe the dump in ELF32 headers; refused when there is memory above 4 GiB
    /// [default: ELF32 where it can].
    #[arg(long, conflicts_with = "elf64_core_headers")]
    elf32_core_headers: bool,

    /// Describe the dump in ELF64 headers; needed, and the default, with memory above 4 GiB.
    #[arg(long)]
    elf64_core_headers: bool,
}

/// Files that replace the images inside this program.
#[derive(Args, Debug)]
pub(crate) struct ImageFiles {
    /// The capture kernel: an i386 ELF file (an uncompressed vmlinux, not a bzImage).
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: Option<PathBuf>,

    /// Purgatory: an i386 ELF file, linked at 0 with --emit-relocs.
    #[arg(long, value_name = "FILE")]
    pub(crate) purgatory: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Read the facts from this folder, which holds copies of files under /proc and /sys.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(crate) root: PathBuf,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,

    /// Read the facts from this folder, which holds copies of files under /proc and /sys.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(crate) root: PathBuf,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the bytes of each segment to DIR/NAME.bin, and DIR/plan.json that says where they go.
    #[arg(long, value_name = "DIR")]
    pub(crate) segments: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct PackArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,

    /// The slot that the first kernel will reserve, as in crashkernel=.
    #[arg(long, value_name = "SIZE@BASE", value_parser = slot)]
    pub(crate) slot: PhysRange,

    /// The image to write.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    /// Room for the ELF core header: 32 bytes (ELF64: 56) for each CPU and each range of RAM.
    #[arg(long, value_name = "SIZE", default_value = "8K", value_parser = core_header_size)]
    pub(crate) elfcorehdr_size: u64,

    /// Describe this first kernel's memory, from copies of its files under /proc and /sys, and seal
    /// the image. Without, the first kernel does both when it boots.
    #[arg(long, value_name = "DIR")]
    pub(crate) system: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct FlashArgs {
    /// The slot image.
    pub(crate) image: PathBuf,

    /// A block device that nobody uses, or a file.
    pub(crate) target: PathBuf,

    /// Where the image begins on the target, in bytes.
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = size)]
    pub(crate) offset: u64,
}

#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// The slot image.
    pub(crate) image: PathBuf,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The longest ELF core header that there is room for, in bytes.
const LONGEST_CORE_HEADER: u64 = 256 << 10;

fn slot(text: &str) -> Result<PhysRange, String> {
    size_at(text.as_bytes()).ok_or_else(|| "write it like 32M@16M".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    match memparse(text.as_bytes()) {
        Some((size, b"")) => Ok(size),
        _ => Err("write it like 4096 or 8K".to_owned()),
    }
}

fn core_header_size(text: &str) -> Result<u64, String> {
    let allowed = 1..=LONGEST_CORE_HEADER;
    let size = size(text)?;
    allowed.contains(&size).then_some(size).ok_or_else(|| "between 1 byte and 256K".to_owned())
}

/// A final or failure action by its name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ActionName {
    /// Switch the machine off.
    Poweroff,
    /// Boot again.
    Reboot,
    /// Stop there.
    Halt,
}

impl From<ActionName> for Action {
    fn from(name: ActionName) -> Self {
        match name {
            ActionName::Poweroff => Self::PowerOff,
            ActionName::Reboot => Self::Reboot,
            ActionName::Halt => Self::Halt,
        }
    }
}

/// An I/O port, written in hexadecimal with 0x or in decimal.
#[derive(Clone, Copy, Debug)]
struct Port(u16);

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

fn port(text: &str) -> Result<Port, String> {
    let port = match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16),
        None => text.parse(),
    };
    port.map(Port).map_err(|error| format!("{error}: give a port such as 0x3f8"))
}

impl LoadArgs {
    pub(crate) fn plan_options(&self) -> PlanOptions {
        let text = match &self.command_line {
            Some(text) => UserText::Whole(text.clone()),
            None => UserText::Append(self.append.clone().unwrap_or_default()),
        };
        PlanOptions {
            text,
            target: self.target.clone(),
            final_action: self.final_action.map(Action::from),
            failure_action: self.failure_action.map(Action::from),
            console_port: self.console_port.0,
            low_memory: self.low_memory,
            class: self.class(),
        }
    }

    fn class(&self) -> Option<Class> {
        match (self.elf32_core_headers, self.elf64_core_headers) {
            (true, _) => Some(Class::Elf32),
            (false, true) => Some(Class::Elf64),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn options(words: &[&str]) -> Option<PlanOptions> {
        let words = ["loader", "load"].iter().chain(words);
        match Cli::try_parse_from(words).ok()?.command {
            Command::Load(args) => Some(args.plan_options()),
            _ => None,
        }
    }

    #[test]
    fn defaults_are_those_of_the_library() {
        assert_eq!(options(&[]), Some(PlanOptions::default()));
    }

    #[test]
    fn options_reach_the_plan() {
        let given = options(&["--final-action", "poweroff", "--console-port", "0x2f8"]);
        let given = given.expect("a good line");
        assert_eq!((given.final_action, given.console_port), (Some(Action::PowerOff), 0x2f8));
        let whole = options(&["--command-line", "-- x", "--low-memory"]).expect("a good line");
        assert_eq!((whole.text, whole.low_memory), (UserText::Whole("-- x".to_owned()), true));
        assert_eq!(options(&["--console-port", "0"]).map(|o| o.console_port), Some(0));
        assert_eq!(options(&["--console-port", "0x10000"]), None);
        assert_eq!(options(&["--command-line", "a", "--target", "none"]), None);
    }

    #[test]
    fn one_width_of_core_headers_can_be_asked_for() {
        let (elf32, elf64) = ("--elf32-core-headers", "--elf64-core-headers");
        let class = |words: &[&str]| options(words).map(|options| options.class);
        assert_eq!(class(&[]), Some(None));
        assert_eq!(class(&[elf32]), Some(Some(Class::Elf32)));
        assert_eq!(class(&[elf64]), Some(Some(Class::Elf64)));
        assert_eq!(class(&[elf32, elf64]), None);
    }
}
