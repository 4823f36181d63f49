//! Names of the functions in traces, all found together.

use alloc::vec::Vec;
use core::fmt;

use super::kallsyms::{Budget, Kallsyms, MOST_NAMES};
use super::modules::Modules;
use super::trace::{Frame, Trust};
use crate::{Error, VirtualMemory};
use vmcore::{ReadPhys, zeros};

/// The most bytes of all names.
const MOST_TEXT: usize = 1 << 20;
/// Room for a name where the heap is short: those of C have some 20 bytes, a module's name is after
/// some of them.
const SHORT_NAME: usize = 40;
/// Room for a name where it is not: those of Rust are longer.
const LONG_NAME: usize = 128;
/// Room in which names are read.
const READ: usize = 6 << 10;
/// No number in the kernel's own table.
const NO_INDEX: u32 = u32::MAX;

/// The functions that frames are in, with their names.
#[derive(Debug, Default)]
pub struct Names {
    /// By address; none overlaps another.
    functions: Vec<Function>,
    /// All names, printable ASCII.
    text: Vec<u8>,
    /// The most bytes of it.
    most_text: usize,
}

/// Bounds of the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MostNames {
    /// Functions.
    pub functions: usize,
    /// Bytes of heap that functions and names take.
    pub heap: usize,
}

impl MostNames {
    /// Bounds of a host.
    pub const HOST: Self = Self { functions: 1 << 16, heap: 4 << 20 };

    /// The same for `frames` frames: functions, and bytes of their names.
    fn of(self, frames: usize) -> (usize, usize) {
        let most = self.functions.min(self.heap / (size_of::<Function>() + SHORT_NAME));
        let functions = most.min(frames);
        let rest = self.heap.saturating_sub(functions * size_of::<Function>());
        (functions, rest.min(functions * LONG_NAME).min(MOST_TEXT))
    }
}

/// A function. A capture kernel keeps hundreds.
#[derive(Clone, Debug)]
struct Function {
    start: u64,
    /// Bytes; the highest number stands for more.
    size: u32,
    /// Its number in the kernel's own table; [`NO_INDEX`] for a module's function.
    index: u32,
    /// Place of its name in the text. The name of its module comes after it.
    at: u32,
    /// Length of its name in bytes.
    name: u16,
    /// Length of the module's name in bytes.
    module: u16,
}

impl Function {
    const fn contains(&self, at: u64) -> bool {
        self.start <= at && at - self.start < self.size as u64
    }
}

/// The place of a frame, as Linux writes it: `NAME+0xOFFSET/0xSIZE [MODULE]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'n> {
    /// Name of the function.
    pub name: &'n str,
    /// Offset of the frame's address in the function, in bytes.
    pub offset: u64,
    /// Length of the function in bytes, to the next symbol.
    pub size: u64,
    /// The module that the function is in.
    pub module: Option<&'n str>,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, offset, size, module } = self;
        write!(f, "{name}+{offset:#x}/{size:#x}")?;
        module.map_or(Ok(()), |module| write!(f, " [{module}]"))
    }
}

/// A frame as Linux writes it: a `?` before a guess, the address of one without a name.
#[derive(Clone, Copy, Debug)]
pub struct NamedFrame<'n> {
    /// The frame.
    pub frame: Frame,
    /// The place, if its function has a name.
    pub name: Option<Name<'n>>,
}

impl fmt::Display for NamedFrame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.frame.trust == Trust::Guess {
            f.write_str("? ")?;
        }
        match self.name {
            Some(name) => name.fmt(f),
            None => write!(f, "{:#x}", self.frame.at),
        }
    }
}

/// The address that decides the function: a call may be the last instruction of one.
const fn key(frame: &Frame) -> u64 {
    frame.at.wrapping_sub(frame.is_return as u64)
}

/// A length as a function has it.
fn short(size: u64) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// Sources of names.
#[derive(Debug)]
pub struct Sources<'s, 'a, M> {
    /// The memory of the kernel.
    pub memory: VirtualMemory<'a, M>,
    /// The symbols of its image, if they were found.
    pub kallsyms: Option<&'s Kallsyms<'a, M>>,
    /// Its modules.
    pub modules: &'s Modules,
}

