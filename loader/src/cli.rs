//! The command line of the loader itself.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use cmdline::{Action, Compress};
use vmcore::{Class, Level, PhysAddr, PhysRange};

mod values;

use crate::plan::types::{COM1, PlanOptions, UserText};
use values::{ActionName, CompressName, Port, address, core_header_size, port, size, slot};

const EXAMPLES: &str = "\
Examples:
  kdump-loader status
      Show the outcome of a panic: the loaded plan, changes of the machine since, missing parts.
  kdump-loader load --target disk:id=00112233445566778899aabbccddeeff
      After a panic, write a vmcore to the dump disk with this id.
  kdump-loader load --target virtio-console:name=kdump,serial:port=0,baud=115200
      Send it to `kdump-collector receive` at a console port; where there is none, over COM1.
  kdump-loader plan --append 'kdump.timeout=10'
      Show what `load` would do, and do nothing.
  kdump-loader plan --root saved/ --kernel capture-kernel --purgatory purgatory --json
      The same for another machine, from copies of its files under /proc and /sys.
  kdump-loader pack --slot 32M@16M --target disk:id=00112233445566778899aabbccddeeff -o slot.img
      Make one file for a first kernel that loads it by itself (docs/adopting.md).
  kdump-loader flash slot.img /dev/mmcblk0p3
      Write it there, read it back and compare.

  kdump-loader -p vmlinux --initrd dump.cpio --reuse-cmdline --append 'nr_cpus=1 irqpoll reset_devices'
      Load a stock Linux as capture kernel, in kexec's words.

In kexec's words: -p is load, -u and -p -u are unload, -S is status.

Exit codes:
  0  done; status: a capture kernel is loaded, or the kernel does not report it
  1  failed; the reason and the next step are on standard error. A capture kernel that was loaded
     before stays loaded, or is loaded again
  2  the command line is wrong
  3  no capture kernel is loaded now: a panic will not be captured (load, status)

Unlike kdump-loader -S, kexec -S exits with 1 when something is loaded, and else with 0.";

/// Loads the capture kernel into the crashkernel reservation, so that a panic leaves a dump.
#[derive(Debug, Parser)]
#[command(name = "kdump-loader", version, after_help = EXAMPLES)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,

    /// Print on standard error the files that are read, the plan, and the arguments of kexec_load.
    #[arg(short, long, global = true)]
    pub debug: bool,
}

/// Commands of the loader. Three of them have kexec's names as well.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load the capture kernel, unless the very same is loaded already.
    #[command(short_flag = 'p', long_flag = "load-panic")]
    Load(LoadCommand),
    /// Unload the capture kernel.
    #[command(short_flag = 'u', long_flag = "unload")]
    Unload(UnloadArgs),
    /// Report whether a panic would be captured, and what is missing.
    #[command(short_flag = 'S', long_flag = "status")]
    Status(StatusArgs),
    /// Show what `load` would do, without doing it.
    Plan(PlanArgs),
    /// Make a slot image: one file with all that `load` would put into a slot.
    Pack(PackArgs),
    /// Write a slot image to a device or a file, read it back and compare.
    Flash(FlashArgs),
    /// Show the contents of a slot image, and whether it is whole.
    Inspect(InspectArgs),
}

/// Arguments of `load`.
#[derive(Args, Debug)]
pub struct LoadCommand {
    /// The images for the slot.
    #[command(flatten)]
    pub load: LoadArgs,

    /// Load even an unchanged plan, for when another program has loaded since. Accept also the id
    /// of a disk that is not there (yet).
    #[arg(long)]
    pub force: bool,

    /// Folder with the record of the load.
    #[command(flatten)]
    pub state: StateArgs,

    /// As in `kexec -p -u`.
    #[arg(short, long, hide = true)]
    pub unload: bool,
}

