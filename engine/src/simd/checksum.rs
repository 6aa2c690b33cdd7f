//! Words of 32 bits summed up, by as wide registers as there are.

/// Both functions take whole blocks of so many octets.
pub const BLOCK: usize = 64;

/// The sum of the words in memory order; what is behind the last whole block is left out.
pub fn sum(blocks: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as just seen.
        return unsafe { sum_avx2(blocks) };
    }
    sum_plain(blocks)
}

/// The same code, for which the compiler uses registers of 256 bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn sum_avx2(blocks: &[u8]) -> u64 {
    sum_plain(blocks)
}

#[inline(always)]
fn sum_plain(blocks: &[u8]) -> u64 {
    let mut lanes = [0_u64; BLOCK / 4];
    for block in blocks.chunks_exact(BLOCK) {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(4)) {
            *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
    }
    lanes.iter().sum()
}

/// Copy `from` to `to`, as much as there is room for, and give the sum of it.
pub fn copy(from: &[u8], to: &mut [u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as just seen.
        return unsafe { copy_avx2(from, to) };
    }
    copy_plain(from, to)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn copy_avx2(from: &[u8], to: &mut [u8]) -> u64 {
    copy_plain(from, to)
}

#[inline(always)]
fn copy_plain(from: &[u8], to: &mut [u8]) -> u64 {
    let mut lanes = [0_u64; BLOCK / 4];
    for (block, copy) in from.chunks_exact(BLOCK).zip(to.chunks_exact_mut(BLOCK)) {
        copy.copy_from_slice(block);
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(4)) {
            *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_give_the_same_sum() {
        let data: Vec<u8> = (0..1472_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for blocks in 0..=data.len() / BLOCK {
            let data = &data[..blocks * BLOCK];
            let mut copied = vec![0; data.len()];
            assert_eq!(sum(data), sum_plain(data));
            assert_eq!(copy(data, &mut copied), sum_plain(data));
            assert_eq!(copied, data);
        }
        assert_eq!(sum(&[0xff; BLOCK]), (BLOCK as u64 / 4) * 0xffff_ffff);
    }
}
