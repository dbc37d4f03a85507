//! Published vectors for each library, and the two libraries against each other.

use super::*;

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

type MacFn = fn(Hash, &[u8], &[&[u8]]) -> [u8; 48];

fn published<A: Aead, M: Mac, P: Prk>(mac: MacFn, sha256: fn(&[&[u8]]) -> [u8; 32]) {
    // FIPS 180-2, B.1.
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256(&[b"a", b"", b"bc"]).to_vec(), unhex(digest));

    // RFC 4231 §4.3.
    let (key, parts): (&[u8], [&[u8]; 2]) = (b"Jefe", [b"what do ya want ", b"for nothing?"]);
    for (hash, expected) in [
        (Hash::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            Hash::Sha384,
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
        ),
    ] {
        assert_eq!(mac(hash, key, &parts)[..hash.output_len()], unhex(expected));
        assert_eq!(sign(&M::new(hash, key), &parts)[..hash.output_len()], unhex(expected));
    }

    // RFC 5869 A.1.
    let prk = unhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
    let salt = unhex("000102030405060708090a0b0c");
    assert_eq!(mac(Hash::Sha256, &salt, &[&[0x0b; 22]])[..32], prk);
    let mut out = [0; 42];
    P::new(Hash::Sha256, &prk).expand(&[&unhex("f0f1f2f3f4"), &unhex("f5f6f7f8f9")], &mut out);
    let okm = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
    assert_eq!(out.to_vec(), unhex(okm));

    // The GCM specification of McGrew and Viega, test cases 2 and 14.
    for (suite, ciphertext, tag) in [
        (Suite::Aes128GcmSha256, "0388dace60b6a392f328c2b971b2fe78", "ab6e47d42cec13bdf53a67b21257bddf"),
        (Suite::Aes256GcmSha384, "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"),
    ] {
        let key = A::new(suite, &[0; 32]);
        let (mut sealed, mut sealed_tag) = ([0; 16], [0; 16]);
        key.seal(&[0; 12], &[], &[0; 16], &mut sealed, &mut sealed_tag).unwrap();
        assert_eq!((sealed.to_vec(), sealed_tag.to_vec()), (unhex(ciphertext), unhex(tag)));
        let mut opened = [1; 16];
        key.open(&[0; 12], &[], &sealed, &sealed_tag, &mut opened).unwrap();
        assert_eq!(opened, [0; 16]);
        opened = [1; 16];
        sealed_tag[3] ^= 1;
        key.open(&[0; 12], &[], &sealed, &sealed_tag, &mut opened).unwrap_err();
        assert_eq!(opened, [0; 16], "zero after a failure");
        let mut short = [1; 15];
        key.open(&[0; 12], &[], &sealed, &sealed_tag, &mut short).unwrap_err();
        key.seal(&[0; 12], &[], &[0; 16], &mut short, &mut sealed_tag).unwrap_err();
    }
}

#[cfg(feature = "aws-lc")]
#[test]
fn published_vectors_aws_lc() {
    published::<aws_lc::AeadKey, aws_lc::MacKey, aws_lc::PrkKey>(aws_lc::mac, aws_lc::sha256);
}

#[cfg(feature = "rust-crypto")]
#[test]
fn published_vectors_rust_crypto() {
    published::<rust_crypto::AeadKey, rust_crypto::MacKey, rust_crypto::PrkKey>(
        rust_crypto::mac,
        rust_crypto::sha256,
    );
}

