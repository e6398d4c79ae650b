//! The house rules, as tests: arrows, homes, contracts, names, and docs that match the tree.

mod crates;
mod docs;
mod sources;
