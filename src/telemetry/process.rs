//! What the operating system says of this process.

use procfs::process::{LimitValue, Process};

/// Memory, processor time and descriptors of this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessFigures {
    /// Memory in use, in bytes.
    pub resident_bytes: u64,
    /// Address space, in bytes.
    pub virtual_bytes: u64,
    /// Processor time used since the start, user and system, in seconds.
    pub cpu_seconds: f64,
    /// Open file descriptors.
    pub open_files: u64,
    /// How many it may open; `None` where there is no limit.
    pub open_files_max: Option<u64>,
    /// Threads.
    pub threads: u64,
    /// When it started, in seconds since the Unix epoch.
    pub start_seconds: f64,
}

impl ProcessFigures {
    /// Reads them; `None` where `/proc` does not tell (it may be hidden in a
    /// container). Takes some tens of microseconds: for the control thread.
    #[must_use]
    pub fn read() -> Option<Self> {
        let process = Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let limits = process.limits().ok()?;
        let boot_seconds = procfs::boot_time_secs().ok()?;
        let open_files = process.fd_count().ok()?;
        #[expect(clippy::cast_precision_loss, reason = "seconds, shown to people")]
        let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
        #[expect(clippy::cast_precision_loss, reason = "well within 2^53")]
        let boot_seconds = boot_seconds as f64;
        Some(Self {
            resident_bytes: stat.rss.saturating_mul(procfs::page_size()),
            virtual_bytes: stat.vsize,
            cpu_seconds: seconds(stat.utime.saturating_add(stat.stime)),
            open_files: u64::try_from(open_files).unwrap_or(u64::MAX),
            open_files_max: match limits.max_open_files.soft_limit {
                LimitValue::Value(limit) => Some(limit),
                LimitValue::Unlimited => None,
            },
            threads: u64::try_from(stat.num_threads).unwrap_or_default(),
            start_seconds: boot_seconds + seconds(stat.starttime),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive() {
        let figures = ProcessFigures::read().unwrap();
        assert!(figures.resident_bytes > 0 && figures.threads > 0);
        assert!(figures.open_files > 2);
    }
}
