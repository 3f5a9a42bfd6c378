//! The first look at a file, before anything is written: is it text in UTF-8, how long is it, and its hash.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::say;
use crate::text::Said;

/// How much of the file's beginning is kept, to find separator and header in.
const HEAD_BYTES: usize = 64 << 10;
const CHUNK: usize = 256 << 10;
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// What is known of a file after reading it once.
#[derive(Debug)]
pub struct Survey {
    /// The file, at its beginning.
    pub file: File,
    /// Length in bytes.
    pub bytes: u64,
    /// Where the text begins: behind a byte order mark.
    pub text_from: u64,
    /// The first whole lines of the text.
    pub head: Vec<u8>,
    /// SHA-256 over `salt` and everything in the file.
    pub hash: [u8; 32],
}

/// Why a file cannot be imported at all.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is not there, or may not be read.
    #[error(transparent)]
    File(#[from] io::Error),
    /// It is not text in UTF-8.
    #[error("{0}")]
    Encoding(Said),
}

impl Survey {
    /// Reads the file once from end to end; memory does not grow with it.
    ///
    /// `salt` keeps the hash, which travels with the changes, from telling anything about a guessable file.
    ///
    /// # Errors
    /// [`Unreadable`], with advice how to save the file again.
    pub fn of(path: &Path, salt: &[u8], on: &mut dyn FnMut(u64, u64)) -> Result<Survey, Unreadable> {
        let mut file = File::open(path)?;
        let total = file.metadata()?.len();
        let (mut hash, mut head, mut bytes) = (Sha256::new_with_prefix(salt), Vec::new(), 0u64);
        let mut chunk = vec![0; CHUNK];
        // Bytes of a character that the end of a chunk cut in two.
        let mut open = 0;
        loop {
            let read = file.read(&mut chunk[open..])?;
            let filled = open + read;
            hash.update(&chunk[open..filled]);
            if read == 0 {
                if open > 0 {
                    return Err(Unreadable::Encoding(not_utf8(bytes)));
                }
                break;
            }
            if bytes == 0 {
                check_signature(&chunk[..filled]).map_err(Unreadable::Encoding)?;
            }
            let whole = match std::str::from_utf8(&chunk[..filled]) {
                Ok(_) => filled,
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                Err(error) => return Err(Unreadable::Encoding(not_utf8(bytes + error.valid_up_to() as u64))),
            };
            if chunk[..whole].contains(&0) {
                return Err(Unreadable::Encoding(not_text()));
            }
            let wanted = HEAD_BYTES.saturating_sub(head.len()).min(whole);
            head.extend_from_slice(&chunk[..wanted]);
            bytes += whole as u64;
            open = filled - whole;
            chunk.copy_within(whole..filled, 0);
            on(bytes, total);
        }
        let text_from = if head.starts_with(BOM) { BOM.len() } else { 0 };
        head.drain(..text_from);
        if bytes > head.len() as u64 + text_from as u64 {
            let end = head.iter().rposition(|byte| *byte == b'\n').map_or(head.len(), |at| at + 1);
            head.truncate(end);
        }
        file.seek(SeekFrom::Start(text_from as u64))?;
        Ok(Survey { file, bytes, text_from: text_from as u64, head, hash: hash.finalize().into() })
    }
}

/// Knows the files that are most often given by mistake.
fn check_signature(head: &[u8]) -> Result<(), Said> {
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"\xD0\xCF\x11\xE0") {
        return Err(say!(
            "这是 Excel 工作簿，不是 CSV；没有导入任何内容。请在表格软件中另存为“CSV UTF-8（逗号分隔）”后再导入",
            "this is a workbook, not CSV; nothing was imported. Save it as \"CSV UTF-8 (comma delimited)\" \
             and import that"
        ));
    }
    if head.starts_with(b"\xFF\xFE") || head.starts_with(b"\xFE\xFF") {
        return Err(say!(
            "文件编码是 UTF-16；没有导入任何内容。请另存为“CSV UTF-8（逗号分隔）”后再导入",
            "the file is in UTF-16; nothing was imported. Save it as \"CSV UTF-8 (comma delimited)\" and \
             import that"
        ));
    }
    Ok(())
}

fn not_utf8(offset: u64) -> Said {
    say!(
        "文件编码不是 UTF-8（第 {offset} 字节处），多半是 GBK；没有导入任何内容。请在表格软件中另存为“CSV UTF-8（逗号分隔）”，\
         或用 iconv -f GB18030 -t UTF-8 转换后再导入",
        "the file is not in UTF-8 (at byte {offset}), most likely it is GBK; nothing was imported. Save it \
         as \"CSV UTF-8 (comma delimited)\", or convert it with iconv -f GB18030 -t UTF-8, and import that"
    )
}

fn not_text() -> Said {
    say!(
        "文件里有空字符，不是文本；没有导入任何内容。请在表格软件中另存为“CSV UTF-8（逗号分隔）”后再导入",
        "the file holds zero bytes, so it is no text; nothing was imported. Save it as \"CSV UTF-8 (comma \
         delimited)\" and import that"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(content: &[u8]) -> Result<Survey, Unreadable> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("roster.csv");
        std::fs::write(&path, content).unwrap();
        Survey::of(&path, b"salt", &mut |_, _| {})
    }

    #[track_caller]
    fn check_refused(content: &[u8], expected: &str) {
        match survey(content) {
            Err(Unreadable::Encoding(said)) => assert!(said.en.contains(expected), "{said}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn utf8_is_taken_with_and_without_a_mark() {
        let plain = survey("姓名\n王芳\n".as_bytes()).unwrap();
        assert_eq!((plain.text_from, plain.head.as_slice()), (0, "姓名\n王芳\n".as_bytes()));
        let marked = survey("\u{FEFF}姓名\n".as_bytes()).unwrap();
        assert_eq!((marked.text_from, marked.head.as_slice()), (3, "姓名\n".as_bytes()));
        assert_eq!(survey(b"").unwrap().bytes, 0);
    }

    #[test]
    fn a_character_across_two_chunks_is_no_fault() {
        let text = "a".repeat(CHUNK - 1) + "芳" + &"b".repeat(CHUNK);
        assert_eq!(survey(text.as_bytes()).unwrap().bytes, text.len() as u64);
    }

    #[test]
    fn other_files_are_refused_with_advice() {
        check_refused(b"\xD0\xD5\xC3\xFB\n", "GBK");
        check_refused(b"name\n\xFF", "at byte 5");
        check_refused("姓".as_bytes()[..2].as_ref(), "GBK");
        check_refused(b"PK\x03\x04....", "workbook");
        check_refused(b"\xFF\xFEa\0", "UTF-16");
        check_refused(b"name\0\n", "zero bytes");
    }

    #[test]
    fn the_hash_depends_on_content_and_salt() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("roster.csv");
        std::fs::write(&path, "a").unwrap();
        let hash = |salt: &[u8]| Survey::of(&path, salt, &mut |_, _| {}).unwrap().hash;
        assert_eq!(hash(b"1"), hash(b"1"));
        assert_ne!(hash(b"1"), hash(b"2"));
    }

    #[test]
    fn the_head_ends_with_a_line() {
        let text = "0123456789\n".repeat(HEAD_BYTES / 8);
        let head = survey(text.as_bytes()).unwrap().head;
        assert!(head.len() <= HEAD_BYTES && head.ends_with(b"\n"));
    }
}