/// Arguments of `unload`.
#[derive(Args, Debug)]
pub struct UnloadArgs {
    /// Folder with the record of the load.
    #[command(flatten)]
    pub state: StateArgs,

    /// As in `kexec -u -p`.
    #[arg(short = 'p', long, hide = true)]
    pub load_panic: bool,
}

/// Folder in which the loader keeps a copy of the load.
#[derive(Args, Debug)]
pub struct StateArgs {
    /// Folder for a copy of the loaded plan: to see changes, and to restore it after a failed load;
    /// best in memory, because it is used until the next boot only.
    #[arg(long, value_name = "DIR", default_value = "/run/kdump-rs")]
    pub state_dir: PathBuf,
}

/// The images for the slot.
#[derive(Args, Debug)]
pub struct LoadArgs {
    /// The files.
    #[command(flatten)]
    pub images: ImageFiles,

    /// Text to add to the capture kernel's command line. memmap= and elfcorehdr= always follow it.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    append: Option<String>,

    /// Text that replaces the capture kernel's command line, for a Linux as capture kernel.
    /// memmap= and elfcorehdr= always follow it.
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        conflicts_with_all = ["append", "target", "level", "compress", "final_action", "failure_action"]
    )]
    command_line: Option<String>,

    /// Begin with the running kernel's command line, without the words that are not for a capture
    /// kernel: BOOT_IMAGE=, crashkernel=, memmap=, elfcorehdr=, kdump.*, and all words after `--`.
    /// For a Linux as capture kernel; --append comes after it.
    #[arg(
        long,
        conflicts_with_all = ["command_line", "target", "level", "compress", "final_action", "failure_action"]
    )]
    pub reuse_cmdline: bool,

    /// Targets of the dump: disk:id=HEX32 (see `kdump-collector format`),
    /// virtio-console:name=PORT, serial:port=N,baud=N (0 is COM1; 115200) or none (stay until
    /// `kdump-collector read` asks). A list with commas: the first that works; after a + one more
    /// in any case [default: the dump disk of this machine, if there is exactly one].
    #[arg(long, value_name = "SPEC")]
    target: Option<String>,

    /// Dump level, the classes of pages that are left out, as in makedumpfile -d: 0 none, 31 all; 1
    /// zeros, 2 page cache without private data, 4 all page cache, 8 user processes, 16 free memory
    /// [default: 0; on a dump disk without room for all memory 31].
    #[arg(long, value_name = "N")]
    level: Option<Level>,

    /// The encoding of the dump. auto is lz4 on a serial line and none elsewhere [default: auto].
    #[arg(long, value_name = "CODEC")]
    compress: Option<CompressName>,

    /// Action after a complete dump [default: reboot].
    #[arg(long, value_name = "ACTION")]
    final_action: Option<ActionName>,

    /// Action after a failed dump, or for a slot that is found damaged [default: reboot].
    #[arg(long, value_name = "ACTION")]
    failure_action: Option<ActionName>,

    /// I/O port of the 16550 that purgatory writes to; 0 for silence.
    #[arg(long, value_name = "PORT", default_value_t = Port(COM1), value_parser = port)]
    console_port: Port,

    /// Let the capture kernel use the first 640 KiB too, whose contents are saved in the slot. Ours
    /// does not need it; a Linux as capture kernel does.
    #[arg(long)]
    low_memory: bool,

    /// Describe the dump in ELF32 headers; refused when there is memory above 4 GiB
    /// [default: ELF32 where it can].
    #[arg(long, conflicts_with = "elf64_core_headers")]
    elf32_core_headers: bool,

    /// Describe the dump in ELF64 headers; needed, and the default, with memory above 4 GiB.
    #[arg(long)]
    elf64_core_headers: bool,

    /// The lowest physical address that is used in the slot [default: the slot's first].
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    mem_min: Option<PhysAddr>,

    /// The highest physical address that is used in the slot [default: the slot's last].
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    mem_max: Option<PhysAddr>,

    /// Purgatory verifies its own parameters only: an overwritten slot runs, too.
    #[arg(long)]
    no_checks: bool,
}

