//! All that touches the machine itself.

mod jump;
mod params;
mod start;
mod verify;
