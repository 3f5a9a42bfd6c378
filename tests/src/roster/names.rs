//! Chinese names as often as they are met: surnames by rough weight, given names of one or two characters.

use super::random::SplitMix64;

/// A name: surname by weight, one given character in seven names, else two.
pub fn name(random: &mut SplitMix64, is_female: bool) -> String {
    let mut name = String::with_capacity(12);
    name.push_str(random.weigh(SURNAMES));
    for _ in 0..if random.chance(140) { 1 } else { 2 } {
        let own = if is_female { FEMALE } else { MALE };
        let table = if random.chance(550) { own } else { EITHER };
        name.push_str(nth(random, table));
    }
    name
}

/// The name with one character written as another clerk heard or typed it; `None` when no character has a variant.
pub fn variant(name: &str) -> Option<String> {
    let (at, from) = name.char_indices().skip(1).find(|(_, c)| twin(*c).is_some())?;
    let mut other = name.to_owned();
    other.replace_range(at..at + from.len_utf8(), twin(from)?.encode_utf8(&mut [0; 4]));
    Some(other)
}

fn twin(c: char) -> Option<char> {
    TWINS.iter().find_map(|(a, b)| if c == *a { Some(*b) } else { (c == *b).then_some(*a) })
}

fn nth<'a>(random: &mut SplitMix64, characters: &'a str) -> &'a str {
    let at = random.below(characters.len() / 3) * 3;
    &characters[at..at + 3]
}

/// Characters that clerks mistake for one another.
const TWINS: &[(char, char)] = &[
    ('晓', '小'),
    ('峰', '锋'),
    ('琪', '琦'),
    ('珊', '姗'),
    ('辉', '晖'),
    ('莹', '盈'),
    ('怡', '仪'),
    ('健', '建'),
    ('伟', '玮'),
    ('婷', '亭'),
    ('娜', '那'),
    ('洁', '杰'),
    ('欣', '新'),
    ('嘉', '佳'),
    ('敏', '闽'),
    ('燕', '艳'),
    ('丽', '莉'),
    ('文', '雯'),
    ('宏', '洪'),
    ('明', '铭'),
];

/// Surnames with rough weights for the south of China, in ten-thousandths.
const SURNAMES: &[(&str, usize)] = &[
    ("陈", 1010),
    ("李", 720),
    ("黄", 690),
    ("林", 560),
    ("张", 520),
    ("梁", 420),
    ("王", 400),
    ("吴", 390),
    ("刘", 380),
    ("罗", 230),
    ("杨", 220),
    ("何", 200),
    ("郑", 190),
    ("谢", 180),
    ("周", 175),
    ("邓", 170),
    ("叶", 165),
    ("蔡", 160),
    ("曾", 158),
    ("赖", 120),
    ("许", 118),
    ("廖", 115),
    ("彭", 112),
    ("徐", 108),
    ("朱", 105),
    ("钟", 104),
    ("冯", 103),
    ("谭", 100),
    ("苏", 98),
    ("赵", 95),
    ("卢", 90),
    ("胡", 88),
    ("温", 82),
    ("肖", 80),
    ("潘", 78),
    ("江", 76),
    ("余", 75),
    ("曹", 70),
    ("郭", 70),
    ("邱", 66),
    ("高", 64),
    ("欧", 62),
    ("孙", 60),
    ("马", 58),
    ("唐", 57),
    ("袁", 55),
    ("戴", 52),
    ("杜", 50),
    ("方", 50),
    ("古", 48),
    ("莫", 47),
    ("麦", 46),
    ("韦", 45),
    ("区", 44),
    ("关", 43),
    ("洪", 42),
    ("庄", 41),
    ("吕", 40),
    ("沈", 39),
    ("姚", 38),
    ("魏", 37),
    ("范", 36),
    ("伍", 36),
    ("龙", 35),
    ("石", 34),
    ("邹", 34),
    ("丘", 33),
    ("黎", 130),
    ("招", 10),
    ("巫", 20),
    ("冼", 20),
    ("詹", 28),
    ("翁", 26),
    ("柯", 26),
    ("陆", 48),
    ("易", 22),
    ("董", 24),
    ("程", 26),
    ("宋", 30),
    ("韩", 24),
    ("于", 18),
    ("田", 20),
    ("任", 20),
    ("金", 16),
    ("汪", 22),
    ("熊", 24),
    ("万", 16),
    ("汤", 22),
    ("颜", 24),
    ("丁", 24),
    ("夏", 18),
    ("傅", 16),
    ("钱", 8),
    ("贾", 8),
    ("康", 10),
    ("毛", 12),
    ("侯", 10),
    ("秦", 10),
    ("白", 8),
    ("雷", 20),
    ("段", 8),
    ("武", 6),
    ("贺", 10),
    ("龚", 16),
    ("顾", 6),
    ("孟", 6),
    ("薛", 6),
    ("尹", 10),
    ("阮", 16),
    ("骆", 16),
    ("凌", 16),
    ("植", 6),
    ("禤", 4),
    ("甘", 16),
    ("容", 12),
    ("司徒", 12),
    ("欧阳", 34),
    ("上官", 2),
    ("诸葛", 2),
    ("单", 4),
    ("祝", 6),
];

/// Given-name characters mostly of women.
const FEMALE: &str = "芳娜敏静丽婷雪玲燕莹怡欣洁颖珊琪慧娟霞梅兰凤萍红艳琴秀英莉蓉蕾薇倩妍嫦娴婉媚妮瑶璐琳茵芬菲蓓碧翠惠珍姗亭仪盈琦雯";

/// Given-name characters mostly of men.
const MALE: &str = "伟强勇军峰锋杰涛斌辉晖鹏飞龙刚健建波浩豪坤雄宏洪武彬志毅威炜超磊松柏栋梁华富贵福荣祥耀辰宇轩铭钧钊鑫锐铿玮";

/// Given-name characters of either.
const EITHER: &str = "文明小晓嘉佳家俊子思诗雨海江平安国庆春秋云天心新永远东海南北林森泽润清源乐康宁和悦然若如立德仁义礼智信诚善贤良凯恒景星晨旭阳月光世学书艺美玉珠青竹可以之亦奕逸艾一";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_broad() {
        assert!(SURNAMES.len() >= 120, "{}", SURNAMES.len());
        let mut given: Vec<char> = [FEMALE, MALE, EITHER].concat().chars().collect();
        given.sort_unstable();
        given.dedup();
        assert!(given.len() >= 180, "{}", given.len());
        assert!([FEMALE, MALE, EITHER].iter().all(|table| table.chars().all(|c| c.len_utf8() == 3)));
    }

    #[test]
    fn names_are_met_as_often_as_in_life() {
        let mut random = SplitMix64::new(1);
        let names: Vec<String> = (0..20_000).map(|n| name(&mut random, n % 2 == 0)).collect();
        let chen = names.iter().filter(|name| name.starts_with('陈')).count();
        assert!((1600..2400).contains(&chen), "{chen}");
        assert!(names.iter().any(|name| name.chars().count() == 2));
        assert!(names.iter().all(|name| (2..=4).contains(&name.chars().count())));
    }

    #[test]
    fn a_variant_differs_in_one_character_of_the_given_name() {
        assert_eq!(variant("陈晓婷").as_deref(), Some("陈小婷"));
        assert_eq!(variant("洪小").as_deref(), Some("洪晓"));
        assert_eq!(variant("洪福"), None, "a surname is not misheard");
    }
}
