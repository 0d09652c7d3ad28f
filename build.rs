//! Stamps the build with its time, which the version string ends in. `SOURCE_DATE_EPOCH` makes it
//! reproducible.

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    println!("cargo:rustc-env=RINGKEEPER_BUILT_ON={}", us_date(given.unwrap_or_else(now)));
}

/// `MM/dd/yyyy HH:mm UTC`: the form that ZooKeeper's clients and exporters parse.
fn us_date(seconds: u64) -> String {
    let (mut year, mut day) = (1970, seconds / 86_400);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!(
        "{month:02}/{:02}/{year} {:02}:{:02} UTC",
        day + 1,
        seconds / 3600 % 24,
        seconds / 60 % 60
    )
}
