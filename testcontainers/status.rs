//! What the system says of a process.

/// The largest resident set of a process so far, in bytes; none if it has ended.
pub fn peak_resident_bytes(pid: u32) -> Option<u64> {
    Some(status_number(pid, "VmHWM")? * 1024)
}

/// A number out of `/proc/PID/status`, in its unit there (sizes: KiB); none if the process has ended.
pub fn status_number(pid: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}
