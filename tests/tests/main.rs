//! Integration tests over real processes: one binary, one module for each promise.

mod concurrent;
mod doors;
mod federation;
mod index_gone;
mod keys;
mod killed;
mod linking;
mod needles;
mod poison;
mod privacy;
mod province;
mod rebuild;
mod restore;
mod sealed;
mod tidy;
mod trust;
mod wire;
