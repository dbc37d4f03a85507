//! The key bytes of the golden vectors (conformance: the same file as tests/golden.rs).

use super::*;
use std::collections::BTreeMap;

fn golden() -> BTreeMap<String, String> {
    let lines = include_str!("../../../tests/golden.txt").lines();
    lines.map(|line| line.rsplit_once(' ').map(|(name, hex)| (name.into(), hex.into())).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_golden_key() {
    let golden = golden();
    let mut checked = 0;
    for (number, suite) in [Suite::Aes128GcmSha256, Suite::Aes256GcmSha384].into_iter().enumerate() {
        let prk = PrkKey::new(suite.hash(), &[0x2a; 32]);
        let (k, b) = (suite.key_len(), suite.hash().block_len());
        let mut check = |name: &str, bytes: &[u8]| {
            assert_eq!(golden[&format!("{number} {name}")], hex(bytes), "{number} {name}");
            checked += 1;
        };
        check("id", &credential_id(&prk).0);
        for (role, name) in [(Role::Client, "client"), (Role::Server, "server")] {
            let directions = application(&prk, suite, role, 7);
            for (direction, who) in directions.iter().zip(["client", "server"]) {
                check(&format!("open_{name}.app.{who}_ku"), &direction.ku[..k]);
                check(&format!("open_{name}.app.{who}_key"), &direction.key[..k]);
                check(&format!("open_{name}.app.{who}_iv"), &direction.iv);
                let mut ku = direction.ku;
                for phase in 1..=2 {
                    let next = next_phase(suite, &ku);
                    check(&format!("open_{name}.phase{phase}.{who}.ku"), &next.ku[..k]);
                    check(&format!("open_{name}.phase{phase}.{who}.key"), &next.key[..k]);
                    check(&format!("open_{name}.phase{phase}.{who}.iv"), &next.iv);
                    ku = next.ku;
                }
            }
            for (block, who) in control(&prk, suite, role, 7).iter().zip(["client", "server"]) {
                check(&format!("open_{name}.ctl.{who}"), &block.0[..b]);
            }
            let direction = datagram(&prk, suite, role, 7);
            check(&format!("uni.{name}.key"), &direction.key[..k]);
            check(&format!("uni.{name}.iv"), &direction.iv);
            check(&format!("sctl.{name}"), &secret_control(&prk, suite, role).0[..b]);
        }
    }
    // The rest of the 114 values are packets: tests/golden.rs.
    let keys = golden.keys().filter(|name| !name.contains("pkt.") && !name.contains("token")).count();
    assert_eq!((checked, keys), (94, 94));
    assert_eq!(golden.len(), 114);
}
