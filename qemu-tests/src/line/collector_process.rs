//! The collector as its users have it: a program in a process of its own, which can be killed,
//! stopped and started again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// The dump's name in the collector's folder.
const DUMP: &str = "vmcore";
/// Files of its standard output and its messages.
const PRINTED: &str = "printed";
const SAID: &str = "said";
/// End of its messages while it has no link and waits for one.
const WAITS: &str = "the other end is not there; waiting";
/// Text of the line that is no frame, as the collector heard it.
const CONSOLE: &str = "console";
/// Most bytes of the end of its messages that are kept.
const MOST_SAID: usize = 4 << 10;
/// Time that it waits for the guest, in seconds: as long as a cycle may take. The harness ends it
/// sooner.
const WAIT: u32 = 3600;

/// Result of a dump over one link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Received {
    /// The line, as `--target` calls it.
    pub target: String,
    /// The collector has all of it, and has compared it.
    pub complete: bool,
    /// Number of times that a collector was started.
    pub collectors: u32,
    /// Bytes that came from the guest while one was there; of a virtio console only where they are
    /// counted.
    pub line_bytes: u64,
    /// Frames that were damaged on the way to the last of them.
    pub damaged_frames: u64,
    /// Result of each view.
    pub views: Vec<ReceivedView>,
    /// The end of its messages.
    pub said: String,
}

/// Result of one view. Ranges are start and length, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedView {
    /// Its name.
    pub view: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of the whole, in hexadecimal, if it is whole.
    pub sha256: Option<String>,
    /// Ranges that have not come.
    pub missing: Vec<(u64, u64)>,
    /// Parts that were left out, each with its class.
    pub left: Vec<(u64, u64, String)>,
    /// Pages by class, as they were selected.
    pub pages: Option<BTreeMap<String, u64>>,
    /// Ranges that are different there.
    pub differs: Vec<(u64, u64)>,
}

/// Output of `kdump-collector receive --json`.
#[derive(Deserialize)]
struct Printed {
    verdict: String,
    damaged_frames: u64,
    views: Vec<ReceivedView>,
}

/// One collector, or several in a row that go on with the same files.
pub struct Collector {
    program: PathBuf,
    socket: PathBuf,
    folder: PathBuf,
    running: Running,
    starts: u32,
}

/// True if the map of the collector that receives into `folder` names bytes: of the vmcore, or with
/// `any_view` of any view.
pub fn has_recorded(folder: &Path, any_view: bool) -> bool {
    let map = fs::read_to_string(folder.join(format!("{DUMP}.ranges"))).unwrap_or_default();
    let mut views = map.split("view ").skip(1).filter(|view| view.contains("\nhave "));
    views.any(|view| any_view || view.starts_with(&format!("{DUMP} ")))
}

/// The process, for another thread that has to stop it.
#[derive(Clone, Default)]
pub struct Running(Arc<Mutex<Process>>);

#[derive(Default)]
struct Process {
    child: Option<Child>,
    /// Time at which it was killed or stopped.
    struck: Option<Instant>,
}

impl Collector {
    /// Creates a collector that receives at `socket` into `folder`, which is made.
    ///
    /// # Errors
    /// Fails if the folder cannot be made.
    pub fn new(program: &Path, socket: PathBuf, folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let running = Running::default();
        Ok(Self { program: program.to_path_buf(), socket, folder, running, starts: 0 })
    }

    /// Its process, as long as there is one.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Returns the path of the complete dump; the names of its other views begin with this.
    pub fn dump(&self) -> PathBuf {
        self.folder.join(DUMP)
    }

    /// The folder of all its files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the socket to which it connects.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns the number of its starts.
    pub fn starts(&self) -> u32 {
        self.starts
    }

