//! HTTP/2 by hand (RFC 9113), for what no client library lets one do.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::enemy::soon;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// REFUSED_STREAM and ENHANCE_YOUR_CALM of RFC 9113, section 7.
pub const REFUSED_STREAM: u32 = 7;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A header without the tables of HPACK (RFC 7541, section 6.2.2).
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        assert!(text.len() < 127, "one byte of length");
        block.push(text.len() as u8);
        block.extend_from_slice(text.as_bytes());
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// What a connection begins with: the preface, and settings that say nothing.
pub fn beginning() -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    frame(&mut out, SETTINGS, 0, 0, &[]);
    out
}

/// The beginning of `count` sessions, each reset at once if `reset`.
pub fn sessions(count: u32, reset: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/liandong.sync.v1.Sync/Session"),
        (":authority", "hub.liandong.internal"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        literal(&mut block, name, value);
    }
    let mut out = Vec::new();
    for n in 0..count {
        frame(&mut out, HEADERS, END_HEADERS, 2 * n + 1, &block);
        if reset {
            frame(&mut out, RST_STREAM, 0, 2 * n + 1, &8u32.to_be_bytes());
        }
    }
    out
}

/// The headers of a session, and more of them without an end: `count` frames of 10 KiB.
pub fn endless_headers(count: usize) -> Vec<u8> {
    let mut out = sessions(1, false);
    // No END_HEADERS.
    out[4] = 0;
    for n in 0..count {
        let mut block = Vec::new();
        (0..100).for_each(|at| literal(&mut block, &format!("x-{n}-{at}"), &"x".repeat(95)));
        frame(&mut out, CONTINUATION, 0, 1, &block);
    }
    out
}

/// How a peer has said no.
#[derive(Debug, Default, PartialEq)]
pub struct Said {
    /// Streams that were reset, and with which code the last one.
    pub resets: (usize, u32),
    /// The code that the whole connection was ended with.
    pub goaway: Option<u32>,
}

/// Sends what was made by hand and reads until the peer ends the connection, or `enough`.
pub async fn answered<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    bytes: &[u8],
    enough: impl Fn(&Said) -> bool,
) -> Said {
    // A peer that has had enough does not take all of it.
    let _ = soon("room", stream.write_all(bytes)).await;
    let _ = soon("room", stream.flush()).await;
    let mut said = Said::default();
    let mut head = [0; 9];
    while !enough(&said) && soon("a frame", stream.read_exact(&mut head)).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if soon("a frame", stream.read_exact(&mut payload)).await.is_err() {
            break;
        }
        let number =
            |at: usize| payload.get(at..at + 4).map(|it| u32::from_be_bytes(it.try_into().expect("four")));
        match head[3] {
            RST_STREAM => said.resets = (said.resets.0 + 1, number(0).unwrap_or_default()),
            GOAWAY => said.goaway = number(4),
            _ => {}
        }
    }
    said
}