impl Names {
    /// Finds the functions of `frames`, within `most`, and then the names of all in as few passes
    /// as it takes. Functions without a name are left out: beyond `most`, after the end of the
    /// budget, in memory that cannot be read, or where the heap has no room.
    pub fn find<'f, M: ReadPhys>(
        sources: &Sources<'_, '_, M>,
        frames: impl Iterator<Item = &'f Frame> + Clone,
        most: MostNames,
        budget: &mut Budget<'_>,
    ) -> Self {
        let mut names = Self::default();
        let is_complete = names.read(sources, frames, most, budget);
        if let Err(error) = is_complete {
            log::warn!("names of functions: {error}");
        }
        names
    }

    fn read<'f, M: ReadPhys>(
        &mut self,
        sources: &Sources<'_, '_, M>,
        frames: impl Iterator<Item = &'f Frame> + Clone,
        most: MostNames,
        budget: &mut Budget<'_>,
    ) -> Result<(), Error> {
        // Names are read in the end.
        let spare = zeros(READ);
        let most = self.reserve(most, frames.clone().count());
        let mut result = Ok(());
        for key in frames.map(key) {
            let is_known = self.function(key).is_some();
            if is_known || self.functions.len() >= most || !budget.has_time() {
                continue;
            }
            // A function that cannot be read is one without a name.
            result = result.and(self.add(sources, key, budget));
        }
        drop(spare);
        result.and(sources.kallsyms.map_or(Ok(()), |kallsyms| self.name(kallsyms, budget)))
    }

    /// Takes the room for `frames` frames: a list that grows takes it twice. With less room, fewer
    /// functions get a name: those of the first frames. Returns their number.
    fn reserve(&mut self, mut most: MostNames, frames: usize) -> usize {
        loop {
            let (functions, text) = most.of(frames);
            let has_room = self.functions.try_reserve_exact(functions).is_ok();
            if has_room && self.text.try_reserve_exact(text).is_ok() {
                self.most_text = text;
                return functions;
            }
            self.functions = Vec::new();
            most.heap /= 2;
        }
    }

    /// Adds the function at `at`.
    fn add<M: ReadPhys>(
        &mut self,
        sources: &Sources<'_, '_, M>,
        at: u64,
        budget: &mut Budget<'_>,
    ) -> Result<(), Error> {
        let &Sources { memory, kallsyms, modules } = sources;
        let located = kallsyms.map_or(Ok(None), |kallsyms| kallsyms.locate(at))?;
        if let Some(located) = located {
            let (start, size) = (located.start, short(located.size));
            let index = located.index;
            return self.insert(Function { start, size, index, at: 0, name: 0, module: 0 });
        }
        let Some(module) = modules.find(at) else { return Ok(()) };
        let module_name = modules.name(memory, module)?;
        let Some(symbol) = modules.locate(memory, module, at, budget)? else { return Ok(()) };
        let (start, size) = (symbol.start, short(symbol.size));
        let (at, name) = self.keep(&symbol.name)?;
        let module = if name == 0 { 0 } else { self.keep(&module_name)?.1 };
        self.insert(Function { start, size, index: NO_INDEX, at, name, module })
    }

    /// Names the functions of the kernel's image.
    fn name<M: ReadPhys>(
        &mut self,
        kallsyms: &Kallsyms<'_, M>,
        budget: &mut Budget<'_>,
    ) -> Result<(), Error> {
        let mut indices = Vec::new();
        indices.try_reserve_exact(self.functions.len()).map_err(|_| Error::NO_MEMORY)?;
        let is_known = |index: &u32| *index != NO_INDEX;
        // As the addresses, so the numbers ascend.
        indices.extend(self.functions.iter().map(|function| function.index).filter(is_known));
        let mut result = Ok(());
        let mut next = 0;
        for indices in indices.chunks(MOST_NAMES) {
            kallsyms.names(indices, budget, &mut |index, name| {
                let functions = self.functions.iter().skip(next);
                let place = functions.into_iter().position(|other| other.index == index);
                let Some(place) = place.map(|place| place + next) else { return };
                next = place + 1;
                match self.keep(name) {
                    Ok((at, length)) => {
                        let function = &mut self.functions[place];
                        (function.at, function.name) = (at, length);
                    }
                    Err(error) => result = Err(error),
                }
            })?;
        }
        result
    }

    fn insert(&mut self, function: Function) -> Result<(), Error> {
        self.functions.try_reserve(1).map_err(|_| Error::NO_MEMORY)?;
        let place = self.functions.partition_point(|other| other.start < function.start);
        self.functions.insert(place, function);
        Ok(())
    }

    /// Appends a name to the text, if there is room; a `?` stands for a byte that is not printable.
    /// Returns its place and its length.
    fn keep(&mut self, name: &[u8]) -> Result<(u32, u16), Error> {
        let start = self.text.len();
        let length = u16::try_from(name.len()).ok();
        let length = length.filter(|_| start + name.len() <= self.most_text);
        let Some(length) = length else { return Ok((0, 0)) };
        self.text.try_reserve(name.len()).map_err(|_| Error::NO_MEMORY)?;
        let printable = |byte: &u8| if byte.is_ascii_graphic() { *byte } else { b'?' };
        self.text.extend(name.iter().map(printable));
        Ok((start as u32, length))
    }

    /// Bytes of heap that they take.
    pub(crate) fn heap(&self) -> usize {
        self.functions.capacity() * size_of::<Function>() + self.text.capacity()
    }

    fn text(&self, start: usize, length: u16) -> &str {
        let bytes = self.text.get(start..start + usize::from(length));
        bytes.and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// The function at an address.
    fn function(&self, at: u64) -> Option<&Function> {
        let after = self.functions.partition_point(|function| function.start <= at);
        self.functions.get(after.checked_sub(1)?).filter(|function| function.contains(at))
    }

    /// The place of a frame, if its function has a name.
    pub fn get(&self, frame: &Frame) -> Option<Name<'_>> {
        let function = self.function(key(frame))?;
        let at = function.at as usize;
        let name = Some(self.text(at, function.name)).filter(|name| !name.is_empty())?;
        let module = self.text(at + usize::from(function.name), function.module);
        let module = Some(module).filter(|module| !module.is_empty());
        let offset = frame.at.wrapping_sub(function.start);
        Some(Name { name, offset, size: function.size.into(), module })
    }

    /// The frame with its place.
    pub fn named(&self, frame: Frame) -> NamedFrame<'_> {
        NamedFrame { frame, name: self.get(&frame) }
    }
}

#[cfg(test)]
mod tests;
