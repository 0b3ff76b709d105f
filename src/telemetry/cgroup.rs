//! The limits that a container sets: memory and processor of the control
//! group, version 2, or version 1 where that is what the system has.
//!
//! A group has no more memory than any group above it that can be seen, and no
//! limit where it is allowed all that the machine has.

use std::path::{Path, PathBuf};

/// Larger limits are how version 1 writes "none".
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// What the control group allows and uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CgroupFigures {
    /// Memory it may use, in bytes; `None` where there is no limit.
    pub memory_bytes_max: Option<u64>,
    /// Memory it uses, page cache included, in bytes.
    pub memory_bytes: Option<u64>,
    /// Processor time it may use, in cores; `None` where there is no limit.
    pub cpu_cores_max: Option<f64>,
}

impl CgroupFigures {
    /// Reads them; `None` where there is no control group to be seen. For the
    /// control thread.
    #[must_use]
    pub fn read() -> Option<Self> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let machine = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self::of(Path::new("/sys/fs/cgroup"), &groups, &machine)
    }

    fn of(root: &Path, groups: &str, machine: &str) -> Option<Self> {
        let is_limit = |bytes: &u64| *bytes < memory_total_bytes(machine).unwrap_or(NO_LIMIT_BYTES);
        let of_controller = |wanted: &str| {
            groups.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let (controllers, path) = (parts.next()?, parts.next()?);
                controllers
                    .split(',')
                    .any(|name| name == wanted)
                    .then(|| path.trim_start_matches('/').to_owned())
            })
        };
        if let Some(path) = of_controller("") {
            // In a container the path is that of the host and not there; the
            // group itself is then the root.
            let group = existing(root, &root.join(path), "memory.max");
            if let Some(group) = group {
                return Some(Self {
                    memory_bytes_max: least(root, &group, "memory.max").filter(is_limit),
                    memory_bytes: number(&group.join("memory.current")),
                    cpu_cores_max: quota(&group.join("cpu.max")),
                });
            }
        }
        let memory = root.join("memory");
        let own = memory.join(of_controller("memory").unwrap_or_default());
        let group = existing(&memory, &own, "memory.limit_in_bytes");
        let cpu = root.join("cpu");
        let own = cpu.join(of_controller("cpu").unwrap_or_default());
        let cpu = existing(&cpu, &own, "cpu.cfs_quota_us");
        if group.is_none() && cpu.is_none() {
            return None;
        }
        let in_cpu = |name: &str| number(&cpu.as_ref()?.join(name));
        Some(Self {
            memory_bytes_max: group
                .as_ref()
                .and_then(|group| least(&memory, group, "memory.limit_in_bytes"))
                .filter(is_limit),
            memory_bytes: group.and_then(|group| number(&group.join("memory.usage_in_bytes"))),
            cpu_cores_max: in_cpu("cpu.cfs_quota_us")
                .zip(in_cpu("cpu.cfs_period_us"))
                .and_then(|(quota, period)| cores(quota, period)),
        })
    }
}

/// The folder in which `file` is: `own`, else `root`.
fn existing(root: &Path, own: &Path, file: &str) -> Option<PathBuf> {
    [own, root]
        .into_iter()
        .find(|folder| folder.join(file).exists())
        .map(Path::to_owned)
}

/// The least of the numbers in `file` of a group and of those above it.
fn least(root: &Path, group: &Path, file: &str) -> Option<u64> {
    let groups = group
        .ancestors()
        .take_while(|above| above.starts_with(root));
    groups.filter_map(|group| number(&group.join(file))).min()
}

/// What the machine has, by the text of `/proc/meminfo`.
fn memory_total_bytes(machine: &str) -> Option<u64> {
    let line = machine
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes: u64 = line?.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// A file that holds one number; `max` and negative ones are none.
fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// `cpu.max`: quota and period.
fn quota(file: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    cores(quota.parse().ok()?, period.parse().ok()?)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds, far below 2^53")]
fn cores(quota: u64, period: u64) -> Option<f64> {
    (period > 0).then(|| quota as f64 / period as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "MemTotal:        4194304 kB\nMemFree:  1 kB\n";

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn version_two_is_read_from_its_group_or_from_the_root() {
        let files = [
            ("memory.max", "536870912\n"),
            ("memory.current", "1048576\n"),
            ("cpu.max", "150000 100000\n"),
        ];
        let root = tree(&files);
        let in_container = CgroupFigures::of(root.path(), "0::/docker/abc\n", MACHINE).unwrap();
        assert_eq!(in_container.memory_bytes_max, Some(512 << 20));
        assert_eq!(in_container.memory_bytes, Some(1 << 20));
        assert_eq!(in_container.cpu_cores_max, Some(1.5));
    }

    #[test]
    fn a_group_has_no_more_than_those_above_it() {
        let root = tree(&[
            ("web/memory.max", "1073741824\n"),
            ("web/proxy/memory.max", "max\n"),
            ("web/small/memory.max", "65536\n"),
        ]);
        let bytes_max = |groups| {
            let figures = CgroupFigures::of(root.path(), groups, MACHINE).unwrap();
            figures.memory_bytes_max
        };
        assert_eq!(bytes_max("0::/web/proxy\n"), Some(1 << 30));
        assert_eq!(bytes_max("0::/web/small\n"), Some(65_536));
    }

    #[test]
    fn all_that_the_machine_has_is_no_limit() {
        let root = tree(&[
            ("memory.max", "4294967296\n"),
            ("free/memory.max", "max\n"),
            ("free/cpu.max", "max 100000\n"),
        ]);
        let free = CgroupFigures::of(root.path(), "0::/free\n", MACHINE).unwrap();
        assert_eq!(free, CgroupFigures::default());
        let unknown = CgroupFigures::of(root.path(), "0::/free\n", "").unwrap();
        assert_eq!(unknown.memory_bytes_max, Some(4 << 30));
        let first = tree(&[("memory/memory.limit_in_bytes", "9223372036854771712\n")]);
        let first = CgroupFigures::of(first.path(), "4:memory:/\n", "").unwrap();
        assert_eq!(first.memory_bytes_max, None);
    }

    #[test]
    fn version_one_is_read_by_controller() {
        let root = tree(&[
            ("memory/pod/memory.limit_in_bytes", "268435456\n"),
            ("memory/pod/memory.usage_in_bytes", "4096\n"),
            ("cpu/cpu.cfs_quota_us", "-1\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
        ]);
        let groups = "4:memory:/pod\n3:cpu,cpuacct:/elsewhere\n";
        let figures = CgroupFigures::of(root.path(), groups, MACHINE).unwrap();
        assert_eq!(figures.memory_bytes_max, Some(256 << 20));
        assert_eq!(figures.memory_bytes, Some(4_096));
        assert_eq!(figures.cpu_cores_max, None);
    }

    #[test]
    fn where_there_is_none_nothing_is_said() {
        let root = tree(&[]);
        assert_eq!(CgroupFigures::of(root.path(), "0::/\n", MACHINE), None);
    }
}
