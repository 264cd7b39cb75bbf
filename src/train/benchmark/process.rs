use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time that other processes can compare with theirs.
#[expect(clippy::disallowed_methods, reason = "whoever started the process measures; nothing depends on it")]
pub(super) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The most memory that this process has had resident at once, where the system tells (Linux).
pub(super) fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().ok()?;
    Some(kib * 1024)
}
