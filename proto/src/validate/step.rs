//! Which status may follow which, and which party may make the step.

use crate::format::Fault;
use crate::schema::{Enum, Kind, Party, Step, Type};

use super::Problem;

/// A record cannot start like this.
pub const START: Fault = Fault::new(
    "step.start",
    "新记录不能从这个状态开始，请选择起始状态",
    "a record cannot start with this status; choose one it may start with",
);
/// The one status does not follow the other.
pub const ORDER: Fault = Fault::new(
    "step.order",
    "目前的状态不能直接变为这个状态，请按流程逐步办理",
    "this status does not follow the present one; take the steps in between",
);
/// The step is another party's.
pub const PARTY: Fault = Fault::new(
    "step.party",
    "这一步不由本单位办理，请交由有权办理的一方",
    "this step is another party's to make; ask them",
);
/// A status that this schema does not have.
pub const UNKNOWN: Fault = Fault::new(
    "step.unknown",
    "没有这个状态，请升级程序或从列表中选择",
    "no such status; update the program or take one of the list",
);

/// Checks a step of the kind's status. `from` is `None` (or 0) when no status has been given yet; `by` are the parties
/// that the writer is for the record. A kind without a status, and a status that stays, are always right.
///
/// Who may start a record follows from who owns the kind, not from here.
pub fn check_step(kind: &Kind, from: Option<i32>, to: i32, by: &[Party]) -> Result<(), Problem> {
    let Some(field) = kind.status.and_then(|tag| kind.field(tag)) else { return Ok(()) };
    let Type::Enum(statuses) = field.ty else { return Ok(()) };
    judge(statuses, from.filter(|from| *from != 0), to, by).map_err(|fault| Problem::new(field, fault))
}

/// Whether some status leads to `to` by a step that one of `by` may make: all that can be said when the status from
/// which the writer stepped is not known.
pub fn reachable_by(kind: &Kind, to: i32, by: &[Party]) -> bool {
    let field = kind.status.and_then(|tag| kind.field(tag));
    let Some(Type::Enum(statuses)) = field.map(|field| field.ty) else { return false };
    statuses.value(to).is_some_and(|value| value.follows.iter().any(|step| may(step, by)))
}

fn judge(statuses: &Enum, from: Option<i32>, to: i32, by: &[Party]) -> Result<(), Fault> {
    let next = statuses.value(to).ok_or(UNKNOWN)?;
    let Some(from) = from else { return if next.initial { Ok(()) } else { Err(START) } };
    if from == to {
        return Ok(());
    }
    statuses.value(from).ok_or(UNKNOWN)?;
    let mut steps = next.follows.iter().filter(|step| step.from == from).peekable();
    if steps.peek().is_none() {
        return Err(ORDER);
    }
    if steps.any(|step| may(step, by)) { Ok(()) } else { Err(PARTY) }
}

fn may(step: &Step, by: &[Party]) -> bool {
    match step.by {
        Party::Shared => {
            by.iter().any(|party| matches!(party, Party::Shared | Party::Home | Party::Province))
        }
        party => by.contains(&party),
    }
}
