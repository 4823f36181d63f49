//! `loader`: puts the capture kernel where a panic finds it.

mod cli;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use handoff::layout::BACKUP_LENGTH;
use loader::{Images, Inspection, Plan, SlotSpec, Status, System, kexec, plan, plan_slot};
use slot_image::SlotImage;

use crate::cli::{
    Cli, Command, FlashArgs, ImageFiles, InspectArgs, LoadArgs, PackArgs, PlanArgs, StatusArgs,
};

/// A write that takes longer than this says how far it is.
const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Load(args) => load(&args),
        Command::Unload => unload(),
        Command::Status(args) => status(&args),
        Command::Plan(args) => show_plan(&args),
        Command::Pack(args) => pack(&args),
        Command::Flash(args) => flash(&args),
        Command::Inspect(args) => inspect(&args),
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

fn pack(args: &PackArgs) -> anyhow::Result<()> {
    let system = args.system.as_deref().map(System::read).transpose()?;
    let files = Files::read(&args.load.images)?;
    let spec =
        SlotSpec { slot: args.slot, elfcorehdr: args.elfcorehdr_size, system: system.as_ref() };
    let plan = plan_slot(&spec, &files.images(), &args.load.plan_options())?;
    warn(&plan);
    let image = loader::pack(&plan)?;
    let output = args.output.display();
    fs::write(&args.output, &image).with_context(|| format!("cannot write {output}"))?;
    let seal = if plan.sealed { "sealed" } else { "the first kernel has to seal it" };
    println!("{output}: {} bytes for the slot {}; {seal}", image.len(), plan.slot);
    Ok(())
}

fn flash(args: &FlashArgs) -> anyhow::Result<()> {
    let image = read_image(&args.image)?;
    let mut shown = Instant::now();
    loader::flash(&image, &args.target, args.offset, &mut |written| {
        if shown.elapsed() > PATIENCE {
            eprintln!("loader: {written} of {} bytes written", image.len());
            shown = Instant::now();
        }
    })?;
    let (bytes, target) = (image.len(), args.target.display());
    println!("{target}: {bytes} bytes written at {}, read back and equal", args.offset);
    Ok(())
}

fn inspect(args: &InspectArgs) -> anyhow::Result<()> {
    let inspection = Inspection::new(&read_image(&args.image)?)
        .with_context(|| format!("{}", args.image.display()))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&inspection)?);
    } else {
        print!("{inspection}");
    }
    match inspection.problem {
        Some(problem) => bail!("{}: {problem}", args.image.display()),
        None => Ok(()),
    }
}

/// The slot image at the start of a file or device: what follows it is left out.
fn read_image(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
    // No image is longer.
    let read = file.take(BACKUP_LENGTH).read_to_end(&mut bytes);
    read.with_context(|| format!("cannot read {shown}"))?;
    if let Ok(image) = SlotImage::read(&bytes) {
        let length = image.length() as usize;
        bytes.truncate(length);
    }
    Ok(bytes)
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