#[cfg(all(feature = "aws-lc", feature = "rust-crypto"))]
#[test]
fn both_libraries_agree() {
    let mut seed = 1_u64;
    let mut random = move |len: usize| -> Vec<u8> {
        let mut byte = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 56) as u8
        };
        (0..len).map(|_| byte()).collect()
    };
    for len in (0..700).chain([1408, 8906, 20_000]) {
        let message = random(len);
        let (head, tail) = message.split_at(len / 3);
        let key: [u8; 32] = random(32).try_into().unwrap();
        let nonce: [u8; 12] = random(12).try_into().unwrap();
        for suite in [Suite::Aes128GcmSha256, Suite::Aes256GcmSha384] {
            let (a, b) = (aws_lc::AeadKey::new(suite, &key), rust_crypto::AeadKey::new(suite, &key));
            let (mut sealed, mut tag) = (vec![0; tail.len()], [0; 16]);
            a.seal(&nonce, head, tail, &mut sealed, &mut tag).unwrap();
            let (mut other, mut other_tag) = (vec![0; tail.len()], [0; 16]);
            b.seal(&nonce, head, tail, &mut other, &mut other_tag).unwrap();
            assert_eq!((&sealed, tag), (&other, other_tag), "{len}");
            a.open(&nonce, head, &sealed, &tag, &mut other).unwrap();
            assert_eq!(other, tail);
            b.open(&nonce, head, &sealed, &tag, &mut other).unwrap();
            assert_eq!(other, tail);
        }
        for hash in [Hash::Sha256, Hash::Sha384] {
            // Shorter than a block, a block, and longer.
            for key in [&key[..], &random(hash.block_len()), &random(200)] {
                let expected = sign(&rust_crypto::MacKey::new(hash, key), &[head, tail]);
                assert_eq!(sign(&aws_lc::MacKey::new(hash, key), &[head, tail]), expected);
                assert_eq!(aws_lc::mac(hash, key, &[head, tail]), expected, "{len}");
                assert_eq!(rust_crypto::mac(hash, key, &[&message]), expected);
            }
            let (mut a, mut b) = (vec![0; len % 300], vec![1; len % 300]);
            aws_lc::PrkKey::new(hash, &key).expand(&[head, tail], &mut a);
            rust_crypto::PrkKey::new(hash, &key).expand(&[head, tail], &mut b);
            assert_eq!(a, b);
        }
        assert_eq!(aws_lc::sha256(&[head, tail]), rust_crypto::sha256(&[&message]));
        assert!(aws_lc::ct_eq(&message, &message) && rust_crypto::ct_eq(&message, &message));
        if let [.., _] = message[..] {
            let mut other = message.clone();
            other[len / 2] ^= 0x80;
            assert!(!aws_lc::ct_eq(&message, &other) && !rust_crypto::ct_eq(&message, &other));
            assert!(!aws_lc::ct_eq(&message, &message[1..]) && !rust_crypto::ct_eq(&message, &message[1..]));
        }
    }
}

#[test]
fn sealing_for_the_handshake() {
    let (key, nonce) = ([5; 32], [6; 12]);
    let mut sealed = [0; 40];
    assert_eq!(aes256gcm_seal(&key, &nonce, b"aad", b"some text", &mut sealed).unwrap(), 25);
    let mut opened = [0; 20];
    assert_eq!(aes256gcm_open(&key, &nonce, b"aad", &sealed[..25], &mut opened).unwrap(), 9);
    assert_eq!(&opened[..9], b"some text");
    aes256gcm_open(&key, &nonce, b"AAD", &sealed[..25], &mut opened).unwrap_err();
    aes256gcm_open(&key, &nonce, b"aad", &sealed[..15], &mut opened).unwrap_err();
    aes256gcm_open(&key, &nonce, b"aad", &sealed[..25], &mut [0; 8]).unwrap_err();
    aes256gcm_seal(&key, &nonce, b"aad", b"some text", &mut [0; 24]).unwrap_err();
}

#[test]
fn reset_tokens_depend_on_key_id_and_hash() {
    let (a, b) = (CredentialId([1; 16]), CredentialId([2; 16]));
    let key = HmacSha256Key::new(&[9; 32]);
    assert_eq!(reset_token(&[9; 32], &a), key.tag16(&[&a.0]));
    assert_eq!(reset_token(&[9; 32], &a), first(&mac(Hash::Sha256, &[9; 32], &[&a.0])));
    assert_eq!(reset_token_sha384(b"signer", &a), first(&mac(Hash::Sha384, b"signer", &[&a.0])));
    assert_ne!(reset_token(&[9; 32], &a), reset_token(&[9; 32], &b));
    assert_ne!(reset_token(&[9; 32], &a), reset_token(&[8; 32], &a));
    key.verify16(&[&a.0], &reset_token(&[9; 32], &a)).unwrap();
    key.verify16(&[&b.0], &reset_token(&[9; 32], &a)).unwrap_err();
}
