//! The bytes of a segment: header, prefaces, frames. No files here.

/// The newest format version that this program writes and reads.
pub const VERSION: u32 = 1;
/// First bytes of every segment.
pub(super) const MAGIC: [u8; 8] = *b"LDLOGSEG";
/// Length of a segment's header.
pub(super) const HEADER_BYTES: u64 = 40;
/// First bytes of a preface. Read as a length it is above [`MAX_BATCH_BYTES`], so the two never mix.
pub(super) const PREFACE_WORD: [u8; 4] = *b"btch";
/// Length of a preface.
pub(super) const PREFACE_BYTES: u64 = 20;
/// Length and checksum, in front of kind and payload.
pub(super) const FRAME_HEAD_BYTES: usize = 8;
/// No batch is longer than this, so neither is a frame: a length above it is nonsense.
pub(super) const MAX_BATCH_BYTES: usize = 1 << 30;

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Number of the segment, as in its name.
    pub number: u64,
    /// Mark of the first batch; 0 in the first segment.
    pub first_mark: u64,
    /// Where the segment before this one ends; 0 in the first segment.
    pub previous_end: u64,
}

/// Why 40 bytes are no header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderFlaw {
    /// The offset that is wrong, and what is wrong there.
    Wrong(u64, &'static str),
    /// A later format version.
    Newer(u32),
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.number.to_be_bytes());
        bytes[20..28].copy_from_slice(&self.first_mark.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.previous_end.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// The version is judged before the checksum: a later format may have another header.
    pub fn decode(bytes: &[u8; HEADER_BYTES as usize]) -> Result<Header, HeaderFlaw> {
        if bytes[..8] != MAGIC {
            return Err(HeaderFlaw::Wrong(0, "does not begin as a segment of a log"));
        }
        match be32(bytes, 8) {
            0 => return Err(HeaderFlaw::Wrong(8, "format version 0 never existed")),
            VERSION => {}
            newer => return Err(HeaderFlaw::Newer(newer)),
        }
        if crc32c::crc32c(&bytes[..36]) != be32(bytes, 36) {
            return Err(HeaderFlaw::Wrong(12, "the header's checksum does not match"));
        }
        Ok(Header { number: be64(bytes, 12), first_mark: be64(bytes, 20), previous_end: be64(bytes, 28) })
    }
}

/// What stands in front of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Preface {
    /// Everything before this offset of the segment was durable when the batch was written.
    pub synced: u64,
    /// Length of the frames that follow; 0 where an idle log ends.
    pub bytes: u32,
}

impl Preface {
    /// The preface for offset `at` of segment `number`.
    pub fn encode(&self, number: u64, at: u64) -> [u8; PREFACE_BYTES as usize] {
        let mut bytes = [0; PREFACE_BYTES as usize];
        bytes[..4].copy_from_slice(&PREFACE_WORD);
        bytes[8..16].copy_from_slice(&self.synced.to_be_bytes());
        bytes[16..].copy_from_slice(&self.bytes.to_be_bytes());
        let crc = preface_crc(&bytes, number, at);
        bytes[4..8].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// `None` unless `bytes` begin with a preface that was written for exactly this place.
    pub fn decode(bytes: &[u8], number: u64, at: u64) -> Option<Preface> {
        let bytes = bytes.first_chunk::<{ PREFACE_BYTES as usize }>()?;
        let preface = Preface { synced: be64(bytes, 8), bytes: be32(bytes, 16) };
        let holds = bytes[..4] == PREFACE_WORD
            && be32(bytes, 4) == preface_crc(bytes, number, at)
            && (HEADER_BYTES..=at).contains(&preface.synced);
        holds.then_some(preface)
    }
}

fn preface_crc(bytes: &[u8; PREFACE_BYTES as usize], number: u64, at: u64) -> u32 {
    let mut covered = [0; 28];
    covered[..12].copy_from_slice(&bytes[8..]);
    covered[12..20].copy_from_slice(&number.to_be_bytes());
    covered[20..].copy_from_slice(&at.to_be_bytes());
    crc32c::crc32c(&covered)
}

/// Appends the frame of a record to `out`. `length` is that of kind and payload together.
pub(super) fn push_frame(out: &mut Vec<u8>, length: u32, kind: u8, parts: &[&[u8]]) {
    let at = out.len();
    let length = length.to_be_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    for part in parts {
        out.extend_from_slice(part);
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&length), &out[at + FRAME_HEAD_BYTES..]);
    out[at + 4..at + FRAME_HEAD_BYTES].copy_from_slice(&crc.to_be_bytes());
}

/// Whether a whole frame (head, kind, payload) carries the right checksum.
pub(super) fn frame_holds(frame: &[u8]) -> bool {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[FRAME_HEAD_BYTES..]);
    crc == be32(frame, 4)
}

/// The big-endian number in the four bytes at `at`, which must exist.
pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(word)
}
