//! Text with one kind of line end, so that rows can be counted; the last line ends as well.

use std::io::{self, BufRead, Read};

/// A reader over another one.
#[derive(Debug)]
pub struct Lines<R> {
    inner: R,
    /// The last byte was a `\r`, which has been given out as `\n` already.
    after_return: bool,
    last: u8,
    bytes: u64,
}

impl<R: BufRead> Lines<R> {
    /// Reads `inner` from where it stands.
    pub fn new(inner: R) -> Lines<R> {
        Lines { inner, after_return: false, last: b'\n', bytes: 0 }
    }

    /// Bytes taken from the inner reader.
    pub fn bytes_taken(&self) -> u64 {
        self.bytes
    }
}

impl<R: BufRead> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut given = 0;
        while given == 0 && !buffer.is_empty() {
            let from = self.inner.fill_buf()?;
            if from.is_empty() {
                if self.last != b'\n' {
                    (self.last, buffer[0], given) = (b'\n', b'\n', 1);
                }
                return Ok(given);
            }
            let taken = from.len().min(buffer.len());
            for byte in &from[..taken] {
                let follows = std::mem::replace(&mut self.after_return, *byte == b'\r');
                if *byte == b'\n' && follows {
                    continue;
                }
                self.last = if *byte == b'\r' { b'\n' } else { *byte };
                buffer[given] = self.last;
                given += 1;
            }
            self.inner.consume(taken);
            self.bytes += taken as u64;
        }
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        for size in [1, 2, 3, 64] {
            let mut lines = Lines::new(io::BufReader::with_capacity(size, text.as_bytes()));
            let mut out = String::new();
            lines.read_to_string(&mut out).unwrap();
            assert_eq!(out, expected, "in pieces of {size}");
            assert_eq!(lines.bytes_taken(), text.len() as u64);
        }
    }

    #[test]
    fn every_line_ends_alike() {
        check("", "");
        check("a", "a\n");
        check("a\n", "a\n");
        check("a\r\nb\r\n", "a\nb\n");
        check("a\rb", "a\nb\n");
        check("a\r\n\r\nb", "a\n\nb\n");
        check("a\n\rb\r", "a\n\nb\n");
    }
}
