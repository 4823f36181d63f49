//! `kdump-loader`: puts the capture kernel where a panic finds it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use handoff::layout::BACKUP_LENGTH;
use loader::cli::{
    Cli, Command, FlashArgs, ImageFiles, InspectArgs, LoadArgs, LoadCommand, PackArgs, PlanArgs,
    StateArgs, StatusArgs, UnloadArgs,
};
use loader::kexec::Call;
use loader::{
    Done, Images, Inspection, Plan, PlanOptions, Record, Recorded, Running, Seen, SlotSpec, State,
    Status, System, UserText, at_work, kexec, now, plan, plan_slot, reload, reusable, tsc_khz,
};
use log::{Level, LevelFilter, Log, Metadata};
use slot_image::SlotImage;

/// A write that takes longer than this says how far it is.
const REPORT_AFTER: Duration = Duration::from_secs(2);
/// The exit code that says that no capture kernel is loaded now.
const NOTHING_LOADED: u8 = 3;

/// Prints messages on standard error: those for the user begin with the program's name, the details
/// of `--debug` stand as they are.
struct StandardError;

impl Log for StandardError {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        match record.level() {
            level if level > log::max_level() => {}
            Level::Error | Level::Info => eprintln!("kdump-loader: {}", record.args()),
            Level::Warn => eprintln!("kdump-loader: warning: {}", record.args()),
            Level::Debug | Level::Trace => eprintln!("{}", record.args()),
        }
    }

    fn flush(&self) {}
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // It fails where there is a logger already.
    let _ = log::set_logger(&StandardError);
    log::set_max_level(if cli.debug { LevelFilter::Debug } else { LevelFilter::Info });
    let result = match cli.command {
        Command::Load(LoadCommand { unload: true, state, .. })
        | Command::Unload(UnloadArgs { state, .. }) => unload(&state),
        Command::Load(args) => return load_or_report(&args),
        Command::Status(args) => return code(status(&args)),
        Command::Plan(args) => show_plan(&args),
        Command::Pack(args) => pack(&args),
        Command::Flash(args) => flash(&args),
        Command::Inspect(args) => inspect(&args),
    };
    code(result.map(|()| ExitCode::SUCCESS))
}

fn code(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        log::error!("{}", loader::in_words(error.as_ref()));
        ExitCode::FAILURE
    })
}

/// Loads; after a failure, reports when that leaves the machine without a capture kernel.
fn load_or_report(args: &LoadCommand) -> ExitCode {
    let result = load(args);
    let failed = result.is_err();
    let code = code(result.map(|()| ExitCode::SUCCESS));
    if failed && kexec::crash_loaded() == Some(false) {
        log::error!("no capture kernel is loaded now: a panic will not be captured");
        return NOTHING_LOADED.into();
    }
    code
}

/// Reads the running system, plans, and loads unless the same plan is loaded already.
fn load(args: &LoadCommand) -> anyhow::Result<()> {
    // Of two loaders the one that reads the system last must load last; root's absence is named
    // first.
    let state = State::open(&args.state.state_dir);
    let mut system = System::read(Path::new("/"))?;
    kexec::check(&system)?;
    let state = state?;
    let known = state.known();
    system.tsc_khz = tsc_khz(&system, known.tsc_khz);
    system.find_names(Path::new("/"), known.names);
    let options =
        PlanOptions { any_disk: args.force, ..plan_options(&args.load, &system.command_line)? };
    let plan = make_plan(&args.load.images, &options, &system)?;
    warn(&plan);
    println!("target: {}", plan.target);
    if plan.iommus.are_there() {
        println!("IOMMUs: {}", plan.iommus);
    }
    let record = Record::new(&plan, std::env::args().skip(1), system.names.clone());
    let done = reload(Call::from(&plan), &record, args.force, &state, &mut Running(&system))?;
    let Done::Loaded(noted) = done else {
        println!("loaded already into {}, and nothing has changed", plan.slot);
        return Ok(());
    };
    if let Err(error) = noted {
        log::warn!("{error}");
    }
    println!("loaded into {}; {}", plan.slot, consequence(&plan));
    Ok(())
}

/// The consequence of a panic.
fn consequence(plan: &Plan) -> &'static str {
    match plan.no_target {
        true => "without a target, a panic is reported on the console and leaves no dump",
        false => "a panic will be captured",
    }
}

/// Plans with the files that the options name.
fn make_plan(images: &ImageFiles, options: &PlanOptions, system: &System) -> anyhow::Result<Plan> {
    let files = Files::read(images)?;
    log::debug!("read: {system:#?}");
    let plan = plan(system, &files.images(), options)?;
    log::debug!("planned:\n{plan}\n{}", Call::from(&plan));
    Ok(plan)
}

/// The options, with the files that they name read. `running` is the first kernel's command line.
fn plan_options(args: &LoadArgs, running: &str) -> anyhow::Result<PlanOptions> {
    let mut options = args.plan_options();
    if let (true, UserText::Append(more)) = (args.reuse_cmdline, &options.text) {
        options.text = UserText::Whole(format!("{} {more}", reusable(running)));
    }
    options.initrd = args.images.initrd.as_deref().map(read_initrd).transpose()?;
    Ok(options)
}

fn read_initrd(file: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = file.display();
    let bytes = fs::read(file).with_context(|| format!("cannot read {shown}"))?;
    if bytes.is_empty() {
        bail!("the initramfs {shown} is empty");
    }
    Ok(bytes)
}

fn unload(args: &StateArgs) -> anyhow::Result<()> {
    let state = State::open(&args.state_dir);
    let system = System::read(Path::new("/"))?;
    kexec::check(&system)?;
    state?.forget()?;
    kexec::unload(&system)?;
    println!("unloaded; a panic will not be captured");
    Ok(())
}

/// Prints the status; its exit code reports whether something is loaded.
fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let mut system = System::read(&args.root)?;
    system.count_pages(&args.root);
    // A folder of a saved system is where it was, below that system's root.
    let folder = args.state.state_dir.strip_prefix("/").unwrap_or(&args.state.state_dir);
    let folder = args.root.join(folder);
    let boot = system.boot_id.as_deref();
    let seen =
        Seen { recorded: Recorded::read(&folder, boot), at_work: at_work(&folder), now: now() };
    let status = Status::of(&system, seen);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print!("{status}");
    }
    let nothing = status.loaded == Some(false);
    Ok(if nothing { NOTHING_LOADED.into() } else { ExitCode::SUCCESS })
}

fn show_plan(args: &PlanArgs) -> anyhow::Result<()> {
    let mut system = System::read(&args.root)?;
    if args.root == Path::new("/") {
        system.tsc_khz = tsc_khz(&system, None);
    }
    system.count_pages(&args.root);
    system.find_names(&args.root, None);
    let options = plan_options(&args.load, &system.command_line)?;
    let plan = make_plan(&args.load.images, &options, &system)?;
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
    if args.load.reuse_cmdline && system.is_none() {
        bail!("--reuse-cmdline: a slot that is packed has no running kernel; give --system");
    }
    let running = system.as_ref().map_or("", |system| &system.command_line);
    let options = plan_options(&args.load, running)?;
    let plan = plan_slot(&spec, &files.images(), &options)?;
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
        if shown.elapsed() > REPORT_AFTER {
            log::info!("{written} of {} bytes written", image.len());
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

/// The slot image at the start of a file or device: later bytes are left out.
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
        log::warn!("{warning}");
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
            capture_kernel: image(files.kernel(), kernel, "--kernel")?,
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
