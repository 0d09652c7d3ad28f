//! Java's spelling of numbers, dates and addresses, byte for byte as `PrintWriter` would print
//! them.

use std::net::{IpAddr, SocketAddr};

use super::report::Summary;

/// The mean as Apache shows it: rounded half up to four decimals; 0 without points.
pub fn average(summary: &Summary) -> f64 {
    if summary.count == 0 {
        return 0.0;
    }
    let mean = summary.sum as f64 / summary.count as f64;
    let scaled = mean * 10_000.0;
    // What the multiplication lost; it decides whether a fraction of exactly one half really is
    // one.
    let lost = mean.mul_add(10_000.0, -scaled);
    let below_half = scaled.fract() == 0.5 && lost < 0.0;
    let rounded = if below_half { scaled.floor() } else { (scaled + 0.5).floor() };
    rounded / 10_000.0
}

/// `Double.toString` of a number that is not negative: at least one decimal; from 10^7 on and below
/// 10^-3 with an exponent.
pub fn double(value: f64) -> String {
    if value == 0.0 || (1e-3..1e7).contains(&value) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => text,
    }
}

/// `Date.toString` in UTC: `Sun Nov 22 05:55:04 UTC 2026`.
pub fn date(wall_ms: i64) -> String {
    let seconds = wall_ms.div_euclid(1000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let weekday = WEEKDAYS[usize::try_from((days + 4).rem_euclid(7)).unwrap_or_default()];
    let month = MONTHS[usize::try_from(month - 1).unwrap_or_default()];
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{weekday} {month} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}")
}

/// ISO 8601 with milliseconds after a comma, as log4j and logback print it, in UTC:
/// `2026-11-26 01:02:03,456`.
pub fn timestamp(wall_ms: i64) -> String {
    let (seconds, ms) = (wall_ms.div_euclid(1000), wall_ms.rem_euclid(1000));
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{ms:03}")
}

/// `InetSocketAddress.toString`: `/127.0.0.1:2181`, `/[0:0:0:0:0:0:0:1]:2181`; a mapped IPv4
/// address as what it maps.
pub fn address(address: SocketAddr) -> String {
    let port = address.port();
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => format!("/{ip}:{port}"),
        IpAddr::V6(ip) => {
            let groups: Vec<String> =
                ip.segments().iter().map(|group| format!("{group:x}")).collect();
            format!("/[{}]:{port}", groups.join(":"))
        }
    }
}

/// Year, month (1 to 12) and day (1 to 31) of a day counted from 1970-01-01, after Howard Hinnant's
/// `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(sum: u64, count: u64) -> String {
        double(average(&Summary { sum, count, ..Summary::default() }))
    }

    #[test]
    fn averages_have_up_to_four_decimals_rounded_half_up() {
        for (sum, count, wanted) in [
            (0, 0, "0.0"),
            (0, 9, "0.0"),
            (5, 1, "5.0"),
            (1, 2, "0.5"),
            (1, 3, "0.3333"),
            (2, 3, "0.6667"),
            (1, 32, "0.0313"),
            (3, 32, "0.0938"),
            (1, 1000, "0.001"),
            (1, 2000, "5.0E-4"),
            (1, 20_001, "0.0"),
            (12_345_678, 1, "1.2345678E7"),
            (10_000_000, 1, "1.0E7"),
            (9_999_999, 1, "9999999.0"),
        ] {
            assert_eq!(mean(sum, count), wanted, "{sum}/{count}");
        }
    }

    #[test]
    fn dates() {
        for (seconds, wanted) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (951_782_400, "Tue Feb 29 00:00:00 UTC 2000"),
            (1_795_327_504, "Sun Nov 22 06:05:04 UTC 2026"),
            (1_797_474_922, "Thu Dec 17 02:35:22 UTC 2026"),
            (4_107_542_399, "Sun Feb 28 23:59:59 UTC 2100"),
            (-1, "Wed Dec 31 23:59:59 UTC 1969"),
        ] {
            assert_eq!(date(seconds * 1000), wanted);
        }
    }

    #[test]
    fn timestamps() {
        for (wall_ms, wanted) in [
            (0, "1970-01-01 00:00:00,000"),
            (1_795_654_923_456, "2026-11-26 01:02:03,456"),
            (951_782_400_007, "2000-02-29 00:00:00,007"),
        ] {
            assert_eq!(timestamp(wall_ms), wanted);
        }
    }

    #[test]
    fn addresses() {
        for (text, wanted) in [
            ("127.0.0.1:50026", "/127.0.0.1:50026"),
            ("[::1]:2181", "/[0:0:0:0:0:0:0:1]:2181"),
            ("[::ffff:10.0.0.9]:1", "/10.0.0.9:1"),
            ("[2001:db8::ab]:1", "/[2001:db8:0:0:0:0:0:ab]:1"),
        ] {
            assert_eq!(address(text.parse().expect("an address")), wanted);
        }
    }
}
