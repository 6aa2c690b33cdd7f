use _engine::simd::gcm::{Around, Key};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

#[test]
fn every_length() {
    for (algorithm, octets) in [(&AES_128_GCM, 16), (&AES_256_GCM, 32)] {
        let key: Vec<u8> = (0..octets).map(|i| (i * 37 + 11) as u8).collect();
        let Some(ours) = Key::new(&key) else { return };
        let ring = LessSafeKey::new(UnboundKey::new(algorithm, &key).unwrap());
        for text in (0..=2100).chain([4000, 4064, 4065, 4096, 5000, 9000, 16384, 40000, 65000]) {
            for associated_len in [8, 12] {
                let mut associated = [0; 16];
                for i in 0..associated_len { associated[i] = 0x21 + i as u8 + text as u8; }
                let nonce: [u8; 12] = std::array::from_fn(|i| (i * 5) as u8 ^ text as u8);
                let head = [0xc3; 16];
                let around = Around { head, nonce, associated, associated_len };
                let plain: Vec<u8> = (0..text).map(|i| (i * i + i / 7) as u8).collect();
                let mut expected = plain.clone();
                let tag = ring.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&associated[..associated_len]), &mut expected).unwrap();
                let mut packet = [&head[..], &plain, &[0; 16]].concat();
                ours.seal(&around, &mut packet);
                assert_eq!(packet[..16], head);
                assert_eq!(packet[16..16 + text], expected, "text {text}");
                assert_eq!(packet[16 + text..], *tag.as_ref(), "tag {text}");
                assert!(ours.open(&around, &mut packet));
                assert_eq!(packet[16..16 + text], plain, "text {text}");
            }
        }
    }
}
