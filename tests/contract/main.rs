//! What a user is promised, one file per promise, through the public API only.

mod agents;
mod backup;
mod broadcast;
mod correspondence;
mod dead_letters;
mod delivery;
mod failure;
mod file;
mod flows;
mod flows_killed;
mod input;
mod lanes;
mod lifecycle;
mod manual;
mod office;
mod ordering;
mod overflow;
mod places;
mod restart;
mod roster;
mod runs;
mod schedule;
mod seed_000;
mod service;
mod site;
mod wounds;
