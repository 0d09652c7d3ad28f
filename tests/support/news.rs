//! What a thread of elections tells.

use std::thread;
use std::time::{Duration, Instant};

use ringkeeper::runtime::ensemble::elections::{Elections, News};

/// The next news, but for what a leader hears of its voters beside it. `about` says more of a server
/// that tells nothing for a minute.
pub(crate) fn next_news(elections: &Elections, about: impl Fn() -> String) -> News {
    let began = Instant::now();
    loop {
        match elections.poll() {
            Some(News::ElectedBy(_) | News::Voter { .. }) => continue,
            Some(news) => return news,
            None => {}
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no news: {}", about());
        thread::sleep(Duration::from_micros(100));
    }
}
