//! A line between the cities and the hub: a relay on this machine that counts what passes, and cuts.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

/// So much is passed on at once.
const PIECE: usize = 2_048;

/// What has passed over a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Bytes towards the hub.
    pub up: u64,
    /// Bytes towards the cities.
    pub down: u64,
    /// Connections.
    pub connections: u64,
    /// Connections that were cut.
    pub cuts: u64,
}

#[derive(Debug, Default)]
struct Counts {
    up: AtomicU64,
    down: AtomicU64,
    connections: AtomicU64,
    cuts: AtomicU64,
    /// After so many bytes, both ways together, the connection that passes them is cut.
    cut_at: Mutex<VecDeque<u64>>,
}

impl Counts {
    /// How much of a piece passes, and whether the connection is cut behind it.
    fn pass(&self, to_hub: bool, bytes: usize) -> (usize, bool) {
        let mut cut_at = self.cut_at.lock().unwrap_or_else(PoisonError::into_inner);
        let so_far = self.up.load(Ordering::Relaxed) + self.down.load(Ordering::Relaxed);
        let left = cut_at.front().map(|at| at.saturating_sub(so_far));
        let cut = left.is_some_and(|left| left <= bytes as u64);
        let passes = if cut { left.unwrap_or_default() as usize } else { bytes };
        let direction = if to_hub { &self.up } else { &self.down };
        direction.fetch_add(passes as u64, Ordering::Relaxed);
        if cut {
            cut_at.pop_front();
            self.cuts.fetch_add(1, Ordering::Relaxed);
        }
        (passes, cut)
    }
}

/// A line; it is down until it is said where it leads.
#[derive(Debug)]
pub struct Line {
    /// Where cities reach it.
    pub address: String,
    to: watch::Sender<Option<String>>,
    counts: Arc<Counts>,
    /// When the last connection came, if one has.
    came: watch::Receiver<Option<Instant>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Line {
    /// A line on the loopback interface.
    ///
    /// # Errors
    /// [`io::Error`].
    pub async fn new() -> io::Result<Line> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (to, leads) = watch::channel(None);
        let counts = Arc::<Counts>::default();
        let counting = Arc::clone(&counts);
        let (comes, came) = watch::channel(None);
        let accepting = tokio::spawn(async move {
            while let Ok((city, _)) = listener.accept().await {
                // Nobody is there while the line is down: the connection ends at once.
                let Some(address) = leads.borrow().clone() else { continue };
                comes.send_replace(Some(Instant::now()));
                tokio::spawn(carry(city, address, leads.clone(), Arc::clone(&counting)));
            }
        });
        Ok(Line { address, to, counts, came, accepting })
    }

    /// Brings the line up, towards a host and port.
    pub fn up(&self, address: &str) {
        self.to.send_replace(Some(address.to_owned()));
    }

    /// Takes the line down, with everything that runs over it.
    pub fn down(&self) {
        self.to.send_replace(None);
    }

    /// Cuts the connection that passes each of these amounts of bytes from now on, ascending.
    pub fn cut_after(&self, amounts: impl Iterator<Item = u64>) {
        let passed = self.passed();
        let now = passed.up + passed.down;
        let mut cut_at = self.counts.cut_at.lock().unwrap_or_else(PoisonError::into_inner);
        *cut_at = amounts.map(|amount| now + amount).collect();
    }

    /// When the next connection comes.
    pub fn next_connection(&self) -> impl Future<Output = Option<Instant>> + use<> {
        let mut came = self.came.clone();
        came.mark_unchanged();
        async move {
            came.changed().await.ok()?;
            *came.borrow()
        }
    }

    /// What has passed so far.
    pub fn passed(&self) -> Passed {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { up, down, connections, cuts, .. } = &*self.counts;
        Passed { up: read(up), down: read(down), connections: read(connections), cuts: read(cuts) }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
        self.down();
    }
}

async fn carry(
    city: TcpStream,
    address: String,
    mut leads: watch::Receiver<Option<String>>,
    counts: Arc<Counts>,
) {
    let Ok(hub) = TcpStream::connect(&address).await else { return };
    // Nothing waits on the line for more to come.
    let _ = (city.set_nodelay(true), hub.set_nodelay(true));
    counts.connections.fetch_add(1, Ordering::Relaxed);
    let ((from_city, to_city), (from_hub, to_hub)) = (city.into_split(), hub.into_split());
    let is_down = leads.wait_for(Option::is_none);
    tokio::select! {
        _ = pass(from_city, to_hub, true, &counts) => {}
        _ = pass(from_hub, to_city, false, &counts) => {}
        _ = is_down => {}
    }
}

/// Passes on what comes, until either side ends or the line is cut: both halves are dropped then, and so are the others.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    to_hub: bool,
    counts: &Counts,
) -> io::Result<()> {
    let mut piece = [0; PIECE];
    loop {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        let (passes, cut) = counts.pass(to_hub, read);
        to.write_all(&piece[..passes]).await?;
        if cut {
            return Ok(());
        }
    }
}
