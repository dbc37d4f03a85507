//! Nothing is left behind by starting and stopping. Alone in its process, since it counts what the process has.
#![cfg(target_os = "linux")]

use paceline_transport::Config;
use paceline_udp::{Options, Runtime};
use std::time::Duration;

const PATIENCE_MS: u32 = 10_000;

fn count(directory: &str) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

#[test]
fn descriptors_and_threads_are_back_after_200_cycles() {
    let cycle = |n: usize| {
        let bind = if n.is_multiple_of(2) { "127.0.0.1:0" } else { "[::1]:0" };
        let options = Options::new(bind.parse().unwrap(), Config::default());
        let mut runtime = Runtime::start(options, || {}).unwrap();
        let (files, threads) = (count("/proc/self/fd"), count("/proc/self/task"));
        match n % 3 {
            0 => runtime.stop(),
            1 => runtime.wake(),
            _ => {}
        }
        drop(runtime);
        (files, threads)
    };
    cycle(0);
    let (files, threads) = (count("/proc/self/fd"), count("/proc/self/task"));
    for n in 0..200 {
        let (more_files, more_threads) = cycle(n);
        assert!(more_files >= files + 2 && more_threads > threads, "a running one has both");
        // A joined thread leaves the list a moment after the join; where others use the machine, when it has its next turn.
        for _ in 0..PATIENCE_MS {
            if count("/proc/self/task") == threads {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
    assert_eq!((count("/proc/self/fd"), count("/proc/self/task")), (files, threads));
}
