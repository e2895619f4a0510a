//! How much the tests do.

/// Whether `TWINLOG_TEST=long` asks for the long form.
#[allow(clippy::panic, reason = "test code")]
pub fn is_long() -> bool {
    match std::env::var("TWINLOG_TEST").as_deref() {
        Ok("long") => true,
        Ok(other) => panic!("TWINLOG_TEST={other}: only `long` is known"),
        Err(_) => false,
    }
}
