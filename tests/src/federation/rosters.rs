//! Which rosters there are: made up from the seed, or the user's own.

use std::fs;
use std::path::{Path, PathBuf};

use liandong_node::cli::exit::Failure;
use liandong_node::cli::screen::Screen;
use liandong_node::say;
use liandong_node::text::Said;
use liandong_proto::city::city;
use liandong_proto::id::SiteCode;

use super::Args;
use crate::roster::Plan;

/// One city's roster.
#[derive(Debug, Clone)]
pub struct Roster {
    /// Whose.
    pub city: SiteCode,
    /// The CSV file.
    pub path: PathBuf,
}

/// Writes rosters into `dir`, or finds those of the user.
pub fn find(args: &Args, dir: &Path, screen: &Screen) -> Result<Vec<Roster>, Failure> {
    match &args.rosters {
        Some(own) => {
            let Found { rosters, others } = found(own)?;
            if !others.is_empty() {
                screen.note(&left_out(&others));
            }
            Ok(rosters)
        }
        None => made(args, &dir.join("rosters")),
    }
}

/// The directory that holds them.
pub fn place(rosters: &[Roster], dir: &Path) -> String {
    rosters.first().and_then(|roster| roster.path.parent()).unwrap_or(dir).display().to_string()
}

fn made(args: &Args, dir: &Path) -> Result<Vec<Roster>, Failure> {
    let cities = args.cities as usize;
    let plan = Plan { cities, members: cities * args.members as usize, seed: args.seed };
    let written = plan.write(dir).map_err(|error| Failure::internal(say!("{error}", "{error}")))?;
    Ok(written.into_iter().map(|roster| Roster { city: roster.code, path: roster.path }).collect())
}

/// What lies in the user's directory.
#[derive(Debug)]
struct Found {
    rosters: Vec<Roster>,
    /// Names of files that no city's code names.
    others: Vec<String>,
}

fn found(dir: &Path) -> Result<Found, Failure> {
    let failed = |error| Failure::file(dir, &error);
    let dir = dir.canonicalize().map_err(failed)?;
    let (mut rosters, mut others) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(&dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        match city_of(&path) {
            Some(city) => rosters.push(Roster { city, path }),
            None => {
                // Hidden files are the system's own.
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                others.extend(name.filter(|name| !name.starts_with('.')));
            }
        }
    }
    if rosters.is_empty() {
        let dir = dir.display();
        return Err(Failure::usage(say!(
            "{dir} 中没有以城市代码命名的花名册；请命名为 440100.csv 这样的文件名",
            "{dir} holds no roster that is named by a city code; name them like 440100.csv"
        )));
    }
    rosters.sort_by_key(|roster| roster.city);
    others.sort();
    Ok(Found { rosters, others })
}

/// The city whose code names a CSV file.
fn city_of(path: &Path) -> Option<SiteCode> {
    let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let name = path.file_stem().and_then(|name| name.to_str()).filter(|_| is_csv)?;
    name.parse().ok().map(SiteCode).filter(|code| city(*code).is_some())
}

fn left_out(others: &[String]) -> Said {
    let (zh, en) = (others.join("、"), others.join(", "));
    say!(
        "这些文件不以城市代码命名，没有导入：{zh}。要导入请命名为 440100.csv 这样的文件名",
        "these are not named by a city code and left out: {en}. To import them name them like 440100.csv"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_rosters_are_found_by_city_code() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(found(dir.path()).is_err());
        for name in
            ["440300.csv", "440100.CSV", "440000.csv", "999999.csv", "440200.txt", "notes.csv", ".hidden"]
        {
            fs::write(dir.path().join(name), "姓名\n").expect("a file");
        }
        let Found { rosters, others } = found(dir.path()).expect("rosters");
        let cities: Vec<u32> = rosters.iter().map(|roster| roster.city.0).collect();
        assert_eq!(cities, [440_100, 440_300]);
        assert_eq!(others, ["440000.csv", "440200.txt", "999999.csv", "notes.csv"]);
        let said = left_out(&others);
        assert!(said.zh.contains("440000.csv、440200.txt") && said.en.contains("notes.csv"), "{said}");
    }
}
