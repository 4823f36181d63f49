//! The test guest's RAM is described to its loader with many holes.

use super::hooks::*;

pub(super) struct Holes(pub(super) u64);

impl Hooks for Holes {
    fn ingredients(&self, ingredients: &mut Ingredients<'_>) {
        ingredients.holes = self.0;
    }
}
