//! The 21 cities, by their GB/T 2260 codes.

use std::sync::OnceLock;

use crate::id::SiteCode;

/// One city association's home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct City {
    /// GB/T 2260 code.
    pub code: SiteCode,
    /// 广州市
    pub zh: &'static str,
    /// Guangzhou
    pub en: &'static str,
}

/// All cities, by code.
pub fn cities() -> &'static [City] {
    static CITIES: OnceLock<Vec<City>> = OnceLock::new();
    CITIES.get_or_init(|| {
        let table = include_str!("../guangdong_21_cities.csv");
        table.lines().skip(1).filter_map(parse).collect()
    })
}

fn parse(line: &'static str) -> Option<City> {
    let mut cells = line.split(',');
    let code = SiteCode(cells.next()?.trim().parse().ok()?);
    Some(City { code, zh: cells.next()?, en: cells.next()? })
}

/// The city with a code.
pub fn city(code: SiteCode) -> Option<&'static City> {
    cities().iter().find(|city| city.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_21_cities_and_the_province_is_none_of_them() {
        assert_eq!(cities().len(), 21);
        assert_eq!(city(SiteCode(440_100)).map(|city| city.zh), Some("广州市"));
        assert!(city(SiteCode::PROVINCE).is_none());
        assert!(cities().windows(2).all(|pair| pair[0].code < pair[1].code));
    }
}
