//! `loader`: puts the capture kernel where a panic finds it.

mod cli;

use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};

use anyhow::{Context, bail};
use clap::Parser;
use loader::{Images, Plan, Status, System, kexec, plan};

use crate::cli::{Cli, Command, ImageFiles, LoadArgs, PlanArgs, StatusArgs};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Load(args) => load(&args),
        Command::Unload => unload(),
        Command::Status(args) => status(&args),
        Command::Plan(args) => show_plan(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loader: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the running system, plans, loads, and looks whether the kernel agrees.
fn load(args: &LoadArgs) -> anyhow::Result<()> {
    let root = Path::new("/");
    let system = System::read(root)?;
    kexec::check(&system)?;
    let files = Files::read(&args.images)?;
    let plan = plan(&system, &files.images(), &args.plan_options())?;
    warn(&plan);
    kexec::load(&plan, &system)?;
    if System::read(root)?.kexec.crash_loaded == Some(false) {
        bail!("the kernel took the image and yet says that none is loaded: see its log");
    }
    println!("loaded into {}; a panic will be captured", plan.slot);
    Ok(())
}

fn unload() -> anyhow::Result<()> {
    kexec::unload(&System::read(Path::new("/"))?)?;
    println!("unloaded; a panic will not be captured");
    Ok(())
}

fn status(args: &StatusArgs) -> anyhow::Result<()> {
    let status = Status::of(&System::read(&args.root)?);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print!("{status}");
    }
    Ok(())
}

fn show_plan(args: &PlanArgs) -> anyhow::Result<()> {
    let system = System::read(&args.root)?;
    let files = Files::read(&args.load.images)?;
    let plan = plan(&system, &files.images(), &args.load.plan_options())?;
    if let Some(folder) = &args.segments {
        write_segments(&plan, folder)
            .with_context(|| format!("cannot write {}", folder.display()))?;
    }
    if args.json {
        warn(&plan);
        println!("{}", serde_json::to_string_pretty(&plan)?);
    } else {
        print!("{plan}");
    }
    Ok(())
}

fn warn(plan: &Plan) {
    for warning in &plan.warnings {
        eprintln!("loader: warning: {warning}");
    }
}

/// One file `NAME.bin` for each segment, and `plan.json` that says where it goes.
fn write_segments(plan: &Plan, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for segment in &plan.segments {
        fs::write(folder.join(format!("{}.bin", segment.name)), &segment.bytes)?;
    }
    fs::write(folder.join("plan.json"), serde_json::to_string_pretty(plan)?)
}

/// The images that the options name, else those inside this program.
struct Files {
    capture_kernel: Vec<u8>,
    purgatory: Vec<u8>,
}

impl Files {
    fn read(files: &ImageFiles) -> anyhow::Result<Self> {
        let kernel = loader::embedded_capture_kernel();
        let purgatory = loader::embedded_purgatory();
        Ok(Self {
            capture_kernel: image(files.kernel.as_deref(), kernel, "--kernel")?,
            purgatory: image(files.purgatory.as_deref(), purgatory, "--purgatory")?,
        })
    }

    fn images(&self) -> Images<'_> {
        Images { capture_kernel: &self.capture_kernel, purgatory: &self.purgatory }
    }
}

fn image(file: Option<&Path>, embedded: Option<&[u8]>, option: &str) -> anyhow::Result<Vec<u8>> {
    match (file, embedded) {
        (Some(file), _) => {
            fs::read(file).with_context(|| format!("cannot read {}", file.display()))
        }
        (None, Some(bytes)) => Ok(bytes.to_vec()),
        (None, None) => {
            bail!("this build carries no images; use `cargo xtask build`, or pass {option} FILE")
        }
    }
}
