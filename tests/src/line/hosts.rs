//! Two hosts on this machine, the hub's and the cities', in network namespaces of their own. All that connects them is a
//! tunnel whose datagrams pass through [`air`](super::air).
//!
//! ```text
//! hub 10.78.0.1 ── vxlan ── 10.77.1.2 ─ veth ─ 10.77.1.1 │ air │ 10.77.2.1 ─ veth ─ 10.77.2.2 ── vxlan ── 10.78.0.2 cities
//! ```
//!
//! The namespaces belong to a child that has a user namespace of its own, and end with it: nothing of the machine changes,
//! and nothing outside can be reached from there.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::air::{AIR, Carried, Setup, Weather};

/// Where the hub listens; the system chooses the port.
pub const HUB: &str = "10.78.0.1:0";

const SCRIPT: &str = r#"set -e
mount -t tmpfs tmpfs /run
mkdir /run/netns
ip link set lo up
for end in 1 2; do
  ip netns add host$end
  ip link add v$end type veth peer name e0 netns host$end
  ip addr add 10.77.$end.1/24 dev v$end
  ip link set v$end up
  in="ip -n host$end"
  $in link set lo up
  $in addr add 10.77.$end.2/24 dev e0
  $in link set e0 up
  $in link add x0 type vxlan id 7 local 10.77.$end.2 remote 10.77.$end.1 dstport 4789 dev e0
  $in addr add 10.78.0.$end/24 dev x0
  $in link set x0 up gso_max_segs 1
done
exec "$0" "$@""#;

/// The child that holds the namespaces.
#[derive(Debug)]
pub struct Hosts {
    child: Child,
    asks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Hosts {
    /// Makes them; `program` has the hidden subcommands.
    ///
    /// # Errors
    /// Why this machine does not let anybody make them.
    pub async fn new(program: &Path, weather: Weather) -> Result<Hosts, String> {
        let end = |n: u8| {
            let at = |host: u8| format!("10.77.{n}.{host}:4789").parse().expect("an address");
            (at(1), at(2))
        };
        let setup = json!(Setup { weather, ends: [end(1), end(2)] }).to_string();
        let child = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "--mount", "sh", "-c", SCRIPT])
            .args([program.as_os_str(), AIR.as_ref(), setup.as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .process_group(0)
            .spawn();
        let mut child = child.map_err(|error| format!("unshare: {error}"))?;
        let (Some(asks), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the child has no pipes".into());
        };
        let mut answers = BufReader::new(answers).lines();
        let said = answers.next_line().await.ok().flatten().unwrap_or_default();
        if serde_json::from_str::<Value>(&said).is_ok_and(|said| said["ready"] == true) {
            return Ok(Hosts { child, asks, answers });
        }
        let output = child.wait_with_output().await.map_err(|error| error.to_string())?;
        Err(format!("{said} {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// What a command begins with that is to run on the hub's host, or on the cities'.
    pub fn on(&self, is_hub: bool) -> Vec<OsString> {
        let holder = self.child.id().unwrap_or_default().to_string();
        let host = format!("--net=/run/netns/host{}", if is_hub { 1 } else { 2 });
        let words =
            ["nsenter", "--target", &holder, "--user", "--preserve-credentials", "--mount", "nsenter", &host];
        words.iter().map(OsString::from).collect()
    }

    /// What the line has carried so far.
    ///
    /// # Errors
    /// When the child has ended.
    pub async fn carried(&mut self) -> Result<Carried, String> {
        self.asks.write_all(b"\n").await.map_err(|error| error.to_string())?;
        let said = self.answers.next_line().await.ok().flatten().unwrap_or_default();
        serde_json::from_str(&said).map_err(|error| format!("{error}: {said}"))
    }
}
