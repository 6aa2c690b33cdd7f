#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    secd_engine_fuzz::inbound(data);
});
