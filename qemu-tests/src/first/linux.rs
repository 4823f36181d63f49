//! A Linux as a first kernel: its initramfs, its command line, and how it loads the capture kernel.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use vmcore::Class;

use crate::check::dead_kernel::Linux;
use crate::check::said::sections;
use crate::config::{Config, Crash};
use crate::fault::hooks::Hooks;
use crate::first::bzimage::BzImage;
use crate::first::initramfs::{self, OWN_INIT, Packed, Userland};
use crate::first::said;
use crate::first::saved_pages::Area;
use crate::first::shown_stacks;
use crate::first::slot::parse_slot;
use crate::first::{stock_capture, virtio_modules};
use crate::host::qemu::Boot;

/// From here on a slot is beyond a Linux that stays where it is linked, at 16 MiB.
const BEYOND_LINUX: u64 = 64 << 20;

/// Files of a Linux first kernel.
pub(crate) struct Files<'a> {
    /// Its bzImage.
    pub(crate) kernel: &'a Path,
    /// A static busybox.
    pub(crate) busybox: &'a Path,
    /// Our loader.
    pub(crate) loader: &'a Path,
}

impl Files<'_> {
    /// QEMU's arguments, with the initramfs in `folder`. The kernel saves its word on every page in
    /// `area`, if it is to.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub(crate) fn boot(
        &self,
        config: &Config,
        hooks: &dyn Hooks,
        target: &str,
        area: Option<&Area>,
        folder: &Path,
    ) -> Result<Boot> {
        let initrd = folder.join("initramfs");
        let archive = self.initramfs(config, hooks, target, area)?;
        fs::write(&initrd, archive).context("writing the initramfs")?;
        let has_userland = config.initrd.is_some();
        let reserved = area.map(|area| format!("{} ", area.word())).unwrap_or_default();
        let room = if config.shown_stacks { shown_stacks::WORD } else { "" };
        let append = format!("{reserved}{room} {}", config.first_append);
        let command_line = command_line(&config.slot, &append, has_userland)?;
        let (kernel, initrd) = (self.kernel.to_path_buf(), Some(initrd));
        Ok(Boot { kernel, initrd, command_line, blobs: Vec::new() })
    }

    /// Further facts for the judge.
    ///
    /// # Errors
    /// Its bzImage cannot be read.
    pub(crate) fn known(&self, config: &Config, is_known: bool, is_64_bit: bool) -> Result<Linux> {
        // i386's offset takes our loader to know and our capture kernel to add.
        let is_ours = config.kexec_tools.is_none() && config.stock_capture.is_none();
        Ok(Linux {
            is_64_bit,
            says_offset: is_64_bit || is_ours,
            is_merged: config.stock_capture.is_none(),
            is_known,
            pref_address: BzImage::read(self.kernel)?.pref_address,
            is_asked: !matches!(config.crash, Crash::Expected(_)),
            runs_programs: config.initrd.is_some() || config.said,
        })
    }

    fn initramfs(
        &self,
        config: &Config,
        hooks: &dyn Hooks,
        target: &str,
        area: Option<&Area>,
    ) -> Result<Vec<u8>> {
        let (programs, arguments) = loading(config, self.loader, target)?;
        let userland = match &config.initrd {
            Some(path) => {
                let found = Userland::new(read(path)?, &config.first_append);
                Some(found.with_context(|| path.display().to_string())?)
            }
            None => None,
        };
        let mut contents = initramfs::Contents {
            busybox: &read(self.busybox)?,
            programs,
            arguments: &arguments,
            busy_sectors: None,
            memory_modules: Vec::new(),
            hot_memory: 0,
            load_modules: Vec::new(),
            first_modules: Vec::new(),
            saved_pages: None,
            shown_stacks: false,
            said: None,
            live: None,
            before_crash: config.before_crash.clone(),
            userland: userland.as_ref(),
        };
        virtio_modules::add(self.kernel, &config.modules, &mut contents)?;
        hooks.initramfs(self.kernel, &mut contents)?;
        if let (Some(saved), Some(area)) = (&config.saved_pages, area) {
            saved.pack(area, self.kernel, &mut contents)?;
        }
        if config.shown_stacks {
            shown_stacks::pack(self.kernel, &mut contents)?;
        }
        if let Some(area) = area.filter(|_| config.said) {
            said::pack(area, self.kernel, &mut contents)?;
            if let Some(sockets) = &config.sockets {
                sockets.pack(self.kernel, &mut contents)?;
            }
            if let Some(crashinfo) = config.crashinfo.as_ref().filter(|program| program.is_live) {
                contents.live = Some((read(&crashinfo.program)?, sections::lines()));
            }
        }
        initramfs::pack(&contents)
    }
}