    /// True if it has ended, or was never started.
    pub fn is_idle(&self) -> bool {
        let process = &mut *self.running.lock();
        process.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// True if it has no link, by the last that it said, and so gets nothing any more from a guest
    /// that is gone.
    pub fn waits(&self) -> bool {
        let said = fs::read(self.folder.join(SAID)).unwrap_or_default();
        String::from_utf8_lossy(&said).trim_end().ends_with(WAITS)
    }

    /// Starts it, or starts it again.
    ///
    /// # Errors
    /// Fails if the program does not start.
    pub fn receive(&mut self) -> Result<()> {
        self.start(&self.receiving(WAIT), PRINTED)
    }

    /// Starts it to read a part of a view, which it prints into the file `name` of its folder.
    ///
    /// # Errors
    /// Fails if the program does not start.
    pub fn read(&mut self, view: &str, start: u64, length: u64, name: &str) -> Result<()> {
        let range = format!("{start:#x}+{length}");
        let mut words = self.line("read", WAIT);
        words.extend(["--view", view, "--range", &range].map(OsString::from));
        self.start(&words, name)
    }

    /// Starts crashinfo in its place, which prints its first page as JSON into the file `name`.
    ///
    /// # Errors
    /// Fails if the program does not start.
    pub fn analyse(&mut self, crashinfo: &Path, name: &str) -> Result<()> {
        let mut source = OsString::from("unix:");
        source.push(&self.socket);
        let wait = WAIT.to_string();
        let words = ["--json".into(), "--wait".into(), wait.into(), source];
        self.start_program(crashinfo, &words, name)
    }

    /// Its arguments: a command, the link and the timeout in seconds.
    fn line(&self, command: &str, wait: u32) -> Vec<OsString> {
        let mut source = OsString::from("unix:");
        source.push(&self.socket);
        let console = self.folder.join(CONSOLE).into_os_string();
        let wait = wait.to_string();
        vec![command.into(), source, "--wait".into(), wait.into(), "--console".into(), console]
    }

    fn receiving(&self, wait: u32) -> Vec<OsString> {
        let mut words = self.line("receive", wait);
        words.extend(["--json".into(), "--output".into(), self.dump().into_os_string()]);
        words
    }

    fn start(&mut self, words: &[OsString], printed: &str) -> Result<()> {
        self.start_program(&self.program.clone(), words, printed)
    }

    fn start_program(&mut self, program: &Path, words: &[OsString], printed: &str) -> Result<()> {
        let create = |name: &str| {
            let path = self.folder.join(name);
            File::create(&path).with_context(|| format!("creating {}", path.display()))
        };
        let said = self.folder.join(SAID);
        let said = File::options().append(true).create(true).open(said)?;
        let child = Command::new(program)
            .args(words)
            .stdin(Stdio::null())
            .stdout(create(printed)?)
            .stderr(said)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        self.starts += 1;
        *self.running.lock() = Process { child: Some(child), struck: None };
        Ok(())
    }

    /// Returns its result, once it has ended or is not needed any more. If it runs, it is killed.
    /// If it could not report its bytes, another one follows that only looks.
    ///
    /// # Errors
    /// Fails if the program does not start, or prints no JSON.
    pub fn received(&mut self, target: &str) -> Result<Received> {
        self.running.kill();
        let mut printed = self.printed();
        if self.starts > 0 && printed.is_none() {
            let mut looks = Command::new(&self.program);
            looks.args(self.receiving(1)).stdin(Stdio::null()).stderr(Stdio::null());
            let output = looks.output().context("asking a collector what is there")?;
            printed = serde_json::from_slice(&output.stdout).ok();
        }
        let said = fs::read(self.folder.join(SAID)).unwrap_or_default();
        let said =
            String::from_utf8_lossy(&said[said.len().saturating_sub(MOST_SAID)..]).into_owned();
        let received = Received {
            target: target.to_string(),
            collectors: self.starts,
            said,
            ..Received::default()
        };
        Ok(match printed {
            Some(Printed { verdict, damaged_frames, views }) => {
                Received { complete: verdict == "complete", damaged_frames, views, ..received }
            }
            None => received,
        })
    }

    fn printed(&self) -> Option<Printed> {
        serde_json::from_slice(&fs::read(self.folder.join(PRINTED)).ok()?).ok()
    }
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, Process> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns its exit status; nothing while it runs, or if it was never started.
    ///
    /// # Errors
    /// Fails if the system does not report it.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        let mut process = self.lock();
        let Some(child) = &mut process.child else { return Ok(None) };
        child.try_wait().context("asking for the collector's exit status")
    }

