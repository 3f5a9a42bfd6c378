//! `record delete`.

use bytes::Bytes;
use liandong_proto::pb::node::v1 as pb;

use super::{exit_of, find_for, id_of, kind_of, problem_lines, result_json};
use crate::cli::door::Door;
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::say;

/// Arguments of `record delete`.
#[derive(Debug, clap::Args)]
pub struct DeleteArgs {
    /// 记录编号 · Id of the record
    pub id: String,
    /// 记录种类；不写则逐类查找 · Kind of record; all are searched unless given
    #[arg(long)]
    pub kind: Option<String>,
    /// 只在记录仍是这一版本时删除 · Only while the record still has this version
    #[arg(long, value_name = "VERSION")]
    pub expect: Option<String>,
}

/// Deletes a record; its history stays.
///
/// # Errors
/// [`Failure`].
pub async fn run(door: &Door, args: &DeleteArgs, author: &str, screen: &Screen) -> Result<Exit, Failure> {
    let kind = args.kind.as_deref().map(kind_of).transpose()?;
    let id = id_of(&args.id)?;
    let (kind, _) = find_for(door, kind, id, &door.caller().doing("delete")).await?;
    let request = pb::DeleteRequest {
        kind: kind.number,
        record: Bytes::copy_from_slice(&id.0),
        expected_version: args.expect.clone().unwrap_or_default(),
        author: author.to_owned(),
    };
    let result = door.records().delete(request).await?.into_inner();
    screen.answer(&result_json(&result), || {
        let said = if result.problems.is_empty() {
            say!("已删除 {id}；历史仍保留", "deleted {id}; its history stays")
        } else {
            let lines = problem_lines(&result.problems, screen);
            say!("没有删除：\n  {lines}", "not deleted:\n  {lines}")
        };
        said.in_lang(screen.lang).to_owned()
    })?;
    Ok(exit_of(&result.problems))
}
