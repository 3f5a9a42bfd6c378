//! The files of a site's directory, and the keys among them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use liandong_proto::id::unhex;
use liandong_proto::sign::SigningKey;

use super::SiteError;

/// Where the files of a site are.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The directory.
    pub dir: PathBuf,
}

impl Paths {
    /// The files of a directory.
    pub fn new(dir: &Path) -> Paths {
        Paths { dir: dir.to_path_buf() }
    }

    /// The log: the truth.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Says that a hub was put back from a backup, and by whom, until its log does.
    pub fn put_back(&self) -> PathBuf {
        self.dir.join("put-back")
    }

    /// The index: can be thrown away.
    pub fn index(&self) -> PathBuf {
        self.dir.join("index")
    }

    /// The audit log: who did what.
    pub fn audit(&self) -> PathBuf {
        self.dir.join("audit")
    }

    /// What the site signs with: the secret half.
    pub fn signing_key(&self) -> PathBuf {
        self.dir.join("keys").join("signing.key")
    }

    /// What the site will sign with, from the moment on that its hub or its log says so.
    pub fn next_signing_key(&self) -> PathBuf {
        self.dir.join("keys").join("signing.next")
    }

    /// A city's membership in the federation.
    pub fn membership(&self) -> PathBuf {
        self.dir.join("keys").join("membership.json")
    }

    /// Hashes of the tokens of the city's other systems.
    pub fn api_tokens(&self) -> PathBuf {
        self.dir.join("keys").join("api-tokens.json")
    }

    /// Certificate and key that these systems are shown, where none are configured.
    pub fn api_identity(&self) -> (PathBuf, PathBuf) {
        let keys = self.dir.join("keys");
        (keys.join("api.crt"), keys.join("api.key"))
    }

    /// What a restore that was cut short goes on from.
    pub fn unfinished(&self) -> PathBuf {
        self.dir.join("keys").join("restore.json")
    }

    /// The city's own key.
    pub fn city_key(&self) -> PathBuf {
        self.dir.join("keys").join("city.key")
    }
}

impl Paths {
    /// City keys that are in use no more: what they sealed is opened with them.
    pub fn older_city_keys(&self) -> PathBuf {
        self.dir.join("keys").join("city")
    }

    /// The city key that will be in use once the ring of the older ones is at the hub.
    pub fn next_city_key(&self) -> PathBuf {
        self.dir.join("keys").join("city.next")
    }

    /// What linking keys are wrapped for: an age identity.
    pub fn linking_identity(&self) -> PathBuf {
        self.dir.join("keys").join("linking.identity")
    }

    /// Linking keys that came over the hub, each in a file named by its place in their order and its fingerprint.
    pub fn linking_keys(&self) -> PathBuf {
        self.dir.join("keys").join("linking")
    }

    /// Puts a file in the place of another, durable before it returns.
    ///
    /// # Errors
    /// [`SiteError::File`]; both are as they were then.
    pub fn replace(&self, next: &Path, path: &Path) -> Result<(), SiteError> {
        fs::rename(next, path).map_err(failed(path))?;
        let dir = path.parent().unwrap_or(&self.dir);
        fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir))
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> SiteError + '_ {
    move |source| SiteError::File { path: path.to_path_buf(), source }
}

/// Makes a site's directory: what is in it is for its owner alone (0700).
///
/// # Errors
/// [`SiteError::File`].
pub fn make_private_dir(dir: &Path) -> Result<(), SiteError> {
    fs::create_dir_all(dir).map_err(failed(dir))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(failed(dir))
}

/// Writes a key file that only the owner can read, durable before it returns.
///
/// # Errors
/// [`SiteError::File`], also when there is one already.
pub fn write_key(path: &Path, key: &[u8; 32]) -> Result<(), SiteError> {
    write_private(path, format!("{}\n", liandong_proto::id::hex(key)).as_bytes())
}

/// Writes a file that only the owner can read, durable before it returns.
///
/// # Errors
/// [`SiteError::File`], also when there is one already.
pub fn write_private(path: &Path, text: &[u8]) -> Result<(), SiteError> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.exists()) {
        make_private_dir(dir)?;
    }
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed(path))?;
    file.write_all(text).map_err(failed(path))?;
    file.sync_all().map_err(failed(path))?;
    // The name has to outlive a power loss as well.
    match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        Some(dir) => fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir)),
        None => Ok(()),
    }
}

/// Reads a small text that is for its owner's eyes alone.
///
/// # Errors
/// [`SiteError::File`]; [`SiteError::KeyExposed`] when others may read it.
pub fn read_private(path: &Path) -> Result<String, SiteError> {
    let mut file = fs::File::open(path).map_err(failed(path))?;
    let mode = file.metadata().map_err(failed(path))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(SiteError::KeyExposed(path.to_path_buf()));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed(path))?;
    Ok(text)
}

/// Reads a key file: 64 hexadecimal digits, for its owner's eyes alone.
///
/// # Errors
/// [`SiteError`] naming the file.
pub fn read_key(path: &Path) -> Result<[u8; 32], SiteError> {
    let text = read_private(path)?;
    let bytes = unhex(text.trim().as_bytes());
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        SiteError::corrupt(path.display().to_string(), "a key file holds 64 hexadecimal digits")
    })
}

/// Reads the key that a site signs with.
///
/// # Errors
/// [`SiteError`] naming the file.
pub fn read_signing_key(path: &Path) -> Result<SigningKey, SiteError> {
    Ok(SigningKey::new(&read_key(path)?))
}
