//! Published vectors, each with its source, through the very transforms that carry packets.

use _engine::esp::aead::Aead;
use _engine::esp::auth::Auth;
use _engine::esp::frame::{self, Content};
use _engine::esp::suite::Suite;
use _engine::esp::{Forged, Transform};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn aead(encryption: &str, key: &str, esn: bool) -> Box<dyn Transform> {
    Suite { encryption, encryption_key: &hex(key), auth: "", auth_key: &[], esn }.build(&[0; 16]).unwrap()
}

/// AES-GCM as it runs here, and by ring, which has its place where AVX-512 is missing.
fn gcms(encryption: &str, key: &str, esn: bool) -> [Box<dyn Transform>; 2] {
    let ring = if encryption == "aes-128-gcm" { Aead::aes_128_gcm } else { Aead::aes_256_gcm };
    [aead(encryption, key, esn), Box::new(ring(&hex(key), esn).unwrap())]
}

/// Open `packet`, then again with one bit changed; the plaintext.
fn opened(transform: &dyn Transform, sequence: u64, packet: &[u8]) -> Vec<u8> {
    let mut forged = packet.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(transform.open(sequence, &mut forged), Err(Forged));
    let mut packet = packet.to_vec();
    transform.open(sequence, &mut packet).unwrap();
    let shape = transform.shape();
    packet[shape.before()..packet.len() - shape.icv].to_vec()
}

