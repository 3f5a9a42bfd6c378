//! A slow and lossy line between two hosts: datagrams of their tunnel pass through this process, which lets them wait, keeps
//! them to a rate, and loses some. TCP on top of it is the system's own.

use std::ffi::OsString;
use std::io::{self, BufRead as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::roster::SplitMix64;

/// Subcommand that stands for this process; a [`Setup`] as JSON follows.
pub const AIR: &str = "line-air";
/// More than this waits for its turn nowhere: it is lost.
const BACKLOG: Duration = Duration::from_secs(1);
const DATAGRAM: usize = 64 << 10;

/// How bad the line is. Both ways alike.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weather {
    /// Thousands of bits a second.
    pub rate_kbit: u64,
    /// There and back, in milliseconds.
    pub delay_ms: u64,
    /// How many of a thousand datagrams are lost.
    pub loss_permille: u64,
    /// Decides which.
    pub seed: u64,
}

/// What the process is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    pub weather: Weather,
    /// Where each end's datagrams come in, and where they are sent on to.
    pub ends: [(SocketAddr, SocketAddr); 2],
}

/// What has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Datagrams that came in.
    pub datagrams: u64,
    /// Those among them that went nowhere.
    pub lost: u64,
    /// Bytes of the others, with the headers of the tunnel.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Counts {
    datagrams: AtomicU64,
    lost: AtomicU64,
    bytes: AtomicU64,
}

/// Carries datagrams until standard input ends; each line on it is answered with a [`Carried`].
pub fn serve(setup: Option<&OsString>) -> ExitCode {
    let setup = setup.and_then(|setup| serde_json::from_str(setup.to_str()?).ok());
    let Some(setup) = setup else { return ExitCode::from(2) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(carry(setup))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{}", json!({ "error": error.to_string() }));
            ExitCode::FAILURE
        }
    }
}

async fn carry(setup: Setup) -> io::Result<()> {
    let counts = Arc::<Counts>::default();
    let [one, other] = setup.ends;
    let (first, second) =
        (Arc::new(UdpSocket::bind(one.0).await?), Arc::new(UdpSocket::bind(other.0).await?));
    let way = |from: &Arc<UdpSocket>, to: &Arc<UdpSocket>, end: SocketAddr, seed: u64| {
        let random = SplitMix64::of(&[setup.weather.seed, seed]);
        tokio::spawn(one_way(
            Arc::clone(from),
            Arc::clone(to),
            end,
            setup.weather,
            random,
            Arc::clone(&counts),
        ));
    };
    way(&first, &second, other.1, 1);
    way(&second, &first, one.1, 2);
    println!("{}", json!({ "ready": true }));
    let (asked, mut asks) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if line.is_err() || asked.send(()).is_err() {
                break;
            }
        }
    });
    while asks.recv().await.is_some() {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { datagrams, lost, bytes } = &*counts;
        let carried = Carried { datagrams: read(datagrams), lost: read(lost), bytes: read(bytes) };
        println!("{}", json!(carried));
    }
    Ok(())
}

async fn one_way(
    from: Arc<UdpSocket>,
    to: Arc<UdpSocket>,
    end: SocketAddr,
    weather: Weather,
    mut random: SplitMix64,
    counts: Arc<Counts>,
) {
    let (comes, mut waiting) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((at, datagram)) = waiting.recv().await {
            tokio::time::sleep_until(at).await;
            // One that cannot be sent on is lost, as on any line.
            let _ = to.send_to(&datagram, end).await;
        }
    });
    let mut buffer = vec![0; DATAGRAM];
    let mut free_at = Instant::now();
    while let Ok((length, _)) = from.recv_from(&mut buffer).await {
        counts.datagrams.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let lost = random.next() % 1_000 < weather.loss_permille;
        if lost || free_at > now + BACKLOG {
            counts.lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        counts.bytes.fetch_add(length as u64, Ordering::Relaxed);
        let takes = Duration::from_micros(length as u64 * 8_000 / weather.rate_kbit.max(1));
        free_at = free_at.max(now) + takes;
        let mut datagram = buffer[..length].to_vec();
        sum_up(&mut datagram);
        let _ = comes.send((free_at + Duration::from_millis(weather.delay_ms / 2), datagram));
    }
}

/// Writes the checksum of a TCP segment in a datagram of the tunnel: between two interfaces of one machine nobody does.
fn sum_up(datagram: &mut [u8]) {
    const TUNNEL: usize = 8;
    const ETHERNET: usize = 14;
    let frame = datagram.get_mut(TUNNEL..).and_then(|frame| frame.split_at_mut_checked(ETHERNET));
    let Some((frame, packet)) = frame else { return };
    if frame[12..] != [0x08, 0x00] || packet.len() < 20 || packet[9] != 6 {
        return;
    }
    let header = usize::from(packet[0] & 15) * 4;
    let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let addresses = packet[12..20].to_vec();
    let Some(segment) = packet.get_mut(header..length).filter(|segment| segment.len() >= 20) else { return };
    segment[16..18].fill(0);
    let pseudo = [&addresses[..], &[0, 6], &(segment.len() as u16).to_be_bytes()].concat();
    let mut sum: u32 = 0;
    for word in pseudo.chunks(2).chain(segment.chunks(2)) {
        sum += u32::from(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    segment[16..18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_segment_makes_its_sum_come_out() {
        let mut datagram = vec![0; 20];
        datagram.extend([0x08, 0x00]);
        datagram.extend([0x45, 0, 0, 43, 0, 0, 0, 0, 64, 6, 0, 0, 10, 78, 0, 1, 10, 78, 0, 2]);
        datagram.extend([0x1f, 0x90, 0x9c, 0x40, 0, 0, 0, 1, 0, 0, 0, 2]);
        datagram.extend([0x50, 0x18, 1, 0, 0xab, 0xcd, 0, 0, 7, 8, 9]);
        sum_up(&mut datagram);
        let segment = &datagram[42..];
        let word = |word: &[u8]| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
        let pseudo = [0x0a4e, 0x0001, 0x0a4e, 0x0002, 6, segment.len() as u32];
        let sum: u32 = segment.chunks(2).map(word).chain(pseudo).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
