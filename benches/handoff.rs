//! The costs of crossing from one core to another: the lane itself, and the round trip of a message
//! between two loops that sleep in their rings, as shard and quorum core do when there is little to
//! do.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper::runtime::lane::Lane;
use ringkeeper::runtime::ring::{Ring, RingConfig, Wait};

/// Push and pop on one core, one message and a batch.
fn lane(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lane");
    for batch in [1, 64] {
        let lane = Lane::new(1024);
        group.throughput(Throughput::Elements(batch));
        group.bench_function(format!("push and pop {batch}"), |bencher| {
            bencher.iter(|| {
                for n in 0..batch {
                    lane.push(black_box(n)).expect("the lane is empty");
                }
                while let Some(n) = lane.pop() {
                    black_box(n);
                }
            });
        });
    }
    group.finish();
}

/// There and back between two sleeping loops, without and with looking out before sleeping.
fn round_trip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("round trip");
    for spin_us in [0, 50] {
        let config = RingConfig { spin: Duration::from_micros(spin_us), ..RingConfig::default() };
        for batch in [1, 64] {
            let mut ring = Ring::new(config).expect("this machine has io_uring");
            let echo = Echo::start(config);
            echo.back.wake_with(ring.waker());
            group.throughput(Throughput::Elements(batch));
            group.bench_function(format!("{batch} messages, spin {spin_us} us"), |bencher| {
                bencher.iter(|| {
                    for n in 0..batch {
                        echo.there.push(n).expect("the lane is empty");
                    }
                    echo.there.wake();
                    let mut missing = batch;
                    while missing > 0 {
                        ring.turn(Wait::For(Duration::from_secs(1))).expect("the ring turns");
                        while ring.next_event().is_some() {}
                        while echo.back.pop().is_some() {
                            missing -= 1;
                        }
                    }
                });
            });
            echo.stop();
        }
    }
    group.finish();
}

/// A loop on a thread of its own that sends back what it is sent.
struct Echo {
    there: Arc<Lane<u64>>,
    back: Arc<Lane<u64>>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Echo {
    fn start(config: RingConfig) -> Self {
        let (there, back) = (Arc::new(Lane::new(1024)), Arc::new(Lane::<u64>::new(1024)));
        let over = Arc::new(AtomicBool::new(false));
        let thread = {
            let (there, back, over) = (Arc::clone(&there), Arc::clone(&back), Arc::clone(&over));
            thread::spawn(move || {
                let mut ring = Ring::new(config).expect("this machine has io_uring");
                there.wake_with(ring.waker());
                while !over.load(Ordering::Acquire) {
                    ring.turn(Wait::For(Duration::from_millis(10))).expect("the ring turns");
                    while ring.next_event().is_some() {}
                    let mut any = false;
                    while let Some(n) = there.pop() {
                        back.push(n).expect("the other end empties it");
                        any = true;
                    }
                    if any {
                        back.wake();
                    }
                }
            })
        };
        Echo { there, back, over, thread }
    }

    fn stop(self) {
        self.over.store(true, Ordering::Release);
        self.there.wake();
        self.thread.join().expect("the echo ends");
    }
}

criterion_group!(benches, lane, round_trip);
criterion_main!(benches);
