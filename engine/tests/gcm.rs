//! AES-GCM by AVX-512 against ring and RustCrypto, which seal and open the same packets.  Without AVX-512 the two are
//! all there is, and nothing is tested here.

use _engine::esp::aead::Aead;
use _engine::esp::gcm::Gcm;
use _engine::esp::gcm192::Gcm192;
use _engine::esp::{Forged, Opening, Transform};
use _engine::simd::gcm::{Around, Key, LIMIT, Run};
use proptest::prelude::*;

const BEFORE: usize = 16;
const ICV: usize = 16;

fn octets(count: usize, seed: usize) -> Vec<u8> {
    (0..count).map(|i| ((i + seed).wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

/// Ours and another's, with an AES key of 128, 192 or 256 bits; None without AVX-512.
fn both(bits: usize, esn: bool) -> Option<(Gcm, Box<dyn Transform>)> {
    let key = octets(bits / 8 + 4, bits);
    let other: Box<dyn Transform> = match bits {
        128 => Box::new(Aead::aes_128_gcm(&key, esn).unwrap()),
        192 => Box::new(Gcm192::new(&key, esn).unwrap()),
        _ => Box::new(Aead::aes_256_gcm(&key, esn).unwrap()),
    };
    Some((Gcm::new(&key, esn)?, other))
}

fn every_kind() -> impl Iterator<Item = (Gcm, Box<dyn Transform>)> {
    [128, 192, 256].into_iter().flat_map(|bits| [both(bits, false), both(bits, true)]).flatten()
}

/// Packets with texts of `size` octets, the last with `last`, and where each is.
fn run(count: usize, size: usize, last: usize) -> (Vec<u8>, Vec<Opening>) {
    let stride = BEFORE + size + ICV;
    let len = stride * (count - 1) + BEFORE + last + ICV;
    let openings = (0..count)
        .map(|i| Opening { place: i * stride..len.min((i + 1) * stride), sequence: Some(FIRST + i as u64) })
        .collect();
    (octets(len, size + last), openings)
}

const FIRST: u64 = 0x1_ffff_fff0;

fn text(packet: &[u8]) -> &[u8] {
    &packet[BEFORE..packet.len() - ICV]
}

#[test]
fn texts_of_every_length_are_sealed_and_opened_as_others_do() {
    let long = [4063, 4064, 4065, 4079, 4080, 4081, 8191, 16384, 40_001, 65_000];
    for (ours, other) in every_kind() {
        for len in (0..=2100).chain(long) {
            let packet = octets(BEFORE + len + ICV, len);
            let sequence = FIRST + len as u64;
            let (mut a, mut b) = (packet.clone(), packet.clone());
            ours.seal(sequence, &mut a);
            other.seal(sequence, &mut b);
            assert!(a == b, "{len} octets");
            assert_eq!(ours.open(sequence, &mut a), Ok(()), "{len} octets");
            assert_eq!(other.open(sequence, &mut b), Ok(()));
            assert!(text(&a) == text(&packet) && a[..BEFORE] == b[..BEFORE], "{len} octets");
        }
    }
}

proptest! {
    #[test]
    fn runs_are_sealed_and_opened_as_others_do(bits in prop::sample::select(vec![128, 192, 256]), esn: bool,
            count in 1..=64_usize, size in 0..1800_usize, last: prop::sample::Index) {
        let Some((ours, other)) = both(bits, esn) else { return Ok(()) };
        let (plain, openings) = run(count, size, last.index(size + 1));
        let (mut a, mut b) = (plain.clone(), plain.clone());
        ours.seal_run(FIRST, BEFORE + size + ICV, &mut a);
        other.seal_run(FIRST, BEFORE + size + ICV, &mut b);
        prop_assert!(a == b);
        let mut verdicts = openings.clone();
        ours.open_run(&mut a, &mut verdicts);
        for (opening, verdict) in openings.iter().zip(&verdicts) {
            prop_assert_eq!(opening.sequence, verdict.sequence);
            prop_assert!(text(&a[opening.place.clone()]) == text(&plain[opening.place.clone()]));
        }
    }

    #[test]
    fn large_texts_are_sealed_as_others_do(bits in prop::sample::select(vec![128, 192, 256]), len in 2000..65_000_usize) {
        let Some((ours, other)) = both(bits, true) else { return Ok(()) };
        let (mut a, mut b) = (octets(BEFORE + len + ICV, len), octets(BEFORE + len + ICV, len));
        ours.seal(FIRST, &mut a);
        other.seal(FIRST, &mut b);
        prop_assert!(a == b);
        prop_assert_eq!(other.open(FIRST, &mut a), Ok(()));
        prop_assert_eq!(ours.open(FIRST, &mut b), Ok(()));
        prop_assert!(text(&a) == text(&b));
    }
}

#[test]
fn any_changed_bit_costs_its_packet_and_no_other() {
    for (ours, _) in every_kind() {
        for size in [0, 4, 16, 47, 48, 84, 240, 272, 700] {
            let (plain, openings) = run(3, size, size);
            let mut sealed = plain.clone();
            ours.seal_run(FIRST, BEFORE + size + ICV, &mut sealed);
            let middle = openings[1].place.clone();
            for bit in 0..middle.len() * 8 {
                let mut arena = sealed.clone();
                arena[middle.start + bit / 8] ^= 1 << (bit % 8);
                let mut verdicts = openings.clone();
                ours.open_run(&mut arena, &mut verdicts);
                let found: Vec<_> = verdicts.iter().map(|verdict| verdict.sequence).collect();
                assert_eq!(found, [Some(FIRST), None, Some(FIRST + 2)], "{size} octets, bit {bit}");
                assert!(text(&arena[middle.clone()]).iter().all(|octet| *octet == 0), "plaintext was left");
                for i in [0, 2] {
                    let place = openings[i].place.clone();
                    assert!(text(&arena[place.clone()]) == text(&plain[place]));
                }
            }
        }
    }
}

#[test]
fn what_was_refused_before_stays_refused_and_untouched() {
    let Some((ours, _)) = both(256, false) else { return };
    let (mut arena, mut openings) = run(3, 100, 100);
    ours.seal_run(FIRST, BEFORE + 100 + ICV, &mut arena);
    let before = arena.clone();
    openings[1].sequence = None;
    ours.open_run(&mut arena, &mut openings);
    assert_eq!(openings[1].sequence, None);
    assert!(arena[openings[1].place.clone()] == before[openings[1].place.clone()]);
}

#[test]
fn packets_too_short_or_too_long_are_forged() {
    for (ours, _) in every_kind() {
        for len in 0..BEFORE + ICV {
            assert_eq!(ours.open(1, &mut octets(len, 0)), Err(Forged));
            let mut openings = [Opening { place: 0..len, sequence: Some(1) }];
            ours.open_run(&mut octets(len, 0), &mut openings);
            assert_eq!(openings[0].sequence, None);
        }
    }
    let Some((ours, _)) = both(256, false) else { return };
    let mut short = octets(BEFORE + ICV - 1, 0);
    ours.seal(1, &mut short);
    assert!(short.iter().all(|octet| *octet == 0), "plaintext would leave");
    let mut packet = octets(BEFORE + LIMIT + ICV, 0);
    ours.seal(1, &mut packet);
    assert_eq!(ours.open(1, &mut packet), Ok(()));
    packet.push(0);
    assert_eq!(ours.open(1, &mut packet), Err(Forged));
    ours.seal(1, &mut packet);
    assert!(packet[BEFORE..].iter().all(|octet| *octet == 0), "plaintext would leave");
}

#[test]
fn keys_of_other_lengths_are_refused() {
    for len in [0, 3, 4, 19, 21, 32, 35, 37, 68] {
        assert!(Gcm::new(&octets(len, 0), false).is_none(), "{len} octets");
    }
}

/// One packet to seal or open, and whether its tag was right.
struct Alone<'a>(Option<&'a Around>, &'a mut [u8], bool);

impl Run for Alone<'_> {
    fn next(&mut self) -> Option<(Around, &mut [u8])> {
        Some((*self.0.take()?, self.1))
    }

    fn verdict(&mut self, right: bool) {
        self.2 = right;
    }
}

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B: those of its cases that have a nonce of 96
/// bits and no associated data (1 to 3, 7 to 9, 13 to 15).
#[test]
fn published_vectors() {
    let zeros = "00".repeat(32);
    let key = "feffe9928665731c6d6a8f9467308308".repeat(2);
    let zero_nonce = &zeros[..24];
    let nonce = "cafebabefacedbaddecaf888";
    let plain = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                 1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
    let cases = [
        (&zeros[..32], zero_nonce, "", "", "58e2fccefa7e3061367f1d57a4e7455a"),
        (
            &zeros[..32],
            zero_nonce,
            &zeros[..32],
            "0388dace60b6a392f328c2b971b2fe78",
            "ab6e47d42cec13bdf53a67b21257bddf",
        ),
        (
            &key[..32],
            nonce,
            plain,
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
             21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985",
            "4d5c2af327cd64a62cf35abd2ba6fab4",
        ),
        (&zeros[..48], zero_nonce, "", "", "cd33b28ac773f74ba00ed1f312572435"),
        (
            &zeros[..48],
            zero_nonce,
            &zeros[..32],
            "98e7247c07f0fe411c267e4384b0f600",
            "2ff58d80033927ab8ef4d4587514f0fb",
        ),
        (
            &key[..48],
            nonce,
            plain,
            "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c\
             7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710acade256",
            "9924a7c8587336bfb118024db8674a14",
        ),
        (&zeros[..64], zero_nonce, "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
        (
            &zeros[..64],
            zero_nonce,
            &zeros[..32],
            "cea7403d4d606b6e074ec5d3baf39d18",
            "d0d1c8a799996bf0265b98b5d48ab919",
        ),
        (
            &key[..64],
            nonce,
            plain,
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
            "b094dac5d93471bdec1a502270e3cc6c",
        ),
    ];
    for (key, nonce, plain, cipher, tag) in cases {
        let Some(key) = Key::new(&hex(key)) else { return };
        let nonce = hex(nonce);
        let around = Around {
            head: [0; 2],
            salt: u32::from_le_bytes(nonce[..4].try_into().unwrap()),
            iv: u64::from_le_bytes(nonce[4..].try_into().unwrap()),
            associated: [0; 2],
            associated_len: 0,
        };
        let mut packet = [vec![0xaa; BEFORE], hex(plain), vec![0xaa; ICV]].concat();
        key.seal(&mut Alone(Some(&around), &mut packet, false));
        assert_eq!(packet[BEFORE..], hex(&[cipher, tag].concat()));
        let mut run = Alone(Some(&around), &mut packet, false);
        key.open(&mut run);
        assert!(run.2);
        assert_eq!(text(&packet), hex(plain));
    }
}
