//! Getting a dump over a line.

use std::fs;
use std::path::{Path, PathBuf};

use dumpfile::LeftRanges;
use dumpfile::wire::{CLASSES, Held, Plan, Receiver, Verdict, ViewState};
use serde::Serialize;

use crate::json;
use crate::session::Session;
use crate::store::{Files, Store, main_view};
use crate::text::with_suffix;
use crate::{Error, LinkOptions, Observer, Source, Timeouts};

/// Result of receiving a dump.
#[derive(Debug)]
pub struct Received {
    /// The dump's id, once the other end has named it.
    pub id: Option<[u8; 16]>,
    /// Result for each view that was wanted.
    pub views: Vec<ReceivedView>,
    /// Frames that were damaged on the way; each was sent again.
    pub damaged_frames: u64,
    /// True if both ends compare the received data. A virtio-console port loses nothing: there they
    /// need not.
    pub compared: bool,
    /// The reason, if the dump is not whole.
    pub stopped: Option<Error>,
}

/// Result for one view. All ranges are (start, end), end exclusive, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReceivedView {
    /// Its name.
    #[serde(rename = "view")]
    pub name: String,
    /// The file it is in.
    #[serde(skip)]
    pub path: PathBuf,
    /// Its length in bytes.
    #[serde(rename = "bytes")]
    pub length: u64,
    /// SHA-256 of the whole, if it is whole.
    #[serde(serialize_with = "json::digest")]
    pub sha256: Option<[u8; 32]>,
    /// Missing ranges.
    #[serde(serialize_with = "json::pairs")]
    pub missing: Vec<(u64, u64)>,
    /// The parts that the other end has left out, and that are zero here.
    #[serde(serialize_with = "json::left")]
    pub left: LeftRanges,
    /// Number of pages by class code, 0 for the kept ones, as the other end has selected them.
    #[serde(serialize_with = "json::totals")]
    pub pages: Option<[u64; CLASSES]>,
    /// Ranges that differ on the other side.
    #[serde(serialize_with = "json::pairs")]
    pub differs: Vec<(u64, u64)>,
}

/// Receives a dump into `out`, which is replaced once everything is there. The views beside the
/// main one go into files whose names end with the view's name. Parts that an earlier call has left
/// are not fetched again. `view` is for one view instead of the dump.
///
/// # Errors
/// [`Error::Link`] if there was never a link, [`Error::NotAFile`]. A later error is in
/// [`Received::stopped`], beside the parts that have come until then.
pub fn receive(
    source: &Source,
    out: &Path,
    view: Option<&str>,
    options: LinkOptions,
    timeouts: Timeouts,
    observer: &mut dyn Observer,
) -> Result<Received, Error> {
    if out.metadata().is_ok_and(|there| !there.is_file()) {
        return Err(Error::NotAFile(out.to_owned()));
    }
    let plan = view.map_or(Plan::Dump, |view| Plan::View(view.to_owned()));
    let mut files = Files::new(out);
    let held = files.held();
    if let Some(Held { views, .. }) = &held {
        let there: u64 = views.iter().map(|view| view.have.total()).sum();
        log::info!("going on with {there} bytes that are there already");
    }
    let mut receiver = Session::receiver(source, plan, held);
    let mut session = Session::new(source, options, timeouts)?;
    let ended = session.run(&mut receiver, &mut files, observer);
    let received = Received { damaged_frames: session.damaged(), ..account(&receiver, out) };
    match ended {
        Ok(Verdict::Complete) => complete(received, &mut files, &receiver, observer),
        Ok(Verdict::Differs) => stopped(received, Error::Differs, &mut files, &receiver),
        Err(error @ Error::Link { .. }) if received.views.is_empty() => Err(error),
        Err(error) => stopped(received, error, &mut files, &receiver),
    }
}

/// Gives the files their names.
fn complete(
    mut received: Received,
    files: &mut Files,
    receiver: &Receiver,
    observer: &mut dyn Observer,
) -> Result<Received, Error> {
    let stored = files.finish(receiver, &mut |done, all| observer.hashing(done, all))?;
    let wanted = receiver.views().filter(|(_, view)| view.wanted.is_some());
    for ((number, _), view) in wanted.zip(&mut received.views) {
        if let Some(file) = stored.iter().find(|file| file.view == number) {
            view.path.clone_from(&file.path);
            view.sha256 = Some(file.sha256);
        }
    }
    let main = main_view(receiver).filter(|(_, view)| view.length > 0);
    let empty = main.is_none().then(|| Error::EmptyDump(files.out().to_owned()));
    Ok(Received { stopped: empty, ..received })
}

/// Records the received parts for the next time.
fn stopped(
    received: Received,
    error: Error,
    files: &mut Files,
    receiver: &Receiver,
) -> Result<Received, Error> {
    let held = receiver.held();
    if !held.views.is_empty() {
        files.save(&held)?;
    }
    Ok(Received { stopped: Some(error), ..received })
}

/// Returns the parts that are there. If the other end has not come back with its list, the ranges
/// are the last known.
fn account(receiver: &Receiver, out: &Path) -> Received {
    let wanted = receiver.views().filter(|(_, view)| view.wanted.is_some());
    let mut views: Vec<_> = wanted.map(|(_, view)| of_view(view, out)).collect();
    let held = receiver.held();
    for held in &held.views {
        if views.iter().all(|view| view.name != held.name) {
            let missing = held.have.gaps((0, held.length)).collect();
            let (left, pages) = (held.left.clone(), held.totals);
            let view = of_name(&held.name, held.length, missing, out);
            views.push(ReceivedView { left, pages, ..view });
        }
    }
    let id = receiver.greeting().map(|greeting| greeting.id);
    let id = id.or((!held.views.is_empty()).then_some(held.id));
    let compared = receiver.greeting().is_some_and(|greeting| !greeting.bulk);
    Received { id, views, damaged_frames: 0, compared, stopped: None }
}

fn of_view(view: &ViewState, out: &Path) -> ReceivedView {
    ReceivedView {
        left: view.left.clone(),
        pages: view.totals,
        differs: view.differs.iter().collect(),
        ..of_name(&view.name, view.length, view.missing().collect(), out)
    }
}

fn of_name(name: &str, length: u64, missing: Vec<(u64, u64)>, out: &Path) -> ReceivedView {
    ReceivedView {
        name: name.to_owned(),
        path: with_suffix(out, &format!(".{name}.partial")),
        length,
        sha256: None,
        missing,
        left: LeftRanges::new(),
        pages: None,
        differs: Vec::new(),
    }
}

/// Removes the state that an earlier call for `out` has left, so that it begins anew.
///
/// # Errors
/// [`Error::Io`] when it cannot be removed.
pub fn forget(out: &Path) -> Result<(), Error> {
    let map = with_suffix(out, ".ranges");
    match fs::remove_file(&map) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", &map)(error))
        }
        _ => Ok(()),
    }
}
