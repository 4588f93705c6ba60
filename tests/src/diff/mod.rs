//! The same random requests against ours and the reference, every field, code and text of the answers compared.
//!
//! ```text
//!   seed, number, what is known ─► step ─► both stores ─► answers without the stores' own numbers ─► equal, known, or different
//!                                                      └► watches: all that happened ─► what each must have heard
//! ```
//! A round of steps runs on a pair of new stores, so a difference can be repeated from its seed and made short by leaving
//! steps out. What is taken out of answers before they are compared, and why, stands in `side`; what may differ, in `known`.

mod expected;
mod known;
mod material;
mod pair;
mod requests;
mod run;
mod side;
mod step;
mod streams;

pub use run::{Options, Report, run};
