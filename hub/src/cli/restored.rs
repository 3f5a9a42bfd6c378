//! `restored` and `city confirm`: a hub that was put back from a backup.

use liandong_node::cli::ask::sure;
use liandong_node::cli::door::Door;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::table::{Table, moment};
use liandong_node::json::site_text;
use liandong_node::say;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::hub::v1::hub_client::HubClient;
use liandong_proto::pb::hub::v1::{CitiesRequest, City, ConfirmRequest, RestoredRequest};
use liandong_proto::pb::log::v1::city_row::Standing;
use serde_json::json;

use super::Setup;

/// Flags of `city confirm`.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfirmArgs {
    /// 已核对名单，不再询问 · The list was looked at; do not ask
    #[arg(long)]
    yes: bool,
}

/// Says that the hub was restored from a backup.
///
/// # Errors
/// [`Failure`].
pub async fn restored(door: &Door, setup: &Setup) -> Result<Exit, Failure> {
    HubClient::new(door.channel()).restored(RestoredRequest { author: setup.author.clone() }).await?;
    setup.screen.answer(&json!({ "unconfirmed": true }), || {
        let said = say!(
            "已记下：本枢纽由备份恢复。此前的邀请码全部作废，各市暂不能同步\n\
             下一步：核对停用名单，然后 liandong-hub city confirm",
            "noted: this hub was restored from a backup. All invitations so far are void, and no city syncs for now\n\
             Next: look at who is cut off, then liandong-hub city confirm"
        );
        said.in_lang(setup.screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}

/// Shows who is cut off and who is a member, has that confirmed, and lets cities in again.
///
/// # Errors
/// [`Failure`].
pub async fn confirm(door: &Door, args: &ConfirmArgs, setup: &Setup) -> Result<Exit, Failure> {
    let screen = &setup.screen;
    let mut client = HubClient::new(door.channel());
    let answer = client.cities(CitiesRequest {}).await?.into_inner();
    if answer.unconfirmed_since_ms == 0 {
        return Err(Failure::usage(say!(
            "没有需要确认的：本枢纽没有由备份恢复过，或已经确认",
            "there is nothing to confirm: this hub was not restored from a backup, or that was confirmed already"
        )));
    }
    let standing = |city: &City| Standing::try_from(city.standing as i32).unwrap_or_default();
    let cut_off = |city: &&City| matches!(standing(city), Standing::Revoked | Standing::Retired);
    let is_member = |city: &&City| standing(city) == Standing::Member;
    if !screen.json {
        let since = moment(answer.unconfirmed_since_ms);
        let lang = screen.lang;
        let mut table = Table::new(lang.pick(["城市", "成员", "说明"], ["city", "member", "remarks"]));
        for city in answer.cities.iter().filter(cut_off) {
            let word = match standing(city) {
                Standing::Retired => lang.pick("已退出", "left"),
                _ => lang.pick("已停用", "cut off"),
            };
            table.row([site_text(SiteCode(city.site), lang), word.to_owned(), city.reason.clone()]);
        }
        for city in answer.cities.iter().filter(is_member) {
            let until = moment(city.certificate_until_ms);
            let until = lang.pick(format!("证书至 {until}"), format!("certificate until {until}"));
            table.row([site_text(SiteCode(city.site), lang), lang.pick("是", "yes").to_owned(), until]);
        }
        screen.note(&say!(
            "本枢纽由备份恢复（{since} 发现）。备份之后停用的城市可能又被列为成员：请对照审计日志和文书核对。\n\
             若有应停用而未停用的，先运行 city revoke。",
            "this hub was restored from a backup (noticed {since}). A city that was cut off after the backup may stand here \
             as a member again: compare with the audit log and your papers.\n\
             Where one should be cut off and is not, run city revoke first."
        ));
        let listed = table.render().trim_end().to_owned();
        screen.note(&say!("{listed}", "{listed}"));
    }
    sure(
        args.yes,
        &say!("名单无误、让各市恢复同步？", "Is the list right, and may cities sync again?"),
        screen,
    )?;
    client.confirm(ConfirmRequest { author: setup.author.clone() }).await?;
    let sites =
        |cities: Vec<&City>| cities.iter().map(|it| SiteCode(it.site).to_string()).collect::<Vec<_>>();
    let json = json!({
        "confirmed": true,
        "cut_off": sites(answer.cities.iter().filter(cut_off).collect()),
        "members": sites(answer.cities.iter().filter(is_member).collect()),
    });
    screen.answer(&json, || {
        let said = say!(
            "已确认，各市可以同步；需要加入的城市请重新邀请",
            "confirmed, cities may sync; invite those anew that were to join"
        );
        said.in_lang(screen.lang).to_owned()
    })?;
    Ok(Exit::Done)
}
