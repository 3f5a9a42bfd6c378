//! The shell's clock and randomness: the only place that reads them.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// Milliseconds since 1970.
#[allow(clippy::disallowed_methods, reason = "this is the shell's clock")]
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// `N` bytes from the operating system.
///
/// # Panics
/// When the operating system has no randomness to give: nothing that follows could be kept secret.
#[allow(clippy::disallowed_methods, reason = "this is the shell's randomness")]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// A generator seeded by the operating system, for salts and ids.
pub fn generator() -> StdRng {
    StdRng::from_seed(random())
}
