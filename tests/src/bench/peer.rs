//! A child process that answers questions: one JSON text a line on its standard input and output.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::BenchError;

/// The answer of a child.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer<T> {
    Done(T),
    Failed(String),
}

/// A child, as the parent sees it. It ends with this value.
#[derive(Debug)]
pub struct Peer {
    name: String,
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a child: this program with a hidden subcommand and its setup.
    pub fn start(name: &str, subcommand: &str, setup: &impl Serialize) -> Result<Peer, BenchError> {
        let program = std::env::current_exe().map_err(BenchError::io("this program's path"))?;
        let mut child = Command::new(program)
            .arg(subcommand)
            .arg(text(setup))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(BenchError::io(name))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(BenchError::Child { name: name.into(), why: "it has no pipes".into() });
        };
        Ok(Peer { name: name.into(), child, to, from: BufReader::new(from) })
    }

    /// Asks something; [`Peer::hear`] gives the answer.
    pub fn tell(&mut self, ask: &impl Serialize) -> Result<(), BenchError> {
        let told = writeln!(self.to, "{}", text(ask)).and_then(|()| self.to.flush());
        told.map_err(BenchError::io(&self.name))
    }

    /// Waits for the answer to the oldest question that has none yet.
    pub fn hear<T: DeserializeOwned>(&mut self) -> Result<T, BenchError> {
        let mut line = String::new();
        self.from.read_line(&mut line).map_err(BenchError::io(&self.name))?;
        let why = match serde_json::from_str(&line) {
            Ok(Answer::Done(answer)) => return Ok(answer),
            Ok(Answer::Failed(why)) => why,
            Err(_) if line.is_empty() => "the process has ended".into(),
            Err(error) => format!("an answer that cannot be read: {error}"),
        };
        Err(BenchError::Child { name: self.name.clone(), why })
    }

    /// Asks and waits for the answer.
    pub fn ask<T: DeserializeOwned>(&mut self, ask: &impl Serialize) -> Result<T, BenchError> {
        self.tell(ask)?;
        self.hear()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // One that has ended already is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("questions and answers have a JSON form")
}

/// What a child does with its setup and its questions.
pub trait Answers: Sized {
    /// What the parent says at the start.
    type Setup: DeserializeOwned;
    /// What it asks.
    type Ask: DeserializeOwned;

    /// Gets ready.
    fn begin(setup: Self::Setup) -> Result<Self, BenchError>;

    /// Answers one question.
    fn answer(&mut self, ask: Self::Ask) -> Result<serde_json::Value, BenchError>;
}

/// The life of a child: answers until the parent closes the pipe.
pub fn serve<C: Answers>(setup: Option<&OsString>) -> ExitCode {
    let setup = setup.and_then(|text| serde_json::from_str(text.to_str()?).ok());
    let Some(setup) = setup else { return ExitCode::from(2) };
    let mut child = C::begin(setup);
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let answered = match (&mut child, serde_json::from_str(&line)) {
            (Ok(child), Ok(ask)) => child.answer(ask).map_err(|error| error.to_string()),
            (Err(error), _) => Err(error.to_string()),
            (_, Err(error)) => Err(error.to_string()),
        };
        let answer = match answered {
            Ok(value) => Answer::Done(value),
            Err(why) => Answer::Failed(why),
        };
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{}", text(&answer)).and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}
