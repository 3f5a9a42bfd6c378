//! What sessions have learned of cities since the hub was started.

/// What a session has learned of a city, for `city list`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CityState {
    /// The feed up to here is durable there.
    pub applied: u64,
    /// 0 no comparison yet, 1 equal, 2 different.
    pub comparison: u32,
    /// When it was.
    pub compared_at_ms: u64,
    /// When its last session ended; 0 while there was none.
    pub seen_at_ms: u64,
}
