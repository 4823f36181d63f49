//! Names as the table has them: tokens, each of which stands for a string.

use alloc::vec::Vec;

use super::tables::KallsymsTables;
use crate::{Error, VirtualMemory};
use vmcore::{ReadPhys, zeros};

/// The longest name that the kernel prints, in bytes (`KSYM_NAME_LEN`, with the NUL).
pub const MOST_NAME: usize = 512;
/// Number of tokens.
const TOKENS: usize = 256;
/// The most bytes of all tokens. Debian's kernels have 1 KiB.
const MOST_TOKENS: u64 = 4 << 10;

/// The strings that names are made of.
#[derive(Debug)]
pub(super) struct Tokens {
    /// The strings, each with a NUL.
    text: Vec<u8>,
    /// For each token, its place in the text (u16, little-endian).
    places: Vec<u8>,
}

impl Tokens {
    /// Reads them.
    pub(super) fn read<M: ReadPhys>(
        memory: VirtualMemory<'_, M>,
        tables: &KallsymsTables,
    ) -> Result<Self, Error> {
        // The index follows the tokens.
        let length = tables.token_index.checked_sub(tables.token_table);
        let length = length.filter(|length| *length <= MOST_TOKENS);
        let length = length.ok_or(Error::BadSymbols { at: tables.token_table })?;
        let (mut text, mut places) = (zeros(length as usize)?, zeros(2 * TOKENS)?);
        memory.read(tables.token_table, &mut text)?;
        memory.read(tables.token_index, &mut places)?;
        Ok(Self { text, places })
    }

    /// The text of a token; nothing if its place is wrong.
    fn get(&self, token: u8) -> &[u8] {
        let place = self.places.get(2 * usize::from(token)..);
        let place =
            place.and_then(|places| places.first_chunk()).map(|place| u16::from_le_bytes(*place));
        let text = place.and_then(|place| self.text.get(usize::from(place)..)).unwrap_or_default();
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        &text[..end]
    }
}

/// A name as the table has it.
#[derive(Clone, Copy)]
pub(super) struct Compressed<'n> {
    tokens: &'n Tokens,
    name: &'n [u8],
}

impl<'n> Compressed<'n> {
    pub(super) const fn new(tokens: &'n Tokens, name: &'n [u8]) -> Self {
        Self { tokens, name }
    }

    /// Its bytes. The first character is the symbol's type, and is no part of the name.
    pub(super) fn bytes(self) -> impl Iterator<Item = u8> {
        let all = self.name.iter().flat_map(move |token| self.tokens.get(*token));
        all.copied().skip(1).take(MOST_NAME - 1)
    }

    /// The symbol's type, as nm(1) has it; 0 for none.
    pub(super) fn kind(self) -> u8 {
        self.name.iter().find_map(|token| self.tokens.get(*token).first()).copied().unwrap_or(0)
    }

    /// True if the name is `wanted`.
    pub(super) fn matches(self, wanted: &[u8]) -> bool {
        self.bytes().eq(wanted.iter().copied())
    }

    /// Appends the name to `text`.
    ///
    /// # Errors
    /// [`Error::NO_MEMORY`].
    pub(super) fn append(self, text: &mut Vec<u8>) -> Result<(), Error> {
        text.try_reserve(self.bytes().count()).map_err(|_| Error::NO_MEMORY)?;
        text.extend(self.bytes());
        Ok(())
    }
}
