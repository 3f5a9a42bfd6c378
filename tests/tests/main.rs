//! Integration tests over real processes: one binary, one module for each promise.

mod access;
mod agreement;
mod audit;
mod concurrent;
mod consent;
mod doors;
mod erase;
mod federation;
mod hostile;
mod index_gone;
mod killed;
mod loopback;
mod outbound;
mod poison;
mod privacy;
mod province;
mod rebuild;
mod restore;
mod service;
mod site;
mod tidy;
mod trust;