/// Returns the program that loads the capture kernel under Linux, and its arguments.
fn loading(config: &Config, loader: &Path, target: &str) -> Result<(Vec<Packed>, Vec<String>)> {
    let class = config.core_headers.map(core_headers_option);
    if let Some(tools) = &config.kexec_tools {
        let mut files = tools.files()?;
        let arguments = if let Some(stock) = &config.stock_capture {
            files.extend(stock.files()?);
            tools.stock_arguments(stock)
        } else {
            files.push((stock_capture::KERNEL.into(), read(&config.capture_kernel)?));
            let words = format!("kdump.target={target} {}", config.append);
            tools.arguments(words.trim_end(), class)
        };
        return Ok((files, arguments));
    }
    let mut files = vec![("kdump-loader".into(), read(loader)?)];
    let mut arguments = match &config.stock_capture {
        Some(stock) => {
            files.extend(stock.files()?);
            stock_capture::loader_arguments()
        }
        None => ["--target", target, "--append", &config.append].map(str::to_string).to_vec(),
    };
    arguments.extend(class.map(str::to_string));
    Ok((files, arguments))
}

/// Returns the loader's option for the class.
fn core_headers_option(class: Class) -> &'static str {
    match class {
        Class::Elf32 => "--elf32-core-headers",
        Class::Elf64 => "--elf64-core-headers",
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// The command line of a Linux first kernel. `panic=-1`: without a capture kernel it resets at
/// once instead of waiting for the deadline. `nokaslr`, where the slot leaves room for it: a kernel
/// that moves at random sometimes moves to the very place that is to be reserved.
/// With one's own userland ours is named as the first program; ours then looks for theirs.
fn command_line(slot: &str, append: &str, has_userland: bool) -> Result<String> {
    let stays = slot.contains('@') && parse_slot(slot)?.start >= BEYOND_LINUX;
    let crashkernel = format!("crashkernel={slot}");
    let kaslr = if stays { "nokaslr" } else { "" };
    let (first, append) = match has_userland {
        true => (format!("rdinit={OWN_INIT}"), without_rdinit(append)),
        false => (String::new(), append.to_string()),
    };
    let words = ["console=ttyS0,115200", &crashkernel, "panic=-1", kaslr, &first, &append];
    Ok(words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
}

/// The last `rdinit=` counts: theirs must go. Words after `--` are for the program.
fn without_rdinit(words: &str) -> String {
    let (ours, theirs) = words.split_once(" -- ").unwrap_or((words, ""));
    let kept = ours.split_whitespace().filter(|word| !word.starts_with("rdinit="));
    let theirs = theirs.split_whitespace();
    let dashes = (words.len() > ours.len()).then_some("--");
    kept.chain(dashes).chain(theirs).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_stays_where_it_is_linked_when_the_slot_lies_behind_it() {
        let line = |slot| command_line(slot, "quiet", false).expect("a slot");
        assert!(line("32M@64M").ends_with("crashkernel=32M@64M panic=-1 nokaslr quiet"));
        for slot in ["32M@16M", "32M"] {
            assert!(!line(slot).contains("nokaslr"), "{slot}");
        }
        assert!(command_line("32M@x", "", false).is_err());
    }

    #[test]
    fn our_program_comes_before_theirs() {
        let append = "rdinit=/mine quiet rdinit=/other -- rdinit=/kept x";
        let line = command_line("32M", append, true).expect("a slot");
        assert!(line.ends_with("rdinit=/kdump-rs/init quiet -- rdinit=/kept x"), "{line}");
        let line = command_line("32M", append, false).expect("a slot");
        assert!(line.ends_with(append), "{line}");
    }
}
