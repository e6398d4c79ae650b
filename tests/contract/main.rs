//! What a user is promised, one file per promise, through the public API only.

mod broadcast;
mod delivery;
mod failure;
mod file;
mod input;
mod manual;
mod ordering;
mod places;
mod restart;
mod roster;
mod site;