    /// Returns the time at which it was last killed or stopped by force.
    pub fn struck(&self) -> Option<Instant> {
        self.lock().struck
    }

    /// Ends it without a chance to clean up, and reaps it.
    pub fn kill(&self) {
        let mut process = self.lock();
        process.struck = Some(Instant::now());
        if let Some(child) = &mut process.child {
            // Both fail only when the process is gone and reaped already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Has it do nothing from now on.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        self.lock().struck = Some(Instant::now());
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
        self.lock().struck = None;
    }

    fn signal(&self, signal: Signal) {
        let mut process = self.lock();
        if let Some(child) = &mut process.child
            && matches!(child.try_wait(), Ok(None))
        {
            // It fails when the process ends at this moment, and then it is as good.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.running.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell script in the collector's place. Another process writes it: a file that one of ours
    /// has open for writing, be it a child of another test for a moment, cannot be run.
    fn collector(folder: &Path, script: &str) -> Collector {
        let (text, program) = (folder.join("text"), folder.join("program"));
        fs::write(&text, format!("#!/bin/sh\n{script}\n")).expect("written");
        let install = Command::new("install").arg("-m755").args([&text, &program]).status();
        assert!(install.expect("install(1)").success());
        Collector::new(&program, folder.join("socket"), folder.join("out")).expect("a folder")
    }

    fn wait(collector: &Collector) -> ExitStatus {
        let limit = std::time::Duration::from_secs(60);
        let interrupt = crate::host::deadline::Interrupt::default();
        let deadline = crate::host::deadline::Deadline::new("end", limit, &interrupt);
        deadline.wait_for(|| collector.running.ended()).expect("it ends")
    }

    #[test]
    fn what_it_prints_is_understood() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = r#"echo '{"version":2,"verdict":"partial","id":null,"damaged_frames":3,"views":[{"view":"vmcore","bytes":9,"sha256":null,"missing":[[4,2]],"left":[],"pages":null,"differs":[]}]}'
            echo "$@" >&2; exit 1"#;
        let mut collector = collector(folder.path(), script);
        collector.receive().expect("it starts");
        assert_eq!(wait(&collector).code(), Some(1));
        let received = collector.received("serial").expect("JSON");
        assert_eq!(
            (received.complete, received.damaged_frames, received.collectors),
            (false, 3, 1)
        );
        assert_eq!((received.views[0].bytes, &received.views[0].missing[..]), (9, &[(4, 2)][..]));
        let (socket, dump) = (folder.path().join("socket"), collector.dump());
        let words = format!("receive unix:{} --wait 3600", socket.display());
        assert!(received.said.starts_with(&words), "{}", received.said);
        assert!(
            received.said.contains(&format!("--output {}", dump.display())),
            "{}",
            received.said
        );
    }

    /// A killed collector has reported nothing; the next one is asked, and does not wait for a
    /// link.
    #[test]
    fn after_a_kill_another_one_is_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = r#"case "$*" in *'--wait 1 '*) ;; *) exec sleep 3600;; esac
            echo '{"verdict":"partial","damaged_frames":0,"views":[]}'"#;
        let mut collector = collector(folder.path(), script);
        collector.receive().expect("it starts");
        assert!(
            collector.running.struck().is_none() && collector.running.ended().unwrap().is_none()
        );
        collector.running.kill();
        assert!(collector.running.struck().is_some());
        assert!(!wait(&collector).success());
        collector.receive().expect("it starts again");
        collector.running.stop();
        collector.running.resume();
        let received = collector.received("serial").expect("JSON");
        assert_eq!((received.complete, received.collectors), (false, 2));
    }

    #[test]
    fn one_that_was_never_started_has_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut collector = collector(folder.path(), "exit 3");
        let received = collector.received("serial").expect("nothing is asked");
        assert_eq!((received.complete, received.collectors, received.views.len()), (false, 0, 0));
    }
}
