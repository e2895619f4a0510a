//! How much memory a process has taken.

/// The largest resident set of a process so far, in bytes, from `VmHWM` in `/proc/PID/status`; none if it has ended.
pub fn peak_resident_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(peak.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}
