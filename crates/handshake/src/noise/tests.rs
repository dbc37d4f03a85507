use super::*;

fn key(first: u8) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(std::array::from_fn(|i| first.wrapping_add(i as u8)))
}

const PSK: [u8; 32] = [5; 32];
const HEADER: [u8; 24] = [6; 24];

#[test]
fn both_sides_get_the_same_keys() {
    let (mut opening, one) = Opening::new(key(0x20), &PSK, &HEADER, &[1; 64]).unwrap();
    let (answering, hello) = Answering::new(key(0x40), &PSK, &HEADER, &one).unwrap();
    assert_eq!(hello, [1; 64]);
    let (two, responder) = answering.answer(&[2; 64]).unwrap();
    // A damaged message 2 does not spoil the state for the genuine one.
    for byte in 0..112 {
        let mut damaged = two;
        damaged[byte] ^= 1;
        assert!(opening.finish(&damaged).is_none(), "byte {byte}");
    }
    let (hello, initiator) = opening.finish(&two).unwrap();
    assert_eq!(hello, [2; 64]);
    assert_eq!(initiator.export, responder.export);
    assert_eq!(initiator.confirm_i.0, responder.confirm_i.0);
    assert_eq!(initiator.confirm_r.0, responder.confirm_r.0);
    assert_ne!(initiator.confirm_i.0, initiator.confirm_r.0);
}

#[test]
fn secret_and_header_are_bound() {
    let (_, one) = Opening::new(key(0x20), &PSK, &HEADER, &[1; 64]).unwrap();
    assert!(Answering::new(key(0x40), &[4; 32], &HEADER, &one).is_none());
    for byte in 0..24 {
        let mut other = HEADER;
        other[byte] ^= 1;
        assert!(Answering::new(key(0x40), &PSK, &other, &one).is_none(), "byte {byte}");
    }
}

#[test]
fn keys_of_small_order_are_refused() {
    // u = 0, 1 and the two points of order 8 (RFC 7748 §6.1, "Security Considerations"), little endian.
    let order_8 = [
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ]
    .map(|hex| std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()));
    let mut one = [0; 32];
    one[0] = 1;
    for point in [[0; 32], one, order_8[0], order_8[1]] {
        let mut dh = resolver::Resolver { ephemeral: key(0x20) };
        let mut pair =
            snow::resolvers::CryptoResolver::resolve_dh(&dh, &snow::params::DHChoice::Curve25519).unwrap();
        pair.set(&*dh.ephemeral);
        assert_eq!(pair.dh(&point, &mut [0; 56]), Err(snow::Error::Dh), "{point:02x?}");
        dh.ephemeral.zeroize();
    }
}

#[test]
fn a_confirm_opens_for_its_own_header_only() {
    let (confirm, id) = (ConfirmKey(key(1)), CredentialId([3; 16]));
    let sealed = confirm.seal_confirm(&id, &[9; 16]).unwrap();
    let header = confirmation_header(CONFIRM, &id.0);
    assert_eq!(confirm.open(&header, &sealed), Some([9; 16]));
    for bit in 0..24 * 8 {
        let mut other = header;
        other[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(confirm.open(&other, &sealed), None, "bit {bit}");
    }
    assert_eq!(confirm.open(&confirmation_header(CONFIRMED, &id.0), &sealed), None);
}

#[cfg(all(feature = "aws-lc", feature = "rust-crypto"))]
#[test]
fn both_libraries_agree() {
    let mut seed = 1u64;
    for _ in 0..50 {
        let mut bytes = || -> [u8; 32] {
            std::array::from_fn(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 56) as u8
            })
        };
        let (a, b) = (bytes(), bytes());
        let (one, two) = (aws_lc::KeyPair::new(&a).unwrap(), rust_crypto::KeyPair::new(&a).unwrap());
        assert_eq!(one.public(), two.public());
        let peer = rust_crypto::KeyPair::new(&b).unwrap();
        assert_eq!(one.agree(peer.public()), two.agree(peer.public()));
        assert_eq!(one.agree(peer.public()), peer.agree(one.public()));
    }
}

fn golden<const N: usize>(name: &str) -> [u8; N] {
    let vectors = include_str!("../../tests/handshake-golden.txt");
    let value = vectors.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    assert_eq!(value.len(), 2 * N, "{name}");
    std::array::from_fn(|i| u8::from_str_radix(&value[2 * i..2 * i + 2], 16).unwrap())
}

#[test]
fn golden_secret_and_keys() {
    let secret = crate::Secret::new(&golden::<32>("secret")).unwrap();
    assert_eq!(secret.psk(), &golden("psk"));
    assert_eq!(secret.id().0, golden("secret_id"));
    assert_eq!(secret.reset_key(), &golden("reset_key"));
    let mac = paceline_wire::crypto::hmac_sha256(&golden::<32>("mac_key"), &[b"x"]);
    assert_eq!(secret.mac().sign(&[b"x"]), mac);
    assert_eq!(crate::parameters::application_tag(Some("media")), golden("application_tag"));

    let initiation = crate::message::Initiation(golden("initiation"));
    let private = |name| Zeroizing::new(golden::<32>(name));
    let params = golden("initiator_params");
    let (mut opening, one) =
        Opening::new(private("initiator_private"), secret.psk(), &initiation.header(), &params).unwrap();
    assert_eq!(one, initiation.noise());
    let (answering, said) =
        Answering::new(private("responder_private"), secret.psk(), &initiation.header(), &one).unwrap();
    assert_eq!(said, params);
    let (two, responder) = answering.answer(&golden("responder_params")).unwrap();
    assert_eq!(two, crate::bytes::take::<16, 112, 144>(&golden("response")));
    let (said, initiator) = opening.finish(&two).unwrap();
    assert_eq!(said, golden::<64>("responder_params"));
    for keys in [&initiator, &responder] {
        assert_eq!(*keys.export, golden("export_secret"));
        let path = keys.path_secret(Suite::Aes128GcmSha256, Role::Client);
        assert_eq!(path.id().0, golden("credential_id"));
        let sealed = keys.confirm_i.seal_confirm(path.id(), &golden("reset_token")).unwrap();
        assert_eq!(sealed, crate::bytes::take::<24, 32, 56>(&golden("confirm")));
        let sealed = keys.confirm_r.seal_confirmed(path.id(), &golden("reset_token")).unwrap();
        assert_eq!(sealed, crate::bytes::take::<24, 32, 56>(&golden("confirmed")));
    }
}