/// Files that replace the images inside this program.
#[derive(Args, Debug)]
pub struct ImageFiles {
    /// The capture kernel: an i386 ELF file (an uncompressed vmlinux, not a bzImage).
    #[arg(value_name = "KERNEL", group = "capture_kernel")]
    file: Option<PathBuf>,

    /// The capture kernel, named by an option.
    #[arg(long, value_name = "FILE", group = "capture_kernel")]
    kernel: Option<PathBuf>,

    /// Purgatory: an i386 ELF file, linked at 0 with --emit-relocs.
    #[arg(long, value_name = "FILE")]
    pub purgatory: Option<PathBuf>,

    /// An initramfs for the capture kernel: a Linux that is named, for ours has no use for one.
    #[arg(long, value_name = "FILE", alias = "ramdisk", requires = "capture_kernel")]
    pub initrd: Option<PathBuf>,
}

impl ImageFiles {
    /// The capture kernel, when one is named.
    pub fn kernel(&self) -> Option<&Path> {
        self.file.as_deref().or(self.kernel.as_deref())
    }
}

/// Arguments of `status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Read the facts from this folder, which holds copies of files under /proc, /sys and /run.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,

    /// Folder with the record of the load.
    #[command(flatten)]
    pub state: StateArgs,

    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `plan`.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// The images for the slot.
    #[command(flatten)]
    pub load: LoadArgs,

    /// Read the facts from this folder, which holds copies of files under /proc and /sys.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,

    /// Print JSON.
    #[arg(long)]
    pub json: bool,

    /// Write the bytes of each segment to DIR/NAME.bin, and DIR/plan.json that says where they go.
    #[arg(long, value_name = "DIR")]
    pub segments: Option<PathBuf>,
}

/// Arguments of `pack`.
#[derive(Args, Debug)]
pub struct PackArgs {
    /// The images for the slot.
    #[command(flatten)]
    pub load: LoadArgs,

    /// The slot that the first kernel will reserve, as in crashkernel=.
    #[arg(long, value_name = "SIZE@BASE", value_parser = slot)]
    pub slot: PhysRange,

    /// The image to write.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,

    /// Room for the ELF core header: 32 bytes (ELF64: 56) for each CPU and each range of RAM.
    #[arg(long, value_name = "SIZE", default_value = "8K", value_parser = core_header_size)]
    pub elfcorehdr_size: u64,

    /// Describe this first kernel's memory, from copies of its files under /proc and /sys, and seal
    /// the image. Without, the first kernel does both when it boots.
    #[arg(long, value_name = "DIR")]
    pub system: Option<PathBuf>,
}

/// Arguments of `flash`.
#[derive(Args, Debug)]
pub struct FlashArgs {
    /// The slot image.
    pub image: PathBuf,

    /// A block device that is not in use, or a file.
    pub target: PathBuf,

    /// Offset of the image on the target, in bytes.
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = size)]
    pub offset: u64,
}

/// Arguments of `inspect`.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// The slot image.
    pub image: PathBuf,

    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

