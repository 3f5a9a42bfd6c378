//! One person as one city knows them: made from the seed, each by itself, in the spelling that records store.

use liandong_proto::city::cities;
use liandong_proto::format::{Date, Day, resident_id, uscc};

use super::names;
use super::plan::{Human, Plan};
use super::random::SplitMix64;

/// A row of a roster before anybody misspelled it. Empty means not known; dates are ISO, choices Chinese labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who it is: equal on both rosters of a person on two.
    pub human: Human,
    /// 姓名.
    pub name: String,
    /// 女 or 男.
    pub sex: &'static str,
    /// `Y-M-D`.
    pub birth_date: String,
    /// 居民身份证.
    pub id_type: &'static str,
    /// 18 characters with a prefecture-level address code, so that nobody real is meant.
    pub id_number: String,
    /// 11 digits.
    pub mobile: String,
    /// Under example.org (RFC 2606).
    pub email: String,
    /// A street that does not exist.
    pub address: String,
    /// 民族.
    pub ethnicity: &'static str,
    /// 学历.
    pub education: &'static str,
    /// 毕业院校.
    pub school: &'static str,
    /// 专业.
    pub major: &'static str,
    /// 工作单位.
    pub employer: String,
    /// 18 characters that fit the employer.
    pub employer_uscc: String,
    /// 岗位.
    pub post: &'static str,
    /// 服务领域.
    pub service_field: &'static str,
    /// 助理社会工作师, 社会工作师, 高级社会工作师 or empty.
    pub qualification_level: &'static str,
    /// Digits with leading zeros; empty without a qualification.
    pub certificate_no: String,
    /// `Y-M-D`.
    pub certificate_date: String,
    /// 登记号.
    pub registration_no: String,
    /// `Y-M-D`.
    pub registered_from: String,
    /// `Y-M-D`, three years after less a day.
    pub registered_to: String,
    /// Whole hours of the registration period.
    pub cpd_hours: String,
    /// Unique within the city.
    pub member_no: String,
    /// 个人会员, 专家会员 or 特邀会员.
    pub member_type: &'static str,
    /// 普通会员, 理事 ….
    pub tier: &'static str,
    /// `Y-M-D`.
    pub joined_on: String,
    /// A year.
    pub dues_paid_to: String,
    /// 会员状态.
    pub status: &'static str,
}

/// The year in which all rosters were handed in; nobody joined or passed an examination later.
pub const ROSTER_YEAR: u16 = 2025;

/// Birth days that occur: 1961 to 2002.
const FIRST_BIRTH_YEAR: u16 = 1961;
const BIRTH_DAYS: usize = 42 * 365;
/// Numbers of one birth day: 500 for women (even), 214 for men (odd), so that seven in ten are women.
const WOMEN_A_DAY: usize = 500;
const MEN_A_DAY: usize = 214;
/// Prime and more than any city has people, so that a multiple of it steps through all numbers before it repeats.
const STRIDE: usize = 6_700_417;

impl Person {
    /// The person as the home city (`city` = `human.home`) or another one has them.
    pub fn new(plan: Plan, city: usize, human: Human, row: usize) -> Self {
        let mut own = SplitMix64::of(&[plan.seed, 1, human.home as u64, human.number as u64]);
        let mut local = SplitMix64::of(&[plan.seed, 2, city as u64, human.home as u64, human.number as u64]);
        let is_guest = city != human.home;
        let (birth, id_number) = birth_and_number(plan, human);
        let is_female = id_number.as_bytes()[16].is_multiple_of(2);
        let mut name = names::name(&mut own, is_female);
        let mut mobile = mobile(&mut own);
        if is_guest && local.chance(350) {
            name = names::variant(&name).unwrap_or(name);
        }
        if is_guest && local.chance(500) {
            mobile = self::mobile(&mut local);
        }
        let joined = local.between(2008.max(usize::from(birth.year()) + 22), usize::from(ROSTER_YEAR)) as u16;
        let (employer, employer_uscc) = employer(&mut local, city, plan.members);
        let account = (b'a' + own.below(26) as u8) as char;
        let mut person = Self {
            human,
            name,
            sex: if is_female { "女" } else { "男" },
            birth_date: birth.to_string(),
            id_type: "居民身份证",
            email: format!("{account}{:05}{:06}@example.org", code(human.home) / 10, human.number),
            id_number,
            mobile,
            address: format!("{}示范路{}号", cities()[city].zh, local.between(1, 999)),
            ethnicity: own.weigh(&[("汉族", 970), ("壮族", 12), ("瑶族", 8), ("畲族", 5), ("回族", 5)]),
            education: own.weigh(&[
                ("本科", 560),
                ("大专", 250),
                ("硕士研究生", 120),
                ("高中", 60),
                ("博士研究生", 10),
            ]),
            school: own.pick(SCHOOLS),
            major: own.weigh(&[
                ("社会工作", 520),
                ("社会学", 110),
                ("心理学", 110),
                ("行政管理", 160),
                ("法学", 100),
            ]),
            employer,
            employer_uscc,
            post: local.weigh(&[
                ("一线社工", 640),
                ("项目主管", 160),
                ("督导", 80),
                ("总干事", 20),
                ("行政", 100),
            ]),
            service_field: local.pick(SERVICE_FIELDS),
            qualification_level: "",
            certificate_no: String::new(),
            certificate_date: String::new(),
            registration_no: String::new(),
            registered_from: String::new(),
            registered_to: String::new(),
            cpd_hours: String::new(),
            member_no: format!("{}{:04}{row:06}", code(city) / 100, joined),
            member_type: local.weigh(&[("个人会员", 970), ("专家会员", 20), ("特邀会员", 10)]),
            tier: local.weigh(&[("普通会员", 960), ("理事", 28), ("常务理事", 10), ("副会长", 2)]),
            joined_on: day(&mut local, joined),
            dues_paid_to: local
                .between(usize::from(joined).max(2022), usize::from(ROSTER_YEAR) + 1)
                .to_string(),
            status: local.weigh(&[("正常", 940), ("失效", 40), ("退会", 20)]),
        };
        if own.chance(860) {
            person.qualify(&mut own, human, birth.year());
        }
        person
    }

