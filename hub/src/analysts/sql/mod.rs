//! Arrow Flight SQL over the releases (Apache Arrow, "Arrow Flight SQL"): statements, prepared ones, and what there is.
//!
//! | file | holds |
//! |---|---|
//! | `engine` | sessions, and the bounds of what a query may use |
//! | `shelf` | releases as schemas, files and views as tables |
//! | `flight` | the protocol |
//! | `table`, `whole` | a table as the engine reads it, and as it is sent when all of it is asked for |
//! | `statement` | a statement between two calls |
//! | `told` | answers about catalogs, schemas, tables, keys |
//! | `answer` | rows on their way, with the end of the token and of the time in sight |

mod answer;
mod engine;
mod flight;
mod shelf;
mod statement;
mod table;
#[cfg(test)]
mod tests;
mod told;
mod whole;

pub use flight::service;