impl LoadArgs {
    /// Options as far as they need no look at the system or a file: `--reuse-cmdline` and
    /// `--initrd` are left to the caller.
    pub fn plan_options(&self) -> PlanOptions {
        let text = match &self.command_line {
            Some(text) => UserText::Whole(text.clone()),
            None => UserText::Append(self.append.clone().unwrap_or_default()),
        };
        PlanOptions {
            text,
            target: self.target.clone(),
            any_disk: false,
            level: self.level,
            compress: self.compress.map(Compress::from),
            final_action: self.final_action.map(Action::from),
            failure_action: self.failure_action.map(Action::from),
            console_port: self.console_port.0,
            low_memory: self.low_memory,
            class: self.class(),
            mem_min: self.mem_min,
            mem_max: self.mem_max,
            checks: !self.no_checks,
            initrd: None,
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
        let words = ["kdump-loader", "load"].iter().chain(words);
        match Cli::try_parse_from(words).ok()?.command {
            Command::Load(args) => Some(args.load.plan_options()),
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
        let given = options(&["--compress", "lz4"]).expect("a good line");
        assert_eq!(given.compress, Some(Compress::Lz4));
        assert_eq!(options(&["--command-line", "a", "--compress", "lz4"]), None);
        assert_eq!(options(&["--level", "31"]).expect("a good line").level, Some(Level::KERNEL));
        for words in [&["--level", "32"][..], &["--level", "1", "--command-line", "a"]] {
            assert_eq!(options(words), None);
        }
        let whole = options(&["--command-line", "-- x", "--low-memory"]).expect("a good line");
        assert_eq!((whole.text, whole.low_memory), (UserText::Whole("-- x".to_owned()), true));
        assert_eq!(options(&["--console-port", "0"]).map(|o| o.console_port), Some(0));
        assert_eq!(options(&["--console-port", "0x10000"]), None);
        assert_eq!(options(&["--command-line", "a", "--target", "none"]), None);
    }

    fn command(words: &[&str]) -> Option<Command> {
        let words = ["kdump-loader"].iter().chain(words);
        Cli::try_parse_from(words).ok().map(|cli| cli.command)
    }

    /// `kexec -p KERNEL`, `-u`, `-p -u`, `-S`, `-d`, and their long names.
    #[test]
    fn the_words_of_kexec() {
        let lines = ["-p vmlinux --append x", "--load-panic vmlinux", "load --kernel vmlinux"];
        for words in lines.map(|line| line.split(' ').collect::<Vec<_>>()) {
            let Some(Command::Load(args)) = command(&words) else { panic!("{words:?}") };
            assert_eq!(args.load.images.kernel(), Some(Path::new("vmlinux")));
            assert!(!args.unload && !args.force);
        }
        for words in [&["-p", "-u"], &["--load-panic", "--unload"][..]] {
            assert!(matches!(command(words), Some(Command::Load(args)) if args.unload));
        }
        for words in [&["-u"], &["--unload"], &["-u", "-p"][..]] {
            assert!(matches!(command(words), Some(Command::Unload(_))), "{words:?}");
        }
        for words in [&["-S"], &["--status"][..]] {
            assert!(matches!(command(words), Some(Command::Status(_))), "{words:?}");
        }
        for words in [&["-d", "-p"], &["-p", "-d"], &["load", "--debug"][..]] {
            assert!(
                Cli::try_parse_from(["kdump-loader"].iter().chain(words))
                    .is_ok_and(|cli| cli.debug)
            );
        }
    }

    #[test]
    fn options_for_a_linux_as_capture_kernel() {
        assert!(
            options(&["vmlinux", "--initrd", "cpio", "--reuse-cmdline", "--append", "x"]).is_some()
        );
        assert_eq!(options(&["--initrd", "cpio"]), None, "ours has no use for it");
        assert_eq!(options(&["vmlinux", "--kernel", "vmlinux"]), None);
        assert_eq!(options(&["vmlinux", "--reuse-cmdline", "--command-line", "x"]), None);
        assert_eq!(options(&["--reuse-cmdline", "--target", "none"]), None);
    }

    #[test]
    fn bounds_and_checks() {
        let given = options(&["--mem-min", "0x1800000", "--mem-max", "48M", "--no-checks"]);
        let given = given.expect("a good line");
        let wanted = (Some(PhysAddr::new(0x180_0000)), Some(PhysAddr::new(0x300_0000)), false);
        assert_eq!((given.mem_min, given.mem_max, given.checks), wanted);
        assert_eq!(options(&["--mem-min", "16M@0"]), None);
        assert_eq!(options(&["--mem-min", ""]), None);
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