    /// (name of the schema's field, value as above) of everything that is known, in no order that matters.
    pub fn cells(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("name", self.name.as_str()),
            ("sex", self.sex),
            ("birth_date", &self.birth_date),
            ("id_type", self.id_type),
            ("id_number", &self.id_number),
            ("mobile", &self.mobile),
            ("email", &self.email),
            ("address", &self.address),
            ("ethnicity", self.ethnicity),
            ("education", self.education),
            ("school", self.school),
            ("major", self.major),
            ("employer", &self.employer),
            ("employer_uscc", &self.employer_uscc),
            ("post", self.post),
            ("service_field", self.service_field),
            ("qualification_level", self.qualification_level),
            ("certificate_no", &self.certificate_no),
            ("certificate_date", &self.certificate_date),
            ("registration_no", &self.registration_no),
            ("registered_from", &self.registered_from),
            ("registered_to", &self.registered_to),
            ("cpd_hours", &self.cpd_hours),
            ("member_no", &self.member_no),
            ("member_type", self.member_type),
            ("tier", self.tier),
            ("joined_on", &self.joined_on),
            ("dues_paid_to", &self.dues_paid_to),
            ("status", self.status),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
    }

    fn qualify(&mut self, own: &mut SplitMix64, human: Human, born: u16) {
        self.qualification_level =
            own.weigh(&[("助理社会工作师", 640), ("社会工作师", 345), ("高级社会工作师", 15)]);
        let passed = own.between(2008.max(usize::from(born) + 22), usize::from(ROSTER_YEAR)) as u16;
        self.certificate_no = format!("{passed}{:05}{:08}", code(human.home) / 10, human.number);
        self.certificate_date = day(own, passed);
        if own.chance(700) {
            let year = own.between(usize::from(passed).max(2023), usize::from(ROSTER_YEAR)) as u16;
            self.registration_no = format!("{year}{:06}{:06}", code(human.home), human.number);
            self.registered_from = format!("{year}-01-01");
            self.registered_to = format!("{}-12-31", year + 2);
            self.cpd_hours = own.below(121).to_string();
        }
    }
}

fn code(city: usize) -> u32 {
    cities()[city].code.0
}

/// No two people of a plan have the same number: the n-th person of a city takes the n-th step of a walk that meets
/// every (birth day, serial number) of that city once.
fn birth_and_number(plan: Plan, human: Human) -> (Day, String) {
    const A_DAY: usize = WOMEN_A_DAY + MEN_A_DAY;
    let start = SplitMix64::of(&[plan.seed, 3, human.home as u64]).below(BIRTH_DAYS * A_DAY);
    let cell = (start + human.number * STRIDE) % (BIRTH_DAYS * A_DAY);
    let (day, serial) = (cell / A_DAY, cell % A_DAY);
    let serial = if serial < WOMEN_A_DAY { 2 * serial } else { 2 * (serial - WOMEN_A_DAY) + 1 };
    let birth = nth_day(FIRST_BIRTH_YEAR + (day / 365) as u16, day % 365);
    let body =
        format!("{}{:04}{:02}{:02}{serial:03}", code(human.home), birth.year(), birth.month(), birth.day());
    let mut number = [b'0'; 18];
    number[..17].copy_from_slice(body.as_bytes());
    let check = resident_id::check_character(&number);
    (birth, format!("{body}{}", char::from(check)))
}

