#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| twinlog_protocol_tests::hostile::run("config_file", data));
