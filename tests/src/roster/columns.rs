//! The columns of a roster: headers as the cities write them, and what each cell says.

use super::person::Person;
use super::random::SplitMix64;
use super::spelling::Style;

/// One column of a city's roster.
#[derive(Debug, Clone)]
pub struct Column {
    /// Name of the field in the schema's member record; empty for the running number.
    pub field: &'static str,
    /// What the first line says.
    pub header: &'static str,
    /// The cell before it is written out.
    pub cell: fn(&Person, &Style) -> String,
}

/// The columns of a city: those that every roster has, some of the others, in an order of its own.
pub fn columns(random: &mut SplitMix64) -> Vec<Column> {
    let mut columns: Vec<Column> = KNOWN
        .iter()
        .filter(|known| known.always || random.chance(450))
        .map(|known| Column { field: known.field, header: "", cell: known.cell })
        .collect();
    for column in &mut columns {
        let known = KNOWN.iter().find(|known| known.field == column.field);
        column.header = random.pick(known.map_or(&[""], |known| known.headers));
    }
    random.shuffle(&mut columns);
    columns
}

struct Known {
    field: &'static str,
    /// Headers that mean this field and no other.
    headers: &'static [&'static str],
    always: bool,
    cell: fn(&Person, &Style) -> String,
}

const fn always(
    field: &'static str,
    headers: &'static [&'static str],
    cell: fn(&Person, &Style) -> String,
) -> Known {
    Known { field, headers, always: true, cell }
}

const fn sometimes(
    field: &'static str,
    headers: &'static [&'static str],
    cell: fn(&Person, &Style) -> String,
) -> Known {
    Known { field, headers, always: false, cell }
}

static KNOWN: &[Known] = &[
    always("name", &["姓名", "会员姓名", "中文姓名", "姓 名", "社工姓名"], |p, _| {
        p.name.clone()
    }),
    always("sex", &["性别", "性 别"], |p, s| s.sex(p.sex)),
    always("birth_date", &["出生日期", "出生年月", "出生年月日", "生日"], |p, s| {
        s.birth(&p.birth_date)
    }),
    always(
        "id_number",
        &["身份证号", "身份证号码", "身份证", "公民身份号码", "居民身份证号码"],
        |p, _| p.id_number.clone(),
    ),
    always("mobile", &["手机", "手机号", "手机号码", "移动电话", "联系电话"], |p, _| {
        p.mobile.clone()
    }),
    always(
        "employer",
        &["工作单位", "所在单位", "单位名称", "服务机构", "所在机构", "任职机构"],
        |p, _| p.employer.clone(),
    ),
    always(
        "qualification_level",
        &["证书等级", "职业水平", "资格等级", "社工证等级", "职业资格"],
        |p, s| s.qualification(p.qualification_level),
    ),
    always(
        "certificate_no",
        &["证书编号", "证书管理号", "资格证书号", "社工证号"],
        |p, _| p.certificate_no.clone(),
    ),
    always("member_no", &["会员编号", "会员号", "会员证号"], |p, _| p.member_no.clone()),
    always("joined_on", &["入会时间", "入会日期", "首次入会时间"], |p, s| {
        s.joined(&p.joined_on)
    }),
    always("status", &["会员状态", "会籍状态"], |p, _| p.status.to_owned()),
    always("tier", &["会员级别", "会员等级"], |p, _| p.tier.to_owned()),
    always("member_type", &["会员类型", "会员类别", "会员种类"], |p, _| p.member_type.to_owned()),
    sometimes("id_type", &["证件类型", "证件种类"], |p, _| p.id_type.to_owned()),
    sometimes("email", &["邮箱", "电子邮箱", "电子邮件"], |p, _| p.email.clone()),
    sometimes("address", &["通讯地址", "联系地址", "现住址"], |p, _| p.address.clone()),
    sometimes("ethnicity", &["民族"], |p, _| p.ethnicity.to_owned()),
    sometimes("education", &["学历", "最高学历", "文化程度"], |p, _| p.education.to_owned()),
    sometimes("school", &["毕业院校", "毕业学校"], |p, _| p.school.to_owned()),
    sometimes("major", &["专业", "所学专业"], |p, _| p.major.to_owned()),
    sometimes("employer_uscc", &["统一社会信用代码", "信用代码"], |p, _| p.employer_uscc.clone()),
    sometimes("post", &["职务", "岗位", "职位"], |p, _| p.post.to_owned()),
    sometimes("service_field", &["服务领域", "专业领域"], |p, _| p.service_field.to_owned()),
    sometimes("certificate_date", &["发证日期", "取得证书时间", "批准日期"], |p, s| {
        s.exact(&p.certificate_date)
    }),
    sometimes("registration_no", &["登记号", "登记证号", "登记编号"], |p, _| {
        p.registration_no.clone()
    }),
    sometimes("registered_from", &["首次登记时间", "登记日期", "登记时间"], |p, s| {
        s.exact(&p.registered_from)
    }),
    sometimes("registered_to", &["登记有效期", "有效期至", "登记到期日"], |p, s| {
        s.exact(&p.registered_to)
    }),
    sometimes("cpd_hours", &["继续教育学时", "累计学时", "学时"], |p, _| p.cpd_hours.clone()),
    sometimes("dues_paid_to", &["会费缴纳至", "已缴至"], |p, _| p.dues_paid_to.clone()),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_roster_can_be_told_apart_by_header() {
        for seed in 0..200 {
            let columns = columns(&mut SplitMix64::new(seed));
            let headers: HashSet<&str> = columns.iter().map(|column| column.header).collect();
            assert_eq!(headers.len(), columns.len(), "seed {seed}");
            assert!(!headers.contains(""));
            for field in ["name", "id_number", "mobile", "member_no"] {
                assert!(columns.iter().any(|column| column.field == field), "seed {seed}: no {field}");
            }
        }
    }

    #[test]
    fn cities_differ_in_headers_and_order() {
        let lines: HashSet<String> = (0..21)
            .map(|seed| columns(&mut SplitMix64::new(seed)).iter().map(|column| column.header).collect())
            .collect();
        assert_eq!(lines.len(), 21);
    }

    #[test]
    fn no_header_means_two_fields() {
        let mut seen = HashSet::new();
        assert!(KNOWN.iter().flat_map(|known| known.headers).all(|header| seen.insert(header)));
    }
}
