use paceline_sim::{run_planted, Scenario};
use paceline_transport::planted::Bug;
use std::time::Instant;
#[test]
fn sweep() {
    let only = std::env::var("BUG").ok();
    let n: u64 = std::env::var("N").ok().and_then(|n| n.parse().ok()).unwrap_or(500);
    let bugs: Vec<Option<Bug>> = if only.as_deref() == Some("none") { vec![None] } else {
        Bug::ALL.iter().filter(|b| only.as_ref().is_none_or(|o| o.split(',').any(|o| o == format!("{b:?}")))).map(|b| Some(*b)).collect() };
    let most: usize = std::env::var("MOST").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    for bug in bugs {
        let at = Instant::now();
        let mut found = vec![];
        for seed in std::env::var("FROM").ok().and_then(|n| n.parse().ok()).unwrap_or(0u64)..n {
            let v = run_planted(&Scenario::generate(seed, None), bug);
            if let Some(f) = v.failure { let w = if std::env::var("FULL").is_ok() { format!("{}\n{}", f.what, Scenario::generate(seed, None)) } else { f.what.lines().next().unwrap().chars().take(220).collect::<String>() }; found.push((seed, w)); if found.len() >= most { break; } }
        }
        println!("{bug:?} {:.1}s", at.elapsed().as_secs_f32());
        for (s, w) in found { println!("    {s}: {w}"); }
    }
}