/// The n-th day of a year, from 0, 29 February left out.
fn nth_day(year: u16, n: usize) -> Day {
    let mut left = n;
    for (month, days) in [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].into_iter().enumerate() {
        if left < days {
            return Day::new(year, month as u8 + 1, left as u8 + 1).expect("every year has this day");
        }
        left -= days;
    }
    panic!("a year has no day {n}");
}

fn day(random: &mut SplitMix64, year: u16) -> String {
    Date::from(nth_day(year, random.below(365))).to_string()
}

fn mobile(random: &mut SplitMix64) -> String {
    const PREFIXES: &[&str] =
        &["135", "136", "137", "138", "139", "150", "158", "159", "177", "180", "186", "189", "199"];
    format!("{}{:08}", random.pick(PREFIXES), random.below(100_000_000))
}

/// About fifteen members to an employer; the name and the code go together.
fn employer(random: &mut SplitMix64, city: usize, members: usize) -> (String, String) {
    const FIRST: &[&str] = &["榕", "禾", "岭", "汀", "屿", "棉", "潮", "砚", "荔", "澄"];
    const SECOND: &[&str] = &["荫", "穗", "舟", "灯", "桥", "苗", "径", "砾", "埠", "渡"];
    let number = random.below((members / cities().len() / 15).clamp(3, 900));
    let (ten, one) = (number / 10 % 10, number % 10);
    let ordinal = if number < 100 { String::new() } else { format!("第{}", number / 100 + 1) };
    let name = format!("{}{}{}{ordinal}社会工作服务中心", cities()[city].zh, FIRST[ten], SECOND[one]);
    let body = format!("52{}MJ{number:06}8", code(city));
    let mut code = [b'0'; 18];
    code[..17].copy_from_slice(body.as_bytes());
    let check = uscc::check_character(&code).expect("digits, M and J are of the alphabet");
    (name, format!("{body}{}", char::from(check)))
}

const SCHOOLS: &[&str] =
    &["华南示范大学", "岭东学院", "珠江开放大学", "粤北师范学院", "南海职业技术学院", "西江学院"];

const SERVICE_FIELDS: &[&str] = &[
    "老年",
    "儿童青少年",
    "家庭",
    "社区",
    "残疾人",
    "司法矫正",
    "医务",
    "学校",
    "企业",
    "禁毒",
    "社会救助",
    "双百",
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use liandong_proto::format::{Mobile, ResidentId, Uscc, email, name};

    use super::*;

    const PLAN: Plan = Plan { cities: 21, members: 20_000, seed: 11 };

    fn person(home: usize, number: usize) -> Person {
        Person::new(PLAN, home, Human { home, number }, number)
    }

    #[test]
    fn everybody_is_valid_and_consistent() {
        let today = Day::new(2026, 4, 1).unwrap();
        for number in 0..3000 {
            let person = person(number % 21, number);
            let id = ResidentId::from_canonical(&person.id_number, today).expect("a valid number");
            assert_eq!(id.birth().to_string(), person.birth_date);
            assert_eq!(id.sex() == resident_id::Sex::Female, person.sex == "女");
            assert_eq!(id.address_code(), code(number % 21));
            assert!(Mobile::from_canonical(&person.mobile).is_ok());
            assert!(Uscc::from_canonical(&person.employer_uscc).is_ok());
            assert_eq!(email::check(&person.email), Ok(()));
            assert_eq!(name::check(&person.name), Ok(()));
            for date in
                [&person.joined_on, &person.certificate_date, &person.registered_from, &person.registered_to]
            {
                assert!(date.is_empty() || Date::from_iso(date).is_ok(), "{date}");
            }
            assert!(person.registered_from <= person.registered_to);
        }
    }

    #[test]
    fn no_two_people_share_a_number() {
        let mut seen = HashSet::new();
        for number in 0..300_000 {
            assert!(seen.insert(birth_and_number(PLAN, Human { home: 2, number }).1), "number {number}");
        }
    }

    #[test]
    fn a_guest_is_the_same_person_under_another_membership() {
        let human = Human { home: 0, number: 3 };
        let at_home = Person::new(PLAN, 0, human, 1);
        for city in 1..21 {
            let abroad = Person::new(PLAN, city, human, 1);
            assert_eq!(abroad.id_number, at_home.id_number);
            assert_eq!(abroad.certificate_no, at_home.certificate_no);
            assert_ne!(abroad.member_no, at_home.member_no);
        }
        let spelled = |number| {
            let human = Human { home: 0, number };
            Person::new(PLAN, 1, human, 0).name != Person::new(PLAN, 0, human, 0).name
        };
        let different = (0..1000).filter(|&number| spelled(number)).count();
        assert!((20..350).contains(&different), "{different}");
    }
}
