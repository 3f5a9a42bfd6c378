//! A port on 127.0.0.1 for those alone who can read a file. Both sides prove that they know the secret in it before
//! anything else is said, and neither sends it: whoever has taken over the port of a dead site learns nothing.
//!
//! ```text
//! command                                              site
//!    │ greeting, 32 random bytes c                       │
//!    │ ─────────────────────────────────────────────────►│
//!    │          32 random bytes s, HMAC("site", c, s)    │
//!    │◄───────────────────────────────────────────────── │
//!    │ HMAC("command", c, s)                             │
//!    │ ─────────────────────────────────────────────────►│   HTTP/2 from here on
//! ```

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use hmac::{Hmac, KeyInit as _, Mac as _};
use liandong_proto::id::{hex, unhex};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::ReceiverStream;

use super::local::{Incoming, Stream};
use crate::now::random;
use crate::trust::{bounded, limits};

const GREETING: &[u8; 16] = b"liandong local 1";
const BYTES: usize = 32;

type Secret = [u8; BYTES];

fn mac(secret: &Secret, who: &str, command: &[u8], site: &[u8]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256>>::new_from_slice(secret).expect("HMAC takes keys of any length");
    for part in [who.as_bytes(), command, site] {
        mac.update(part);
    }
    mac
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, what)
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limits::HANDSHAKE, work).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// Connects to the site that has written the file.
///
/// # Errors
/// When there is none, or somebody else listens there.
pub(super) async fn connect(file: &Path) -> io::Result<Stream> {
    let text = std::fs::read_to_string(file)?;
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the file does not say where the port is");
    let (address, secret) = text.trim().split_once('\n').ok_or_else(wrong)?;
    let address: SocketAddr = address.trim().parse().map_err(|_| wrong())?;
    let secret = unhex(secret.trim().as_bytes()).and_then(|secret| secret.try_into().ok());
    let secret: Secret = secret.ok_or_else(wrong)?;
    let stream = in_time(async move {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let command: [u8; BYTES] = random();
        stream.write_all(&[GREETING.as_slice(), &command].concat()).await?;
        let mut answer = [0; 2 * BYTES];
        stream.read_exact(&mut answer).await?;
        let (site, proof) = answer.split_at(BYTES);
        let known = mac(&secret, "site", &command, site).verify_slice(proof);
        known.map_err(|_| refused("another program listens where this site did"))?;
        stream.write_all(&mac(&secret, "command", &command, site).finalize().into_bytes()).await?;
        Ok(stream)
    });
    Ok(Box::new(stream.await?))
}

async fn admit(mut stream: TcpStream, secret: &Secret) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let mut hello = [0; GREETING.len() + BYTES];
    stream.read_exact(&mut hello).await?;
    let (greeting, command) = hello.split_at(GREETING.len());
    if greeting != GREETING {
        return Err(refused("no greeting"));
    }
    let site: [u8; BYTES] = random();
    let proof = mac(secret, "site", command, &site).finalize().into_bytes();
    stream.write_all(&[site.as_slice(), &proof].concat()).await?;
    let mut answer = [0; BYTES];
    stream.read_exact(&mut answer).await?;
    mac(secret, "command", command, &site).verify_slice(&answer).map_err(|_| refused("a wrong proof"))?;
    Ok(stream)
}

/// Binds a port and writes address and secret, both new, into the file.
///
/// # Errors
/// When one of the two cannot be done.
pub(super) async fn bind(file: &Path) -> io::Result<Incoming> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let secret: Secret = random();
    let text = format!("{}\n{}\n", listener.local_addr()?, hex(&secret));
    crate::trust::membership::replace(file, text.as_bytes())?;
    let (accepted, connections) = mpsc::channel(1);
    tokio::spawn(accept(listener, secret, accepted));
    Ok(Box::pin(ReceiverStream::new(connections)))
}

/// Those on their way to prove that they know the secret: past a number the oldest gives way.
async fn accept(listener: TcpListener, secret: Secret, accepted: mpsc::Sender<io::Result<Stream>>) {
    let mut coming: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let connection = tokio::select! {
            connection = listener.accept() => connection,
            () = accepted.closed() => return,
        };
        let Ok((stream, _)) = connection.inspect_err(|error| tracing::warn!(%error, "cannot accept")) else {
            tokio::time::sleep(bounded::AFTER_ERROR).await;
            continue;
        };
        coming.retain(|task| !task.is_finished());
        if coming.len() >= limits::LOOPBACK_HANDSHAKES {
            tokio::time::sleep(limits::HANDSHAKE_PAUSE).await;
            coming.pop_front().inspect(AbortHandle::abort);
        }
        let accepted = accepted.clone();
        let task = tokio::spawn(async move {
            match in_time(admit(stream, &secret)).await {
                // Who has proved it gives way to nobody.
                Ok(stream) => drop(tokio::spawn(async move {
                    let _ = accepted.send(Ok(Box::new(stream) as Stream)).await;
                })),
                Err(error) => tracing::warn!(%error, "a connection to the loopback port was refused"),
            }
        });
        coming.push_back(task.abort_handle());
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn silent_strangers_keep_no_command_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("port");
        let mut incoming = bind(&file).await.expect("a port");
        let text = std::fs::read_to_string(&file).expect("written");
        let address = text.lines().next().expect("an address");
        let mut strangers = Vec::new();
        for _ in 0..2 * limits::LOOPBACK_HANDSHAKES {
            strangers.push(TcpStream::connect(address).await.expect("connected"));
        }
        let _command = connect(&file).await.expect("it gets in");
        let admitted = tokio::time::timeout(limits::HANDSHAKE, incoming.next()).await;
        assert!(admitted.is_ok_and(|it| it.is_some_and(|it| it.is_ok())));
    }
}
