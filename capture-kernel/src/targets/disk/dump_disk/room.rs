//! The room that a dump needs, and the place for it.

use super::DumpDisk;
use crate::driver::BlockDevice;
use crate::dump::{Dump, NamedView};
use crate::selection::Zeros;
use crate::targets::TargetError;
use crate::targets::disk::place::Place;
use arrayvec::ArrayVec;
use dumpfile::DiskHeader;
use dumpfile::chunk::Codec;
use dumpfile::disk::{BulkSize, DumpHeader, NewDump, NoRoom, Placement, SmallView};
use handoff::Stage;
use log::warn;
use vmcore::Level;

/// The room that a dump needs at a level.
struct Size {
    /// Most bytes of its bulk.
    most: u64,
    level: Level,
    /// True if no level was asked for, and this is not 0.
    raised: bool,
    /// Number of pages that are kept in doubt, if pages were counted.
    in_doubt: u64,
}

impl Size {
    /// `header` with the level.
    const fn of(&self, header: DumpHeader) -> DumpHeader {
        DumpHeader { level: self.level.get(), level_raised: self.raised, ..header }
    }
}

impl<D: BlockDevice> DumpDisk<'_, D> {
    /// Finds a place for the dump: for all of it, at level 31 if there is none for it at level 0
    /// and no level was asked for; or else for the first small views and as much more as there is
    /// room for. Nothing is written yet.
    pub(in super::super) fn find_place(
        &mut self,
        dump: &Dump,
    ) -> Result<(Place, Placement), TargetError> {
        let directory = self.directory()?;
        let mut views = ArrayVec::new();
        self.describe_all(&mut views, &dump.first);
        let key = u32::from_le_bytes([dump.id[0], dump.id[1], dump.id[2], dump.id[3]]);
        let (capacity, replace) = (self.device.capacity(), self.options.replace_complete);
        let header = |room| self.new_header(&directory, key, dump, (&views, room));
        let whole = header(dump.later.most())?;
        let mut size = self.size(dump, Level::ALL);
        let place = |size: &Size| {
            let need = whole.bulk_start.saturating_add(size.most);
            directory.place(capacity, need, key, replace)
        };
        let mut placed = place(&size);
        if let Some(level) = dump.level.filter(|level| *level != Level::ALL) {
            // With free room for all memory, no pages are counted before the first byte.
            let is_free = |placed: &Placement| placed.given_up.as_slice().is_empty();
            if placed.as_ref().is_ok_and(is_free) {
                size.level = level;
            } else {
                size = self.size(dump, level);
                placed = place(&size);
            }
        }
        if let (Err(no_room), None) = (&placed, dump.level)
            && let Some(raised) = self.raised(dump, no_room)
        {
            size = raised;
            placed = place(&size);
        }
        let no_room = match placed {
            Ok(placed) => return Ok((Place::new(size.of(whole), &placed, size.in_doubt), placed)),
            Err(no_room) => no_room,
        };
        let least = header(0)?.bulk_start;
        match directory.place_part(capacity, least, key, replace) {
            Ok(placed) => {
                let room = (placed.entry.length - least).min(dump.later.most());
                let header = DumpHeader { no_room: true, ..size.of(header(room)?) };
                Ok((Place::new(header, &placed, size.in_doubt), placed))
            }
            Err(_) => Err(self.refuse(directory, no_room)),
        }
    }

    /// The header of the dump with these small views, and room for others.
    fn new_header(
        &self,
        directory: &DiskHeader,
        key: u32,
        dump: &Dump,
        (views, room): (&[SmallView], u64),
    ) -> Result<DumpHeader, TargetError> {
        let new = NewDump {
            contents: dump.contents,
            views,
            room,
            raw_length: dump.length(),
            codec: self.options.codec,
            checksums: self.options.checksums || self.options.codec != Codec::Raw,
        };
        let too_long = TargetError::TooSmall { need: u64::MAX, have: self.device.capacity() };
        let header = DumpHeader::new(directory.id, directory.next, key, &new).or(Err(too_long))?;
        Ok(DumpHeader { stage: Stage::Views.code().into(), ..header })
    }

    /// The most room that the bulk takes at `level`. Pages are counted by their structs, not by
    /// their contents.
    fn size(&self, dump: &Dump, level: Level) -> Size {
        let bulk = dump.bulk_at(level, Zeros::Keep);
        let (most, level, in_doubt) =
            bulk.map_or((0, Level::ALL, 0), |NamedView { view, .. }| {
                let most = BulkSize::of(&*view).most(self.options.least);
                (most, view.level(), view.in_doubt())
            });
        Size { most, level, raised: false, in_doubt }
    }

    /// The most room that it takes at level 31, for want of room for all of it; [`None`] where the
    /// classes of pages cannot be found.
    fn raised(&self, dump: &Dump, no_room: &NoRoom) -> Option<Size> {
        let size = self.size(dump, Level::KERNEL);
        (size.level == Level::KERNEL).then(|| {
            let NoRoom { need, have, .. } = no_room;
            warn!("no room for all memory ({need} bytes needed, {have} there): dump level 31");
            Size { raised: true, ..size }
        })
    }

    /// Has the disk say that it had no room.
    fn refuse(&mut self, mut directory: DiskHeader, no_room: NoRoom) -> TargetError {
        let NoRoom { need, have, complete_dumps } = no_room;
        directory.generation = directory.generation.wrapping_add(1);
        directory.refused.captures = directory.refused.captures.saturating_add(1);
        directory.refused.need = need;
        match self.replace_directory(&directory) {
            Err(error) => error.into(),
            Ok(()) if complete_dumps => TargetError::DiskFull { need, have },
            Ok(()) => TargetError::TooSmall { need, have },
        }
    }
}