/// draft-mcgrew-gcm-test-01 §4, first case: AES-128-GCM with an extended sequence number.
#[test]
fn aes_128_gcm_with_esn() {
    let transforms = gcms("aes-128-gcm", "4c80cdefbb5d10da906ac73c3613a634 2e443b68", true);
    let packet = hex("00004321 00000000 4956ed7e3b244cfe
         fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34cfa2436f14a3f3cf65925bf1f4a13c5d
         15b21e1884f5ff6247aeabb786b93bce61bc17d768fd9732 459018148f6cbe722fd04796562dfdb4");
    let plain =
        hex("45000048699a000080114db7c0a80102c0a801010a9bf15638d301000001000000000000045f736970045f75647003736970
         0963796265726369747902646b0000210001 01020201");
    for transform in transforms {
        assert_eq!(opened(&*transform, 0x8765_4321_0000_0000, &packet), plain);
    }
}

/// draft-mcgrew-gcm-test-01 §4: AES-128-GCM without ESN.
#[test]
fn aes_128_gcm() {
    let transforms = gcms("aes-128-gcm", "feffe9928665731c6d6a8f9467308308 cafebabe", false);
    let packet = hex("0000a5f8 0000000a facedbaddecaf888
         deb22cd9b07c72c16e3a65beeb8df304a5a5897d33ae530f1ba76d5d114d2a5c3de81827c10e9a4f51330d0eec416642
         cfbb85a5b47e48a4ec3b9ba95d918bd1 83b70d3aa8bc6ee4c309e9d85a41ad4a");
    let plain =
        hex("4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d001000001000000000000037369700963796265
         726369747902646b0000010001 0001");
    for transform in transforms {
        assert_eq!(opened(&*transform, 10, &packet), plain);
    }
}

/// draft-mcgrew-gcm-test-01 §4: AES-256-GCM.
#[test]
fn aes_256_gcm() {
    let key = "abbccddef00112233445566778899aababbccddef00112233445566778899aab 11223344";
    let transforms = gcms("aes-256-gcm", key, false);
    let packet = hex("4a2cbfe3 00000002 0102030405060708
         ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763748a637985771d347f0545659f14e99d
         ef842d8e b335f4eecfdbf831824b4c4915956c96");
    let plain =
        hex("4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee0000000007002400020bf0000020405b4010104020102
         0201");
    for transform in transforms {
        assert_eq!(opened(&*transform, 2, &packet), plain);
    }
}

/// RFC 7634, appendix A: ChaCha20-Poly1305, an ICMP echo in tunnel mode.
#[test]
fn chacha20_poly1305() {
    let key = "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f a0a1a2a3";
    let transform = aead("chacha20-poly1305", key, false);
    let packet = hex("01020304 00000005 1011121314151617
         24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95dfab4c02f7
         2aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b502773f6fb94e664da9165b82829f641e0
         76aaa8266b7fb0f7b11b369907e1ad43");
    let inner =
        hex("45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec100007362708090a0b0c0d0e0f1011121314151617
         18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637");
    assert_eq!(opened(&*transform, 5, &packet), [&inner[..], &[1, 2, 2, 4]].concat());
    let mut packet = packet;
    transform.open(5, &mut packet).unwrap();
    let Content::Packet(place) = frame::read(transform.shape(), &packet) else { panic!("no packet") };
    assert_eq!(packet[place], inner);
}

/// RFC 3602 §4, cases 7 and 8: AES-CBC in tunnel mode.  They come without an ICV, so one is put behind.
#[test]
fn aes_128_cbc_in_tunnel_mode() {
    let (encryption_key, auth_key) = (hex("0123456789abcdef0123456789abcdef"), [0x55; 32]);
    let suite = Suite {
        encryption: "aes-128",
        encryption_key: &encryption_key,
        auth: "hmac-sha2-256",
        auth_key: &auth_key,
        esn: false,
    };
    let transform = suite.build(&[0; 16]).unwrap();
    let cases = [
        (
            2,
            "00008765 00000002 f4e765244f6407adf13dc1380f673f37
             773b5241a4c449225e4f3ce5ed611b0c237ca96cf74a93013c1b0ea1a0cf70f8e4ecaec78ac53aad7a0f022b859243c6
             47752e94a859352b8a4d4d2decd136e5c177f132ad3fbfb2201ac9904c74ee0a109e0ca1e4dfe9d5a100b842f1c22f0d",
            "45000054090400004001f988c0a87b03c0a87bc808009f76a90a0100b49c083d02a2040008090a0b0c0d0e0f10111213
             1415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637",
        ),
        (
            5,
            "00008765 00000005 85d47224b5f3dd5d2101d4ea8dffab22
             15b92683819596a8047232cc00f7048fe45318e11f8a0f62ede3c3fc61203bb50f980a08c9843fd3a1b06d5c07ff9639
             b7eb7dfb3512e5de435e7207ed971ef3d2726d9b5ef6affc6d17a0decbb13892",
            "45000044090c00004001f990c0a87b03c0a87bc80800d63caa0a0200c69c083da3de0300ffffffffffffffffffffffff
             ffffffffffffffffffffffffffffffffffffffff",
        ),
    ];
    for (sequence, packet, inner) in cases {
        let mut packet = hex(packet);
        packet.extend([0; 16]);
        Auth::new("hmac-sha2-256", &auth_key).unwrap().sign([&mut packet], [0], false);
        opened(&*transform, sequence, &packet);
        transform.open(sequence, &mut packet).unwrap();
        let Content::Packet(place) = frame::read(transform.shape(), &packet) else { panic!("no packet") };
        assert_eq!(packet[place], hex(inner));
    }
}

/// RFC 4868 §2.7.2 (AUTH256-1 and -2, AUTH384-1, AUTH512-1) and RFC 2202 §3 case 1, cut to what ESP sends.
#[test]
fn truncated_hmacs() {
    let jefe = b"JefeJefeJefeJefeJefeJefeJefeJefe";
    let question = b"what do ya want for nothing?";
    let cases: [(&str, &[u8], &[u8], &str); 5] = [
        ("hmac-sha1", &[0x0b; 20], b"Hi There", "b617318655057264e28bc0b6"),
        ("hmac-sha2-256", &[0x0b; 32], b"Hi There", "198a607eb44bfbc69903a0f1cf2bbdc5"),
        ("hmac-sha2-256", jefe, question, "167f928588c5cc2eef8e3093caa0e87c"),
        ("hmac-sha2-384", &[0x0b; 48], b"Hi There", "b6a8d5636f5c6a7224f9977dcf7ee6c7fb6d0c48cbdee973"),
        ("hmac-sha2-512", &[0x0b; 64], b"Hi There", "637edc6e01dce7e6742a99451aae82df23da3e92439e590e43e761b33e910fb8"),
    ];
    for (name, key, text, expected) in cases {
        let auth = Auth::new(name, key).unwrap();
        let mut packet = [text, &vec![0; auth.icv()]].concat();
        auth.sign([&mut packet], [0], false);
        assert_eq!(packet[text.len()..], hex(expected), "{name}");
        assert_eq!(auth.verify([&packet], [0], false), [Ok(())]);
        let mut twice = [packet.clone(), packet.clone()];
        let [a, b] = &mut twice;
        auth.sign([a, b], [0, 0], false);
        assert_eq!(twice, [packet.clone(), packet], "{name}");
    }
}
