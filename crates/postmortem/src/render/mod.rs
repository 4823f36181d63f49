//! Forms of an answer: text, JSON, HTML.

mod text;

pub use text::text;
