//! What a hub is opened with.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Ten times what a busy disk takes for a sync.
const MIRROR_DEADLINE: Duration = Duration::from_secs(10);

/// How to open a hub.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// Its directory.
    pub data_dir: PathBuf,
    /// Where the log is mirrored, if it is.
    pub mirror: Option<PathBuf>,
    /// After so long without a step the mirror's disk is taken for one that hangs; noticed before twice as long.
    pub mirror_deadline: Duration,
    /// Size of a log segment in bytes.
    pub segment_bytes: u64,
    /// How much the index may stage before it writes, in bytes.
    pub overlay_bytes: usize,
    /// Cache of the store in bytes.
    pub cache_bytes: u64,
    /// Whether reads of personal data must name a purpose.
    pub require_purpose: bool,
}

impl HubOptions {
    /// The defaults for a directory.
    pub fn new(data_dir: &Path) -> HubOptions {
        HubOptions {
            data_dir: data_dir.to_path_buf(),
            mirror: None,
            mirror_deadline: MIRROR_DEADLINE,
            segment_bytes: 64 << 20,
            overlay_bytes: 32 << 20,
            cache_bytes: 48 << 20,
            require_purpose: false,
        }
    }
}
