//! `cargo xtask dist`: manual pages and completions of the loader and of crashinfo, made from their
//! own command lines, the files that start the loader, and the Python package as a wheel, all into
//! `target/dist`.

use crate::python;
use crate::workspace::target_dir;
use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use std::fs;
use std::path::{Path, PathBuf};

/// A program with a command line of its own.
struct Program {
    name: &'static str,
    /// The manual's section: 8 for administrators, 1 for everybody.
    section: &'static str,
    command: fn() -> Command,
}

/// The programs.
const PROGRAMS: [Program; 2] = [
    Program { name: "kdump-loader", section: "8", command: loader::cli::Cli::command },
    Program { name: "crashinfo", section: "1", command: postmortem::cli::Cli::command },
];
/// The shells that completions are written for.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Fish, Shell::Zsh];
/// Files that start the loader, and start it again.
const FILES: [(&str, &str); 2] = [
    ("kdump-rs.service", include_str!("../../loader/dist/kdump-rs.service")),
    ("98-kdump-rs.rules", include_str!("../../loader/dist/98-kdump-rs.rules")),
];

/// Writes everything and names it.
///
/// # Errors
/// Fails if a file cannot be written.
pub fn run() -> Result<()> {
    for path in write(&target_dir().join("dist"))? {
        println!("{}", path.display());
    }
    let wheel = python::wheel(&target_dir().join("dist"))?;
    println!("{}", wheel.display());
    Ok(())
}

fn write(folder: &Path) -> Result<Vec<PathBuf>> {
    let completions = folder.join("completions");
    fs::create_dir_all(&completions)
        .with_context(|| format!("creating {}", completions.display()))?;
    let mut written = Vec::new();
    for program in &PROGRAMS {
        written.append(&mut program.manual(folder)?);
        for shell in SHELLS {
            let command = &mut (program.command)();
            let file = clap_complete::generate_to(shell, command, program.name, &completions);
            written.push(file.with_context(|| format!("writing the completions for {shell}"))?);
        }
    }
    for (name, text) in FILES {
        written.push(put(folder.join(name), text.as_bytes())?);
    }
    Ok(written)
}

impl Program {
    /// A page for the program and one for each of its commands, `kdump-loader-load.8`.
    fn manual(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut program = (self.command)().disable_help_subcommand(true);
        program.build();
        let pages = program.get_subcommands().chain([&program]).cloned();
        pages.map(|page| self.write_page(folder, page)).collect()
    }

    fn write_page(&self, folder: &Path, page: Command) -> Result<PathBuf> {
        let page = Man::new(page).section(self.section);
        let mut text = Vec::new();
        page.render(&mut text)?;
        put(folder.join(page.get_filename()), &text)
    }
}

fn put(path: PathBuf, content: &[u8]) -> Result<PathBuf> {
    fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).expect(name)
    }

    #[test]
    fn pages_and_completions_know_the_options_and_the_exit_codes() {
        let folder = tempfile::tempdir().expect("a folder");
        let written = write(folder.path()).expect("written");
        assert!(written.iter().all(|path| path.exists()));
        let page = read(folder.path(), "kdump-loader.8");
        assert!(page.contains(".TH kdump-loader 8"), "{page}");
        for words in ["Exit codes:", "no capture kernel is loaded now", "kdump\\-loader\\-load(8)"]
        {
            assert!(page.contains(words), "{words} in:\n{page}");
        }
        assert!(!page.contains("kdump\\-loader\\-help(8)"), "there is no such page");
        let load = read(folder.path(), "kdump-loader-load.8");
        for option in ["reuse\\-cmdline", "initrd", "mem\\-max", "no\\-checks", "state\\-dir"] {
            assert!(load.contains(option), "{option} in:\n{load}");
        }
        let bash = read(folder.path(), "completions/kdump-loader.bash");
        assert!(bash.contains("--reuse-cmdline") && bash.contains("unload"));
        let page = read(folder.path(), "crashinfo.1");
        assert!(page.contains(".TH crashinfo 1") && page.contains("\\-\\-html"), "{page}");
        assert!(read(folder.path(), "completions/crashinfo.bash").contains("--json"));
    }

    /// The unit does everything that the rules ask of it.
    #[test]
    fn the_rules_name_the_unit() {
        let [(unit, text), (_, rules)] = FILES;
        assert!(rules.contains(&format!("try-reload-or-restart {unit}")));
        assert!(text.contains("ExecReload=/usr/sbin/kdump-loader load"));
    }
}
