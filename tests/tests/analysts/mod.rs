//! Releases and whoever reads them: over real processes and real TLS, with tokens as a person gives them out.

mod audit_log;
mod clients;
mod downloads;
mod killed;
mod metrics;
mod pseudonyms;
mod published;
mod recipes;
mod sql;
mod study;
mod tokens;
mod walk;
