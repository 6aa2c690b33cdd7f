//! Every suite seals what it opens, and nothing else opens.

use _engine::esp::frame::{self, Content};
use _engine::esp::suite::Suite;
use _engine::esp::{Forged, HEADER, Transform};
use proptest::prelude::*;

const SUITES: [(&str, usize, &str, usize); 11] = [
    ("aes-128-gcm", 20, "", 0),
    ("aes-192-gcm", 28, "", 0),
    ("aes-256-gcm", 36, "", 0),
    ("chacha20-poly1305", 36, "", 0),
    ("aes-128", 16, "hmac-sha1", 20),
    ("aes-192", 24, "hmac-sha2-256", 32),
    ("aes-256", 32, "hmac-sha2-256", 32),
    ("aes-256", 32, "hmac-sha2-384", 48),
    ("aes-128", 16, "hmac-sha2-512", 64),
    ("null", 0, "hmac-sha1", 20),
    ("null", 0, "hmac-sha2-512", 64),
];

fn suite(index: usize, esn: bool) -> Box<dyn Transform> {
    let (encryption, key, auth, auth_key) = SUITES[index];
    let (encryption_key, auth_key) = (vec![index as u8 + 1; key], vec![7; auth_key]);
    let suite = Suite { encryption, encryption_key: &encryption_key, auth, auth_key: &auth_key, esn };
    suite.build(&[9; 16]).unwrap()
}

/// An IPv4 packet with `payload`.
fn ipv4(payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet.extend(payload);
    let len = packet.len() as u16;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet
}

fn sealed(transform: &dyn Transform, sequence: u64, inner: &[u8]) -> Vec<u8> {
    let shape = transform.shape();
    let mut packet = vec![0xaa; shape.sealed_len(inner.len())];
    packet[shape.before()..shape.before() + inner.len()].copy_from_slice(inner);
    frame::write(shape, 0x1234_5678, sequence, inner.len(), &mut packet);
    transform.seal(sequence, &mut packet);
    packet
}

proptest! {
    #[test]
    fn what_is_sealed_opens(index in 0..SUITES.len(), esn: bool, sequence in 1..u64::MAX,
                            payload in prop::collection::vec(any::<u8>(), 0..1500)) {
        let sequence = if esn { sequence } else { sequence & 0xffff_ffff };
        let transform = suite(index, esn);
        let inner = ipv4(&payload);
        let mut packet = sealed(&*transform, sequence, &inner);
        prop_assert_eq!(&packet[..4], 0x1234_5678_u32.to_be_bytes());
        prop_assert_eq!(&packet[4..HEADER], (sequence as u32).to_be_bytes());
        transform.open(sequence, &mut packet).unwrap();
        let Content::Packet(place) = frame::read(transform.shape(), &packet) else { panic!("no packet") };
        prop_assert_eq!(&packet[place], &inner[..]);
    }

    #[test]
    fn any_changed_bit_is_found(index in 0..SUITES.len(), esn: bool, at: prop::sample::Index, bit in 0..8_u8) {
        let transform = suite(index, esn);
        let mut packet = sealed(&*transform, 5, &ipv4(b"some payload"));
        let at = at.index(packet.len());
        packet[at] ^= 1 << bit;
        prop_assert_eq!(transform.open(5, &mut packet), Err(Forged));
    }

    #[test]
    fn esn_is_authenticated(index in 0..SUITES.len(), high in 1..u32::MAX) {
        let transform = suite(index, true);
        let mut packet = sealed(&*transform, u64::from(high) << 32 | 9, &ipv4(b"x"));
        let wrong = u64::from(high - 1) << 32 | 9;
        prop_assert_eq!(transform.open(wrong, &mut packet.clone()), Err(Forged));
        prop_assert_eq!(transform.open(u64::from(high) << 32 | 9, &mut packet), Ok(()));
    }

    #[test]
    fn arbitrary_octets_are_refused(index in 0..SUITES.len(), mut packet in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(suite(index, false).open(1, &mut packet), Err(Forged));
    }

    #[test]
    fn arbitrary_plaintexts_are_read_without_panic(index in 0..SUITES.len(),
                                                   packet in prop::collection::vec(any::<u8>(), 0..200)) {
        let shape = suite(index, false).shape();
        if let Content::Packet(place) = frame::read(shape, &packet) {
            prop_assert!(place.end <= packet.len() - shape.icv);
        }
    }

    #[test]
    fn the_largest_inner_packet_fits_exactly(index in 0..SUITES.len(), room in 100..9000_usize) {
        let shape = suite(index, false).shape();
        let inner = shape.inner_len(room);
        prop_assert!(shape.sealed_len(inner) <= room);
        prop_assert!(shape.sealed_len(inner + 1) > room);
    }
}

#[test]
fn padding_counts_up_and_names_the_inner_version() {
    let transform = suite(9, false);
    let shape = transform.shape();
    let packet = sealed(&*transform, 1, &ipv4(b"abc"));
    let trailer = &packet[shape.before() + 23..packet.len() - shape.icv];
    assert_eq!(trailer, [1, 2, 3, 3, 4]);
}

#[test]
fn padding_behind_the_inner_packet_is_cut_off() {
    let transform = suite(9, false);
    let shape = transform.shape();
    let mut inner = ipv4(b"abcd");
    inner.extend([0; 40]); // TFC padding (RFC 4303 §2.7): the IP header still says 24
    let mut packet = sealed(&*transform, 1, &inner);
    transform.open(1, &mut packet).unwrap();
    assert_eq!(frame::read(shape, &packet), Content::Packet(8..8 + 24));
}

#[test]
fn cbc_ivs_differ_and_cannot_be_foretold_from_the_sequence_number() {
    let transform = suite(6, false);
    let iv = |sequence| sealed(&*transform, sequence, &ipv4(b""))[8..24].to_vec();
    assert_ne!(iv(1), iv(2));
    assert_ne!(iv(1), [&[0; 8][..], &1_u64.to_be_bytes()].concat());
}

#[test]
fn wrong_keys_are_named() {
    let build = |encryption, key: &[u8], auth, auth_key: &[u8]| {
        Suite { encryption, encryption_key: key, auth, auth_key, esn: false }.build(&[0; 16]).err().unwrap()
    };
    assert!(build("aes-128-gcm", &[0; 16], "", &[]).contains("20 octets"));
    assert!(build("aes-128-gcm", &[0; 20], "hmac-sha1", &[0; 20]).contains("by itself"));
    assert!(build("aes-128", &[0; 16], "", &[]).contains("hmac-sha2-256"));
    assert!(build("aes-128", &[0; 16], "hmac-sha1", &[0; 16]).contains("20 octets"));
    assert!(build("rot13", &[], "", &[]).contains("aes-256-gcm"));
}
