//! Forms of an answer: text, JSON, HTML.

mod html;
mod text;

pub use html::html;
pub use text::text;
